import pytest

from bet_lightning.modules import LRSchedule


def test_decays_in_steps_down_to_the_floor() -> None:
    schedule = LRSchedule(lr=0.1, decay=0.5, decay_steps=10, min_lr=0.03)
    assert [schedule(step) for step in (0, 9, 10, 19, 20, 1000)] == [0.1, 0.1, 0.05, 0.05, 0.03, 0.03]
    assert LRSchedule(lr=0.01, min_lr=0.5)(0) == 0.01  # a floor above the first rate does not raise it


@pytest.mark.parametrize("wrong", [{"lr": 0}, {"decay": 1.1}, {"decay": 0}, {"decay_steps": 0}, {"min_lr": -1}])
def test_refuses_values_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}={next(iter(wrong.values()))}"):
        LRSchedule(**wrong)  # type: ignore[arg-type]
