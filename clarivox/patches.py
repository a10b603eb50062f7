# SPDX-License-Identifier: Apache-2.0
"""Training pairs, made on the fly: clean pictures in, degraded and clean patches out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from clarivox.errors import OptionError
from clarivox.splits import volumes
from clarivox.training_log import Shown
from clarivox.transforms.bicubic import BicubicResize
from clarivox.volume import Volume


class Degradation(Protocol):
    """A transform with its own random state: any of MONAI's randomizable transforms, or a composition of them."""

    def set_random_state(self, seed: int) -> object:
        """Begins a sequence of draws."""

    def __call__(self, image: Tensor) -> Tensor:
        """A degraded copy of an image of shape (C, *spatial)."""


@dataclass(frozen=True)
class Pictures:
    """Clean pictures of one volume, shape (1, X, Y) each, that are drawn from alike."""

    images: tuple[Tensor, ...]
    weight: float = 1.0
    """How often this volume is chosen, relative to the others."""


def pictures(
    volume: Volume,
    *,
    shrink: Mapping[float | str, float] | None = None,
    scale: float | None = None,
    weight: float = 1.0,
) -> list[Pictures]:
    """The slices of a volume that hold tissue, divided by the 99th percentile of the volume, or by `scale`.

    Where voxels are cubes (within 20 %), slices across all three axes are taken.

    Args:
        volume: one channel.
        shrink: factor: share. One group is made for each factor and gets that share of the weight; shrunken copies are
            smoother and carry less of the scanner's own noise. None keeps the volume's own grid. A factor may stand in
            quotes, as keys of a configuration do.
        scale: the value that becomes 1; None takes the 99th percentile.
        weight: the volume's, among others.

    >>> v = Volume(np.ones((1, 8, 8, 3), np.float32), np.diag([1.0, 1.0, 5.0, 1.0]))
    >>> [(len(group.images), group.weight) for group in pictures(v, shrink={1.0: 0.75, 0.5: 0.25})]
    [(3, 0.75), (3, 0.25)]
    """
    values = torch.from_numpy(np.ascontiguousarray(volume.values()[0]))
    values = values / (scale or float(np.percentile(values.numpy(), 99)) or 1.0)
    spacing = volume.spacing_mm
    cubes = min(values.shape) >= 64 and max(spacing) < 1.2 * min(spacing)
    planes = [image[None] for axis in ((2, 1, 0) if cubes else (2,)) for image in values.unbind(axis)]
    planes = [image for image in planes if float((image > 0.1).float().mean()) > 0.1]
    groups = [
        (tuple(BicubicResize(float(f))(i) for i in planes), weight * w) for f, w in (shrink or {1.0: 1.0}).items()
    ]
    return [Pictures(images, share) for images, share in groups if images]


def pictures_of(
    dataset_dir: str | Path,
    split: str | Path,
    part: str,
    *,
    shrink: Mapping[float | str, float] | None = None,
    scale: float | None = None,
    weights: Mapping[str, float] | None = None,
) -> list[Pictures]:
    """`pictures` of every volume of one part of a split; `weights` are by file name without suffix, 1 where absent."""
    return [
        group
        for example, volume in volumes(dataset_dir, split, part)
        for group in pictures(volume, shrink=shrink, scale=scale, weight=(weights or {}).get(example.name, 1.0))
    ]


def spread(groups: Sequence[Pictures], each: int, multiple: int = 1, side: int | None = None) -> list[Tensor]:
    """Evenly spaced pictures of each group, cropped to multiples of a number of pixels; for validation.

    Args:
        groups: where pictures are taken from.
        each: pictures of each group, at most.
        multiple: sides are cut at their end to whole multiples of this.
        side: pixels along each axis that are kept, from the middle; None keeps all.

    >>> group = Pictures(tuple(torch.full((1, 9, 9), float(i)) for i in range(7)))
    >>> [float(image.mean()) for image in spread([group], each=3, multiple=4)]
    [1.0, 3.0, 5.0]
    """
    chosen = []
    for group in groups:
        places = (np.arange(each) + 0.5) * len(group.images) / each
        for place in dict.fromkeys(places.astype(int).tolist()):
            image = group.images[place]
            lengths = [n - n % multiple for n in (min(m, side or m) for m in image.shape[1:])]
            starts = [(m - n) // 2 if side else 0 for m, n in zip(image.shape[1:], lengths, strict=True)]
            chosen.append(image[(slice(None), *[slice(s, s + n) for s, n in zip(starts, lengths, strict=True)])])
    return chosen


def cropped(volume: Volume, multiple: int) -> Volume:
    """The volume without the last columns and rows that do not fill a multiple.

    >>> cropped(Volume(np.ones((1, 9, 7, 1)), np.eye(4)), 4).shape
    (1, 8, 4, 1)
    """
    _, x, y, _ = volume.shape
    return volume.replace(array=volume.array[:, : x - x % multiple, : y - y % multiple])


class Patches:
    """Batches of patches; batch number n depends on the seed and on n alone, so a resumed run sees the same data.

    Args:
        groups: where patches are cut from; a group is drawn by weight, then a picture, a corner, flips and a turn.
        degrade: makes the input from the clean patch.
        size: patch length along each axis, in voxels of the clean picture.
        batch_size: patches a batch.
        seed: begins every draw.
        dark: a patch with a lower mean is drawn again.
        tries: patches looked at before a dark one is taken.
        level: a batch has a third part, the standard deviation of what the degradation added to each patch, shape (N,),
            for networks that are told the noise level.

    Raises:
        OptionError: no group has a picture of at least `size` along each axis.
    """

    def __init__(
        self,
        groups: Sequence[Pictures],
        degrade: Degradation,
        *,
        size: int,
        batch_size: int,
        seed: int = 0,
        dark: float = 0.1,
        tries: int = 4,
        level: bool = False,
    ) -> None:
        fitting = [
            Pictures(tuple(image for image in group.images if min(image.shape[1:]) >= size), group.weight)
            for group in groups
        ]
        self.groups = [group for group in fitting if group.images]
        if not self.groups:
            raise OptionError(f"no training picture is {size} voxels wide along each axis; use smaller patches")
        weights = np.array([group.weight for group in self.groups])
        self.chances = weights / weights.sum()
        self.degrade, self.size, self.batch_size, self.seed = degrade, size, batch_size, seed
        self.dark, self.tries, self.level = dark, tries, level

    def _cut(self, draw: np.random.Generator) -> Tensor:
        group = self.groups[draw.choice(len(self.groups), p=self.chances)]
        for _ in range(self.tries):
            image = group.images[draw.integers(len(group.images))]
            corner = [int(draw.integers(n - self.size + 1)) for n in image.shape[1:]]
            patch = image[(slice(None), *[slice(c, c + self.size) for c in corner])]
            if float(patch.mean()) > self.dark:
                break
        flips = [axis for axis in range(1, patch.ndim) if draw.random() < 0.5]
        patch = patch.flip(flips)
        return patch.transpose(1, 2) if draw.random() < 0.5 else patch

    def batch(self, number: int) -> tuple[Tensor, ...]:
        """Degraded and clean patches, shapes (N, 1, *degraded) and (N, 1, *spatial); the noise level where wanted."""
        draw = np.random.default_rng((self.seed, number))
        clean = [self._cut(draw).contiguous() for _ in range(self.batch_size)]
        self.degrade.set_random_state(int(draw.integers(2**31)))
        inputs, targets = torch.stack([self.degrade(patch) for patch in clean]), torch.stack(clean)
        return (inputs, targets, (inputs - targets).flatten(1).std(dim=1)) if self.level else (inputs, targets)


class Validation:
    """Mean PSNR, range 1, of a network over fixed pictures, each with each degradation.

    Args:
        images: clean pictures, shape (1, X, Y).
        degradations: makers of the network's input, with fixed seeds.

    Attributes:
        shown: the first picture with each degradation (three at most), as the last call saw them.
    """

    def __init__(self, images: Sequence[Tensor], degradations: Sequence[Callable[[Tensor], Tensor]]) -> None:
        self.pairs = [(degrade(image), image) for degrade in degradations for image in images]
        self.firsts = [number * len(images) for number in range(min(3, len(degradations)))]
        self.shown: list[Shown] = []

    def __call__(self, network: torch.nn.Module) -> float:
        """Larger is better; decibel."""
        device = next((p.device for p in network.parameters()), torch.device("cpu"))
        scores, self.shown = [], []
        with torch.inference_mode():
            for number, (degraded, clean) in enumerate(self.pairs):
                output = network(degraded[None].to(device))[0].float().cpu()
                scores.append(float(-10 * torch.log10(torch.mean((output - clean) ** 2))))
                if number in self.firsts:
                    self.shown.append(Shown(degraded, output, clean))
        return float(np.mean(scores))
