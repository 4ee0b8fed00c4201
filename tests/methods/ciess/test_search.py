"""What agents choose is repaired to the budget, and they are told how each row did."""

import copy
import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from bet_lightning.backbones import MF, Edges
from bet_lightning.budget import Budget
from bet_lightning.methods import CIESS, Problem
from bet_lightning.methods.ciess.search import Repaired, SizeSearch, quality_ratios
from bet_lightning.methods.ciess.settings import AgentSettings
from bet_lightning.methods.tasks import generator_of
from bet_lightning.ranking import RankingMetrics
from bet_lightning.recommender import Recommender

USERS, ITEMS, WIDTH = 30, 20, 16
EDGES = Edges(torch.arange(60) % USERS, torch.arange(60) * 7 % ITEMS, USERS, ITEMS)
INTERACTIONS = EDGES.users, EDGES.items
METHOD = CIESS(3, 2, num_actions=2, agent=AgentSettings(hidden=8, batch_size=32))
NAN = math.nan


def make_problem(budget: Budget) -> Problem:
    network = MF(EDGES, WIDTH)
    return Problem(
        Recommender(network, metrics=RankingMetrics((1,))), lambda share: [], [budget.resolve(network.shape)], seed=4
    )


def make_search(budget: Budget) -> SizeSearch:
    problem = make_problem(budget)
    return SizeSearch(METHOD, problem, problem.budgets[0], torch.full((USERS,), 0.5), INTERACTIONS)


@given(seed=st.integers(0, 999), ratio=st.floats(0.07, 1.0), low=st.integers(1, 16))
def test_repaired_sizes_spend_the_budget_to_the_parameter(seed: int, ratio: float, low: int) -> None:
    problem = make_problem(Budget(keep_ratio=ratio))
    (budget,) = problem.budgets
    chosen = torch.randint(low, WIDTH + 1, (USERS + ITEMS,), generator=generator_of(seed))
    sizes = Repaired(chosen).allocate(problem, budget).sizes
    assert int(sizes.sum()) == budget.params and sizes.min() >= 1 and sizes.max() <= WIDTH
    order = chosen.argsort(stable=True)
    assert (sizes[order].cummax(0).values - sizes[order]).max() <= 1  # who was given more still has more


@given(seed=st.integers(0, 99), num_bytes=st.integers(120, 3_000))
def test_repaired_sizes_are_within_a_budget_in_bytes(seed: int, num_bytes: int) -> None:
    problem = make_problem(Budget(bytes=num_bytes))
    (budget,) = problem.budgets
    chosen = torch.randint(1, WIDTH + 1, (USERS + ITEMS,), generator=generator_of(seed))
    allocation = Repaired(chosen).allocate(problem, budget)
    taken = allocation.num_bytes(budget.shape)
    assert taken <= budget.bytes
    assert taken > 0.8 * budget.bytes or int(allocation.sizes.min()) == WIDTH


def test_items_do_as_well_as_their_users() -> None:
    quality = torch.tensor([0.2, 0.0, 0.9, NAN, 0.3], dtype=torch.float64)
    reference = torch.tensor([0.4, 0.0, 0.6, NAN, 0.3], dtype=torch.float64)
    users, items = torch.tensor([0, 2, 0, 3, 3, 4]), torch.tensor([0, 0, 1, 1, 2, 3])
    of_users, of_items = quality_ratios(quality, reference, (users, items), 5)
    mean = (0.5 + 1 + 1 + 1) / 4  # half; nothing to lose; more than the full table's; and the same
    torch.testing.assert_close(of_users, torch.tensor([0.5, 1, 1, mean, 1]))
    items_mean = (0.75 + 0.5 + 1) / 3  # items 2 and 4 are known from no user that has targets
    torch.testing.assert_close(of_items, torch.tensor([0.75, 0.5, items_mean, 1, items_mean]))


def test_episodes_begin_with_full_sizes_and_the_best_actions_are_kept() -> None:
    search, given_sizes = make_search(Budget(keep_ratio=0.25)), list[torch.Tensor]()
    for number, quality in enumerate((0.1, 0.3, 0.2, 0.4, 0.25)):
        sizes = search.choose().sizes
        given_sizes.append(sizes)
        assert search.choose().sizes.equal(sizes)  # until it is told
        first = number % METHOD.num_iterations == 0
        last = search.state_dict()["sizes"]
        assert last.equal(torch.full((USERS + ITEMS,), WIDTH) if first else given_sizes[-2])
        search.observe(sizes, torch.full((USERS,), quality, dtype=torch.float64))
    assert [quality for quality, _ in search.best] == [0.4, 0.3]
    assert search.best[0][1].equal(given_sizes[3]) and search.best[1][1].equal(given_sizes[1])


def test_goes_on_from_its_state_with_what_was_chosen() -> None:
    def step(search: SizeSearch) -> list[int]:
        sizes = search.choose().sizes
        search.observe(sizes, 0.2 + 0.01 * sizes[:USERS].double())
        return sizes.tolist()

    whole = make_search(Budget(keep_ratio=0.3))
    step(whole)
    whole.choose()
    again = make_search(Budget(keep_ratio=0.3))
    again.load_state_dict(copy.deepcopy(whole.state_dict()))
    assert again.chosen is not None and again.iteration == 1
    assert [step(whole) for _ in range(4)] == [step(again) for _ in range(4)]
