import subprocess
import sys
from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
import torch

from bet_lightning.dtypes import Dtype
from bet_lightning.objectives import SampledSoftmax
from bet_lightning.ranking import top_k_items
from bet_lightning.ranking.ranker import scale_items
from bet_lightning.serving import PackedRecommender, scorers
from bet_lightning.serving.recommender import Memory
from tests.serving.conftest import BACKBONES, Packed

SOFTMAX = {"norm_power": 0.25, "popularity_power": 0.05}


def expected_scores(packed: Packed, softmax: bool = False) -> np.ndarray:
    """Scores of the backbone itself."""
    encoded = packed.network.encode()
    if softmax:
        frequency = packed.network.frequency[packed.network.num_users :]
        encoded = scale_items(encoded, frequency, SampledSoftmax(**SOFTMAX).item_powers)
    return packed.network.score(encoded, torch.arange(packed.data.num_users)).numpy()


@pytest.mark.parametrize("memory", ["vectors", "least"])
@pytest.mark.parametrize("name", BACKBONES)
def test_scores_are_the_models(name: str, memory: Memory, pack: Callable[..., Packed]) -> None:
    packed = pack(name, **({"hidden": [6, 5]} if name == "NeuMF" else {}))
    recommender = PackedRecommender.load(packed.folder, memory)
    scores = recommender.score(np.arange(packed.data.num_users))
    np.testing.assert_allclose(scores, expected_scores(packed), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("memory", ["vectors", "least"])
@pytest.mark.parametrize("name", ["LightGCN", "MF", "NGCF"])
def test_scores_of_a_softmax_are_the_models(name: str, memory: Memory, pack: Callable[..., Packed]) -> None:
    packed = pack(name, softmax=SOFTMAX)
    recommender = PackedRecommender.load(packed.folder, memory)
    for _ in range(2):  # whatever was scored before
        scores = recommender.score(np.arange(packed.data.num_users))
        # an item of no neighbours and no size has no norm: both divide rounding errors by nearly nothing there
        np.testing.assert_allclose(scores, expected_scores(packed, softmax=True), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", ["fp32", "int4"])
def test_kept_vectors_are_served_without_a_graph(dtype: Dtype, pack: Callable[..., Packed]) -> None:
    packed = pack("LightGCN", dtype, softmax=SOFTMAX, keeps="vectors")
    recommender = PackedRecommender.load(packed.folder)
    assert not any(name.startswith("graph") for name in recommender.table.arrays)
    packed.network.quantize(dtype)
    scores = recommender.score(np.arange(packed.data.num_users))
    np.testing.assert_allclose(scores, expected_scores(packed, softmax=True), atol=1e-5, rtol=1e-4)
    data = packed.data
    known = data.train.union(data.valid).union(data.test)
    listed = np.searchsorted(data.item_ids, recommender.recommend(data.user_ids, 10).ids)
    keys = np.arange(data.num_users)[:, None] * data.num_items + listed
    assert not np.isin(keys, known.keys()).any()


@pytest.mark.parametrize("ids", ["rows", "integers", "texts"])
@pytest.mark.parametrize("name", BACKBONES)
def test_lists_are_the_models(name: str, ids: str, pack: Callable[..., Packed]) -> None:
    packed = pack(name, ids=ids)
    data = packed.data
    known = data.train.union(data.valid).union(data.test)
    wanted = torch.from_numpy(expected_scores(packed))
    scores, items = top_k_items(wanted, torch.from_numpy(known.rows()), torch.from_numpy(known.indices), 10)
    found = PackedRecommender.load(packed.folder, users_at_once=7, num_threads=2).recommend(data.user_ids[::-1], 10)
    np.testing.assert_allclose(found.scores, scores.numpy()[::-1], atol=1e-6, rtol=1e-5)
    assert found.known.all()
    if name != "NGCF":  # in which items without size and of the same neighbours have the same scores
        assert found.ids.tolist() == data.item_ids[items.numpy()].tolist()[::-1]
    rows = np.searchsorted(data.item_ids, found.ids)
    unmasked = expected_scores(packed)[::-1]
    np.testing.assert_allclose(np.take_along_axis(unmasked, rows, axis=1), found.scores, atol=1e-6, rtol=1e-5)
    assert all(len(set(row)) == 10 for row in found.ids.tolist())


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "int3"])
@pytest.mark.parametrize("name", ["MF", "NeuMF"])
def test_items_that_are_read_in_parts_score_the_same(
    name: str, dtype: Dtype, pack: Callable[..., Packed], monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = pack(name, dtype)
    users = np.arange(packed.data.num_users)
    whole = PackedRecommender.load(packed.folder).score(users)
    monkeypatch.setattr(scorers, "_ITEMS_AT_ONCE", 7)
    for memory in get_args(Memory):
        parts = PackedRecommender.load(packed.folder, memory)
        np.testing.assert_allclose(parts.score(users), whole, atol=1e-6, rtol=1e-5)
        assert parts._scorer.one_thread == (memory == "least" and name == "MF")


@pytest.mark.parametrize(("dtype", "largest"), [("fp16", 1e-3), ("bf16", 8e-3), ("int8", 8e-3)])
@pytest.mark.parametrize("name", BACKBONES)
def test_smaller_values_score_nearly_the_same(
    name: str, dtype: Dtype, largest: float, pack: Callable[..., Packed]
) -> None:
    packed = pack(name, dtype=dtype)
    scores = PackedRecommender.load(packed.folder).score(np.arange(packed.data.num_users))
    wanted = expected_scores(packed)
    assert np.abs(scores - wanted).max() < largest * np.abs(wanted).max() * 2
    assert not np.array_equal(scores, wanted)


def test_unknown_users_are_given_what_is_popular(pack: Callable[..., Packed]) -> None:
    for name in ("MF", "LightGCN"):
        packed = pack(name, ids="texts")
        found = PackedRecommender.load(packed.folder).recommend(["nobody", packed.data.user_ids[3]], 2)
        assert found.known.tolist() == [False, True]
        counts = packed.data.item_frequency
        assert found.scores[0].tolist() == sorted(counts.tolist())[:-3:-1]
        assert found.ids[0, 0] == packed.data.item_ids[counts.argmax()]


def test_lists_end_where_no_item_is_left(pack: Callable[..., Packed]) -> None:
    packed = pack("MF")
    num_items = packed.data.num_items
    recommender = PackedRecommender.load(packed.folder)
    found = recommender.recommend([0], num_items)
    left = int((found.ids[0] >= 0).sum())
    seen = sum(int(part.degrees()[0]) for part in (packed.data.train, packed.data.valid, packed.data.test))
    assert left == num_items - seen
    assert np.isneginf(found.scores[0, left:]).all()
    everything = recommender.recommend([0], num_items, exclude_seen=False)
    assert sorted(everything.ids[0].tolist()) == list(range(num_items))


def test_without_history_seen_items_cannot_be_left_out(pack: Callable[..., Packed]) -> None:
    recommender = PackedRecommender.load(pack("MF", history=False).folder)
    with pytest.raises(ValueError, match="exclude_seen: this table was exported without what users have seen"):
        recommender.recommend([0])
    assert recommender.recommend([0], exclude_seen=False).ids.shape == (1, 20)


@pytest.mark.parametrize("k", [0, 701])
def test_k_out_of_range(k: int, pack: Callable[..., Packed]) -> None:
    with pytest.raises(ValueError, match=rf"k must be in 1\.\.700 \(the number of items\), got {k}"):
        PackedRecommender.load(pack().folder).recommend([0], k)


def test_arguments_out_of_range(pack: Callable[..., Packed]) -> None:
    with pytest.raises(ValueError, match="memory must be one of vectors, least, got 'most'"):
        PackedRecommender.load(pack("LightGCN").folder, memory="most")  # type: ignore[arg-type]


def test_needs_no_torch(pack: Callable[..., Packed]) -> None:
    script = (
        "import sys; from bet_lightning.serving import PackedRecommender; "
        f"print(PackedRecommender.load({str(pack('LightGCN').folder)!r}).recommend([0], 3).ids.shape); "
        "print({'torch', 'pytorch_lightning', 'polars', 'scipy', 'safetensors'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "(1, 3)\nset()\n"


@pytest.mark.parametrize("dtype", ["fp32", "int3"])
def test_neumf_scores_alike_with_the_kernel_and_without(
    dtype: Dtype, pack: Callable[..., Packed], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numba")
    packed = pack("NeuMF", dtype=dtype)
    users = np.arange(packed.data.num_users)
    fast = PackedRecommender.load(packed.folder).score(users)
    small = PackedRecommender.load(packed.folder, memory="least").score(users)
    monkeypatch.setattr(scorers, "compiled", lambda: None)
    plain = PackedRecommender.load(packed.folder).score(users)
    assert small.tolist() == plain.tolist()
    np.testing.assert_allclose(fast, plain, atol=1e-5, rtol=1e-5)
