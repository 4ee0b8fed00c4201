import json
from pathlib import Path

import pytest
import torch

from bet_lightning.modules import ActionsDataModule


def test_splits_the_actions_of_a_run(finished_run: Path) -> None:
    data = ActionsDataModule(str(finished_run / "actions.jsonl"), valid_ratio=0.25, batch_size=2)
    data.setup("fit")
    assert (len(data.train.fitness), len(data.valid.fitness), data.max_size) == (
        4,
        1,
        8,
    )  # four of the search, one rule
    assert torch.cat([data.train.fitness, data.valid.fitness]).sort().values.equal(data.pairs.fitness.sort().values)
    assert [profile.num_rows for profile in data.profiles] == [120, 90]


def test_order_changes_with_the_epoch_alone(finished_run: Path) -> None:
    data = ActionsDataModule(str(finished_run / "actions.jsonl"), batch_size=2)
    data.setup("fit")
    loader = data.train_dataloader()
    orders = []
    for epoch in (0, 0, *range(1, 6)):
        loader.set_epoch(epoch)
        orders.append(torch.cat([batch.fitness for batch in loader]).tolist())
    assert len(loader) == 2
    assert orders[0] == orders[1] and any(order != orders[0] for order in orders[2:])
    assert torch.cat([batch.fitness for batch in data.predict_dataloader()]).equal(data.pairs.fitness)


def test_refuses_files_that_hold_no_actions(finished_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "actions.jsonl"
    with pytest.raises(ValueError, match=r"actions\.jsonl: no such file"):
        ActionsDataModule(str(path)).setup("fit")
    line = (finished_run / "actions.jsonl").read_text().splitlines()[0]
    path.write_text(line + "\n")
    with pytest.raises(ValueError, match="at least 2 actions are needed, found 1"):
        ActionsDataModule(str(path)).setup("fit")
    path.write_text(line + "\n" + json.dumps({"fitness": 1.0}) + "\n")
    with pytest.raises(ValueError, match="line 2: not a probed action"):
        ActionsDataModule(str(path)).setup("fit")
    with pytest.raises(ValueError, match=r"data\.valid_ratio must be in \(0, 1\), got 1"):
        ActionsDataModule(str(path), valid_ratio=1)
