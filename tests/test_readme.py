"""The README says nothing that is not so: its numbers are in the CSVs, its links lead somewhere, its code runs."""

import re
import statistics
import sys
from collections import defaultdict
from pathlib import Path

import pytest
import yaml

from bet_lightning.cli import main
from bet_lightning.compare.rows import Row, read_rows
from bet_lightning.runs.folder import read_record
from tests.conftest import TINY

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAIR = re.compile(r"(\.\d{4}) / (\.\d{4})")
TABLE = README.partition("<!-- results -->")[2].partition("\n\n")[0]
BYTES = README.partition("<!-- bytes -->")[2].partition("\n\n")[0]
BYTES_ROWS = BYTES.strip().splitlines()[2:]
ROWS = [line for line in TABLE.splitlines() if "](" in line]
# columns of the table, and what methods of the CSVs they are drawn from
METHODS = {"uniform sizes": ("uniform",), "the paper's actions": ("paper",), "spectral actions": ("spectral", "mixed")}


def better(rows: list[Row]) -> str:
    """The row of the better start, as README writes it."""
    assert rows
    best = max(rows, key=lambda row: float(row["ndcg@20"]) + float(row["recall@20"]))
    return as_cell(mean([best]))


def test_fits_a_page() -> None:
    assert len(README.splitlines()) <= 150
    assert all(len(line) <= 140 for line in README.splitlines())


@pytest.mark.parametrize("line", ROWS, ids=[line.split("]")[0] + line.split(",")[1][:10] for line in ROWS])
def test_results_are_those_of_the_csv(line: str) -> None:
    link = re.search(r"\((configs/results/\w+\.csv)\)", line)
    assert link
    rows = [row for row in read_rows(ROOT / link[1]) if row["recall@20"] and row["ndcg@20"]]
    full, *columns = [" / ".join(pair) for pair in PAIR.findall(line)]
    assert full in {better([row]) for row in rows if row["result"] == "full"}
    for column, (title, methods) in zip(columns, METHODS.items(), strict=True):
        tenth = [row for row in rows if row["budget"] == "0.1" and row["start"] in ("warm", "fresh", "")]
        result = "uniform" if methods == ("uniform",) else "bet"
        found = [row for row in tenth if row["result"] == result]
        if result == "bet":
            found = [row for row in found if row["method"].startswith(methods)]
        assert column in {better([row]) for row in found}, title
        if "NGCF" not in line:
            assert column == better(found), title


def mean(rows: list[Row]) -> tuple[float, float]:
    """Recall and ndcg over seeds."""
    return tuple(statistics.fmean(float(row[name]) for row in rows) for name in ("recall@20", "ndcg@20"))  # type: ignore[return-value]


def as_cell(pair: tuple[float, float]) -> str:
    return " / ".join(f"{value:.4f}".lstrip("0") for value in pair)


def in_bytes(path: str, backbone: str) -> dict[str, list[str]]:
    """What the table of bytes says of a backbone: ours by validation, the best of the rivals by the test itself."""
    rows = [row for row in read_rows(ROOT / path) if row["backbone"] == backbone and row["recall@20"]]
    budgets = sorted({row["budget"] for row in rows if row["budget"]}, key=lambda name: -int(name.removesuffix("kB")))
    full = {row["seed"]: row for row in rows if row["result"] == "full" and row["method"].startswith("bet")}
    found = {"bet": [as_cell(mean(list(full.values())))], "best rival": [""]}
    for budget in budgets:
        ours: dict[str, list[Row]] = defaultdict(list)  # by seed
        rivals: dict[tuple[str, ...], list[Row]] = defaultdict(list)
        for row in (row for row in rows if row["budget"] == budget):
            if row["method"] in ("bet", "bet_small"):
                ours[row["seed"]].append(row)
            else:
                rivals[row["method"], row["result"], row["start"]].append(row)
        best = [
            max(each, key=lambda row: float(row["valid_ndcg@20"]) + float(row["valid_recall@20"]))
            for each in ours.values()
        ]
        found["bet"].append(as_cell(mean(best)))
        found["best rival"].append(as_cell(max(map(mean, rivals.values()), key=sum)) if rivals else "")
    return found


@pytest.mark.parametrize("line", BYTES_ROWS, ids=[line.split("|")[1].strip() for line in BYTES_ROWS])
def test_bytes_are_those_of_the_csv(line: str) -> None:
    title, *cells = (cell.strip() for cell in line.strip("|").split("|"))
    data, backbone, kind = title.split(", ")
    assert cells == in_bytes(f"configs/results/{data.lower()}_bytes.csv", backbone)[kind]


def test_no_other_measured_number_is_claimed() -> None:
    prose = README.replace(TABLE, "").replace(BYTES, "")
    assert re.findall(r"(?<![\w/-])0?\.\d{2,}", prose) == []


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.slow
def test_its_python_trains_a_table_within_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (fit,) = (block for block in blocks("python") if "TableSearch" in block)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sales.csv").write_text("user,item\n" + "".join(f"u{n % 40},i{n * 7 % 31}\n" for n in range(900)))
    fit = fit.replace("LightGCN)", "lambda edges: LightGCN(edges, 8))")
    exec(compile(fit, "README.md", "exec"), {})
    record = read_record(tmp_path / "runs" / "sales")
    best = record.best()
    assert best is not None and best.params <= record.budgets[0].params


@pytest.mark.slow
def test_its_method_is_a_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (method,) = (block for block in blocks("python") if "class WholeRows" in block)
    (tmp_path / "mine.py").write_text(method.replace("Epochs(50)", "Epochs(1)"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    config = {**TINY, "search": {"budget": {"keep_ratio": 0.25}}, "trainer": {**TINY["trainer"]}}
    Path("run.yaml").write_text(yaml.safe_dump(config))
    try:
        main(["fit", "--config", "run.yaml", "--search.method", "mine.WholeRows"])
    finally:
        sys.modules.pop("mine", None)
    (result,) = read_record(tmp_path / "runs" / "run").results
    assert result.name == "whole" and 410 < result.params <= 420


def test_its_flags_are_those_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["fit", "--print_config"])
    printed = yaml.safe_load(capsys.readouterr().out)
    flags = {flag for block in blocks("bash") for flag in re.findall(r"--([a-z_.]+)", block)}
    flags |= set(re.findall(r"`--([a-z_.]+)", README))
    for flag in flags - {"config", "ckpt_path", "output", "print_config", "predictions.path"}:
        section = printed
        for name in flag.split("."):
            section = section if name in ("keep_ratio",) else section.get("init_args", section)
            assert name in section or name == "keep_ratio", flag
            section = section.get(name) or {}
