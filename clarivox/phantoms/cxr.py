# SPDX-License-Identifier: Apache-2.0
"""A chest radiograph phantom: attenuation summed along the beam, detector blur, quantum noise, 12 bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clarivox.errors import OptionError
from clarivox.phantoms.shapes import (
    Ellipse,
    Pair,
    Picture,
    affine,
    blur,
    check_size,
    coverage,
    grid,
    smooth_field,
    stack,
)
from clarivox.volume import Volume

FOV_MM = 400.0
LARGEST = 4095


def cxr(*, size: int = 512, seed: int = 0, shrink: int = 1, inverted: bool = False, photons: float = 3000.0) -> Pair:
    """A chest radiograph with lungs, ribs, heart and vessels.

    Args:
        size: columns and rows of the truth.
        seed: of the vessels, the texture and the noise.
        shrink: side of the degraded detector's elements in pixels of the truth, 1 to 4; above 1 the degraded picture
            is that much smaller, for super-resolution.
        inverted: True stores larger numbers for less attenuation (MONOCHROME1), as many detectors do.
        photons: counts in an element of the truth's size behind the thinnest part.

    Returns:
        Volumes (1, size // shrink, size // shrink, 1) and (1, size, size, 1), uint16 of 12 bits.

    Raises:
        OptionError: `size` or `shrink` is out of range, or `size` is not a multiple of `shrink`.

    >>> coarse, truth = cxr(size=96, shrink=2)
    >>> coarse.shape, truth.shape, coarse.spacing_mm[0] / truth.spacing_mm[0]
    ((1, 48, 48, 1), (1, 96, 96, 1), 2.0)
    """
    check_size(size, 1)
    if shrink not in (1, 2, 3, 4) or size % shrink:
        raise OptionError(f"shrink is 1 to 4 and divides the size; found {shrink} of {size}", code="bad_size")
    rng = np.random.default_rng(seed)
    density = _density(size, rng)
    counts = (photons * np.exp(-density)).astype(np.float32)
    small = blur(counts, (0.4 * shrink, 0.4 * shrink)) if shrink > 1 else blur(counts, (0.5, 0.5))
    side = size // shrink
    small = small.reshape(side, shrink, side, shrink).sum(axis=(1, 3))
    seen = rng.poisson(small).astype(np.float32)
    top, bottom = np.log(photons * 1.05), np.log(photons * np.exp(-4.6))
    notes = ("digital phantom; quantum noise simulated", "digital phantom without noise")
    pictures = (np.log(np.maximum(seen, 1) / shrink**2), np.log(counts))
    made = []
    for logs, note in zip(pictures, notes, strict=True):
        grey = (top - logs) / (top - bottom) * LARGEST
        array = stack((LARGEST - grey if inverted else grey)[None], np.uint16, 0, LARGEST)
        matrix = affine(logs.shape[0], FOV_MM, 1, 1.0)
        made.append(Volume(array, matrix, modality="DX", stored_range=(0, LARGEST), inverted=inverted, notes=(note,)))
    return Pair(*made)


def _density(size: int, rng: np.random.Generator) -> Picture:
    """Attenuation along the beam, about 0 (air) to 4 (spine), shape (Y, X)."""
    x, y = grid(size)
    trunk = _thickness(x, y, Ellipse(0, 0, 0.75, 0.92, 1.45))
    shoulders = _thickness(x, y, Ellipse(0, 0, 0.10, 1.15, 0.62))
    neck = _thickness(x, y, Ellipse(0, 0, -0.95, 0.26, 0.75))
    density = 2.3 * np.maximum(np.maximum(trunk, shoulders), neck)
    lungs = np.zeros_like(x)
    for side, width, bottom in ((-1, 0.355, 0.52), (1, 0.335, 0.56)):
        shape = Ellipse(0, side * 0.435, 0.10, width, 0.80, -side * 7)
        base = 1 / (1 + np.exp((y - bottom + 0.45 * (x - side * 0.42) ** 2 + 0.05) * 34))
        lungs = np.maximum(lungs, _thickness(x, y, shape) ** 0.8 * base)
    density -= 1.95 * lungs * np.clip(density / 2.0, 0, 1)
    density += 1.20 * _thickness(x, y, Ellipse(0, 0.17, 0.34, 0.40, 0.33, 28)) ** 1.4
    density += 0.75 * _thickness(x, y, Ellipse(0, 0.03, -0.25, 0.17, 0.62)) ** 1.2
    density += 0.42 * _thickness(x, y, Ellipse(0, 0.14, -0.20, 0.11, 0.13))
    density -= 0.30 * _thickness(x, y, Ellipse(0, 0.0, -0.62, 0.045, 0.48)) ** 0.7
    density += _skeleton(x, y, np.clip(4 * _thickness(x, y, Ellipse(0, 0, 0.30, 0.80, 1.22)), 0, 1))
    density += 0.75 * lungs * _vessels(x, y, rng)
    density += 0.020 * density * smooth_field((size, size), size / 100, rng)
    density += 0.05 * density * smooth_field((size, size), size / 9, rng)
    density += 0.42 * coverage(x, y, Ellipse(0, -0.46, -0.06, 0.034, 0.030), 2.5)
    soft: Picture = np.clip(blur(density.astype(np.float32), (size / 1400, size / 1400)), 0, 4.5)
    return soft


def _thickness(x: Picture, y: Picture, shape: Ellipse) -> Picture:
    """How thick an ellipsoid is along the beam, 1 in its middle."""
    turn = np.deg2rad(shape.degrees)
    dx, dy = x - shape.x, y - shape.y
    u = (dx * np.cos(turn) + dy * np.sin(turn)) / shape.a
    v = (dy * np.cos(turn) - dx * np.sin(turn)) / shape.b
    thick: Picture = np.sqrt(np.maximum(1 - u * u - v * v, 0)).astype(np.float32)
    return thick


def _skeleton(x: Picture, y: Picture, cage: Picture) -> Picture:
    """Ribs front and back, collar bones and spine; a bone's rim is denser than its middle."""
    bone = np.zeros_like(x)
    for number in range(10):
        top, reach = -0.80 + 0.150 * number, 0.42 + 0.047 * min(number, 8)
        for lift, drop, value, start in ((0.0, 0.42, 0.40, 0.05), (0.20, -0.62, 0.20, 0.36)):
            across = np.clip(np.abs(x) / (reach * 1.12), 0, 1.2)
            line = top + lift + drop * (across**2) - (0.13 * np.sin(np.pi * np.clip(across, 0, 1)) if drop > 0 else 0)
            off = np.abs(y - line) / (0.030 + 0.010 * across)
            ends = np.clip((1.0 - across) * 30, 0, 1) * np.clip((np.abs(x) - start * reach) * 30, 0, 1)
            rim = np.clip(1.25 - off, 0, 1) * 0.55 + np.exp(-(((off - 0.85) / 0.28) ** 2)) * 0.5
            bone += value * ends * rim
    bone *= cage
    for side in (-1, 1):
        line = -0.66 - 0.10 * np.sin((side * x - 0.1) * 3.6) - 0.10 * (side * x)
        off = np.abs(y - line) / 0.033
        bone += (
            0.5
            * np.clip(1.2 - off, 0, 1)
            * np.clip((side * x - 0.08) * 30, 0, 1)
            * np.clip((0.66 - side * x) * 30, 0, 1)
        )
    spine = np.clip(1.15 - np.abs(x) / 0.095, 0, 1) ** 0.5
    bone += spine * (0.55 + 0.16 * np.cos(2 * np.pi * y / 0.165))
    return bone.astype(np.float32)


def _vessels(x: Picture, y: Picture, rng: np.random.Generator) -> Picture:
    """Branching vessels from each hilum outwards, drawn as soft strokes, 0 to about 1."""
    size = x.shape[0]
    ink = np.zeros((size, size), np.float32)
    for side in (-1, 1):
        for _ in range(15):
            angle = side * rng.uniform(0.15, 2.9)
            _branch(ink, (side * 0.17, 0.02), angle, 0.020, 0.85, rng)
    return ink


def _branch(
    ink: NDArray[np.float32],
    start: tuple[float, float],
    angle: float,
    width: float,
    length: float,
    rng: np.random.Generator,
) -> None:
    """Draw one vessel that thins and forks, in place; angle 0 points up, positive to the right."""
    size = ink.shape[0]
    px, py = start
    for step in range(int(length * 60)):
        px, py = px + np.sin(angle) / 60, py - np.cos(angle) / 60
        angle += rng.normal(0, 0.07)
        width *= 0.972
        if abs(px) >= 0.97 or abs(py) >= 0.97 or width < 0.002:
            return
        radius = max(width * size / 2, 0.6)
        reach = int(radius * 2) + 1
        cx, cy = int((px + 1) * size / 2), int((py + 1) * size / 2)
        rows, columns = slice(max(cy - reach, 0), cy + reach + 1), slice(max(cx - reach, 0), cx + reach + 1)
        yy, xx = np.ogrid[rows.start : min(rows.stop, size), columns.start : min(columns.stop, size)]
        spot = np.exp(-((xx - cx) ** 2 + (yy - cy) ** 2) / radius**2) * min(width * 60, 1)
        ink[rows, columns] = np.maximum(ink[rows, columns], spot)
        if step > 6 and rng.random() < 0.05 and width > 0.005:
            _branch(ink, (px, py), angle + rng.choice((-1, 1)) * rng.uniform(0.4, 0.8), width * 0.75, length * 0.6, rng)
