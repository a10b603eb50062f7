# SPDX-License-Identifier: Apache-2.0
"""From stored voxels to what a network sees, one window at a time.

Nothing here holds a copy of the volume: a window's values are read, scaled, and forgotten. Networks always see one
polarity (larger is brighter on the screen), the axes (X, Y) or (X, Y, Z), and never padding or a non-finite value:
those become 0, the low end of the scale.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from numpy.typing import NDArray

from clarivox.errors import BundleError, RegionError
from clarivox.metrics import noise_estimate
from clarivox.scaling import Lowest, Percentiles, Range, Samples, Scaling, StoredRange, Unscaled, Window
from clarivox.tiles import Box
from clarivox.volume import Axis, Channels, Index, Volume

__all__ = [
    "Items",
    "Lowest",
    "NoiseLevel",
    "Percentiles",
    "PrepareVolume",
    "PrepareVolumed",
    "Prepared",
    "StoredRange",
    "Unscaled",
    "Window",
]

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of red, green and blue. Source: ITU-R BT.601, as DICOM's YBR_FULL."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A volume as a network sees it: planes of model values, read box by box.

    Attributes:
        volume: the volume, unchanged.
        ranges: for each plane the values that become 0 and 1.
        by_channel: True where each colour channel is a plane of its own, False where the luma of a colour is the one.
        levels: standard deviation of the noise as a model value, for each plane and slice, shape (planes, Z); None
            where the network asks for none.
    """

    volume: Volume
    ranges: tuple[Range, ...]
    by_channel: bool = False
    levels: NDArray[np.float32] | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(planes, X, Y, Z)."""
        return (len(self.ranges), *self.volume.shape[1:])

    def scale(self, plane: int) -> tuple[float, float]:
        """(offset, width) of one plane: model value = (value - offset) / width; width is negative where inverted."""
        found = self.ranges[plane]
        width = (found.high - found.low) or 1.0
        return (found.high, -width) if self.volume.inverted else (found.low, width)

    def read(self, plane: int, box: Box) -> NDArray[np.float32]:
        """Model values of one box (X, Y, Z) of a plane, float32, the box's shape; a new array."""
        values = plane_values(self.volume, plane, box, self.by_channel)
        offset, width = self.scale(plane)
        hidden = blank(self.volume, plane, box, self.by_channel)
        if offset != 0:
            values -= np.float32(offset)
        if width != 1:
            values *= np.float32(1 / width)
        if self.ranges[plane].clip:
            np.clip(values, 0, 1, out=values)
        if hidden is not None:
            values[hidden] = 0
        return values

    def tensor(self) -> torch.Tensor:
        """All model values at once, shape (planes, X, Y, Z): for training, not for large volumes."""
        planes, *sides = self.shape
        box = tuple(slice(0, side) for side in sides)
        return torch.from_numpy(np.stack([self.read(plane, box) for plane in range(planes)]))


def plane_count(volume: Volume, by_channel: bool) -> int:
    """How many planes a network treats one by one."""
    colour = volume.channels in (Channels.RGB, Channels.YBR)
    return 1 if colour and not by_channel else volume.shape[0]


def at(channels: slice, box: Box) -> Index:
    """The index of a box (X, Y, Z) in some channels."""
    x, y, z = box
    return channels, x, y, z


def is_luma(volume: Volume, by_channel: bool) -> bool:
    """Whether a plane is the luma of three channels."""
    return volume.channels is Channels.RGB and not by_channel


def plane_values(volume: Volume, plane: int, box: Box, by_channel: bool) -> NDArray[np.float32]:
    """Values in the volume's unit of one box of a plane: the luma of RGB, the Y of YBR, else the channel itself."""
    if is_luma(volume, by_channel):
        red, green, blue = volume.values(at(slice(0, 3), box))
        luma: NDArray[np.float32] = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
        return luma
    values: NDArray[np.float32] = volume.values(at(slice(plane, plane + 1), box))[0]
    return values


def blank(volume: Volume, plane: int, box: Box, by_channel: bool) -> NDArray[np.bool_] | None:
    """True where one box of a plane shows no image: padding and non-finite values; None where all of it does."""
    index = at(slice(0, 3) if is_luma(volume, by_channel) else slice(plane, plane + 1), box)
    hidden = volume.padding_mask(index)
    mask: NDArray[np.bool_] | None = None if hidden is None else np.all(hidden, axis=0)
    if volume.array.dtype.kind == "f":
        bad = np.logical_not(np.isfinite(volume.array[index]).all(axis=0))
        mask = bad if mask is None else mask | bad
    return None if mask is None or not mask.any() else mask


def samples(volume: Volume, plane: int, by_channel: bool) -> Samples:
    """What shows an image in one plane: stored integers where all slices share one scale, else values."""
    same = np.ptp(volume.slope) == 0 and np.ptp(volume.intercept) == 0 and volume.slope[0] > 0
    stored = bool(same) and volume.array.dtype.kind in "iu" and not is_luma(volume, by_channel)

    def slabs() -> Iterator[NDArray[Any]]:
        _, x, y, depth = volume.shape
        for z in range(depth):
            box = (slice(0, x), slice(0, y), slice(z, z + 1))
            slab = volume.array[(plane, *box)] if stored else plane_values(volume, plane, box, by_channel)
            hidden = blank(volume, plane, box, by_channel)
            yield slab if hidden is None else slab[~hidden]

    if stored:
        return Samples(slabs, float(volume.slope[0]), float(volume.intercept[0]))
    return Samples(slabs)


@dataclass(frozen=True)
class NoiseLevel:
    """Tells a network how noisy each slice is.

    Args:
        sigma: the standard deviation, of `full`; "auto" estimates it in each slice, from the finest diagonal details
            of what lies within the range that can be stored. White noise is found to a few per cent; fine texture
            counts as noise too, filtered noise for less than it is.
        full: what `sigma` is a share of; the network's 1.

    Raises:
        BundleError: sigma is below 0, or another word.

    >>> flat = Volume(np.zeros((1, 4, 4, 2), np.float32), np.eye(4))
    >>> PrepareVolume(Unscaled(), noise=NoiseLevel(51))(flat).levels
    array([[0.2, 0.2]], dtype=float32)
    """

    sigma: float | str = "auto"
    full: float = 255.0

    def __post_init__(self) -> None:
        if self.sigma != "auto" and (isinstance(self.sigma, str) or not self.sigma >= 0):
            raise BundleError(f"sigma is a number, 0 or more, or auto; found {self.sigma}")

    def __call__(self, prepared: Prepared) -> NDArray[np.float32]:
        """The level of each plane and slice, as a model value, shape (planes, Z)."""
        planes, x, y, depth = prepared.shape
        if not isinstance(self.sigma, str):
            return np.full((planes, depth), self.sigma / self.full, np.float32)
        sides = slice(0, x), slice(0, y)
        boxes = [(plane, (*sides, slice(z, z + 1))) for plane in range(planes) for z in range(depth)]
        found = [self._found(prepared, plane, box) for plane, box in boxes]
        return np.array(found, np.float32).reshape(planes, depth)

    def _found(self, prepared: Prepared, plane: int, box: Box) -> float:
        """The estimate of one slice; 0 where it is too small for one."""
        values = prepared.read(plane, box)
        hidden = blank(prepared.volume, plane, box, prepared.by_channel)
        shown = np.ones(values.shape, bool) if hidden is None else ~hidden
        ends = prepared.volume.stored_range
        if ends is not None and not is_luma(prepared.volume, prepared.by_channel):
            # What was clipped to the ends of the range lost its noise there.
            stored = prepared.volume.array[at(slice(plane, plane + 1), box)][0]
            shown &= (stored > ends[0]) & (stored < ends[1])
        try:
            return noise_estimate(values, shown)
        except RegionError:
            return 0.0


class PrepareVolume(Transform):  # type: ignore[misc]
    """Finds the scale of a volume and makes its model values readable, lazily.

    Args:
        scaling: one of `Percentiles`, `Window`, `StoredRange`, `Unscaled`.
        by_channel: give each colour channel to the network as a plane of its own, as photographs and a bundle that
            changes the grid need; otherwise the network sees the luma.
        noise: finds the level that a further channel tells the network; None gives it no such channel.
        whole: return the tensor of all model values, shape (planes, X, Y, Z), for training.

    >>> ramp = Volume(np.arange(8, dtype=np.int16).reshape(1, 2, 2, 2), np.eye(4))
    >>> PrepareVolume(Window(0, 7))(ramp).tensor().max()
    tensor(1.)
    """

    def __init__(
        self, scaling: Scaling, by_channel: bool = False, whole: bool = False, noise: NoiseLevel | None = None
    ) -> None:
        self.scaling = scaling
        self.by_channel = by_channel
        self.whole = whole
        self.noise = noise

    def __call__(self, volume: Volume) -> Any:
        """A `Prepared`, or a tensor where `whole` is set."""
        planes = range(plane_count(volume, self.by_channel))
        found = [self.scaling(volume, samples(volume, plane, self.by_channel)) for plane in planes]
        prepared = self.scaled(volume, tuple(found))
        return prepared.tensor() if self.whole else prepared

    def scaled(self, volume: Volume, ranges: tuple[Range, ...]) -> Prepared:
        """The volume with ranges that are known, one a plane; the scaling is not asked."""
        prepared = Prepared(volume, ranges, self.by_channel)
        return prepared if self.noise is None else replace(prepared, levels=self.noise(prepared))


class PrepareVolumed(MapTransform):  # type: ignore[misc]
    """Dictionary twin of `PrepareVolume`.

    Args:
        keys: the items that hold a `Volume`.
        scaling, by_channel, whole, noise: see `PrepareVolume`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        scaling: Scaling,
        by_channel: bool = False,
        whole: bool = False,
        noise: NoiseLevel | None = None,
    ) -> None:
        super().__init__(keys)
        self.prepare = PrepareVolume(scaling, by_channel, whole, noise)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The items with each volume prepared."""
        return dict(data) | {key: self.prepare(data[key]) for key in self.key_iterator(data)}


@dataclass(frozen=True, eq=False)
class Items:
    """A prepared volume cut into the images that a network takes one at a time.

    Attributes:
        prepared: the volume; where it tells the level of the noise, that is a further channel after the others.
        spatial_dims: 2 for networks of slices, 3 for networks of volumes and clips.
        neighbours: slices on each side that a 2.5D network sees as further channels; the end slices are repeated.
        clip: True for a network of clips: in 3D a clip is one image, and a stack of slices is one image a slice; in
            2D the neighbours are those in a clip, and a slice of a stack is its own neighbour.
    """

    prepared: Prepared
    spatial_dims: int
    neighbours: int = 0
    clip: bool = False

    @property
    def by_slice(self) -> bool:
        """Whether each slice is an image of its own."""
        return self.spatial_dims == 2 or (self.clip and self.prepared.volume.third_axis is not Axis.TIME)

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial shape of one image."""
        _, x, y, z = self.prepared.shape
        return (x, y) if self.spatial_dims == 2 else (x, y, 1) if self.by_slice else (x, y, z)

    def __len__(self) -> int:
        planes, _, _, depth = self.prepared.shape
        return planes * depth if self.by_slice else planes

    def place(self, item: int, box: Box) -> tuple[int, Box]:
        """The plane and the box (X, Y, Z) of a box of one image."""
        if not self.by_slice:
            return item, box
        plane, z = divmod(item, self.prepared.shape[3])
        return plane, (box[0], box[1], slice(z, z + 1))

    def read(self, item: int, box: Box) -> torch.Tensor:
        """Model values of a box of one image, shape (C, *box)."""
        plane, (x, y, z) = self.place(item, box)
        if self.spatial_dims == 3:
            read = torch.from_numpy(self.prepared.read(plane, (x, y, z)))[None]
        else:
            last, alone = self.prepared.shape[3] - 1, self.clip and self.prepared.volume.third_axis is not Axis.TIME
            reach = range(-self.neighbours, self.neighbours + 1)
            near = [z.start if alone else min(max(z.start + step, 0), last) for step in reach]
            slabs = [self.prepared.read(plane, (x, y, slice(k, k + 1)))[..., 0] for k in near]
            read = torch.from_numpy(np.stack(slabs))
        if self.prepared.levels is None:
            return read
        whole = self.prepared.levels[plane, z if self.by_slice else slice(None)]
        return torch.cat([read, torch.full_like(read[:1], float(np.median(whole)))])
