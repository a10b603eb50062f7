# SPDX-License-Identifier: Apache-2.0
"""An ultrasound phantom: a curved-array clip whose speckle comes from scatterers, before log compression."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clarivox.errors import OptionError
from clarivox.phantoms.shapes import Ellipse, Pair, Picture, check_size, coverage, smooth_field, stack
from clarivox.volume import Axis, Volume

Field = NDArray[np.complex64]
"""Scatterers on the polar grid, shape (DEPTHS, LINES)."""

DEPTH_MM = 120.0
"""From the probe's face to the bottom of the sector."""
FACE_MM = 45.0
"""Radius of the probe's face."""
HALF_ANGLE = np.deg2rad(33.0)
DYNAMIC_RANGE_DB = 55.0
BLOOD_KEPT = 0.35
"""Correlation of the blood's scatterers from frame to frame."""
DEPTHS, LINES = 512, 224
"""Samples of the polar grid along and across the beam."""

TISSUE_DB = -18.0
PARTS = (
    Ellipse(-46.0, -0.38, 0.42, 0.16, 0.115),
    Ellipse(-6.0, 0.36, 0.50, 0.17, 0.105),
    Ellipse(-27.0, 0.30, 0.83, 0.20, 0.075),
    Ellipse(-30.0, -0.15, 0.76, 0.11, 0.07),
)
"""Level in decibels; x across the sector, -1 to 1, y along the depth, 0 to 1."""


def us(*, size: int = 256, slices: int = 12, seed: int = 0, drift: float = 0.0) -> Pair:
    """A clip of a curved array: cysts, a bright lesion, layers, and a vessel that beats.

    The speckle is the envelope of random scatterers under the point spread function, which widens with depth; then
    log compression over 55 dB. The truth is the same without interference and without electronic noise.

    Args:
        size: columns and rows.
        slices: frames; 12 make one heart beat.
        seed: of the scatterers and of the noise.
        drift: share of the tissue's scattered power that another plane's replaces from frame to frame, as the hand
            that holds the probe drifts; 0 is a probe in a clamp, whose speckle stands still.

    Returns:
        Two volumes (1, size, size, slices), uint8, third axis time; 0 outside the sector.

    Raises:
        OptionError: `size`, `slices` or `drift` is out of range.

    Source:
        Wagner et al., Statistics of speckle in ultrasound B-scans, IEEE Trans Son Ultrason 30 (1983).

    >>> speckled, truth = us(size=64, slices=2)
    >>> speckled.shape, speckled.third_axis.value
    ((1, 64, 64, 2), 'time')
    """
    check_size(size, slices)
    if not 0 <= drift <= 1:
        raise OptionError(f"drift is a share, 0 to 1; found {drift}")
    rng = np.random.default_rng(seed)
    still, flowing = _scatterers(rng), _scatterers(rng)
    texture = smooth_field((DEPTHS, LINES), 26, rng)
    rows, columns, inside = sector(size)
    clips: tuple[list[Picture], list[Picture]] = ([], [])
    for frame in range(slices):
        level_db, blood = _anatomy(np.sin(2 * np.pi * frame / 12), texture)
        if frame:
            flowing = _drifted(flowing, BLOOD_KEPT, rng)
            still = _drifted(still, float(np.sqrt(1 - drift)), rng) if drift else still
        field = np.where(blood, flowing, still).astype(np.complex128) * 10 ** (level_db / 20)
        envelope = (
            np.abs(_point_spread(field)) + 10**-3.1 * np.abs(_scatterers(rng)) * np.linspace(0.2, 1.6, DEPTHS)[:, None]
        )
        # The mean of a Rayleigh envelope is 0.886 of its root mean square.
        for clip, polar in zip(clips, (20 * np.log10(envelope + 1e-6), level_db + 20 * np.log10(0.886)), strict=True):
            grey = np.clip((polar / DYNAMIC_RANGE_DB + 1) * 255, 0, 255)
            clip.append(np.where(inside, _bilinear(grey, rows, columns), 0).astype(np.float32))
    pixel_mm = _height_mm() / size
    notes = ("digital phantom; speckle simulated from scatterers", "digital phantom without speckle")
    return Pair(
        *(
            Volume(
                stack(np.stack(clip), np.uint8, 0, 255),
                np.diag([-pixel_mm, -pixel_mm, 1.0, 1.0]),
                modality="US",
                third_axis=Axis.TIME,
                stored_range=(0, 255),
                notes=(note,),
            )
            for clip, note in zip(clips, notes, strict=True)
        )
    )


def _scatterers(rng: np.random.Generator) -> Field:
    """Complex reflectivity of unit power on the polar grid (DEPTHS, LINES)."""
    parts = rng.standard_normal((2, DEPTHS, LINES), np.float32) / np.float32(np.sqrt(2))
    field: Field = parts[0] + 1j * parts[1]
    return field


def _drifted(field: Field, kept: float, rng: np.random.Generator) -> Field:
    """Scatterers of which a part was replaced by others; the power stays."""
    fresh: Field = (kept * field + np.sqrt(1 - kept**2) * _scatterers(rng)).astype(np.complex64)
    return fresh


def _anatomy(beat: float, texture: Picture) -> tuple[Picture, NDArray[np.bool_]]:
    """Echo level in decibels on the polar grid, and where blood flows; `beat` is -1 to 1."""
    depth = np.linspace(0, 1, DEPTHS, dtype=np.float32)[:, None] + np.zeros((1, LINES), np.float32)
    across = np.linspace(-1, 1, LINES, dtype=np.float32)[None] + np.zeros((DEPTHS, 1), np.float32)
    bent = depth + 0.018 * np.sin(3.1 * across + 0.4) + 0.004 * beat
    level = np.full((DEPTHS, LINES), TISSUE_DB, np.float32) + 1.3 * texture
    for top, bottom, value in (
        (0, 0.025, -5.0),
        (0.025, 0.10, -25.0),
        (0.10, 0.112, -8.0),
        (0.112, 0.19, -21.0),
        (0.19, 0.203, -6.0),
    ):
        level[(bent >= top) & (bent < bottom)] = value
    fibres = (bent >= 0.112) & (bent < 0.19)
    level[fibres] += 4 * np.sin(240 * bent[fibres] + 3 * across[fibres])
    for shape in PARTS:
        share = coverage(across, bent, shape, softness_px=2.5)
        level += share * (shape.value + 0.8 * texture - level)
        if shape.value < -40:
            behind = np.clip((bent - shape.y - shape.b) * 20, 0, 1) * np.exp(
                -(((across - shape.x) / (0.8 * shape.a)) ** 2)
            )
            level += (5.5 * behind * np.exp(-2.2 * np.clip(bent - shape.y, 0, 1))).astype(np.float32)
    vessel = Ellipse(0, 0.02, 0.36, 0.085 * (1 + 0.13 * beat), 0.055 * (1 + 0.13 * beat))
    wall = coverage(across, bent, vessel._replace(a=vessel.a * 1.22, b=vessel.b * 1.22), 2)
    lumen = coverage(across, bent, vessel, 2)
    level += wall * (-9 - level)
    level += lumen * (-41 - level)
    level -= 5.5 * depth
    return level, lumen > 0.5


def _point_spread(field: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """The field under a pulse of 0.7 mm and a beam that widens with depth; unit power stays unit power."""
    step_mm = DEPTH_MM / DEPTHS
    along = np.exp(-2 * (np.pi * 0.30 / step_mm) ** 2 * np.fft.fftfreq(DEPTHS) ** 2)
    field = np.fft.ifft(np.fft.fft(field, axis=0) * (along / np.sqrt((along**2).mean()))[:, None], axis=0)
    sigma = 0.9 + 1.5 * np.abs(np.linspace(0, 1, DEPTHS) - 0.35)
    across = np.exp(-2 * (np.pi * sigma[:, None]) ** 2 * np.fft.fftfreq(LINES)[None] ** 2)
    across /= np.sqrt((across**2).mean(axis=1, keepdims=True))
    spread: NDArray[np.complex128] = np.fft.ifft(np.fft.fft(field, axis=1) * across, axis=1)
    return spread


def _height_mm() -> float:
    """Side of the square picture that holds the sector."""
    return float(
        max(FACE_MM * (1 - np.cos(HALF_ANGLE)) + DEPTH_MM, 2 * (FACE_MM + DEPTH_MM) * np.sin(HALF_ANGLE)) * 1.03
    )


def sector(size: int) -> tuple[Picture, Picture, NDArray[np.bool_]]:
    """For each pixel of the picture its place on the polar grid, and whether it lies in the sector; each (Y, X)."""
    side = _height_mm()
    line = ((np.arange(size) + 0.5) / size * side).astype(np.float32)
    x, y = np.meshgrid(line - side / 2, line + FACE_MM * np.cos(HALF_ANGLE) - 0.015 * side)
    radius, angle = np.hypot(x, y), np.arctan2(x, y)
    inside = (radius >= FACE_MM) & (radius <= FACE_MM + DEPTH_MM) & (np.abs(angle) <= HALF_ANGLE)
    rows = (radius - FACE_MM) / DEPTH_MM * (DEPTHS - 1)
    columns = (angle / HALF_ANGLE + 1) / 2 * (LINES - 1)
    return rows.astype(np.float32), columns.astype(np.float32), inside


def _bilinear(polar: NDArray[np.floating], rows: Picture, columns: Picture) -> NDArray[np.floating]:
    """Values between the samples of the polar grid; places outside take the nearest edge."""
    row, column = np.clip(rows, 0, DEPTHS - 1.001), np.clip(columns, 0, LINES - 1.001)
    top, left = row.astype(np.intp), column.astype(np.intp)
    down, right = row - top, column - left
    upper = polar[top, left] * (1 - right) + polar[top, left + 1] * right
    lower = polar[top + 1, left] * (1 - right) + polar[top + 1, left + 1] * right
    between: NDArray[np.floating] = upper * (1 - down) + lower * down
    return between
