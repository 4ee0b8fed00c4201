"""Checkpoints as plain data: tensors and plain values, nothing that could be executed."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

UNREADABLE = (OSError, EOFError, RuntimeError, LookupError, TypeError, AttributeError, pickle.UnpicklingError)
BACKBONE = "backbone."  # what the names of a backbone's weights begin with
KIND = "backbone"  # where a checkpoint names its backbone: weights of two may have the same names and shapes
DATA_HASH = "data_hash"  # where it names its data: rows of other data, or of another split, are other rows
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


def read_checkpoint(path: str | Path, *, mmap: bool = False) -> dict[str, Any]:
    """Read a checkpoint whose every byte is as it was written; nothing in it is executed.

    Args:
        path: The file.
        mmap: Whether tensors are mapped into memory rather than read.

    Raises:
        ValueError: If it is no such file, or damaged.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such file")
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not compare checksums
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise ValueError("it is compressed")
            if (damaged := archive.testzip()) is not None:
                raise ValueError(f"{damaged} was altered")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        if not isinstance(checkpoint, dict):
            raise ValueError(f"it holds a {type(checkpoint).__name__}")
    except Exception as error:  # a damaged file may raise anything
        reason = (str(error).splitlines() or [type(error).__name__])[0].partition(". ")[0]
        raise ValueError(f"{path}: broken, or not a checkpoint ({reason})") from None
    return checkpoint


def check_data(checkpoint: Mapping[str, Any], data_hash: str) -> None:
    """Refuse the checkpoint of other data, or of another split, whose training pairs may be test pairs here.

    Raises:
        ValueError: If it names another hash.
    """
    found = checkpoint.get(DATA_HASH)
    if found not in (None, data_hash):
        raise ValueError(
            f"the checkpoint is of other data or another split, hash {str(found)[:12]}, not {data_hash[:12]}"
        )


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
        checkpoint = read_checkpoint(path)
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
