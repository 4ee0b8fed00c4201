import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bet_lightning.budget import Budget, Dtype, allocate, format_bytes, packed_bytes, parse_bytes

ROWS = 29_858 + 40_981  # Gowalla


@pytest.mark.parametrize(("keep", "cap"), [(0.2, 1_813_478), (0.1, 906_739), (0.05, 453_369), (1.0, 9_067_392)])
def test_caps_of_gowalla(keep: float, cap: int) -> None:
    assert Budget(keep_ratio=keep).cap(ROWS, 128) == cap
    if keep < 1:
        assert Budget(sparsity=1 - keep).cap(ROWS, 128) == cap
    assert Budget(params=cap).cap(ROWS, 128) == cap


def test_bytes_count_values_and_sizes() -> None:
    assert Budget(bytes=1_000 * 4 + 100).cap(100, 128) == 1_000  # one byte a size
    assert Budget(bytes=1_000 * 4 + 200).cap(100, 300) == 1_000  # two bytes a size
    assert Budget(bytes="4.1kB").cap(100, 128) == 1_000
    assert Budget(bytes=1_000 * 4 + 200).cap(100, 256, min_size=0) == 1_000  # sizes 0 to 256 are 257
    assert Budget(bytes=1_000 * 2 + 100, dtype="fp16").cap(100, 128) == 1_000
    assert Budget(bytes=1_000 + 100 * (1 + 2 * 2), dtype="int8").cap(100, 128, num_tables=2) == 1_000  # with scales


def test_bytes_of_a_packed_table() -> None:
    assert packed_bytes(100, num_rows=20, max_size=8) == 100 * 4 + 20
    assert packed_bytes(100, num_rows=20, max_size=300) == 100 * 4 + 2 * 20
    assert packed_bytes(160, num_rows=20, max_size=8) == 160 * 4  # a full table needs no sizes
    assert packed_bytes(100, num_rows=20, max_size=8, dtype="int8", num_tables=2) == 100 + 20 + 2 * 2 * 20


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16", "int8"])
@pytest.mark.parametrize("num_tables", [1, 2])
def test_a_cap_in_bytes_is_the_most_that_fits(dtype: Dtype, num_tables: int) -> None:
    cap = Budget(bytes=3_000, dtype=dtype).cap(100, 64, num_tables=num_tables)
    needs = [packed_bytes(params, 100, 64, dtype=dtype, num_tables=num_tables) for params in (cap, cap + 1)]
    assert needs[0] <= 3_000 < needs[1]


@given(keep=st.floats(0.01, 1), rows=st.integers(1, 10_000), width=st.integers(1, 512), form=st.sampled_from("cspb"))
def test_cap_stays_within_its_form(keep: float, rows: int, width: int, form: str) -> None:
    full = rows * width
    if full * keep < rows + 1:
        return
    wanted = max(rows, int(full * keep))
    budget = {
        "c": Budget(keep_ratio=keep),
        "s": Budget(sparsity=max(0.0, 1 - keep)),
        "p": Budget(params=wanted),
        "b": Budget(bytes=wanted * 4 + rows * (1 if width <= 256 else 2)),
    }[form]
    cap = budget.cap(rows, width)
    assert rows <= cap <= full
    assert abs(cap - full * keep) <= 1 + 1e-6 * full
    if form in "pb":
        assert cap == wanted


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "exactly one of keep_ratio, sparsity, params, bytes, got none"),
        ({"keep_ratio": 0.1, "params": 5}, "got keep_ratio, params"),
        ({"keep_ratio": 0.0}, r"budget.keep_ratio must be in \(0, 1\], got 0.0"),
        ({"keep_ratio": 1.5}, "got 1.5"),
        ({"sparsity": 1.0}, r"budget.sparsity must be in \[0, 1\), got 1.0"),
        ({"params": 0}, "budget.params must be positive, got 0"),
        ({"bytes": "4 parsecs"}, "budget.bytes must look like"),
        ({"bytes": 4_000, "dtype": "fp8"}, "budget.dtype must be one of fp32, fp16, bf16, int8, got 'fp8'"),
    ],
)
def test_meaningless_budgets(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Budget(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (Budget(params=99), "smallest feasible budget.params is 100"),
        (Budget(params=801), "largest feasible budget.params is 800"),
        (Budget(keep_ratio=0.1), "smallest feasible budget.keep_ratio is 0.125"),
        (Budget(sparsity=0.9), "smallest feasible budget.sparsity is 0.875"),
        (Budget(bytes=499), "smallest feasible budget.bytes is 500"),
        (Budget(bytes="1MB"), "largest feasible budget.bytes is 3300"),
    ],
)
def test_infeasible_budgets_say_what_is_feasible(budget: Budget, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        budget.cap(100, 8)


def test_one_parameter_a_row_is_feasible() -> None:
    assert Budget(params=100).cap(100, 8) == 100
    assert Budget(keep_ratio=0.125).cap(100, 8) == 100


@pytest.mark.parametrize(("text", "value"), [("3.6MB", 3_600_000), ("4MiB", 4 << 20), (17, 17), ("2 kb", 2_000)])
def test_parse_bytes(text: str | int, value: int) -> None:
    assert parse_bytes(text) == value


def test_format_bytes() -> None:
    assert [format_bytes(n) for n in (12, 3_630_000, 2.5e9)] == ["12 B", "3.63 MB", "2.50 GB"]


@given(
    weights=st.lists(st.one_of(st.just(0.0), st.floats(1e-300, 1e300)), min_size=1, max_size=60),
    min_size=st.integers(0, 1),
    span=st.integers(1, 64),
    fraction=st.floats(0, 1),
)
def test_allocate_is_exact_bounded_and_monotone(
    weights: list[float], min_size: int, span: int, fraction: float
) -> None:
    low, high = min_size * len(weights), (min_size + span) * len(weights)
    cap = low + round(fraction * (high - low))
    weights.sort(reverse=True)
    sizes = allocate(weights, cap, min_size=min_size, max_size=min_size + span)
    assert sizes.sum() == cap
    assert sizes.min() >= min_size
    assert sizes.max() <= min_size + span
    assert (np.diff(sizes) <= 0).all()


def test_allocate_is_proportional_by_largest_remainder() -> None:
    assert allocate([4, 2, 1, 1], 80, max_size=64).tolist() == [40, 20, 10, 10]
    assert allocate([10, 10, 10], 10, max_size=8).tolist() == [4, 3, 3]
    assert allocate([100, 1, 1], 30, max_size=16).tolist() == [16, 7, 7]  # what the cap cuts off goes on


@pytest.mark.parametrize(("weights", "cap"), [([1.0, 2.0], 1), ([1.0], 9), ([-1.0, 1.0], 4), ([float("nan"), 1.0], 4)])
def test_allocate_refuses(weights: list[float], cap: int) -> None:
    with pytest.raises(ValueError, match=r"must be"):
        allocate(weights, cap, max_size=8)
