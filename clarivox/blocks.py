# SPDX-License-Identifier: Apache-2.0
"""Training pairs for networks of volumes: noisy and clean blocks, cut from whole volumes on the fly."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from clarivox.errors import OptionError
from clarivox.patches import Degradation
from clarivox.splits import volumes
from clarivox.training_log import Shown
from clarivox.transforms.low_dose_ct import PADDING_HU, LowDoseCT
from clarivox.transforms.projection import Beam

BODY_HU = -500.0
"""Voxels above it are the body, where the size of noise is taken."""


@dataclass(frozen=True)
class Stack:
    """One volume to cut blocks from, shape (1, X, Y, Z), in model units."""

    clean: Tensor
    change: Tensor | None = None
    """Simulated noise of low dose, the same shape, of standard deviation 1 in the body; None where noise is drawn for
    each block."""
    weight: float = 1.0
    """How often this volume is chosen, relative to the others."""


def stacks_of(
    dataset_dir: str | Path, split: str | Path, part: str, weights: Mapping[str, float] | None = None
) -> list[Stack]:
    """The volumes of one part of a split, each divided by its 99th percentile; `weights` are by file name."""
    found = []
    for example, volume in volumes(dataset_dir, split, part):
        values = torch.from_numpy(np.ascontiguousarray(volume.values()[:1]))
        scale = float(np.percentile(values.numpy(), 99)) or 1.0
        found.append(Stack(values / scale, weight=(weights or {}).get(example.name, 1.0)))
    return found


def low_dose_stacks_of(
    dataset_dir: str | Path,
    split: str | Path,
    part: str,
    *,
    low: float,
    high: float,
    dose: float,
    photons: float,
    folder: str | Path,
    seed: int = 0,
    weights: Mapping[str, float] | None = None,
) -> list[Stack]:
    """CT volumes of one part of a split, each with the noise that a simulated scan at low dose would add.

    The noise is kept with standard deviation 1 over the body; blocks of any dose are cut from it, as noise of another
    dose differs in its size, and hardly in its pattern before rays are starved.

    Args:
        dataset_dir, split, part: which volumes.
        low, high: HU that become 0 and 1; values beyond are clipped.
        dose, photons: of the simulation, see `LowDoseCT`.
        folder: where simulations are kept, as they take seconds a slice.
        seed: of the simulation.
        weights: by file name.
    """
    found = []
    for example, volume in volumes(dataset_dir, split, part):
        hu = torch.from_numpy(np.ascontiguousarray(volume.values()[:1]))
        beam = Beam(pixel_mm=float(volume.spacing_mm[0]))
        kept = Path(folder) / f"{example.name}_{dose:g}_{photons:g}_{seed}.npy"
        if not kept.exists():
            change = LowDoseCT(dose, seed, photons=photons, beam=beam).change(hu)
            kept.parent.mkdir(parents=True, exist_ok=True)
            partial = kept.with_suffix(".partial.npy")
            np.save(partial, torch.where(hu < PADDING_HU, 0.0, change).half().numpy())
            partial.replace(kept)
        clean = ((hu - low) / (high - low)).clamp(0, 1)
        change = torch.from_numpy(np.load(kept)).float()
        found.append(Stack(clean, change / change[hu > BODY_HU].std(), (weights or {}).get(example.name, 1.0)))
    return found


class Blocks:
    """Batches of noisy and clean blocks; batch number n depends on the seed and on n alone.

    Args:
        stacks: where blocks are cut from; a stack is drawn by weight, then a corner and flips, and a turn about the
            third axis where the block is square.
        size: sides of a block in voxels.
        batch_size: blocks a batch.
        degrade: makes the noisy block where a stack has no simulated change.
        levels: smallest and largest standard deviation of simulated noise, in model units, the logarithm drawn evenly
            between.
        seed: begins every draw.
        dark: a block whose mean is lower is drawn again, twice at most.

    Raises:
        OptionError: no stack is as large as a block, or one has no change and `degrade` is None.
    """

    def __init__(
        self,
        stacks: Sequence[Stack],
        *,
        size: Sequence[int],
        batch_size: int,
        degrade: Degradation | None = None,
        levels: tuple[float, float] = (1.0, 1.0),
        seed: int = 0,
        dark: float = 0.1,
    ) -> None:
        self.size = tuple(size)
        self.stacks = [
            stack for stack in stacks if all(n >= s for n, s in zip(stack.clean.shape[1:], self.size, strict=True))
        ]
        if not self.stacks:
            raise OptionError(f"no training volume holds a block of {self.size} voxels; use smaller blocks")
        if degrade is None and any(stack.change is None for stack in self.stacks):
            raise OptionError("a training volume has no simulated change: name a degradation")
        weights = np.array([stack.weight for stack in self.stacks])
        self.chances = weights / weights.sum()
        self.batch_size, self.degrade, self.levels, self.seed, self.dark = batch_size, degrade, levels, seed, dark

    def _pair(self, draw: np.random.Generator) -> tuple[Tensor, Tensor]:
        """One noisy and one clean block."""
        stack = self.stacks[draw.choice(len(self.stacks), p=self.chances)]
        for _ in range(3):
            corner = [int(draw.integers(n - s + 1)) for n, s in zip(stack.clean.shape[1:], self.size, strict=True)]
            box = (slice(None), *[slice(c, c + s) for c, s in zip(corner, self.size, strict=True)])
            if float(stack.clean[box].mean()) > self.dark:
                break
        flips = [axis for axis in range(1, 4) if draw.random() < 0.5]
        turn = draw.random() < 0.5 and self.size[0] == self.size[1]

        def laid(block: Tensor) -> Tensor:
            block = block[box].flip(flips)
            return (block.transpose(1, 2) if turn else block).contiguous()

        clean = laid(stack.clean)
        if stack.change is not None:
            level = math.exp(draw.uniform(math.log(self.levels[0]), math.log(self.levels[1])))
            return (clean + level * laid(stack.change)).clamp(0, 1), clean
        assert self.degrade is not None
        return self.degrade(clean), clean

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        """Noisy and clean blocks, shape (N, 1, *size) each."""
        draw = np.random.default_rng((self.seed, number))
        if self.degrade is not None:
            self.degrade.set_random_state(int(draw.integers(2**31)))
        noisy, clean = zip(*[self._pair(draw) for _ in range(self.batch_size)], strict=True)
        return torch.stack(noisy), torch.stack(clean)


def fixed_pairs(blocks: Blocks, number: int) -> list[tuple[Tensor, Tensor]]:
    """The first noisy and clean blocks, shape (1, *size) each; for validation."""
    batches = [blocks.batch(n) for n in range(-(-number // blocks.batch_size))]
    pairs = [pair for noisy, clean in batches for pair in zip(noisy, clean, strict=True)]
    return pairs[:number]


class BlockValidation:
    """Mean PSNR, range 1, of a network over fixed pairs; larger is better."""

    def __init__(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
        self.pairs = pairs
        self.shown: list[Shown] = []

    def __call__(self, network: torch.nn.Module) -> float:
        """Decibel."""
        device = next(network.parameters()).device
        with torch.inference_mode():
            outputs = [network(noisy[None].to(device))[0].cpu() for noisy, _ in self.pairs]
        errors = [torch.mean((y - clean) ** 2) for y, (_, clean) in zip(outputs, self.pairs, strict=True)]
        self.shown = [Shown(noisy, y, clean) for y, (noisy, clean) in zip(outputs[:3], self.pairs, strict=False)]
        return float(np.mean([float(-10 * torch.log10(error)) for error in errors]))
