import pytest
from hypothesis import given
from hypothesis import strategies as st

from bet_lightning.budget import Budget, Dtype, TableShape, format_bytes, packed_bytes, parse_bytes, resolve_budgets

ROWS = 29_858 + 40_981  # Gowalla


def cap_of(budget: Budget, num_rows: int, width: int, min_size: int = 1, num_tables: int = 1) -> int:
    """The cap of a budget, on a table with hardly any users."""
    return budget.cap(TableShape(0, num_rows, width, num_tables), min_size)


@pytest.mark.parametrize(("keep", "cap"), [(0.2, 1_813_478), (0.1, 906_739), (0.05, 453_369), (1.0, 9_067_392)])
def test_caps_of_gowalla(keep: float, cap: int) -> None:
    assert cap_of(Budget(keep_ratio=keep), ROWS, 128) == cap
    if keep < 1:
        assert cap_of(Budget(sparsity=1 - keep), ROWS, 128) == cap
    assert cap_of(Budget(params=cap), ROWS, 128) == cap


def test_bytes_count_values_and_sizes() -> None:
    assert cap_of(Budget(bytes=1_000 * 4 + 100), 100, 128) == 1_000  # one byte a size
    assert cap_of(Budget(bytes=1_000 * 4 + 200), 100, 300) == 1_000  # two bytes a size
    assert cap_of(Budget(bytes="4.1kB"), 100, 128) == 1_000
    assert cap_of(Budget(bytes=1_000 * 4 + 200), 100, 256, min_size=0) == 1_000  # sizes 0 to 256 are 257
    assert cap_of(Budget(bytes=1_000 * 2 + 100, dtype="fp16"), 100, 128) == 1_000
    assert cap_of(Budget(bytes=1_000 + 100 * (1 + 2 * 2), dtype="int8"), 100, 128, num_tables=2) == 1_000  # with scales


def test_bytes_of_a_packed_table() -> None:
    assert packed_bytes(100, num_rows=20, max_size=8) == 100 * 4 + 20
    assert packed_bytes(100, num_rows=20, max_size=300) == 100 * 4 + 2 * 20
    assert packed_bytes(160, num_rows=20, max_size=8) == 160 * 4  # a full table needs no sizes
    assert packed_bytes(100, num_rows=20, max_size=8, dtype="int8", num_tables=2) == 100 + 20 + 2 * 2 * 20


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16", "int8"])
@pytest.mark.parametrize("num_tables", [1, 2])
def test_a_cap_in_bytes_is_the_most_that_fits(dtype: Dtype, num_tables: int) -> None:
    cap = cap_of(Budget(bytes=3_000, dtype=dtype), 100, 64, num_tables=num_tables)
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
    cap = cap_of(budget, rows, width)
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
        cap_of(budget, 100, 8)


def test_one_parameter_a_row_is_feasible() -> None:
    assert cap_of(Budget(params=100), 100, 8) == 100
    assert cap_of(Budget(keep_ratio=0.125), 100, 8) == 100


@pytest.mark.parametrize(("text", "value"), [("3.6MB", 3_600_000), ("4MiB", 4 << 20), (17, 17), ("2 kb", 2_000)])
def test_parse_bytes(text: str | int, value: int) -> None:
    assert parse_bytes(text) == value


def test_format_bytes() -> None:
    assert [format_bytes(n) for n in (12, 3_630_000, 2.5e9)] == ["12 B", "3.63 MB", "2.50 GB"]


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("10%", Budget(keep_ratio=0.1)),
        (" 2.5 % ", Budget(keep_ratio=0.025)),
        ("0.1", Budget(keep_ratio=0.1)),
        ("5000", Budget(params=5000)),
        ("2MB", Budget(bytes="2MB")),
        ("4 MiB", Budget(bytes="4 MiB")),
    ],
)
def test_short_forms(text: str, budget: Budget) -> None:
    assert Budget.parse(text) == budget


@pytest.mark.parametrize("text", ["", "ten", "10%%", "-5", "1e6", "2 parsecs", "0%"])
def test_other_texts_are_no_budgets(text: str) -> None:
    with pytest.raises(ValueError, match=r"budget"):
        Budget.parse(text)


def test_a_budget_is_called_what_the_user_called_it() -> None:
    budgets = [
        Budget(sparsity=0.9),
        Budget(keep_ratio=0.05),
        Budget(params=500),
        Budget(bytes="2 MB"),
        Budget(bytes=4_000),
    ]
    assert [budget.name for budget in budgets] == ["0.1", "0.05", "500", "2MB", "4000B"]


def test_a_resolved_budget_knows_everything() -> None:
    shape = TableShape(40, 60, 8)
    by_params = Budget(sparsity=0.5).resolve(shape)
    assert (by_params.unit, by_params.params, by_params.bytes, by_params.keep_ratio) == ("params", 400, 1700, 0.5)
    by_bytes = Budget(bytes=1_701).resolve(shape)
    assert (by_bytes.unit, by_bytes.params, by_bytes.bytes) == ("bytes", 400, 1_701)
    by_params.check(400, 10**9, is_prefix=True)
    by_bytes.check(10**9, 1_701, is_prefix=False)  # a form of its own pays in bytes alone
    for budget, params, num_bytes, is_prefix in (
        (by_params, 401, 0, False),
        (by_bytes, 401, 0, True),
        (by_bytes, 1, 1_702, False),
    ):
        with pytest.raises(ValueError, match="over the budget of"):
            budget.check(params, num_bytes, is_prefix=is_prefix)


def test_several_budgets_are_sorted_and_differ() -> None:
    shape = TableShape(40, 60, 8)
    budgets = [Budget(keep_ratio=0.25), Budget(bytes=1_700), Budget(params=300)]
    for order in (budgets, budgets[::-1]):
        assert [budget.params for budget in resolve_budgets(order, shape, 1)] == [400, 300, 200]
    with pytest.raises(ValueError, match=r"search\.budget needs budgets that differ, got \[200, 200\] parameters"):
        resolve_budgets([Budget(keep_ratio=0.25), Budget(params=200)], shape, 1)
    with pytest.raises(ValueError, match=r"differ, got \[\]"):
        resolve_budgets([], shape, 1)
