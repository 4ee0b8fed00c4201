from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bet_lightning.budget import Budget
from bet_lightning.cli import main
from bet_lightning.methods.quotient_remainder import find_divisor, make_table
from bet_lightning.runs.folder import read_record
from bet_lightning.table_format import TableShape
from tests.conftest import write_config


@given(count=st.integers(1, 400), rows=st.integers(0, 500))
def test_the_smallest_divisor_that_fits_is_found(count: int, rows: int) -> None:
    fitting = [m for m in range(1, count + 1) if -(-count // m) + m <= rows]
    assert find_divisor(count, rows) == (fitting[0] if fitting else 0)


@given(
    users=st.integers(2, 3000), items=st.integers(2, 3000), ratio=st.floats(0.01, 1.0), tables=st.sampled_from([1, 2])
)
def test_tables_stay_within_the_budget(users: int, items: int, ratio: float, tables: int) -> None:
    shape = TableShape(users, items, 8 * tables, tables)
    try:
        budget = Budget(keep_ratio=ratio).resolve(shape)
        table = make_table(budget)
    except ValueError as error:
        assert "smallest feasible" in str(error)
        return
    assert tables * table.num_used <= budget.params
    # a divisor less for either side, so one collision less, would not have fitted
    if table.user_divisor > 1 and table.item_divisor > 1:
        smaller = -(-items // (table.item_divisor - 1)) + table.item_divisor - 1
        others = table.num_used // 8 - (-(-items // table.item_divisor) + table.item_divisor)
        assert (smaller + others) * shape.width > budget.params


def test_a_budget_in_bytes_needs_no_sizes() -> None:
    shape = TableShape(100, 100, 8)
    table = make_table(Budget(bytes=3200).resolve(shape, 0))
    assert table.num_bytes <= 3200


def test_says_what_is_feasible() -> None:
    shape = TableShape(400, 400, 8)
    with pytest.raises(ValueError, match="too few for the factors") as refused:
        make_table(Budget(params=400).resolve(shape, 0))
    smallest = int(str(refused.value).rpartition("is ")[2].split()[0])
    make_table(Budget(params=smallest).resolve(shape, 0))


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["LightGCN", "MF", "NGCF", "NeuMF"])
def test_trains_with_every_backbone(backbone: str, tmp_path: Path) -> None:
    method = {"class_path": "QuotientRemainder", "init_args": {"train": {"max_epochs": 2}}}
    config = write_config(tmp_path, "run", backbone, budget={"keep_ratio": 0.5}, method=method)
    main(["fit", "--config", str(config)])
    main(["test", "--config", str(tmp_path / "run" / "config.yaml")])
    (result,) = read_record(tmp_path / "run").results
    assert result.name == "qr" and result.params <= read_record(tmp_path / "run").budgets[0].params
    assert result.test["ndcg@20"] > 0
