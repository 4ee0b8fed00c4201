"""The maths knows no Lightning and no command line; serving knows no torch."""

import subprocess
import sys

MATHS = (
    *("allocation", "backbones", "budget", "checkpoints", "gains", "methods", "objectives", "ranking.ranker"),
    *("recommender", "schedule", "tables", "training"),
)


def loaded(*modules: str) -> set[str]:
    """The modules that importing some modules loads, in a process of its own."""
    code = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_maths_without_lightning() -> None:
    found = loaded(*(f"bet_lightning.{name}" for name in MATHS))
    assert not {"pytorch_lightning", "jsonargparse", "wandb", "bet_lightning.cli", "bet_lightning.callbacks"} & found
    assert "bet_lightning.training.loop" in found


def test_serving_without_torch() -> None:
    assert not {"torch", "pytorch_lightning", "safetensors"} & loaded("bet_lightning.serving")
