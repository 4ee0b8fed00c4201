"""Adam on single rows of a table, compiled: what a step costs then follows from its batch alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]


class RowState(NamedTuple):
    """A table and what Adam keeps of it, as arrays that kernels write to.

    Attributes:
        values: ``(n,)`` float32, the values of all rows, one row after another.
        first: ``(n,)`` float32, means of gradients.
        second: ``(n,)`` float32, means of squared gradients.
        steps: ``(num_rows,)`` int32, how many steps each row has seen since all were up to date.
        starts: ``(num_rows,)`` integers, where rows begin; empty where each begins ``width`` after the one before.
        sizes: ``(num_rows,)`` integers, values of each row.
        width: Columns of a row.
    """

    values: Floats
    first: Floats
    second: Floats
    steps: Ints
    starts: Ints
    sizes: Ints
    width: int


class Owed(NamedTuple):
    """What rows have missed, the same for all that saw as many steps.

    Attributes:
        moves: By steps seen, how far a row has yet to move for each unit of its means' quotient.
        eps: By steps seen, what is added to the root of the mean of squares.
        first: By missed steps, what is left of a mean of gradients.
        second: By missed steps, what is left of a mean of squares.
    """

    moves: Floats
    eps: Floats
    first: Floats
    second: Floats


class Kernels(NamedTuple):
    """The compiled functions: :func:`_read`, :func:`_catch_up`, :func:`_link` and :func:`_step`."""

    read: Callable[..., None]
    catch_up: Callable[..., None]
    link: Callable[..., None]
    step: Callable[..., None]


@cache
def kernels() -> Kernels | None:
    """Return the compiled kernels, None where numba is not installed."""
    try:
        import numba
    except ImportError:
        return None
    compile_: Any = numba.njit(nogil=True, fastmath={"contract", "nsz", "arcp"}, error_model="numpy")
    return Kernels(*(compile_(function) for function in (_read, _catch_up, _link, _step)))


def _read(out: Floats, state: RowState, owed: Owed, rows: Ints, begin: int, end: int) -> None:
    """Write rows as they should be by now, and zeros beyond their sizes; the table stays as it is.

    Args:
        out: ``(r, width)``, overwritten.
        state: The table.
        owed: What rows have missed.
        rows: ``(r,)`` int64.
        begin: The first of them to look at.
        end: The one after the last.
    """
    width = out.shape[1]
    for index in range(begin, end):
        row = rows[index]
        seen = state.steps[row]
        rate, little = owed.moves[seen], owed.eps[seen]
        start = state.starts[row] if len(state.starts) else row * state.width
        size = min(int(state.sizes[row]), width)
        stop = start + size
        values, first, second = state.values[start:stop], state.first[start:stop], state.second[start:stop]
        target = out[index]
        if rate == 0:
            target[:size] = values
        else:
            for column in range(size):
                target[column] = values[column] - rate * first[column] / (np.sqrt(second[column]) + little)
        for column in range(size, width):
            target[column] = 0


def _catch_up(state: RowState, owed: Owed, step: int, begin: int, end: int) -> None:
    """Bring rows to a step: the steps that they missed moved them, with no gradient, by what their means say.

    Args:
        state: The table.
        owed: What rows have missed.
        step: Steps so far.
        begin: The first row.
        end: The row after the last.
    """
    for row in range(begin, end):
        seen = state.steps[row]
        if seen == step:
            continue
        rate, little, left1, left2 = owed.moves[seen], owed.eps[seen], owed.first[step - seen], owed.second[step - seen]
        start = state.starts[row] if len(state.starts) else row * state.width
        stop = start + state.sizes[row]
        values, first, second = state.values[start:stop], state.first[start:stop], state.second[start:stop]
        for column in range(stop - start):
            values[column] -= rate * first[column] / (np.sqrt(second[column]) + little)
            first[column] *= left1
            second[column] *= left2
        state.steps[row] = step


def _link(state: RowState, rows: Ints, before: Ints) -> None:
    """Link the occurrences of each row, the last of which is noted as ``-1 - place`` in the place of its steps.

    Args:
        state: The table.
        rows: ``(r,)`` int64, repeats allowed.
        before: ``(r,)`` int32, filled with the place of the occurrence before; of the first with -1 less the row's
            steps.
    """
    for place in range(len(rows)):
        seen = state.steps[rows[place]]
        before[place] = -1 - seen
        state.steps[rows[place]] = -1 - place


def _step(
    state: RowState,
    owed: Owed,
    rows: Ints,
    before: Ints,
    gradients: Floats,
    step: int,
    rate: float,
    betas: tuple[float, float],
    eps: float,
    begin: int,
    end: int,
) -> None:
    """Bring the rows whose last occurrences are among some places to the step before, and update them by Adam's rule.

    Args:
        state: The table, linked.
        owed: What rows have missed before this step.
        rows: ``(r,)`` int64.
        before: ``(r,)`` int32, see :func:`_link`.
        gradients: ``(r, width)`` of the occurrences, added up here; no row has more columns.
        step: Steps so far, with this one.
        rate: The learning rate, corrected for the bias of both means.
        betas: Decay of the means.
        eps: Added to the root of a mean of squares, corrected like the rate.
        begin: The first place.
        end: The place after the last.
    """
    rest1, rest2 = np.float32(1 - betas[0]), np.float32(1 - betas[1])
    factor, little = np.float32(rate), np.float32(eps)
    total = np.empty(gradients.shape[1], np.float32)
    for place in range(begin, end):
        row = rows[place]
        if state.steps[row] != -1 - place:
            continue
        start = state.starts[row] if len(state.starts) else row * state.width
        size = min(int(state.sizes[row]), len(total))
        stop = start + size
        for column in range(size):
            total[column] = gradients[place, column]
        earlier = before[place]
        while earlier >= 0:
            for column in range(size):
                total[column] += gradients[earlier, column]
            earlier = before[earlier]
        seen = -1 - earlier
        moved, its_eps, left1, left2 = (
            owed.moves[seen],
            owed.eps[seen],
            owed.first[step - seen],
            owed.second[step - seen],
        )
        values, first, second = state.values[start:stop], state.first[start:stop], state.second[start:stop]
        for column in range(size):
            gradient, mean, square = total[column], first[column], second[column]
            value = values[column] - moved * mean / (np.sqrt(square) + its_eps)
            mean = left1 * mean + rest1 * gradient
            square = left2 * square + rest2 * gradient * gradient
            values[column] = value - factor * mean / (np.sqrt(square) + little)
            first[column], second[column] = mean, square
        state.steps[row] = step
