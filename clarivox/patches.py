# SPDX-License-Identifier: Apache-2.0
"""Training pairs, made on the fly: clean pictures in, degraded and clean patches out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import clarivox.io
from clarivox.errors import OptionError, RescaleError
from clarivox.image_cache import CachedImages, Groups, ImageCache, bytes_of, sides_of
from clarivox.splits import examples
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
    """Clean pictures of one volume, shape (1, X, Y) each, or the volume itself, that are drawn from alike."""

    images: Sequence[Tensor]
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

    Raises:
        RescaleError: there are values beyond `scale`, as in a radiograph of 12 bits (code beyond_scale).

    >>> v = Volume(np.ones((1, 8, 8, 3), np.float32), np.diag([1.0, 1.0, 5.0, 1.0]))
    >>> [(len(group.images), group.weight) for group in pictures(v, shrink={1.0: 0.75, 0.5: 0.25})]
    [(3, 0.75), (3, 0.25)]
    """
    values = torch.from_numpy(np.ascontiguousarray(volume.values()[0]))
    if scale is not None and float(values.max()) > 1.01 * scale:
        raise RescaleError(
            f"the recipe is for values up to {scale:g}; found {float(values.max()):g}; bring the images to that range",
            code="beyond_scale",
        )
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
    cache_mb: float = 4096,
) -> list[Pictures]:
    """`pictures` of every volume of one part of a split, each read once now, and again when it is no longer kept.

    Args:
        dataset_dir: the folder that the split's paths are below.
        split: the JSON file.
        part: train, validation or test.
        shrink: as in `pictures`.
        scale: as in `pictures`.
        weights: by file name without suffix, 1 where absent.
        cache_mb: pictures that are kept in memory, in MB; memory does not grow with the data set beyond.
    """

    def cut(volume: Volume) -> list[Pictures]:
        return pictures(volume, shrink=shrink, scale=scale)

    return _cached(dataset_dir, split, part, cut, weights, cache_mb)


def volumes_of(
    dataset_dir: str | Path,
    split: str | Path,
    part: str,
    *,
    scale: float | None = None,
    offset: float = 0.0,
    weights: Mapping[str, float] | None = None,
    cache_mb: float = 4096,
) -> list[Pictures]:
    """Every volume of one part of a split whole, for patches in three dimensions: (values - offset) / scale.

    Args:
        dataset_dir: the folder that the split's paths are below.
        split: the JSON file.
        part: train, validation or test.
        scale: the value above `offset` that becomes 1; None takes each volume's 99th percentile.
        offset: the value that becomes 0.
        weights: by file name without suffix, 1 where absent.
        cache_mb: as in `pictures_of`.
    """

    def whole(volume: Volume) -> list[Pictures]:
        values = torch.from_numpy(np.ascontiguousarray(volume.values()[0])) - offset
        return [Pictures(((values / (scale or float(np.percentile(values.numpy(), 99)) or 1.0))[None],))]

    return _cached(dataset_dir, split, part, whole, weights, cache_mb)


def _cached(
    dataset_dir: str | Path,
    split: str | Path,
    part: str,
    cut: Callable[[Volume], list[Pictures]],
    weights: Mapping[str, float] | None,
    cache_mb: float,
) -> list[Pictures]:
    cache, found = ImageCache(int(cache_mb * 1e6)), []
    for example in examples(dataset_dir, split, part):
        weight = (weights or {}).get(example.name, 1.0)
        shares: list[float] = []

        def make(path: Path = example.path, shares: list[float] = shares) -> Groups:
            groups = cut(clarivox.io.read(path))
            shares[:] = [group.weight for group in groups]
            return tuple(tuple(group.images) for group in groups)

        key = str(example.path)
        made = cache.get(key, make)
        size = bytes_of(made)
        for number, (images, share) in enumerate(zip(made, shares, strict=True)):
            cached = CachedImages(cache, key, make, number, sides_of(images), size)
            found.append(Pictures(cached, weight * share))
    return found


def spread(
    groups: Sequence[Pictures], each: int, multiple: int = 1, side: int | None = None, most: int = 256
) -> list[Tensor]:
    """Evenly spaced pictures of each group, cropped to multiples of a number of pixels; for validation.

    Args:
        groups: where pictures are taken from.
        each: pictures of each group, at most.
        multiple: sides are cut at their end to whole multiples of this.
        side: pixels along each axis that are kept, from the middle; None keeps all.
        most: pictures in all, about; of more groups than that, evenly spaced ones are taken.

    >>> group = Pictures(tuple(torch.full((1, 9, 9), float(i)) for i in range(7)))
    >>> [float(image.mean()) for image in spread([group], each=3, multiple=4)]
    [1.0, 3.0, 5.0]
    """
    chosen: list[Tensor] = []
    wanted = min(len(groups), max(1, most // each))
    for group in (groups[int(place)] for place in (np.arange(wanted) + 0.5) * len(groups) / max(1, wanted)):
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


Pool = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Places of groups, and the chance of each."""

BLOCK = 100
"""Batches that draw from the same volumes, where not all are kept in memory."""


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
        augment: changes the clean patch before, beside the flips and the turn that are always drawn: RandZoom,
            RandElastic, or a composition of them.

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
        augment: Degradation | None = None,
    ) -> None:
        self.groups = [group for group in groups if any(min(sides) >= size for sides in sides_of(group.images))]
        if not self.groups:
            raise OptionError(f"no training picture is {size} voxels wide along each axis; use smaller patches")
        self.fitting = [
            [place for place, sides in enumerate(sides_of(group.images)) if min(sides) >= size] for group in self.groups
        ]
        weights = np.array([group.weight for group in self.groups])
        self.chances = weights / weights.sum()
        self.pools: dict[int, Pool] = {}
        self.degrade, self.size, self.batch_size, self.seed = degrade, size, batch_size, seed
        self.dark, self.tries, self.level, self.augment = dark, tries, level, augment

    def _pool(self, number: int) -> Pool:
        """The groups that a batch draws from, and their chances: all, or as many as are kept in memory at once."""
        caches = {id(g.images.cache): g.images.cache for g in self.groups if isinstance(g.images, CachedImages)}
        whole = {g.images.key: g.images.size for g in self.groups if isinstance(g.images, CachedImages)}
        room = sum(cache.limit_bytes for cache in caches.values())
        if sum(whole.values()) <= room:
            return np.arange(len(self.groups)), self.chances
        block = number // BLOCK
        if block not in self.pools:
            draw = np.random.default_rng((self.seed, block, 1))
            chosen: list[int] = []
            held: dict[str, int] = {}
            for place in draw.choice(len(self.groups), len(self.groups), replace=False, p=self.chances).tolist():
                images = self.groups[place].images
                if isinstance(images, CachedImages):
                    if held and sum(held.values()) + images.size * (images.key not in held) > room:
                        break
                    held[images.key] = images.size
                chosen.append(place)
            self.pools = {block: (np.array(chosen), np.full(len(chosen), 1 / len(chosen)))}
        return self.pools[block]

    def _cut(self, draw: np.random.Generator, pool: Pool) -> Tensor:
        place = int(pool[0][draw.choice(len(pool[0]), p=pool[1])])
        group, fitting = self.groups[place], self.fitting[place]
        for _ in range(self.tries):
            image = group.images[fitting[int(draw.integers(len(fitting)))]]
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
        pool = self._pool(number)
        clean = [self._cut(draw, pool).contiguous() for _ in range(self.batch_size)]
        if self.augment is not None:
            self.augment.set_random_state(int(draw.integers(2**31)))
            clean = [self.augment(patch).contiguous() for patch in clean]
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
