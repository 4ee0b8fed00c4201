"""Methods: ways to fit an embedding table into a budget."""

from bet_lightning.methods.autoemb import AutoEmb
from bet_lightning.methods.base import Method, Problem, run_method
from bet_lightning.methods.bet import BET, EvenFamily, MixedFamily, PopularityFamily, SpectralFamily
from bet_lightning.methods.cerp import CERP
from bet_lightning.methods.ciess import CIESS
from bet_lightning.methods.esapn import ESAPN
from bet_lightning.methods.full_at_bits import FullAtBits
from bet_lightning.methods.magnitude_pruning import MagnitudePruning
from bet_lightning.methods.one_bit import OneBit
from bet_lightning.methods.optembed import OptEmbed
from bet_lightning.methods.pep import PEP
from bet_lightning.methods.product_quantization import ProductQuantization
from bet_lightning.methods.quotient_remainder import QuotientRemainder
from bet_lightning.methods.rules import FileSizes, PopularitySizes, RandomSizes, SizeRule, UniformSizes
from bet_lightning.methods.tasks import Epochs, Outcome, Round, Task

__all__ = [
    "BET",
    "CERP",
    "CIESS",
    "ESAPN",
    "PEP",
    "AutoEmb",
    "Epochs",
    "EvenFamily",
    "FileSizes",
    "FullAtBits",
    "MagnitudePruning",
    "Method",
    "MixedFamily",
    "OneBit",
    "OptEmbed",
    "Outcome",
    "PopularityFamily",
    "PopularitySizes",
    "Problem",
    "ProductQuantization",
    "QuotientRemainder",
    "RandomSizes",
    "Round",
    "SizeRule",
    "SpectralFamily",
    "Task",
    "UniformSizes",
    "run_method",
]
