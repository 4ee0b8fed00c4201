import io

import pytest
import torch

from bet_lightning.methods.bet.action import Action, RuleDraw
from bet_lightning.methods.bet.families import BoundedSampler
from bet_lightning.methods.bet.fitness_predictor import FitnessPredictor
from bet_lightning.methods.bet.fitting import spearman
from bet_lightning.methods.bet.profile import PopularityProfile
from bet_lightning.methods.bet.search import BudgetedSearch
from bet_lightning.methods.bet.selection import rank_candidates, strategy_at


def make_search(selection: str = "mixed", seed: int = 0, caps: tuple[int, ...] = (500,)) -> BudgetedSearch:
    users = PopularityProfile.from_frequency(torch.arange(40))
    items = PopularityProfile.from_frequency(torch.arange(60))
    return BudgetedSearch(
        [BoundedSampler(40, 60, cap, 10) for cap in caps],
        FitnessPredictor(users, items, 10),
        num_candidates=50,
        num_updates=20,
        selection=selection,  # type: ignore[arg-type]
        lr_decay=1.0,
        seed=seed,
    )


def measure(action: Action) -> float:
    """A made-up truth: users should get four fifths of the budget."""
    return 1 - abs(action.draw.user_share - 0.75)


def run(search: BudgetedSearch, iterations: int) -> list[float]:
    for _ in range(iterations):
        proposal = search.propose()
        search.observe(proposal, measure(proposal.action))
    return [fitness for _, fitness in search.probed]


def test_the_paper_schedule() -> None:
    names = [strategy_at(t, "mixed") for t in range(6)]
    assert names == ["greedy", "greedy", "greedy", "random", "nearest", "greedy"]
    assert strategy_at(3, "greedy") == "greedy"
    with pytest.raises(ValueError, match="selection must be one of mixed, greedy, random, nearest, got 'best'"):
        strategy_at(0, "best")  # type: ignore[arg-type]


def test_the_first_iterations_may_be_random() -> None:
    search = make_search("greedy")
    search.num_random = 2
    run(search, 4)
    assert [proposal.strategy for proposal, _ in search.probed] == ["random", "random", "greedy", "greedy"]


def test_budgets_take_turns_and_go_through_all_strategies() -> None:
    caps = (500, 250)
    search = make_search(caps=caps)
    run(search, 10)
    proposals = [proposal for proposal, _ in search.probed]
    assert [proposal.action.params for proposal in proposals] == [*caps] * 5
    assert [proposal.strategy for proposal in proposals[::2]] == [strategy_at(t, "mixed") for t in range(5)]
    for cap, sampler in zip(caps, search.samplers, strict=True):
        leaders = search.leaders(sampler)  # its own budget's comes first
        assert [proposal.action.params for proposal, _ in leaders] == [cap, *(other for other in caps if other != cap)]
        for proposal, best in leaders:
            same = [fitness for other, fitness in search.probed if other.action.params == proposal.action.params]
            assert best == max(same)


def test_the_predictor_knows_the_budget() -> None:
    search = make_search(caps=(500, 250))
    for _ in range(20):
        proposal = search.propose()
        search.observe(proposal, proposal.action.params / 1000)  # a made-up truth: nothing else matters
    sets = [sampler.sample(50, torch.Generator().manual_seed(5)).sets for sampler in search.samplers]
    with torch.no_grad():
        rich, poor = (search.predictor(*each) for each in sets)
    assert float(rich.mean()) == pytest.approx(0.5, abs=0.05) and float(poor.mean()) == pytest.approx(0.25, abs=0.05)


def test_candidates_are_ranked_by_their_strategy() -> None:
    predicted, encoded = torch.tensor([0.1, 0.9, 0.4]), torch.tensor([[0.0], [5.0], [2.0]])
    generator = torch.Generator().manual_seed(0)
    assert rank_candidates("greedy", predicted, encoded, None, generator) == [1, 2, 0]
    assert rank_candidates("nearest", predicted, encoded, None, generator) == [1, 2, 0]
    assert rank_candidates("nearest", predicted, encoded, torch.tensor([2.4]), generator) == [2, 0, 1]
    drawn = [rank_candidates("random", predicted, encoded, None, generator) for _ in range(50)]
    assert {order[0] for order in drawn} == {0, 1, 2} and all(sorted(order) == [0, 1, 2] for order in drawn)


def test_no_action_is_probed_twice() -> None:
    few = PopularityProfile.from_frequency(torch.arange(2))
    sampler = BoundedSampler(2, 2, 4, 2, 0)  # four parameters for four rows: hardly any freedom
    search = BudgetedSearch([sampler], FitnessPredictor(few, few, 2), num_candidates=50, selection="greedy")
    first = [search.propose()]
    first.append(search.propose(first))  # nor what is about to be
    assert first[0].action.key != first[1].action.key
    for proposal in first:
        search.observe(proposal, 0.5)
    keys = {proposal.action.key for proposal in first}
    drawn = sampler.sample(500, torch.Generator().manual_seed(7))
    every = {drawn.at(index).key for index in range(500)}
    while len(keys) < len(every):
        proposal = search.propose()
        assert proposal.action.key not in keys
        keys.add(proposal.action.key)
        search.observe(proposal, 0.5)
    assert search.propose().action.key in keys  # there are no others: the search goes on all the same


def test_given_actions_are_learned_from_and_take_no_turn() -> None:
    search, plain = make_search(), make_search()
    sizes = torch.full((100,), 5)
    given = search.given(Action.from_sizes(sizes, 40, 10, RuleDraw(0.4, "uniform")))
    assert (given.iteration, given.strategy) == (0, "given")
    search.observe(given, 0.3)
    assert search.num_given == 1 and not search.leaders(search.samplers[0])
    for _ in range(4):
        for each in (search, plain):
            proposal = each.propose()
            each.observe(proposal, measure(proposal.action))
    strategies = [[proposal.strategy for proposal, _ in each.probed] for each in (search, plain)]
    assert strategies[0][1:] == strategies[1]
    again = make_search()
    again.load_state_dict(search.state_dict())
    assert again.num_given == 1 and again.propose().iteration == 5


def test_the_predictor_finds_what_random_selection_does_not() -> None:
    greedy = [sum(run(make_search("greedy", seed), 15)[5:]) / 10 for seed in range(3)]
    random = [sum(run(make_search("random", seed), 15)[5:]) / 10 for seed in range(3)]
    assert sum(greedy) / 3 > sum(random) / 3 + 0.05


def test_resumed_search_equals_uninterrupted() -> None:
    whole = make_search()
    run(whole, 8)
    first = make_search()
    run(first, 3)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    resumed = make_search(seed=9)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    run(resumed, 5)
    for (one, fitness), (other, again) in zip(whole.probed, resumed.probed, strict=True):
        assert one.action.as_dict() == other.action.as_dict()
        assert fitness == again


def test_action_round_trip_and_params() -> None:
    action = make_search().propose().action
    again = Action.from_dict(action.as_dict())
    assert again.as_dict() == action.as_dict()
    assert action.params == 500


def test_spearman() -> None:
    assert spearman([1, 2, 3, 4], [10, 20, 25, 90]) == pytest.approx(1)
    assert spearman([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    assert spearman([1, 1, 2], [1, 1, 5]) == pytest.approx(1)  # ties share their rank
