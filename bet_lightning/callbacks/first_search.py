"""How a search begins on a pre-trained table: what parameters are worth, and how cut tables make up for what is cut."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor

from bet_lightning.callbacks.new_plan import find_gains, new_search
from bet_lightning.callbacks.trials import dataset_of, evaluate_share
from bet_lightning.modules import RecommenderModule
from bet_lightning.ranking import quality
from bet_lightning.search import BudgetedSearch

_DRAWS = 4  # actions that the first power is judged by: eight choose no other
_REJUDGED = 2  # of them, the best, that the other powers are judged by
_logger = logging.getLogger(__name__)


class Attempt(NamedTuple):
    """A search begun with a power, and how well the best of a few cut tables ranks.

    Attributes:
        quality: Mean recall and ndcg of that table.
        power: The power of popularity.
        search: The search.
        gains: What ``find_gains`` found for it.
    """

    quality: float
    power: float
    search: BudgetedSearch
    gains: Tensor | None


def first_search(
    trainer: pl.Trainer,
    module: RecommenderModule,
    orders: tuple[Tensor, Tensor],
    refit_steps: int,
    user_share: float,
    settings: Mapping[str, Any],
) -> tuple[BudgetedSearch, Tensor | None]:
    """Begin a search, with the ``refit_power`` whose best cut table ranks validation users best.

    Each power cuts the same few draws of the sampler, without training; after the first power only the best of them.

    Args:
        trainer: Its validation users are ranked.
        module: Has the full pre-trained table; it leaves with it and with the chosen power.
        orders: User and item rows from the most to the least popular.
        refit_steps: Steps by which a cut table makes up for what is cut.
        user_share: Share of the validation users.
        settings: Keyword arguments of ``new_search``.

    Returns:
        The search and what ``find_gains`` found.
    """
    network, data = module.network, dataset_of(trainer)

    def begin() -> tuple[BudgetedSearch, Tensor | None]:
        gains = find_gains(network, settings["family"], settings["caps"][0], settings["min_size"], refit_steps)
        gains = trainer.strategy.broadcast(gains)  # on a GPU the last digits may differ between ranks
        return new_search(data, gains, **settings), gains

    if not refit_steps or not network.refit_powers:
        return begin()
    full = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    draws = list(range(_DRAWS))

    def judge(search: BudgetedSearch) -> dict[int, float]:
        candidates = search.samplers[0].sample(_DRAWS, torch.Generator().manual_seed(0))
        found = {}
        for draw in draws:
            action = candidates.at(draw)
            module.set_sizes(action.sizes(*orders), action.params, refit_steps)
            found[draw] = quality(evaluate_share(trainer, module, user_share))
            network.load_state_dict(full)
        return trainer.strategy.broadcast(found)

    def attempt(power: float) -> Attempt:
        full["refit_power"].fill_(power)
        network.load_state_dict(full)
        begun = begin()
        found = judge(begun[0])
        draws[:] = sorted(found, key=found.__getitem__, reverse=True)[:_REJUDGED]
        best = found[draws[0]]
        _logger.info("refit power %g: %.4f", power, best)
        return Attempt(best, power, *begun)

    chosen = ascend(network.refit_powers, attempt)
    network.refit_power.fill_(chosen.power)
    return chosen.search, chosen.gains


def ascend(places: Sequence[float], attempt: Callable[[float], Attempt]) -> Attempt:
    """Walk from the middle of some places, down or else up, while it gets better: the best, where there is one peak."""
    middle = len(places) // 2
    start = best = attempt(places[middle])
    for direction in (places[middle + 1 :], places[:middle][::-1]):
        for following in map(attempt, direction):
            if following.quality <= best.quality:
                break
            best = following
        if best is not start:
            break
    return best
