"""Negatives, and candidate actions, against torch_geometric and the BET authors' way."""

import numpy as np
import torch
from torch import Tensor
from torch_geometric.utils import structured_negative_sampling

from bet_lightning.budget import Budget
from bet_lightning.methods.bet.families import BoundedSampler
from bet_lightning.methods.bet.fitness_predictor import FitnessPredictor
from bet_lightning.methods.bet.profile import PopularityProfile
from bet_lightning.methods.bet.search import BudgetedSearch
from bet_lightning.table_format import TableShape
from tests.benchmarks.data import Bench
from tests.benchmarks.measure import Row, compare

MAX_SIZE = 128
SCALES = (10**5, 10**6, 10**7, 10**8, 10**9)  # rows


def negatives(bench: Bench, threads: int) -> list[Row]:
    """One negative item for every training pair; none may be a training pair."""
    sampler, edges = bench.data.triplets, bench.edges
    generator = torch.Generator().manual_seed(0)
    drawn = sampler.sample_negatives(edges.users, generator)
    keys = edges.users * edges.num_items
    if bool(torch.isin(keys + drawn, keys + edges.items).any()):
        raise AssertionError("a negative is a training pair")
    index = torch.stack([edges.users, edges.items])
    return compare(
        "negatives of all training pairs",
        lambda: sampler.sample_negatives(edges.users, generator),
        {"torch_geometric": lambda: structured_negative_sampling(index, edges.num_items, False)},
        threads=threads,
        rounds=bench.rounds,
        units=len(edges.users),
    )


def draw_and_score(users: PopularityProfile, items: PopularityProfile, count: int) -> Tensor:
    """Draw candidate actions at 90 % sparsity and predict their fitness."""
    cap = Budget(keep_ratio=0.1).cap(TableShape(users.num_rows, items.num_rows, MAX_SIZE))
    sampler = BoundedSampler(users.num_rows, items.num_rows, cap, MAX_SIZE)
    predictor = FitnessPredictor(users, items, MAX_SIZE)
    candidates = sampler.sample(count, torch.Generator().manual_seed(0))
    with torch.no_grad():
        return predictor.predict_from(predictor.encode_all(*candidates.sets))


def row_by_row(user_frequency: Tensor, item_frequency: Tensor, predictor: FitnessPredictor) -> Tensor:
    """One action as the authors' code draws and scores it: a value a row, sets as padded lists of rows."""
    generator = np.random.default_rng(0)
    keep_ratio = 0.1
    cap = keep_ratio * MAX_SIZE * (len(user_frequency) + len(item_frequency))
    share = generator.random()
    sets: list[list[Tensor]] = [[] for _ in range(MAX_SIZE)]
    sides = ((user_frequency, share, predictor.rho_users), (item_frequency, 1 - share, predictor.rho_items))
    encoded, longest = [], 1
    for frequency, part, rho in sides:
        draws = generator.power(2.0, len(frequency))
        sizes = np.sort(np.clip(draws / draws.sum() * part * cap, 1, MAX_SIZE).astype(np.int64))[::-1]
        ranked = torch.argsort(frequency, descending=True)
        by_size: list[list[float]] = [[] for _ in range(MAX_SIZE)]
        for row, size in zip(ranked.tolist(), sizes.tolist(), strict=True):
            by_size[size - 1].append(float(frequency[row]))
        longest = max(longest, *map(len, by_size))
        encoded.append((by_size, rho))
    for by_size, rho in encoded:
        padded = torch.zeros(MAX_SIZE, longest, 1)
        for index, members in enumerate(by_size):
            padded[index, : len(members), 0] = torch.tensor(members)
        mask = torch.arange(longest) < torch.tensor([len(members) for members in by_size])[:, None]
        values = rho(padded) * mask[:, :, None]
        for index in range(MAX_SIZE):
            sets[index].append(values[index].sum(0))
    sums = torch.stack([torch.stack(side).sum(0) for side in sets])
    sizes_column = (torch.arange(1, MAX_SIZE + 1) / MAX_SIZE)[:, None]
    vectors: Tensor = predictor.mu(torch.cat([sums / longest, sizes_column], 1))
    result: Tensor = predictor.pi(torch.cat([vectors.mean(0), torch.tensor([keep_ratio, 1.0])]))
    return result


def actions(bench: Bench, threads: int) -> list[Row]:
    """Draw and score candidates on the data's popularity; the rival's seconds are for as many actions as ours."""
    data, count = bench.data.dataset, 2000
    frequencies = torch.from_numpy(data.user_frequency), torch.from_numpy(data.item_frequency)
    users, items = (PopularityProfile.from_frequency(frequency) for frequency in frequencies)
    predictor = FitnessPredictor(users, items, MAX_SIZE)
    relative = [frequency.float() / frequency.max() for frequency in frequencies]
    (row,) = compare(
        f"draw and score {count} actions",
        lambda: draw_and_score(users, items, count),
        {"a value and a list entry a row": lambda: row_by_row(*relative, predictor)},
        d=MAX_SIZE,
        threads=threads,
        rounds=min(3, bench.rounds),
        units=count,
    )
    assert row.rival_s is not None
    return [Row(**{**vars(row), "rival_s": row.rival_s * count})]


def binned_profile(num_rows: int, num_bins: int = 2000) -> PopularityProfile:
    """Power-law popularity of any number of rows, in bins: what a search over a huge table would be given."""
    edges = np.unique(np.geomspace(1, num_rows + 1, num_bins).astype(np.int64)) - 1
    frequency = 1e6 / (edges[:-1] + 1.0)
    return PopularityProfile(torch.from_numpy(frequency), torch.from_numpy(edges))


def scale(bench: Bench, threads: int) -> list[Row]:
    """Draw and score on tables of 1e5 to 1e9 rows."""
    rows = []
    for num_rows in SCALES:
        users, items = binned_profile(num_rows // 2), binned_profile(num_rows - num_rows // 2)
        rows += compare(
            f"draw and score 500 actions, {num_rows:.0e} rows",
            lambda users=users, items=items: draw_and_score(users, items, 500),
            {},
            d=MAX_SIZE,
            threads=threads,
            rounds=min(3, bench.rounds),
            units=500,
        )
    return rows


def iteration(bench: Bench, threads: int) -> list[Row]:
    """All that an iteration of a search does beside the probe, with a hundred times the paper's candidates."""
    data, count = bench.data.dataset, 10_000
    frequencies = torch.from_numpy(data.user_frequency), torch.from_numpy(data.item_frequency)
    users, items = (PopularityProfile.from_frequency(frequency) for frequency in frequencies)
    cap = Budget(keep_ratio=0.1).cap(TableShape(data.num_users, data.num_items, MAX_SIZE))
    sampler = BoundedSampler(data.num_users, data.num_items, cap, MAX_SIZE)
    search = BudgetedSearch([sampler], FitnessPredictor(users, items, MAX_SIZE), num_candidates=count)
    return compare(
        f"search iteration, {count} candidates",
        lambda: search.observe(search.propose(), 0.5),
        {},
        d=MAX_SIZE,
        threads=threads,
        rounds=min(3, bench.rounds),
        units=count,
    )


WORKS = {"negatives": negatives, "actions": actions, "iteration": iteration, "scale": scale}
