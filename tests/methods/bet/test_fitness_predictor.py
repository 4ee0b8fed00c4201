import torch
from torch_geometric.utils import scatter

from bet_lightning.methods.bet.families import BoundedSampler
from bet_lightning.methods.bet.fitness_predictor import FitnessPredictor
from bet_lightning.methods.bet.profile import PopularityProfile, popularity_order

USERS, ITEMS, MAX_SIZE = 60, 90, 12


def setting() -> tuple[FitnessPredictor, torch.Tensor, torch.Tensor, BoundedSampler]:
    generator = torch.Generator().manual_seed(0)
    user_frequency = torch.randint(0, 9, (USERS,), generator=generator)  # many ties: sets cut through groups
    item_frequency = torch.randint(0, 30, (ITEMS,), generator=generator)
    profiles = [PopularityProfile.from_frequency(f) for f in (user_frequency, item_frequency)]
    predictor = FitnessPredictor(*profiles, MAX_SIZE)
    predictor.reset_parameters(generator)
    return predictor, user_frequency, item_frequency, BoundedSampler(USERS, ITEMS, 700, MAX_SIZE)


def test_fast_form_equals_general_form() -> None:
    predictor, user_frequency, item_frequency, sampler = setting()
    actions = sampler.sample(20, torch.Generator().manual_seed(1))
    fast = predictor.encode(*actions.sets)
    orders = popularity_order(user_frequency), popularity_order(item_frequency)
    popularity = user_frequency / user_frequency.max(), item_frequency / item_frequency.max()
    for index in range(20):
        sizes = actions.at(index).sizes(*orders)
        general = predictor.encode_rows(sizes[:USERS], sizes[USERS:], *popularity)
        torch.testing.assert_close(fast[index : index + 1], general, rtol=1e-5, atol=1e-6)


def test_general_form_equals_the_formula() -> None:
    predictor, user_frequency, item_frequency, _ = setting()
    sizes = torch.randint(0, MAX_SIZE + 1, (USERS + ITEMS,), generator=torch.Generator().manual_seed(2))
    popularity = user_frequency / user_frequency.max(), item_frequency / item_frequency.max()
    element = torch.cat([predictor.rho_users(popularity[0][:, None]), predictor.rho_items(popularity[1][:, None])])
    means = scatter(element, sizes, dim_size=MAX_SIZE + 1, reduce="mean")
    present = [size for size in range(1, MAX_SIZE + 1) if (sizes == size).any()]
    sets = [predictor.mu(torch.cat([means[d], torch.tensor([d / MAX_SIZE])])) for d in present]
    mean_size = sizes[sizes > 0].float().mean() / MAX_SIZE
    expected = torch.cat([torch.stack(sets).mean(0), mean_size[None], torch.ones(1)])
    encoded = predictor.encode_rows(sizes[:USERS], sizes[USERS:], *popularity)
    torch.testing.assert_close(encoded[0], expected, rtol=1e-5, atol=1e-6)


def test_gradients_agree_in_both_forms() -> None:
    predictor, user_frequency, item_frequency, sampler = setting()
    actions = sampler.sample(1, torch.Generator().manual_seed(3))
    sizes = actions.at(0).sizes(popularity_order(user_frequency), popularity_order(item_frequency))
    popularity = user_frequency / user_frequency.max(), item_frequency / item_frequency.max()
    weights = list(predictor.rho_items.parameters())
    fast = torch.autograd.grad(predictor(*actions.sets).sum(), weights)
    encoded = predictor.encode_rows(sizes[:USERS], sizes[USERS:], *popularity)
    general = torch.autograd.grad(predictor.predict_from(encoded).sum(), weights)
    for one, other in zip(fast, general, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_blocks_do_not_matter() -> None:
    predictor, _, _, sampler = setting()
    actions = sampler.sample(2_000, torch.Generator().manual_seed(4))
    sets = actions.sets._replace(precision=torch.rand(2_000, generator=torch.Generator().manual_seed(5)))
    torch.testing.assert_close(predictor.encode_all(*sets), predictor.encode(*sets))


def test_precision_is_seen_as_it_is() -> None:
    predictor, _, _, sampler = setting()
    sets = sampler.sample(3, torch.Generator().manual_seed(6)).sets
    plain = predictor.encode(*sets)
    finer = predictor.encode(*sets._replace(precision=torch.tensor([0.0, 0.2, 0.7])))
    assert finer[:, :-1].equal(plain[:, :-1]) and finer[:, -1].equal(torch.tensor([0.0, 0.2, 0.7]))
    assert not predictor.predict_from(finer).equal(predictor.predict_from(plain))
