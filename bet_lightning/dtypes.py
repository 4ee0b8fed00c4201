"""What values of a table are held as."""

from typing import Literal

Dtype = Literal["fp32", "fp16", "bf16", "int8", "int4", "int3", "int2", "ternary"]
FLOAT_BYTES: dict[Dtype, int] = {"fp32": 4, "fp16": 2, "bf16": 2}
LEVELS: dict[Dtype, int] = {"int8": 255, "int4": 15, "int3": 7, "int2": 4, "ternary": 3}  # around zero, evenly spaced

# the distance of a row's levels, its step, is 2 ** (LARGEST_OCTAVE - code / STEPS_PER_OCTAVE), the code being a byte
NUM_STEPS = 256
STEPS_PER_OCTAVE = 12  # the nearest step is at most 2.9 % off
LARGEST_OCTAVE = 6  # fitted rows of a table cut to a hundredth have such steps, rows of int8 some of 2**-14
