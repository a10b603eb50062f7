# SPDX-License-Identifier: Apache-2.0
"""What phantoms are drawn with: antialiased ellipses, smooth random fields, blur."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clarivox.errors import OptionError
from clarivox.volume import Volume, blank_like

Picture = NDArray[np.float32]
"""One slice, shape (Y, X)."""


class Pair(NamedTuple):
    """A phantom as a scanner would show it, and as it is."""

    degraded: Volume
    truth: Volume


class Insert(NamedTuple):
    """A disc of known value that runs through every slice; for regions and edges of known truth."""

    name: str
    centre_mm: tuple[float, float]
    """Along X and Y from the middle of the picture, Y towards the bottom."""
    radius_mm: float
    value: float
    """In the phantom's unit."""


class Ellipse(NamedTuple):
    """An ellipse, in fractions of half the picture's side; the middle is (0, 0), y points down."""

    value: float
    x: float
    y: float
    a: float
    b: float
    degrees: float = 0.0


def grid(size: int) -> tuple[Picture, Picture]:
    """Coordinates (x, y) of pixel centres, each (Y, X), from -1 to 1 over the picture's edges.

    >>> x, y = grid(4)
    >>> x[0].tolist()
    [-0.75, -0.25, 0.25, 0.75]
    """
    line = ((np.arange(size, dtype=np.float32) + 0.5) * 2 / size - 1).astype(np.float32)
    x, y = np.meshgrid(line, line)
    return x, y


def coverage(x: Picture, y: Picture, shape: Ellipse, softness_px: float = 1.0) -> Picture:
    """Share of each pixel that an ellipse covers, 0 to 1.

    Args:
        x, y: coordinates as from `grid`, shape (Y, X); y may be bent to bend the shape.
        shape: the ellipse; its value is not used.
        softness_px: width of the edge, pixels; 1 is an antialiased sharp edge.

    >>> x, y = grid(200)
    >>> area = coverage(x, y, Ellipse(1, 0, 0, 0.5, 0.25)).sum() * (2 / 200) ** 2
    >>> bool(abs(area - np.pi * 0.5 * 0.25) < 1e-3)
    True
    """
    turn = np.deg2rad(shape.degrees)
    dx, dy = x - shape.x, y - shape.y
    u = (dx * np.cos(turn) + dy * np.sin(turn)) / shape.a
    v = (dy * np.cos(turn) - dx * np.sin(turn)) / shape.b
    radius = np.sqrt(u * u + v * v) + 1e-6
    slope = np.sqrt((u / shape.a) ** 2 + (v / shape.b) ** 2) / radius + 1e-6
    pixel = 2 / x.shape[-1] * softness_px
    share: Picture = np.clip(0.5 - (radius - 1) / slope / pixel, 0, 1).astype(np.float32)
    return share


def paint(picture: Picture, share: Picture, value: float | Picture) -> None:
    """Lay a value over a picture in place where `share`, 0 to 1, says so."""
    picture += share * (value - picture)


def smooth_field(shape: tuple[int, ...], scale_px: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """A random field of mean 0 and standard deviation 1 whose structures are about `scale_px` wide; it wraps around.

    >>> field = smooth_field((32, 32), 4.0, np.random.default_rng(0))
    >>> bool(abs(field.std() - 1) < 1e-5)
    True
    """
    spectrum = np.fft.rfftn(rng.standard_normal(shape, np.float32))
    squares = np.zeros((), np.float64)
    for axis, side in enumerate(shape):
        frequency = np.fft.rfftfreq(side) if axis == len(shape) - 1 else np.fft.fftfreq(side)
        squares = squares + (frequency**2).reshape([-1 if i == axis else 1 for i in range(len(shape))])
    spectrum *= np.exp(-2 * (np.pi * scale_px / 2) ** 2 * squares)
    spectrum.flat[0] = 0
    field = np.fft.irfftn(spectrum, s=shape, axes=range(len(shape)))
    normal: NDArray[np.float32] = (field / max(float(field.std()), 1e-12)).astype(np.float32)
    return normal


def blur(pictures: NDArray[np.float32], sigma_px: tuple[float, ...]) -> NDArray[np.float32]:
    """Gaussian blur over the last axes, one sigma each in pixels; edges are repeated.

    >>> blur(np.ones((3, 8, 8), np.float32), (1.0, 1.0)).min().item()
    1.0
    """
    for back, sigma in enumerate(reversed(sigma_px), start=1):
        if sigma <= 0:
            continue
        reach = int(np.ceil(3 * sigma))
        taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
        taps /= taps.sum()
        axis = pictures.ndim - back
        side = pictures.shape[axis]
        padded = np.pad(pictures, [(reach, reach) if i == axis else (0, 0) for i in range(pictures.ndim)], mode="edge")
        total = np.zeros(pictures.shape, np.float64)
        for start, weight in enumerate(taps):
            total += weight * padded.take(range(start, start + side), axis)
        pictures = total.astype(np.float32)
    return pictures


def stack(pictures: NDArray[np.float32], dtype: type[np.generic], low: int, high: int) -> NDArray[np.generic]:
    """Pictures (Z, Y, X) rounded, clipped to [low, high], as the array of a volume, (1, X, Y, Z)."""
    depth, rows, columns = pictures.shape
    array = blank_like((1, columns, rows, depth), np.dtype(dtype))
    array.transpose(0, 3, 2, 1)[0] = np.clip(np.rint(pictures), low, high)
    return array


def affine(size: int, fov_mm: float, depth: int, thickness_mm: float) -> NDArray[np.float64]:
    """Index to RAS of an axial stack centred on the origin, columns towards the left, rows towards the back."""
    pixel = fov_mm / size
    matrix = np.diag([-pixel, -pixel, thickness_mm, 1.0])
    matrix[:3, 3] = [(size - 1) / 2 * pixel, (size - 1) / 2 * pixel, -(depth - 1) / 2 * thickness_mm]
    return matrix


def check_size(size: int, slices: int) -> None:
    """Refuse a phantom too small to hold its parts, or larger than a phantom need be.

    Raises:
        OptionError: `size` is not 32 to 2048 pixels, or `slices` not 1 to 1024.
    """
    if not 32 <= size <= 2048:
        raise OptionError(f"a phantom's size is 32 to 2048 pixels; found {size}; give --size 256", code="bad_size")
    if not 1 <= slices <= 1024:
        raise OptionError(f"a phantom has 1 to 1024 slices; found {slices}; give --slices 8", code="bad_size")
