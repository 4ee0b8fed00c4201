import pytest
from hypothesis import given
from hypothesis import strategies as st

from bet_lightning.budget import Budget, format_bytes, parse_bytes, resolve_budgets
from bet_lightning.table_format import TableShape

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
    assert cap_of(Budget(bytes=1_000 * 4 + 100, dtype="fp32"), 100, 128) == 1_000  # one byte a size
    assert cap_of(Budget(bytes=1_000 * 4 + 200, dtype="fp32"), 100, 300) == 1_000  # two bytes a size
    assert cap_of(Budget(bytes="4.1kB", dtype="fp32"), 100, 128) == 1_000
    assert cap_of(Budget(bytes=1_000 * 4 + 200, dtype="fp32"), 100, 256, min_size=0) == 1_000  # sizes 0 to 256 are 257
    assert cap_of(Budget(bytes=1_000 * 2 + 100, dtype="fp16"), 100, 128) == 1_000
    # four values a word, a step a row and table, a scale a column, four sizes of up to 128 a word, and a word that a
    # table may leave unfilled
    assert cap_of(Budget(bytes=1_000 + 2 * 100 + 128 + 100 + 4, dtype="int8"), 100, 128, num_tables=2) == 1_000


def test_bits_are_found_unless_they_are_given() -> None:
    shape = TableShape(40, 60, 64)
    found = Budget(bytes=1_500).resolve(shape)
    assert found.dtype is None and [form.dtype for form in found.formats] == ["int8", "int4", "int3", "int2", "ternary"]
    assert [form.dtype for form in Budget(bytes=3_400).resolve(shape).formats] == ["int8", "int4"]  # int4 holds it all
    assert Budget(bytes=1_500, dtype="int3").resolve(shape).dtype == "int3"
    assert Budget(keep_ratio=0.1).resolve(shape).dtype == "fp32"
    caps = [found.cap(form) for form in found.formats]
    assert caps == sorted(caps) and found.cap(found.formats[-1], num_filled=10) > 0


@given(keep=st.floats(0.01, 1), rows=st.integers(1, 10_000), width=st.integers(1, 512), form=st.sampled_from("cspb"))
def test_cap_stays_within_its_form(keep: float, rows: int, width: int, form: str) -> None:
    full = rows * width
    if full * keep < rows + 1:
        return
    wanted = max(rows, int(full * keep))
    in_bytes = min(4 * full, wanted * 4 + rows * (1 if width <= 256 else 2))  # a full table needs no sizes
    budget = {
        "c": Budget(keep_ratio=keep),
        "s": Budget(sparsity=max(0.0, 1 - keep)),
        "p": Budget(params=wanted),
        "b": Budget(bytes=in_bytes, dtype="fp32"),
    }[form]
    cap = cap_of(budget, rows, width)
    assert rows <= cap <= full
    if form == "b":
        assert cap == (full if in_bytes == 4 * full else wanted)
        return
    assert abs(cap - full * keep) <= 1 + 1e-6 * full
    if form == "p":
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
        (
            {"bytes": 4_000, "dtype": "fp8"},
            "budget.dtype must be one of fp32, fp16, bf16, int8, int4, int3, int2, ternary, got 'fp8'",
        ),
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
        (Budget(bytes=499, dtype="fp32"), "smallest feasible budget.bytes is 500"),
        (Budget(bytes="1MB", dtype="fp32"), "largest feasible budget.bytes is 3200"),
        (Budget(bytes=100), "too little for 100 rows of at least 1 parameters"),
        (Budget(bytes="1MB"), "largest feasible budget.bytes is 3200"),
    ],
)
def test_infeasible_budgets_say_what_is_feasible(budget: Budget, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cap_of(budget, 100, 8)


def test_what_is_beside_the_table_is_said_where_a_deployment_is_too_small() -> None:
    budget = Budget(bytes=1000, covers="deployment")
    with pytest.raises(ValueError, match=r"smallest feasible budget.bytes is 1\d{3}, 990 of them beside the table"):
        budget.resolve(TableShape(50, 50, 8), 1, lambda history: 990)


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
    assert by_params.amount == 400 and by_params.plain.dtype == by_params.dtype == "fp32"
    by_bytes = Budget(bytes=1_701, dtype="fp32").resolve(shape)
    assert (by_bytes.unit, by_bytes.params, by_bytes.bytes) == ("bytes", 400, 1_701)
    assert by_bytes.amount == 1_701 and by_bytes.cap(by_bytes.plain) == 400
    by_params.check(400, 10**9)  # each counts in its own unit alone
    by_bytes.check(10**9, 1_701)
    for budget, params, num_bytes in ((by_params, 401, 0), (by_bytes, 1, 1_702)):
        with pytest.raises(ValueError, match="over the budget of"):
            budget.check(params, num_bytes)


def test_several_budgets_are_sorted_and_differ() -> None:
    shape = TableShape(40, 60, 8)
    budgets = [Budget(keep_ratio=0.25), Budget(bytes=1_700, dtype="fp32"), Budget(params=300)]
    for order in (budgets, budgets[::-1]):
        assert [budget.params for budget in resolve_budgets(order, shape, 1)] == [400, 300, 200]
    with pytest.raises(ValueError, match=r"search\.budget needs budgets that differ, got 200 params, 200 params"):
        resolve_budgets([Budget(keep_ratio=0.25), Budget(params=200)], shape, 1)
    with pytest.raises(ValueError, match="differ, got none"):
        resolve_budgets([], shape, 1)
