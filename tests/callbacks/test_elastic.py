from pathlib import Path

import pytest
import yaml

from bet_lightning.callbacks import ElasticPretraining
from bet_lightning.cli import main
from bet_lightning.results import read_summary
from tests.conftest import write_config


def test_elastic_pretraining_trains_prefixes_and_validates_full_rows(finished_run: Path, tmp_path: Path) -> None:
    path = write_config(tmp_path, "run", num_iterations=0, rivals=[])
    config = yaml.safe_load(path.read_text())
    config["trainer"]["callbacks"].append({"class_path": "ElasticPretraining", "init_args": {"share": 1.0}})
    path.write_text(yaml.safe_dump(config))
    main(["fit", "--config", str(path)])
    plain, elastic = (read_summary(folder)["results"][0] for folder in (finished_run, tmp_path / "run"))
    assert elastic["params"] == plain["params"]
    assert elastic["valid"] != plain["valid"]


def test_refuses_a_share_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"ElasticPretraining\.share must be in \(0, 1\], got 0"):
        ElasticPretraining(0)
