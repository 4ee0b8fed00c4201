"""One run of BET: its phases, and what they go on from."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bet_lightning.allocation import Allocation
from bet_lightning.backbones import Refit
from bet_lightning.checkpoints import UNREADABLE, EarlierRun
from bet_lightning.methods.base import Problem
from bet_lightning.methods.bet.action import Action, RuleDraw
from bet_lightning.methods.bet.beginning import Begun, SearchPlan, action_of_rule, begin_search, make_search, rows_of
from bet_lightning.methods.bet.finalists import choose_finalists, choose_retrained, choose_rule, rank_probes
from bet_lightning.methods.bet.records import ProbeRecord, TunedRecord
from bet_lightning.methods.bet.search import BudgetedSearch, Proposal
from bet_lightning.methods.bet.settings import Start
from bet_lightning.methods.pretraining import pretraining
from bet_lightning.methods.tasks import Epochs, Outcome, Phase, Round, Rounds, Task
from bet_lightning.resolved_budget import ResolvedBudget
from bet_lightning.schedule import LRSchedule

if TYPE_CHECKING:
    from bet_lightning.methods.bet.method import BET

_PROBED_USERS = 10_000  # validated by a probe where the user says nothing: more tell hardly more


class BETRun:
    """One run of BET: its phases, and the state that they are resumed from.

    Args:
        method: The settings.
        problem: What to make tables for; ``problem.state`` has what earlier phases left.
        before: The run on another form of the same full table, if there is one: it has pre-trained it.
    """

    def __init__(self, method: BET, problem: Problem, before: BETRun | None = None) -> None:
        network = problem.network
        family = method.family_for(network)
        probe = method.probe
        steps = family.refit_steps if probe.refit_steps is None else probe.refit_steps
        self.method = method
        self.problem = problem
        self.before = before
        self.state = problem.state
        # final vectors have no graph to be trained through from fresh weights
        self.starts: tuple[Start, ...] = ("warm",) if problem.kept == "vectors" else method.retrain.starts
        self.warm_schedule = method.warm_schedule or network.recipe.warm_schedule
        default_epochs = max(family.probe_epochs, network.recipe.probe_epochs)
        self.probe_epochs = default_epochs if probe.epochs is None else probe.epochs
        self.plan = SearchPlan(
            family,
            method.search,
            problem.budgets[0].min_size,
            "fresh" in self.starts,
            steps,
            min(1.0, _PROBED_USERS / network.num_users) if probe.user_share is None else probe.user_share,
        )
        self.orders = rows_of(problem).orders
        self.records = [ProbeRecord.from_dict(values) for values in self.state.get("records", [])]
        self.earlier = [ProbeRecord.from_dict(values) for values in self.state.get("earlier", [])]
        self._search: BudgetedSearch | None = None
        if "search" in self.state:
            self._search = make_search(problem, self.plan, self.state["gains"])
            self._search.load_state_dict(self.state["search"])

    @property
    def search(self) -> BudgetedSearch:
        """The search, once pretraining is over."""
        if self._search is None:
            raise RuntimeError("the search begins when pretraining is over")
        return self._search

    def pretrain(self) -> Rounds:
        """Train the full table, or take an earlier run's, and begin the search on it."""
        if self._search is not None:
            return
        settings, network = self.method.pretrain, self.problem.network
        turned = self.method.basis == "principal" and self.before is None
        task, earlier = pretraining(self.problem, settings, turned=turned)
        if self.before:
            weights = self.before.state["pretrained"]
            task = replace(task, name=None, label="final vectors", keep_weights=True, epochs=Epochs(0), weights=weights)
        (full,) = yield Round([task], shared=True, epochs_after=self._epochs_after(settings.max_epochs))
        begin = time.monotonic()
        network.use_masked_tables()
        network.load_state_dict(full.weights)
        self.state["pretrained"] = full.weights
        self.state["pretrain_epochs"] = self.before.state["pretrain_epochs"] if self.before else full.epochs
        whole = self.plan.user_share == 1
        metrics = full.metrics if whole else self.problem.evaluate(self.plan.user_share)
        self.state["full_quality"] = Outcome(metrics).quality
        begun = self._continue(earlier) if earlier and "search" in earlier.method_state else None
        begun = begun or begin_search(self.problem, self.plan)
        self._search = begun.search
        self.state["gains"] = begun.gains
        self.state["refit_power"] = begun.power
        self.state["seconds_to_begin"] = time.monotonic() - begin
        self._remember()

    def probe_rules(self) -> Rounds:
        """Probe the simple rules at every budget, a round for as many as there are ranks."""
        given = [(rule, budget) for budget in self.problem.budgets for rule in self.method.rules]
        while (done := self.search.num_given) < len(given):
            following = given[done : done + self.problem.num_ranks]
            proposals: list[Proposal] = []
            for rule, budget in following:
                proposals.append(self.search.given(action_of_rule(rule, self.problem, budget), proposals))
            yield from self._measure(proposals, [budget for _, budget in following])

    def probe(self) -> Rounds:
        """Let the search choose actions, and probe them."""
        total = self.method.search.num_iterations * len(self.problem.budgets)
        while (left := total - len(self.records) + self.search.num_given) > 0:
            proposals: list[Proposal] = []
            for _ in range(min(self.problem.num_ranks, left)):
                proposals.append(self.search.propose(proposals))
            yield from self._measure(proposals, [self._budget(proposal.action) for proposal in proposals])

    def tune(self) -> Rounds:
        """Probe good actions for longer, from the weights that their retraining starts from."""
        settings = self.method.tune
        if "finalists" not in self.state:
            self.state["finalists"] = [
                [record.iteration, start]
                for budget in self.problem.budgets
                for start in self.starts
                for record in choose_finalists(self._ranked(budget), settings.num_actions, start)
            ]
        total = len(self.state["finalists"])
        done = self.state.setdefault("num_tuned", 0)
        while done < total:
            finalists = self.state["finalists"][done : done + self.problem.num_ranks]
            epochs = Epochs(settings.epochs, eval_every_n_epochs=settings.epochs)
            tasks = [
                self._task("tune", f"tune {done + number}/{total}", self._record(iteration), epochs, start)
                for number, (iteration, start) in enumerate(finalists, 1)
            ]
            outcomes = yield Round(tasks, epochs_after=self._epochs_after((total - done - 1) * settings.epochs))
            for (iteration, start), outcome in zip(finalists, outcomes, strict=True):
                tuned = TunedRecord(self._fitness(outcome), dict(outcome.metrics), outcome.seconds)
                self._replace(self._record(iteration).with_tuned(start, tuned))
            done = self.state["num_tuned"] = done + len(finalists)
            self._remember()
            self.problem.journal.take([*self._records_before, *self.records, *self.earlier], "tune")

    def fitness(self, budget: str) -> float:
        """Return the best warm fitness for a budget, given by its name, in the longest probes there are; else -inf."""
        ranked = rank_probes([*self.records, *self.earlier], budget)
        tuned = [record.tuned["warm"].fitness for record in ranked if "warm" in record.tuned]
        return max(tuned or [record.fitness for record in ranked], default=-math.inf)

    def retrain(self, budgets: Sequence[ResolvedBudget]) -> Rounds:
        """Train the best actions and the best rule of some budgets for good."""
        settings = self.method.retrain
        tasks = [task for budget in budgets for task in self._retrainings(budget)]
        done = self.state.setdefault("num_retrained", 0)
        at_once = self.problem.num_ranks if settings.parallel == "actions" else 1
        while done < len(tasks):
            following = tasks[done : done + at_once]
            after = (len(tasks) - done - len(following)) * self.state["pretrain_epochs"]
            yield Round(following, shared=settings.parallel == "data", epochs_after=after)
            done = self.state["num_retrained"] = done + len(following)

    def _retrainings(self, budget: ResolvedBudget) -> list[Task]:
        """The trainings for a budget, the search's actions before the best rule."""
        settings, ranked = self.method.retrain, self._ranked(budget)
        epochs = Epochs(settings.max_epochs, settings.patience, settings.eval_every_n_epochs)
        rule = choose_rule(ranked)
        rule_name = rule.draw.rule if rule and isinstance(rule.draw, RuleDraw) else ""
        tasks = []
        for start in self.starts:
            tuned = self.method.tune.num_actions > 0
            chosen = choose_retrained(ranked, settings.num_actions, start, tuned)
            named = [("bet", record) for record in chosen] + ([(rule_name, rule)] if rule else [])
            for name, record in named:
                kind = f"_{start}" if len(self.starts) > 1 else ""
                result = f"{name}{kind}{self.problem.suffix(budget)}"
                task = self._task("retrain", f"retrain {result}", record, epochs, start)
                tasks.append(replace(task, name=result, storage=settings.storage, user_share=1.0))
        return tasks

    def _measure(self, proposals: Sequence[Proposal], budgets: Sequence[ResolvedBudget]) -> Rounds:
        """Probe actions and learn from them, each within one of the budgets."""
        settings = self.method.search
        num_budgets = len(self.problem.budgets)
        total = (settings.num_iterations + len(self.method.rules)) * num_budgets
        epochs = Epochs(self.probe_epochs, eval_every_n_epochs=max(1, self.probe_epochs))
        number = len(self.records)
        tasks = [
            self._training("probe", f"probe {number + place}/{total}", proposal.action, budget, epochs, "warm")
            for place, (proposal, budget) in enumerate(zip(proposals, budgets, strict=True), 1)
        ]
        after = (total - number - len(tasks)) * self.probe_epochs
        outcomes = yield Round(tasks, epochs_after=self._epochs_after(after))
        for rank, (proposal, budget, outcome) in enumerate(zip(proposals, budgets, outcomes, strict=True)):
            fitness = self._fitness(outcome)
            self.search.observe(proposal, fitness)
            self.records.append(ProbeRecord.of(proposal, budget.name, fitness, outcome, rank, self.problem.kept))
            self._remember()
            self.problem.journal.take([*self._records_before, *self.records], "probe")

    def _task(self, phase: Phase, label: str, record: ProbeRecord, epochs: Epochs, start: Start) -> Task:
        """A training of an action that was probed."""
        budget = next(budget for budget in self.problem.budgets if budget.name == record.budget)
        action = self.search.probed[record.iteration][0].action
        return self._training(phase, label, action, budget, epochs, start)

    def _training(
        self, phase: Phase, label: str, action: Action, budget: ResolvedBudget, epochs: Epochs, start: Start
    ) -> Task:
        """A training of an action."""
        warm = start == "warm"
        return Task(
            phase,
            label,
            epochs,
            budget=budget,
            allocation=Allocation(action.sizes(*self.orders), action.form),
            weights=self.state["pretrained"] if warm else None,
            refit=Refit(self.plan.refit_steps, self.state["refit_power"]) if warm else Refit(),
            schedule=self._schedule(action) if warm else None,
            user_share=self.plan.user_share,
        )

    def _schedule(self, action: Action) -> LRSchedule | None:
        """The learning rate from pre-trained weights; small ones would let no value cross to another of few levels."""
        if self.method.warm_schedule is None and not action.form.is_float:
            return None
        return self.warm_schedule

    def _continue(self, earlier: EarlierRun) -> Begun:
        """Go on from what an earlier search measured and learned, whatever its budgets were."""
        state = earlier.method_state
        try:
            if (state["gains"] is not None) != self.plan.family.needs_energy:
                raise LookupError("its gains")
            search = make_search(self.problem, self.plan, state["gains"])
            search.go_on_from(state["search"])
        except UNREADABLE as error:
            path = self.method.pretrain.checkpoint
            raise ValueError(f"{path}: its search was of another family or data ({error})") from None
        amounts = {budget.amount for budget in self.problem.budgets}
        for proposal, fitness in search.probed:
            action = proposal.action
            if action.amount in amounts and any(sampler.covers(action) for sampler in search.samplers):
                outcome = Outcome({}, seconds=0.0)
                name = self._budget(action).name
                self.earlier.append(ProbeRecord.of(proposal, name, fitness, outcome, 0, self.problem.kept))
        return Begun(search, state["gains"], state["refit_power"])

    def _remember(self) -> None:
        """Keep what the next phase, or a resumed run, goes on from."""
        self.state["search"] = self.search.state_dict()
        self.state["records"] = [record.as_dict() for record in self.records]
        self.state["earlier"] = [record.as_dict() for record in self.earlier]
        self.problem.journal.seconds_to_begin = self._seconds_to_begin

    @property
    def _records_before(self) -> list[ProbeRecord]:
        before = self.before
        return [*before._records_before, *before.records, *before.earlier] if before else []

    @property
    def _seconds_to_begin(self) -> float:
        own: float = self.state["seconds_to_begin"]
        return own + (self.before._seconds_to_begin if self.before else 0.0)

    def _epochs_after(self, epochs: int) -> int:
        """Epochs still to come: some, and retrainings about as long as pretraining was."""
        typical: int = self.state.get("pretrain_epochs", self.method.pretrain.max_epochs)
        kinds = self.method.retrain.num_actions + bool(self.method.rules)
        return epochs + kinds * len(self.starts) * len(self.problem.budgets) * typical

    def _budget(self, action: Action) -> ResolvedBudget:
        """The budget that an action spends."""
        return next(budget for budget in self.problem.budgets if budget.amount == action.amount)

    def _ranked(self, budget: ResolvedBudget) -> list[ProbeRecord]:
        return rank_probes([*self.records, *self.earlier], budget.name)

    def _record(self, iteration: int) -> ProbeRecord:
        return next(record for record in (*self.records, *self.earlier) if record.iteration == iteration)

    def _replace(self, record: ProbeRecord) -> None:
        for records in (self.records, self.earlier):
            records[:] = [record if each.iteration == record.iteration else each for each in records]

    def _fitness(self, outcome: Outcome) -> float:
        full: float = self.state["full_quality"]
        return outcome.quality / full if full > 0 else 0.0
