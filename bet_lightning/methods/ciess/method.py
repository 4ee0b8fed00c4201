"""CIESS as a method: pretrain, let agents choose sizes, retrain the best."""

from __future__ import annotations

from bet_lightning.allocation import Allocation
from bet_lightning.methods.base import Method, Problem
from bet_lightning.methods.ciess.search import SizeSearch
from bet_lightning.methods.ciess.settings import AgentSettings
from bet_lightning.methods.pretraining import PretrainSettings, pretraining
from bet_lightning.methods.tasks import Epochs, Round, Rounds, Task
from bet_lightning.resolved_budget import ResolvedBudget

_FEWEST_USERS = 1e-9  # share of the users that a short training validates: they are ranked one by one after it


class CIESS(Method):
    r"""Continuous input embedding size search (Qu et al. 2023, SIGIR, arXiv 2304.03501).

    An agent for users and one for items choose the size of every row from its popularity, its last size and how well
    the row did with it, relative to the full table. A recommender of these sizes is trained from fresh weights for a
    few epochs and validated user by user; an item has the mean quality of its training users. The agents learn by TD3
    from the reward :math:`q - \lambda (d / d_{max})^2`. To the actor's sizes noise is added, a random walk passes some
    sizes nearby, and the one that the critic values most is taken. An episode is some iterations from full sizes. The
    best actions are trained from scratch, and the best of these on validation is the result.

    The paper's budgets are met by luck: an action counts for a budget that it happens to be within. Here every action
    is repaired before it is trained: sizes in proportion to the chosen ones, clipped to their bounds, that spend the
    budget exactly (``allocate``; in bytes, as many parameters as the bytes hold, as size rules do). The repair is part
    of what agents act on: states and rewards have the repaired sizes, actions the chosen ones. Each budget has a search
    of its own, where the paper has one for each penalty.

    Further deviations: noise is drawn for every row, where the released code draws one number for all rows, which a
    repair would undo; it is added before the walk. Episodes begin with a quality ratio of 1, the full table's. Target
    actors and target critics move together, as in TD3's paper. Rows without a known quality have the mean.

    Args:
        num_episodes: Episodes a budget (paper: 30).
        num_iterations: Iterations of an episode, each a short training (paper: 10).
        probe_epochs: Epochs of a short training (paper: 5).
        penalty: Weight of a row's memory in its reward, :math:`\lambda` (paper: from 0.1 to 1.2).
        num_actions: Actions retrained (released code: 3).
        agent: Constants of the agents.
        pretrain: How the full table is trained, which quality is relative to.
        train: How long the best actions may be trained.

    Raises:
        ValueError: If a value is out of range.
    """

    def __init__(
        self,
        num_episodes: int = 30,
        num_iterations: int = 10,
        probe_epochs: int = 5,
        penalty: float = 0.4,
        num_actions: int = 3,
        agent: AgentSettings = AgentSettings(),
        pretrain: PretrainSettings = PretrainSettings(),
        train: Epochs = Epochs(),
    ) -> None:
        self.num_episodes = num_episodes
        self.num_iterations = num_iterations
        self.probe_epochs = probe_epochs
        self.penalty = penalty
        self.num_actions = num_actions
        self.agent = agent
        self.pretrain = pretrain
        self.train = train
        for name in ("num_episodes", "num_iterations", "probe_epochs", "num_actions"):
            if getattr(self, name) < 1:
                raise ValueError(f"search.method.{name} must be at least 1, got {getattr(self, name)}")
        if penalty < 0:
            raise ValueError(f"search.method.penalty must be at least 0, got {penalty}")

    @property
    def total(self) -> int:
        """Iterations a budget."""
        return self.num_episodes * self.num_iterations

    def run(self, problem: Problem) -> Rounds:
        """Train the full table, search for each budget and retrain its best actions: see :meth:`Method.run`."""
        state = problem.state
        if "reference" not in state:
            task, _ = pretraining(problem, self.pretrain)
            yield Round([task], shared=True, epochs_after=self._epochs_after(problem))
            state["reference"] = problem.evaluate_users()
            state.update(searches={}, found={}, num_retrained={})
        for budget in problem.budgets:
            yield from self._search(problem, budget)
            yield from self._retrain(problem, budget)

    def _search(self, problem: Problem, budget: ResolvedBudget) -> Rounds:
        """Let the agents choose, train what they chose, and tell them of it."""
        state = problem.state
        if budget.name in state["found"]:
            return
        search = SizeSearch(self, problem, budget, state["reference"], problem.interactions())
        if budget.name in state["searches"]:
            search.load_state_dict(state["searches"][budget.name])
        while search.iteration < self.total:
            allocation = search.choose()
            state["searches"][budget.name] = search.state_dict()
            yield Round([self._probe(search, allocation)], shared=True, epochs_after=self._epochs_after(problem))
            search.observe(allocation.sizes, problem.evaluate_users())
        state["found"][budget.name] = [sizes for _, sizes in search.best]
        del state["searches"][budget.name]  # what agents remember is large

    def _probe(self, search: SizeSearch, allocation: Allocation) -> Task:
        """A short training, whose weights the backbone is left with."""
        return Task(
            "probe",
            f"probe {search.iteration + 1}/{self.total}{search.problem.suffix(search.budget)}",
            Epochs(self.probe_epochs, eval_every_n_epochs=self.probe_epochs),
            budget=search.budget,
            allocation=allocation,
            user_share=_FEWEST_USERS,
            keep_weights=True,
        )

    def _retrain(self, problem: Problem, budget: ResolvedBudget) -> Rounds:
        """Train the best actions for good."""
        name = f"ciess{problem.suffix(budget)}"
        found, done = problem.state["found"][budget.name], problem.state["num_retrained"]
        for number in range(done.setdefault(budget.name, 0), len(found)):
            label = f"train {name} {number + 1}/{len(found)}"
            allocation = Allocation(found[number], budget.plain)
            task = Task("retrain", label, self.train, name, budget, allocation)
            after = (len(found) - number - 1) * self.train.max_epochs
            yield Round([task], shared=True, epochs_after=self._epochs_after(problem) + after)
            done[budget.name] = number + 1

    def _epochs_after(self, problem: Problem) -> int:
        """About how many epochs are to come: those of searches, and of budgets that are yet to be searched for."""
        found = problem.state.get("found", {})
        running = sum(search["iteration"] for search in problem.state.get("searches", {}).values())
        left = len(problem.budgets) - len(found)
        retrained = self.num_actions * self.train.max_epochs
        return (left * self.total - int(running)) * self.probe_epochs + left * retrained
