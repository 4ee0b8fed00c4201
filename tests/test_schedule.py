import pytest

from bet_lightning.schedule import LRSchedule


def test_decays_with_the_epochs_down_to_the_floor() -> None:
    schedule = LRSchedule(lr=0.1, decay=0.5, decay_epochs=2, min_lr=0.03)
    for steps in (1, 5, 100):  # whatever the number of steps
        epochs = [(0, 0.1), (2 * steps - 1, 0.1), (2 * steps, 0.05), (4 * steps - 1, 0.05), (4 * steps, 0.03)]
        assert [schedule(step, steps) for step, _ in epochs] == [rate for _, rate in epochs]
        assert schedule(1000 * steps, steps) == 0.03
    assert LRSchedule(lr=0.01, min_lr=0.5)(0, 1) == 0.01  # a floor above the first rate does not raise it


def test_a_fraction_decays_within_an_epoch() -> None:
    schedule = LRSchedule(lr=0.8, decay=0.5, decay_epochs=0.25, min_lr=0.0)
    assert [schedule(step, 8) for step in (0, 1, 2, 4, 8)] == [0.8, 0.8, 0.4, 0.2, 0.05]


@pytest.mark.parametrize("wrong", [{"lr": 0}, {"decay": 1.1}, {"decay": 0}, {"decay_epochs": 0}, {"min_lr": -1}])
def test_refuses_values_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}={next(iter(wrong.values()))}"):
        LRSchedule(**wrong)  # type: ignore[arg-type]
