from dataclasses import replace

import numpy as np

from bet_lightning.runs.page_tables import empty_table, metrics_table, result_table, summarize
from bet_lightning.runs.popularity_plots import SideProfile
from tests.runs.test_records import make_record, make_result

FULL = replace(make_result("full", None, 0.2), params=1_680, bytes=6_720)
BET = replace(make_result("bet@0.5", "0.5", 0.19), bytes=3_360)
UNIFORM = make_result("uniform@0.5", "0.5", 0.1)
QUARTER = replace(make_result("two@0.25", "0.25", 0.15), bytes=1_680, params=1_234)
RECORD = make_record(FULL, UNIFORM, QUARTER, BET)


def test_the_result_is_a_sentence() -> None:
    assert summarize(RECORD) == (
        "On validation data, within 50%, bet reaches 95.0% of the full table's quality in 50.00% of its bytes; "
        "within 25%, two reaches 75.0% of the full table's quality in 25.00% of its bytes."
    )
    tested = make_record(*(replace(each, test=dict.fromkeys(each.valid, 0.1)) for each in RECORD.results))
    assert summarize(tested).startswith("On test data, within 50%, bet reaches 100.0% of the full table's quality")
    assert summarize(make_record(UNIFORM)) == (
        "On validation data, within 50%, uniform reaches a quality of 0.1000 in 28.12% of the full table's bytes."
    )
    assert summarize(make_record(FULL)) == "BET has no result within a budget yet."


def test_a_sentence_does_not_name_every_budget_of_many() -> None:
    names = [str(each) for each in (500, 400, 300, 200, 100)]
    budgets = tuple(replace(RECORD.budgets[0], name=name, params=int(name)) for name in names)
    record = make_record(FULL, *(make_result(f"bet@{name}", name, 0.1) for name in names))
    said = summarize(replace(record, budgets=budgets))
    assert [each in said for each in ("within 500", "within 400", "within 300", "within 200", "within 100")] == [
        *(True, True, False, False, True)
    ]
    assert "2 budgets between are in the table" in said


def test_a_run_without_a_full_table_has_no_column_for_its_share() -> None:
    table = result_table(make_record(UNIFORM), "valid")
    assert "quality, of full" not in table.columns and len(table.rows[0].cells) == len(table.columns)


def test_results_of_a_budget_are_together_and_its_best_is_marked() -> None:
    table = result_table(RECORD, "valid")
    assert {len(row.cells) for row in table.rows} == {len(table.columns)}
    assert [(row.cells[:3], row.is_best) for row in table.rows] == [
        (("", "full", "100.0%"), False),
        (("50%", "uniform", "50.0%"), False),
        (("50%", "bet", "95.0%"), True),
        (("25%", "two", "75.0%"), True),
    ]
    columns = dict(zip(table.columns, table.rows[3].cells, strict=True))
    assert (columns["bytes"], columns["bytes, of full"]) == ("1.68 kB", "25.00%")
    assert (columns["parameters"], columns["ndcg@20"], columns["best epoch"]) == ("1,234", "0.1500", "3 of 5")
    assert result_table(RECORD, "test").rows == ()
    assert [row.cells for row in metrics_table(RECORD, "valid").rows][-1] == ("two@0.25", "0.1500", "0.1500")


def test_rows_with_nothing_are_counted() -> None:
    none = np.zeros(1)
    side = SideProfile(none, none, none, none, num_rows=2_000, num_empty=1_000)
    (row,) = empty_table({"bet": (side, replace(side, num_empty=0))}).rows
    assert row.cells == ("bet", "1,000 of 2,000 (50.0%)", "0 of 2,000 (0.0%)")
