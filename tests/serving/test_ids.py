import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bet_lightning.serving.ids import pack_ids, smallest_dtype, unpack_ids

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=6)


@given(st.sets(TEXTS, min_size=1, max_size=20), TEXTS)
def test_texts_come_back(texts: set[str], other: str) -> None:
    ids = np.array(sorted(texts), object)
    vocabulary = unpack_ids("id", pack_ids("id", ids), len(ids))
    rows = vocabulary.find(ids)
    assert rows.tolist() == list(range(len(ids)))
    assert vocabulary.take(rows).tolist() == ids.tolist()
    assert (vocabulary.find([other])[0] >= 0) == (other in texts)
    assert vocabulary.take(np.array([-1])).tolist() == [""]


@given(st.sets(st.integers(-(2**62), 2**62), min_size=1, max_size=20), st.integers())
def test_integers_come_back(numbers: set[int], start: int) -> None:
    ids = np.array(sorted(numbers), np.int64)
    vocabulary = unpack_ids("id", pack_ids("id", ids), len(ids))
    assert vocabulary.find(ids[::-1]).tolist() == list(range(len(ids)))[::-1]
    assert vocabulary.take(np.arange(len(ids))).tolist() == ids.tolist()
    missing = next(n for n in range(len(ids) + 1) if n not in numbers)
    assert vocabulary.find([missing]).tolist() == [-1]


def test_row_numbers_take_no_space() -> None:
    assert pack_ids("id", np.arange(5)) == {}
    assert unpack_ids("id", {}, 5).find([4, 5]).tolist() == [4, -1]
    assert pack_ids("id", np.array([7, 9]))["id"].dtype == np.int32


def test_ids_of_another_kind_are_refused() -> None:
    numbers, texts = unpack_ids("id", {}, 5), unpack_ids("id", pack_ids("id", np.array(["a", "b"], object)), 2)
    with pytest.raises(ValueError, match="ids of this table are integers, got <U1"):
        numbers.find(["a"])
    with pytest.raises(ValueError, match="ids of this table are texts, got int64"):
        texts.find([1])
    with pytest.raises(ValueError, match=r"got int64 of shape \(1, 1\)"):
        numbers.find(np.array([[1]]))
    assert numbers.find([]).tolist() == texts.find([]).tolist() == []
    assert texts.find(np.array(["b", "c"], object)).tolist() == [1, -1]


def test_ids_that_are_not_sorted_are_refused() -> None:
    with pytest.raises(ValueError, match="id are not 2 sorted ids"):
        unpack_ids("id", {"id": np.array([2, 1])}, 2)
    arrays = pack_ids("id", np.array(["a", "bc"], object))
    with pytest.raises(ValueError, match="id do not fit together"):
        unpack_ids("id", arrays | {"id.letters": arrays["id.letters"][1:]}, 2)


def test_smallest_dtype() -> None:
    assert [smallest_dtype(n) for n in (0, 255, 256, 65535, 65536)] == [np.uint8] * 2 + [np.uint16] * 2 + [np.uint32]
