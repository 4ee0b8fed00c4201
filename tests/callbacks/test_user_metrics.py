import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bet_lightning.cli import main
from bet_lightning.data import InteractionDataModule
from bet_lightning.runs.folder import read_record
from bet_lightning.runs.users import USERS, read_users, user_table, write_users
from tests.conftest import TINY


def arguments(run: Path, folder: Path) -> list[str]:
    """A test of a copy of a finished run."""
    shutil.copytree(run, folder)
    return ["test", "--config", str(run / "config.yaml"), "--trainer.default_root_dir", str(folder)]


def test_means_over_users_are_the_metrics_of_the_test(finished_run: Path, tmp_path: Path) -> None:
    command = arguments(finished_run, tmp_path / "run")
    assert read_users(tmp_path / "run") == {}
    main(command)
    data = InteractionDataModule(**TINY["data"]["init_args"])
    data.setup("test")
    found = read_users(tmp_path / "run")
    record = read_record(tmp_path / "run")
    assert list(found) == [result.name for result in record.results]
    for result in record.results:
        table = found[result.name]
        assert table["user"].to_list() == np.flatnonzero(data.dataset.test.degrees()).tolist()  # no others were ranked
        assert table.columns == ["user", *result.test]
        for name, mean in result.test.items():
            assert table[name].dtype == pl.Float32
            assert table[name].cast(pl.Float64).mean() == pytest.approx(mean, abs=1e-7)
    main([*command, "--ckpt_path", str(tmp_path / "run" / "checkpoints" / "full.ckpt")])  # of one table: kept as it was
    assert list(read_users(tmp_path / "run")) == list(found)


@pytest.mark.slow
def test_several_devices_keep_the_same_users_in_the_same_order(finished_run: Path, tmp_path: Path) -> None:
    main(arguments(finished_run, tmp_path / "one"))
    devices = ["--trainer.devices=2", "--trainer.strategy=ddp"]
    program = [sys.executable, "-m", "bet_lightning", *arguments(finished_run, tmp_path / "two"), *devices]
    subprocess.run(program, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, stdout=subprocess.DEVNULL)
    one, two = (read_users(tmp_path / name) for name in ("one", "two"))
    assert list(one) == list(two)
    for name, table in one.items():
        assert table.equals(two[name])


def test_comes_back_from_its_file(tmp_path: Path) -> None:
    values = np.array([[0.5, 0.25], [1.0, 0.125]], np.float32)
    table = user_table(np.array([3, 7]), values, ("recall@20", "ndcg@20"))
    write_users(tmp_path, {"full": table, "bet@10%": table.reverse()})
    found = read_users(tmp_path)
    assert list(found) == ["full", "bet@10%"] and found["full"].equals(table) and found["bet@10%"]["user"][0] == 7
    (tmp_path / USERS).write_text("no table")
    with pytest.raises(ValueError, match=r"test_users\.parquet: not the metrics of single users"):
        read_users(tmp_path)
