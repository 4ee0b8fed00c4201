from dataclasses import replace

import pytest
import torch

from bet_lightning.runs.measures import histogram, measures, places, result_sheet, summary
from tests.runs.test_records import SHAPE, make_record, make_result

FULL = replace(make_result("full", None, 0.4), bytes=4 * SHAPE.params)
RESULTS = (FULL, make_result("bet@0.5", "0.5", 0.3), make_result("bet@0.25", "0.25", 0.2))


def test_a_result_is_measured_against_the_full_table() -> None:
    record = make_record(*RESULTS)
    assert record.full_bytes == 4 * 210 * 8
    found = measures(record, RESULTS[1])
    assert found == {
        **RESULTS[1].valid,
        **{"share_of_full": pytest.approx(0.75), "params": 420, "bytes": 1890},
        **{"share_of_dense_bytes": 1890 / 6720, "seconds": 1.5},
    }
    assert measures(record, FULL)["share_of_dense_bytes"] == 1
    assert "share_of_full" not in measures(make_record(RESULTS[1]), RESULTS[1])  # there is no full table


def test_the_best_of_the_first_budget_has_a_place_of_its_own() -> None:
    record = make_record(*RESULTS)
    assert dict(places(record)) == {
        **{"results/full": FULL, "results/bet@0_5": RESULTS[1], "results/bet@0_25": RESULTS[2]},
        **{"best": RESULTS[1], "best@0_5": RESULTS[1], "best@0_25": RESULTS[2]},
    }
    alone = replace(record, budgets=record.budgets[:1])
    assert "best@0_5" not in dict(places(alone))
    assert [place for place, _ in places(make_record(FULL))] == ["results/full"]  # it is within no budget


def test_a_summary_adds_up_the_seconds() -> None:
    found = summary(make_record(*RESULTS))
    assert (found["seconds/search"], found["seconds/total"]) == (2.0, 2.0 + 3 * 1.5)
    assert found["best/name"] == found["best@0_5/name"] == "bet@0.5" and found["best@0_25/name"] == "bet@0.25"
    assert found["best/ndcg@20"] == 0.3 and found["results/full/ndcg@20"] == 0.4


def test_a_sheet_has_test_metrics_once_there_are_any() -> None:
    record = make_record(*RESULTS)
    sheet = result_sheet(record)
    assert [dict(zip(sheet.columns, row, strict=True))["valid ndcg@20"] for row in sheet.rows] == [0.4, 0.3, 0.2]
    assert "test ndcg@20" not in sheet.columns
    tested = replace(record, results=tuple(replace(each, test={"ndcg@20": each.params}) for each in record.results))
    assert [row[-1] for row in result_sheet(tested).rows] == [420, 420, 420]


@pytest.mark.parametrize("widest", [3, 64, 100, 1000])
def test_a_histogram_counts_every_row_of_any_size_once(widest: int) -> None:
    counts = torch.randint(0, 50, (widest,), generator=torch.Generator().manual_seed(widest))
    rows, edges = histogram(counts)
    assert len(rows) == min(widest, 64) and len(edges) == len(rows) + 1
    assert rows.sum() == counts.sum()
    assert rows[0] == counts[: int(edges[1])].sum()  # size 1 is the first
    if widest <= 64:
        assert rows.tolist() == counts.tolist()
