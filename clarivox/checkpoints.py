# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that survive a kill and a full disk: whole or not at all, with a digest, and the one before beside it."""

from __future__ import annotations

import hashlib
import io
import logging
import pickle
from pathlib import Path
from typing import Any

import torch

from clarivox.errors import TrainingError
from clarivox.io import atomic

logger = logging.getLogger(__name__)

_MAGIC = b"clarivox checkpoint 1\n"
DAMAGE = (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError)
"""What torch may raise on a file that is damaged or no file of its own."""


def previous(path: Path) -> Path:
    """Where the checkpoint before the last one lies.

    >>> previous(Path("out/checkpoint.pt")).as_posix()
    'out/checkpoint.previous.pt'
    """
    return path.with_suffix(".previous" + path.suffix)


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint; what was there becomes the previous one.

    Raises:
        CapacityError: the disk is full (code disk_full); the last checkpoint stays as it was.
        OutputError: the folder cannot be written to.
    """
    stream = io.BytesIO()
    torch.save(state, stream)
    content = stream.getbuffer()
    digest = hashlib.sha256(content).hexdigest().encode() + b"\n"
    with atomic.file(path, overwrite=True) as temporary:
        with temporary.open("wb") as file:
            file.write(_MAGIC + digest)
            file.write(content)
        if path.exists():
            path.replace(previous(path))


def load(path: Path) -> dict[str, Any] | None:
    """The newest checkpoint that is whole, in main memory; None where there is none. A damaged one is said in the log.

    Raises:
        TrainingError: there are checkpoints, and all are damaged (code torn_checkpoint).
    """
    there = [one for one in (path, previous(path)) if one.exists()]
    for one in there:
        try:
            state = _read(one)
        except DAMAGE as cause:
            logger.warning("the checkpoint %s is damaged (%s)", one.name, type(cause).__name__)
            continue
        if one != path:
            logger.warning("going on from the checkpoint before, %s", one.name)
        return state
    if there:
        raise TrainingError(
            f"{' and '.join(one.name for one in there)} are damaged; delete them to begin anew", code="torn_checkpoint"
        )
    return None


def _read(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise ValueError("not a checkpoint")
        digest = file.readline().strip()
        content = file.read()
    if hashlib.sha256(content).hexdigest().encode() != digest:
        raise ValueError("the digest differs")
    state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return state
