from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch

from bet_lightning.backbones import MF, LightGCN, Refit, TurnsBasis
from bet_lightning.budget import Budget, resolve_budgets
from bet_lightning.data import InteractionDataModule, RankingBatch
from bet_lightning.methods.base import Problem
from bet_lightning.methods.bet.beginning import Begun, SearchPlan, ascend, begin_search, make_search, rows_of
from bet_lightning.methods.bet.families import Family, PopularityFamily, SpectralFamily
from bet_lightning.methods.bet.settings import SearchSettings
from bet_lightning.methods.tasks import Epochs
from bet_lightning.modules import RecommenderModule
from bet_lightning.ranking import quality
from bet_lightning.training import train_task
from tests.conftest import TINY


def trained_problem(backbone: type[LightGCN] | type[MF], *budgets: float) -> Problem:
    """A problem whose network has a full table that was trained a little, in its principal basis."""
    data = InteractionDataModule(**TINY["data"]["init_args"])
    data.setup("fit")
    module = RecommenderModule(lambda edges: backbone(edges, 8))
    module.build(data.dataset.train)

    def users(share: float) -> Iterable[RankingBatch]:
        loader = data.val_dataloader()
        loader.share = share
        return loader

    resolved = resolve_budgets([Budget(keep_ratio=ratio) for ratio in budgets], module.network.shape, 0)
    problem = Problem(module.recommender, users, resolved)
    train_task(problem.full_task(Epochs(2)), module.recommender, data.train_dataloader(), users)
    assert isinstance(module.network, TurnsBasis)
    module.network.to_principal_basis()
    return problem


def plan_of(family: Family, refit_steps: int) -> SearchPlan:
    """A plan whose probes see a third of the users."""
    return SearchPlan(family, SearchSettings(), 0, False, refit_steps, 0.3)


def test_the_power_of_the_best_cut_tables_is_chosen() -> None:
    problem, plan = trained_problem(LightGCN, 0.25), plan_of(SpectralFamily(), 3)
    network = problem.network
    full = {name: value.clone() for name, value in network.state_dict().items()}
    begun = begin_search(problem, plan)
    assert all(value.equal(full[name]) for name, value in network.state_dict().items())  # nothing is left cut
    orders = rows_of(problem).orders
    qualities: dict[float, list[float]] = {}
    for power in LightGCN.refit_powers:
        gains = plan.family.gains(network, 420, 0, Refit(3, power))
        candidates = make_search(problem, plan, gains).samplers[0].sample(4, torch.Generator().manual_seed(0))
        qualities[power] = []
        for index in range(4):
            network.cut(candidates.at(index).sizes(*orders), Refit(3, power))
            qualities[power].append(quality(problem.evaluate(0.3)))
            network.load_state_dict(full)
    first = qualities[0.0]
    judged = sorted(range(4), key=first.__getitem__)[2:]  # the best two of the first power
    reached = {power: max(found[draw] for draw in judged) for power, found in qualities.items()}
    assert len(set(reached.values())) > 1
    peak = ascend(LightGCN.refit_powers, lambda power: Begun(begun.search, None, power, reached[power]))
    assert (begun.power, begun.quality) == (peak.power, reached[peak.power])
    assert begun.gains is not None
    assert begun.gains.equal(plan.family.gains(network, 420, 0, Refit(3, begun.power)))  # type: ignore[arg-type]


@pytest.mark.parametrize("family", [SpectralFamily(), PopularityFamily()])
def test_nothing_is_chosen_where_nothing_is_made_up_for(family: Family) -> None:
    for backbone, steps in ((LightGCN, 0), (MF, 5)):  # MF cannot compensate for a cut
        begun = begin_search(trained_problem(backbone, 0.25), plan_of(family, steps))
        assert (begun.power, begun.quality) == (0.0, 0.0)
        assert (begun.gains is None) == (not family.needs_energy)


def test_gains_are_asked_for_about_the_middle_budget_whatever_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    gains = SpectralFamily.gains

    def asking(family: SpectralFamily, network: MF, cap: int, min_size: int, refit: Refit) -> torch.Tensor:
        asked.append(cap)
        return gains(family, network, cap, min_size, refit)

    monkeypatch.setattr(SpectralFamily, "gains", asking)
    for budgets in ((0.1, 0.25, 0.5), (0.5, 0.1, 0.25)):
        begun = begin_search(trained_problem(MF, *budgets), plan_of(SpectralFamily(), 0))
        assert [sampler.cap for sampler in begun.search.samplers] == [840, 420, 168]
    assert asked == [420, 420]


@pytest.mark.parametrize(
    ("qualities", "peak", "tried"),
    [([1, 2, 3, 2, 1], 2, [2, 3, 1]), ([1, 2, 3, 4, 5], 4, [2, 3, 4]), ([3, 4, 2, 1, 0], 1, [2, 3, 1, 0])],
)
def test_ascent_finds_the_peak_and_goes_one_way(qualities: list[float], peak: int, tried: list[int]) -> None:
    seen = []

    def attempt(place: float) -> Begun:
        seen.append(int(place))
        return Begun(None, None, place, qualities[int(place)])  # type: ignore[arg-type]

    assert ascend(range(5), attempt).power == peak
    assert seen == tried
