# SPDX-License-Identifier: Apache-2.0
"""Weights into a bundle and out of it, and how they lie in memory while they are trained."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from clarivox import checkpoints, manifest
from clarivox.errors import BundleError
from clarivox.io import atomic


def write_model(network: nn.Module, bundle_root: Path, weights: str = "models/model.pt") -> None:
    """Writes a network's weights into a bundle, a plain state dict in half precision, and seals the bundle anew.

    Raises:
        CapacityError: the disk is full; the weights that were there stay.
    """
    state = {
        name: value.detach().half().cpu().clone() if value.is_floating_point() else value.detach().cpu().clone()
        for name, value in network.state_dict().items()
    }
    stream = io.BytesIO()  # given a file, torch would write its passing name into it
    torch.save(state, stream)
    with atomic.file(bundle_root / weights, overwrite=True) as temporary:
        temporary.write_bytes(stream.getbuffer())
    manifest.seal(bundle_root)


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Weights that `write_model` wrote, in single precision.

    Raises:
        BundleError: the file is no such file (code bad_weights).
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    except checkpoints.DAMAGE as cause:
        raise BundleError(f"the weights {Path(path).name} to begin with cannot be read", code="bad_weights") from cause


Laid = TypeVar("Laid", Tensor, nn.Module)


def channels_last(item: Laid) -> Laid:
    """Lays a tensor's, or a module's, memory out channels last, in which convolutions train up to twice as fast."""
    if isinstance(item, Tensor):
        layouts = {4: torch.channels_last, 5: torch.channels_last_3d}
        return item.contiguous(memory_format=layouts.get(item.ndim, torch.contiguous_format))
    for part in item.parameters():
        part.data = channels_last(part.data)
    return item


def fill(network: nn.Module, state: dict[str, Tensor], name: str) -> None:
    """Puts weights into a network.

    Raises:
        BundleError: they are another network's (code bad_weights).
    """
    try:
        network.load_state_dict(state)
    except RuntimeError as cause:
        raise BundleError(f"the weights {name} to begin with are of another network", code="bad_weights") from cause
