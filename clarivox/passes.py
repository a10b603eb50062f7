# SPDX-License-Identifier: Apache-2.0
"""What goes into a pass of a network over images, and what comes out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch

from clarivox.tiles import Box

CPU_BUDGET = 5 * 2**27
"""Bytes for one window on a CPU; larger windows gain little (tests.benchmarks.tiling), smaller ones repeat more."""

Predictor = Callable[[torch.Tensor], torch.Tensor]
"""Takes windows (B, C, *window), returns (B, C', *window x scale)."""


class Images(Protocol):
    """What is enhanced: images of one shape, read box by box."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial shape of one image."""

    def __len__(self) -> int: ...

    def read(self, item: int, box: Box) -> torch.Tensor:
        """A box of one image, shape (C, *box), on the host."""


@dataclass(frozen=True)
class Piece:
    """A finished part of one image."""

    item: int
    box: Box
    """Where it lies in the output image."""
    values: torch.Tensor
    """Shape (C, *box)."""


@dataclass
class Run:
    """How one pass over the images is made, and what came of it.

    Attributes:
        device: where the network is.
        footprint: bytes of memory that the network needs for each voxel of a window.
        budget_bytes: memory for one batch of windows.
        batch: windows in one call; 0 finds it: 1 on a CPU, where more leave the caches, else what fits.
        keep: layers leave their memory to the next layer; worth it where they need more than windows themselves.
        on_window: called after each batch with the share of the pass that it made.
        share: of the pass that the blended window at work makes.
        host: accumulate blended windows on the host.
        windows, computed: network windows so far, and voxels in them.
        notes: every step back that memory enforced.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    footprint: int = 256
    budget_bytes: int = CPU_BUDGET
    batch: int = 0
    keep: bool = False
    on_window: Callable[[float], None] | None = None
    share: float = 0.0
    host: bool = False
    windows: int = 0
    computed: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def limit(self) -> int:
        """Most voxels in one batch of windows."""
        return max(1, self.budget_bytes // self.footprint)

    def batch_of(self, window_voxels: int) -> int:
        """Windows of a size in one call."""
        fitting = 1 if self.device.type == "cpu" else max(1, min(64, self.limit // window_voxels))
        return self.batch or fitting

    def note(self, text: str) -> None:
        """Keep a note once."""
        if text not in self.notes:
            self.notes.append(text)
