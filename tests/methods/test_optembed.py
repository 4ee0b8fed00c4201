import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bet_lightning.backbones import MF, Backbone, LightGCN
from bet_lightning.budget import Budget
from bet_lightning.methods import Epochs, OptEmbed
from bet_lightning.methods.evolution import EvolutionSettings, PairSpace
from bet_lightning.methods.optembed import sizes_of_rows, supernets
from bet_lightning.table_format import TableShape
from bet_lightning.training.trial import Trial
from tests.methods.compressing import run


@given(st.data())
def test_rows_are_kept_in_their_order_until_the_budget_is_spent(data: st.DataObject) -> None:
    least = data.draw(st.sampled_from([0, 1]))
    shape = TableShape(data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5)), 6)
    cap = data.draw(st.integers(max(1, least * shape.num_rows), shape.params))
    budget = Budget(params=cap).resolve(shape, least)
    pair = data.draw(st.sampled_from(PairSpace(shape.num_users, shape.num_items, 6, cap).all()))
    order = torch.tensor(data.draw(st.permutations(range(shape.num_rows))))
    sizes = sizes_of_rows(pair, order, budget, cap).tolist()
    left = cap - least * shape.num_rows
    for row in order.tolist():  # one row after another
        wanted = pair[0] if row < shape.num_users else pair[1]
        taken = min(left, wanted - least)
        left -= taken
        assert sizes[row] == least + taken
    assert left == 0


@given(users=st.integers(1, 9), items=st.integers(1, 9), share=st.floats(0.01, 1.0), seed=st.integers(0, 99))
def test_every_pair_of_an_evolution_spends_the_budget(users: int, items: int, share: float, seed: int) -> None:
    cap = max(1, int(share * 8 * (users + items)))
    space = PairSpace(users, items, 8, cap)
    every = {(u, i) for u in range(1, 9) for i in range(1, 9) if u * users + i * items >= cap}
    assert set(space.all()) == every
    settings = EvolutionSettings(num_mutations=4, num_crossovers=3, mutation_rate=0.5)
    generator = np.random.default_rng(seed)
    pairs = space.first_generation(settings, generator)
    for _ in range(3):
        assert len(pairs) == 7 and set(pairs) <= every
        parents = list(pairs)
        pairs = space.next_generation(pairs, settings, generator)
        assert parents[0] in every  # a parent is left as it is
        for child in pairs[4:]:  # of a size of users and one of items, raised where they do not spend the budget
            crossed = {space.raised((u, i)) for u, _ in parents for _, i in parents}
            assert child in crossed


@pytest.mark.parametrize("generations", [3, 30])
def test_takes_the_best_of_what_it_evaluated(generations: int) -> None:
    settings = EvolutionSettings(generations, num_mutations=3, num_crossovers=2)
    found = run(OptEmbed(Epochs(3), evolution=settings, train=Epochs(1)), ["30%"])
    (evaluated,) = found.problem.state["evaluated"].values()
    pairs = [(users, items) for users, items, _ in evaluated]
    space = PairSpace(120, 90, 8, found.problem.budgets[0].params)
    assert len(set(pairs)) == len(pairs)
    assert (set(pairs) == set(space.all())) == (generations == 30)  # all, where an evolution would look at no fewer
    assert len(pairs) <= max(15, len(space.all()))
    users, items, _ = max(evaluated, key=lambda each: each[2])
    trained = found.tasks[-1].allocation
    assert trained
    margins = found.problem.state["margins"]
    for side, size, norms in zip(trained.sizes.split([120, 90]), (users, items), margins.split([120, 90]), strict=True):
        whole = side == size
        assert int((~whole & (side > 1)).sum()) <= 1  # a row at most has what was left
        if whole.any() and not whole.all() and size > 1:
            assert norms[whole].min() >= norms[side == 1].max()


def test_pairs_are_evaluated_on_the_frozen_supernet() -> None:
    settings = EvolutionSettings(1, num_mutations=1, num_crossovers=0)
    found = run(OptEmbed(Epochs(2), evolution=settings, train=Epochs(0)), ["30%"])
    supernet, probe, retrain = found.tasks
    assert (supernet.phase, probe.phase, retrain.phase) == ("tune", "probe", "retrain")
    assert probe.weights is not None and probe.epochs.max_epochs == 0 and probe.allocation
    network = found.problem.network
    Trial(probe).begin(network, 0)
    kept = torch.arange(8) < probe.allocation.sizes.unsqueeze(1)
    learned = found.problem.state["supernet"]["tables.0.weight"]
    assert network.table()().equal(learned.masked_fill(~kept, 0))
    assert retrain.weights is None and retrain.allocation
    assert retrain.allocation.sizes.equal(probe.allocation.sizes)


def test_thresholds_grow_under_their_pressure_and_drop_rows() -> None:
    def margins(alpha: float) -> torch.Tensor:
        settings = EvolutionSettings(1, num_mutations=1, num_crossovers=0)
        method = OptEmbed(Epochs(6, patience=9), alpha, 5.0, settings, Epochs(0))
        found: torch.Tensor = run(method, ["30%"]).problem.state["margins"]
        return found

    free, pressed = margins(0.0), margins(10.0)
    assert (free > 0).all() and pressed.mean() < free.mean()
    assert int((pressed <= 0).sum()) > 0


def test_the_pressure_on_thresholds_is_the_papers() -> None:
    method = OptEmbed(alpha=0.1)
    found = run(OptEmbed(Epochs(0), evolution=EvolutionSettings(1, 1, 0), train=Epochs(0)), ["30%"])
    task = method._supernet_task(found.problem.network)
    Trial(task).begin(found.problem.network, 0)
    (table,) = supernets(found.problem.network)
    with torch.no_grad():
        table.thresholds.copy_(torch.tensor([0.5, -1.0]))
    assert task.auxiliary_loss is not None
    loss = task.auxiliary_loss(found.problem.recommender, None)  # type: ignore[arg-type]
    assert loss.item() == pytest.approx(0.1 * (np.exp(-0.5) + np.exp(1.0)))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"alpha": -1.0}, r"search\.method\.alpha must not be negative, got -1"),
        ({"threshold_rate": 0.0}, r"search\.method\.threshold_rate must be positive, got 0"),
    ],
)
def test_refuses_what_has_no_meaning(settings: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        OptEmbed(**settings)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"search\.method\.evolution\.mutation_rate must be in \(0, 1\], got 2"):
        EvolutionSettings(mutation_rate=2)


@pytest.mark.parametrize(("backbone", "least"), [(LightGCN, 0), (MF, 1)])
def test_rows_are_dropped_where_neighbours_rebuild_them(backbone: type[Backbone], least: int) -> None:
    settings = EvolutionSettings(1, num_mutations=1, num_crossovers=0)
    found = run(OptEmbed(Epochs(0), evolution=settings, train=Epochs(0)), ["14%"], backbone)
    assert found.problem.budgets[0].min_size == least and found.tasks[-1].allocation
    assert found.tasks[-1].allocation.sizes.min() == least
