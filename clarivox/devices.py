# SPDX-License-Identifier: Apache-2.0
"""Where a network runs, and how much memory it may take there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from clarivox.errors import OptionError
from clarivox.passes import CPU_BUDGET, Run
from clarivox.tiles import rounded_up

if TYPE_CHECKING:
    from clarivox.windows import Windows

_WIDE = 256
"""Bytes a voxel from which a network's layers, not the windows themselves, decide how much memory is needed."""

_NARROW = 1024
"""Bytes a voxel to reckon with for every other network: cutting, scaling and restoring a window take memory too, and
smaller windows repeat little there (benchmarks/memory)."""


def chosen(name: str) -> torch.device:
    """The device of a name; "auto" is the first of CUDA, MPS and the CPU that is there.

    Raises:
        OptionError: there is no such device.

    >>> chosen("cpu")
    device(type='cpu')
    """
    there = [
        kind for kind, is_there in (("cuda", torch.cuda.is_available()), ("mps", torch.mps.is_available())) if is_there
    ]
    if name == "auto":
        return torch.device([*there, "cpu"][0])
    try:
        device = torch.device(name)
    except RuntimeError as cause:
        raise OptionError(f"device is auto, cpu, cuda, cuda:N or mps; found {name}") from cause
    if device.type not in [*there, "cpu"] or (device.index or 0) >= max(1, torch.cuda.device_count()):
        raise OptionError(f"there is no device {name} here; there is {', '.join([*there, 'cpu'])}", code="no_device")
    return device


def fallbacks(device: torch.device) -> list[torch.device]:
    """The device, and the CPU where its memory is not enough."""
    cpu = torch.device("cpu")
    return [device] if device == cpu else [device, cpu]


def memory(device: torch.device) -> int:
    """Bytes that windows and their activations may take."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] * 0.6)
    return CPU_BUDGET


def planned(network: torch.nn.Module, windows: Windows, device: torch.device, budget_bytes: int | None = None) -> Run:
    """How a pass over images will be made on a device.

    Args:
        network: already on the device.
        windows: how the images are cut.
        device: where the pass runs.
        budget_bytes: memory for windows and their activations; by default what the device has.
    """
    each = footprint(network, windows)
    wide = each >= _WIDE
    return Run(device, each if wide else _NARROW, budget_bytes or memory(device), keep=wide)


@torch.inference_mode()
def footprint(network: torch.nn.Module, windows: Windows) -> int:
    """Bytes that a network needs for each voxel of its input, estimated from its largest layer.

    Twice the largest layer's input and output: some layers keep a copy, and skips live beside.
    """
    side = rounded_up(24, max(windows.stride))
    largest = 0

    def look(_module: torch.nn.Module, inputs: tuple[object, ...], output: object) -> None:
        nonlocal largest
        sizes = [t.nbytes for t in (*inputs, output) if isinstance(t, torch.Tensor)]
        largest = max(largest, sum(sizes))

    hooks = [m.register_forward_hook(look) for m in network.modules() if not list(m.children())]
    like = next(network.parameters(), torch.empty(0))
    sample = torch.zeros((1, windows.channels, *(side,) * windows.spatial_dims), device=like.device, dtype=like.dtype)
    try:
        network(sample)
    finally:
        for hook in hooks:
            hook.remove()
    return int(2 * largest // side**windows.spatial_dims)
