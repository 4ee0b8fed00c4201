import io

import pytest
import torch

from bet_lightning.search import Action, BoundedSampler, BudgetedSearch, FitnessPredictor, PopularityProfile
from bet_lightning.search.selection import select_candidate, strategy_at
from bet_lightning.search.training import spearman


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
    return 1 - abs(action.user_share - 0.75)


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


def test_select_candidate() -> None:
    predicted, encoded = torch.tensor([0.1, 0.9, 0.4]), torch.tensor([[0.0], [5.0], [2.0]])
    generator = torch.Generator().manual_seed(0)
    assert select_candidate("greedy", predicted, encoded, None, generator) == 1
    assert select_candidate("nearest", predicted, encoded, None, generator) == 1
    assert select_candidate("nearest", predicted, encoded, torch.tensor([2.5]), generator) == 2
    drawn = {select_candidate("random", predicted, encoded, None, generator) for _ in range(50)}
    assert drawn == {0, 1, 2}


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
