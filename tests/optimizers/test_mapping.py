from pathlib import Path

import pytest
import torch

from bet_lightning.optimizers.mapping import mapped_zeros


def test_zeros_take_room_that_is_free_again_after_them(tmp_path: Path) -> None:
    zeros = mapped_zeros(torch.ones(5, 3), tmp_path)
    assert zeros.shape == (5, 3) and zeros.dtype == torch.float32 and not zeros.any()
    zeros[2] = 1
    assert zeros.sum() == 3 and list(tmp_path.iterdir()) == []
    assert mapped_zeros(torch.ones(0), tmp_path).numel() == 0


@pytest.mark.parametrize(("folder", "count"), [("missing", 1), (".", 1 << 58)])
def test_a_folder_without_room_is_refused(tmp_path: Path, folder: str, count: int) -> None:
    with pytest.raises(ValueError, match=r"model\.state_dir .*: no room for \d+ bytes"):
        mapped_zeros(torch.ones(1).expand(count), tmp_path / folder)
