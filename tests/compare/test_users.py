from pathlib import Path

import numpy as np
import yaml

from bet_lightning.compare.cells import Comparison
from bet_lightning.compare.rows import rows_of
from bet_lightning.compare.users import CellUsers
from bet_lightning.runs.folder import write_record
from bet_lightning.runs.users import user_table, write_users
from tests.compare.test_rows import make_record


def test_a_row_has_the_users_of_its_own_run_and_result(tmp_path: Path) -> None:
    path = tmp_path / "table.yaml"
    path.write_text(yaml.safe_dump({"axes": {"method": {"own": None, "other": {"x": 2}}}, "seeds": [0, 1]}))
    comparison = Comparison.read(path)
    record = make_record()
    for number, cell in enumerate(comparison.cells[:3]):
        folder = cell.folder(tmp_path / "runs")
        write_record(folder, record)
        if number != 1:
            values = {result.name: np.full((2, 1), number + at, np.float32) for at, result in enumerate(record.results)}
            tables = {name: user_table(np.arange(2), each, ("ndcg@20",)) for name, each in values.items()}
            write_users(folder, tables)
    users = CellUsers(comparison, tmp_path / "runs")
    for number, cell in enumerate(comparison.cells):
        for at, row in enumerate(rows_of(cell, record, "ratio")):
            table = users(row)
            if number in (0, 2):
                assert table is not None and table["ndcg@20"].to_list() == [number + at] * 2
                assert users({**row, "cell": "othersetts"}) is None  # the run is of other settings than the row
            else:
                assert table is None  # tested before users were kept; not run here
