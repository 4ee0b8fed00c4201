"""Checkpoints as plain data: tensors and plain values, nothing that could be executed."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

UNREADABLE = (OSError, EOFError, RuntimeError, LookupError, TypeError, AttributeError, pickle.UnpicklingError)
BACKBONE = "backbone."  # what the names of a backbone's weights begin with
KIND = "backbone"  # where a checkpoint names its backbone: weights of two may have the same names and shapes
METHOD_STATE = "method"  # where the state of a search keeps what its method keeps


class EarlierRun(NamedTuple):
    """What a run left in a checkpoint.

    Attributes:
        weights: State of the backbone.
        method_state: What its method kept; empty in the checkpoint of a result.
    """

    weights: Mapping[str, Tensor]
    method_state: Mapping[str, Any]

    def of_form(self, kept: str) -> EarlierRun:
        """Return what it left of one form of the table, where it kept several apart."""
        return self._replace(method_state=self.method_state.get(kept, self.method_state))


def check_kind(checkpoint: Mapping[str, Any], network: object) -> None:
    """Refuse the checkpoint of another backbone.

    Raises:
        ValueError: If it names another.
    """
    found, wanted = checkpoint.get(KIND), type(network).__name__
    if found not in (None, wanted):
        raise ValueError(f"the checkpoint is of another backbone or other data: {found}, not {wanted}")


def check_weights(network: nn.Module, weights: Mapping[str, Tensor], path: str) -> None:
    """Load weights, refusing those of another backbone or of other data.

    Args:
        network: The backbone.
        weights: Its state.
        path: Where they are from.

    Raises:
        ValueError: If they are of something else.
    """
    try:
        network.load_state_dict(weights)
    except UNREADABLE as error:
        raise ValueError(f"{path}: not a checkpoint of this backbone on this data ({error})") from None


def read_run(path: str, network: object) -> EarlierRun:
    """Read a run's ``last.ckpt``, or the checkpoint of one of its results.

    Args:
        path: The file.
        network: The backbone that it must be of.

    Raises:
        ValueError: If the file is missing, broken or not a checkpoint of this backbone.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        check_kind(checkpoint, network)
        weights = {
            name.removeprefix(BACKBONE): value
            for name, value in checkpoint["state_dict"].items()
            if name.startswith(BACKBONE)
        }
        states = [state[METHOD_STATE] for state in checkpoint.get("callbacks", {}).values() if METHOD_STATE in state]
        return EarlierRun(weights, states[0] if states else {})
    except (*UNREADABLE, ValueError) as error:
        raise ValueError(f"{path}: not a checkpoint of this backbone on this data ({error})") from None
