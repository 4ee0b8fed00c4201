from collections.abc import Callable

import pytest

from bet_lightning.methods.bet.settings import (
    ProbeSettings,
    RetrainSettings,
    SearchSettings,
    TuneSettings,
)
from bet_lightning.methods.pretraining import PretrainSettings


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SearchSettings(num_iterations=-1), "search.method.search.num_iterations must be at least 0, got -1"),
        (lambda: SearchSettings(num_candidates=0), "search.method.search.num_candidates must be at least 1, got 0"),
        (lambda: ProbeSettings(epochs=-1), "search.method.probe.epochs must be at least 0, got -1"),
        (lambda: ProbeSettings(refit_steps=-2), "search.method.probe.refit_steps must be at least 0, got -2"),
        (lambda: ProbeSettings(user_share=0.0), r"search.method.probe.user_share must be in \(0, 1\], got 0.0"),
        (lambda: TuneSettings(num_actions=-1), "search.method.tune.num_actions must be at least 0, got -1"),
        (lambda: TuneSettings(epochs=0), "search.method.tune.epochs must be at least 1, got 0"),
        (lambda: PretrainSettings(patience=0), "search.method.pretrain.patience must be at least 1, got 0"),
        (lambda: PretrainSettings(max_epochs=-1), "search.method.pretrain.max_epochs must be at least 0, got -1"),
        (lambda: RetrainSettings(num_actions=0), "search.method.retrain.num_actions must be at least 1, got 0"),
        (
            lambda: RetrainSettings(eval_every_n_epochs=0),
            "search.method.retrain.eval_every_n_epochs must be at least 1, got 0",
        ),
        (lambda: RetrainSettings(max_epochs=0, start="both"), "max_epochs 0 .* start must be warm, got both"),
    ],
)
def test_values_out_of_range_are_refused_by_the_name_of_their_flag(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_both_starts_are_fresh_before_warm() -> None:
    assert RetrainSettings(start="both").starts == ("fresh", "warm")
    assert [RetrainSettings(start=start).starts for start in ("fresh", "warm")] == [("fresh",), ("warm",)]
    assert RetrainSettings(max_epochs=0, start="warm").starts == ("warm",)  # untrained cuts
