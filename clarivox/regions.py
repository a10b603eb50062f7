# SPDX-License-Identifier: Apache-2.0
"""Boxes of voxels in which signal, noise and contrast are measured, given or found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clarivox.errors import OptionError, RegionError


@dataclass(frozen=True)
class Region:
    """A box of voxels; the stops are exclusive."""

    name: str
    x: tuple[int, int]
    y: tuple[int, int]
    z: tuple[int, int]

    def mask(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """True inside, for an array of shape (X, Y, Z).

        Raises:
            RegionError: the box leaves the image or is empty.
        """
        for axis, (start, stop), side in zip("xyz", (self.x, self.y, self.z), shape, strict=True):
            if not 0 <= start < stop <= side:
                raise RegionError(
                    f"region {self.name}: {axis} runs from {start} to {stop}, and the image from 0 to {side}",
                    code="outside",
                )
        mask = np.zeros(shape, bool)
        mask[slice(*self.x), slice(*self.y), slice(*self.z)] = True
        return mask

    def __str__(self) -> str:
        return f"x {self.x[0]}:{self.x[1]}, y {self.y[0]}:{self.y[1]}, z {self.z[0]}:{self.z[1]}"

    @classmethod
    def parse(cls, name: str, text: str) -> Region:
        """A region from words like "10:30,40:60,5:6": x, y and slices; a single number is one slice.

        Raises:
            OptionError: the words are not like that.

        >>> Region.parse("signal", "10:30,40:60,5")
        Region(name='signal', x=(10, 30), y=(40, 60), z=(5, 6))
        """
        try:
            sides = [[int(number) for number in part.split(":")] for part in text.split(",")]
            if len(sides) != 3 or any(len(side) not in (1, 2) for side in sides):
                raise ValueError(text)
            x, y, z = ((side[0], side[1] if len(side) == 2 else side[0] + 1) for side in sides)
            return cls(name, x, y, z)
        except ValueError:
            raise OptionError(
                f"a region is X0:X1,Y0:Y1,Z0:Z1 in voxels; found {text!r}; write for example 10:30,40:60,5"
            ) from None


def flat_regions(
    values: NDArray[np.float32], places: list[int], *, noisy: bool = False
) -> tuple[Region, Region] | None:
    """A bright and a dark flat block within the patient, on the middle one of some slices.

    Args:
        values: shape (X, Y, N), without noise where possible.
        places: the slice that each of the N is.
        noisy: the picture has noise everywhere, so blocks of one value are a frame around it or burnt in.

    Returns:
        Signal and background, or None where the picture has no two flat blocks of different level.
    """
    middle = values.shape[2] // 2
    picture = values[:, :, middle].astype(np.float64)
    side = max(6, min(24, min(picture.shape) // 20))
    columns, rows = (length // side for length in picture.shape)
    if columns * rows < 8:
        return None
    blocks = picture[: columns * side, : rows * side].reshape(columns, side, rows, side).transpose(0, 2, 1, 3)
    mean, deviation = blocks.mean(axis=(2, 3)).ravel(), blocks.std(axis=(2, 3)).ravel()
    low, high = np.percentile(picture, (1, 99))
    inside = np.flatnonzero((mean > low + 0.15 * (high - low)) & (mean < high) & ((deviation > 0) | (not noisy)))
    if inside.size < 4:
        return None
    flat = inside[np.argsort(deviation[inside])[: max(4, inside.size // 4)]]
    bright, dark = int(flat[np.argmax(mean[flat])]), int(flat[np.argmin(mean[flat])])
    if mean[bright] - mean[dark] <= 1e-6 * max(abs(high), 1.0):
        return None
    z = (places[middle], places[middle] + 1)
    found = []
    for name, block in (("signal", bright), ("background", dark)):
        x, y = block // rows * side, block % rows * side
        found.append(Region(name, (x, x + side), (y, y + side), z))
    return found[0], found[1]
