"""BET as a method: pretrain, search, retrain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bet_lightning.backbones import Backbone, KnowsEnergy
from bet_lightning.methods.base import Method, Problem
from bet_lightning.methods.bet.families import Family, MixedFamily, PopularityFamily, SpectralFamily
from bet_lightning.methods.bet.run import BETRun
from bet_lightning.methods.bet.settings import (
    Basis,
    ProbeSettings,
    RetrainSettings,
    SearchSettings,
    TuneSettings,
)
from bet_lightning.methods.pretraining import PretrainSettings
from bet_lightning.methods.rules import PopularitySizes, SizeRule, UniformSizes
from bet_lightning.methods.tasks import FULL, Rounds
from bet_lightning.schedule import LRSchedule


class BET(Method):
    """Budgeted embedding tables (Qu et al., WSDM 2024, arXiv 2310.14884), and what goes beyond the paper.

    The full table is pre-trained until patience runs out, then its columns are turned so that the first carry most.
    Simple rules are probed first. Then, ``num_iterations`` times a budget, an action is chosen, the pre-trained table
    cut to its sizes and validated, with or without training; its quality over the full table's is the action's fitness.
    The best are probed again for longer, and the best of all retrained, beside the best rule. See ``README.md`` in this
    folder for the deviations from the paper.

    Args:
        family: Which actions there are. Default: ``SpectralFamily``; ``MixedFamily`` where untrained cuts tell little
            (NGCF), the paper's ``PopularityFamily`` where a backbone does not know what its parameters are worth.
        basis: ``principal`` turns the pre-trained table's columns so that the first carry most of the scores, which
            stay what they are; ``trained`` leaves them, as in the paper.
        min_size: Smallest size of a row, 0 or 1. Default: 0 where the backbone rebuilds rows from their neighbours and
            the family leaves rows empty, else 1. Elsewhere, rows of size 0 are without a vector: items that no list
            has room for, where a budget is too small for all.
        rules: Simple rules that are probed first; the best of them is retrained too. Default: uniform sizes, and two
            whole numbers that share the budget evenly among users and items. A warm start cuts the pre-trained table.
        warm_schedule: Learning rate of what starts from pre-trained weights (default: the backbone's recipe, or for
            tables of few levels the recommender's from fresh weights).
        pretrain: How the full table is trained.
        search: How actions are found.
        probe: How an action is measured.
        tune: Longer probes of good actions.
        retrain: How the best actions are trained for good.

    Raises:
        ValueError: If a value is out of range or rules have equal names.
    """

    chooses_form = True

    def __init__(
        self,
        family: Family | None = None,
        basis: Basis = "principal",
        min_size: int | None = None,
        rules: Sequence[SizeRule] | None = None,
        warm_schedule: LRSchedule | None = None,
        pretrain: PretrainSettings = PretrainSettings(),
        search: SearchSettings = SearchSettings(),
        probe: ProbeSettings = ProbeSettings(),
        tune: TuneSettings = TuneSettings(),
        retrain: RetrainSettings = RetrainSettings(),
    ) -> None:
        if min_size not in (None, 0, 1):
            raise ValueError(f"search.method.min_size must be 0 or 1, got {min_size}")
        self.family = family
        self.basis: Basis = basis
        self.smallest = min_size
        self.rules = [UniformSizes(), PopularitySizes(0.0, 0.5, "two_numbers")] if rules is None else list(rules)
        self.warm_schedule = warm_schedule
        self.pretrain, self.search, self.probe, self.tune, self.retrain = pretrain, search, probe, tune, retrain
        _check_names([rule.name for rule in self.rules])

    def family_for(self, network: Backbone) -> Family:
        """Return the family given, or the one that does best with a backbone.

        Raises:
            ValueError: If the backbone cannot say what the family needs.
        """
        if self.family is None and not isinstance(network, KnowsEnergy):
            return PopularityFamily()
        family = self.family or (MixedFamily() if network.recipe.probe_epochs else SpectralFamily())
        if family.needs_energy and not isinstance(network, KnowsEnergy):
            raise ValueError(
                f"search.method.family {type(family).__name__} needs a backbone that knows what its parameters are "
                f"worth, got {type(network).__name__}: take PopularityFamily"
            )
        return family

    def min_size(self, network: Backbone, rebuilds_rows: bool) -> int:
        """Return the smallest size of a row: see :meth:`Method.min_size`."""
        if self.smallest is not None:
            return self.smallest
        return 0 if rebuilds_rows and self.family_for(network).leaves_rows_empty else 1

    def run(self, problem: Problem) -> Rounds:
        """Pretrain, probe, tune and retrain: see :meth:`Method.run`.

        Each form that the table may be kept in is searched by itself; a budget goes to the one whose probes are best.
        """
        runs: list[BETRun] = []
        for part in problem.parts():
            run = BETRun(self, part, runs[-1] if runs else None)
            runs.append(run)
            yield from run.pretrain()
            yield from run.probe_rules()
            yield from run.probe()
            yield from run.tune()
        for run in runs:
            yield from run.retrain([budget for budget in run.problem.budgets if run is _fittest(runs, budget.name)])

    def for_finished_run(self, checkpoint: str, num_probes: int, max_epochs: int) -> BET:
        """Return the method that cuts a finished run's table further: see :meth:`Method.for_finished_run`."""
        return BET(
            self.family,
            self.basis,
            self.smallest,
            [],
            self.warm_schedule,
            replace(self.pretrain, checkpoint=checkpoint),
            replace(self.search, num_iterations=num_probes, num_random=0, selection="greedy"),
            self.probe,
            replace(self.tune, num_actions=0),
            replace(self.retrain, num_actions=1, start="warm", max_epochs=max_epochs, eval_every_n_epochs=1),
        )


def _fittest(runs: Sequence[BETRun], budget: str) -> BETRun:
    """The run with the best probes of a budget, the earlier one among equals."""
    return max(runs, key=lambda run: run.fitness(budget))


def _check_names(names: Sequence[str]) -> None:
    """Refuse names of rules that would be mixed up, with each other or with what else is in a run folder."""
    taken = (FULL, "bet", "best", "last")
    wrong = [name for name in names if name in taken or name.endswith(("_fresh", "_warm")) or "@" in name]
    if len(set(names)) < len(names) or wrong:
        raise ValueError(
            "search.method.rules need different names, not full, bet, best, last, *_fresh, *_warm or *@*, "
            f"got {list(names)}"
        )
