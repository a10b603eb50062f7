# SPDX-License-Identifier: Apache-2.0
"""A disc of known value, scanned many times: what a method does to resolution, noise texture and contrast.

A real picture has no disc whose edge is known. This one is made worse like the real cases and enhanced by the same
bundles: its mean over the repeats shows the edge, and the repeats minus their mean are noise alone. A network is not
linear: its figures hold for this contrast and this noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clarivox.bundle import Bundle
from clarivox.degradations import Degradation, at_full_dose, width_of
from clarivox.enhance import enhance
from clarivox.errors import ClarivoxError, RegionError
from clarivox.evaluation import enlarged
from clarivox.scores import INPUT, Failure
from clarivox.spectra import Spectrum, mtf50, noise_power
from clarivox.volume import Axis, Unit, Volume

SIDE, REPEATS = 160, 12
BODY, DISC, REACH = 0.4, 0.2, 0.05
"""Radii of the body and of the disc, and how far the edge is looked at, as shares of the picture's side."""
PATCH = 0.1
"""Side of the patches of noise, likewise; they lie between the disc and the body's rim."""
HU_LEVELS = (-1000.0, 40.0, 140.0)
LEVELS = (0.0, 0.4, 0.6)
"""Around the body, in it, and in the disc: in HU, or as shares of the range."""
HU_PIXEL_MM = 1.5
"""The body of a CT is 19 cm wide then: noise grows with what the rays pass through."""


@dataclass(frozen=True)
class DiscFigures:
    """The disc as one method left it."""

    method: str
    figures: dict[str, tuple[float, str]]
    """Name: value and unit."""
    noise: Spectrum


def disc_like(volume: Volume, repeats: int = REPEATS) -> Volume:
    """The disc, stored as a volume is; each slice is one repeat."""
    hu = volume.unit is Unit.HU
    levels = HU_LEVELS if hu else tuple(share * width_of(volume) for share in LEVELS)
    middle = (SIDE - 1) / 2
    x, y = np.mgrid[:SIDE, :SIDE] - middle
    radius = np.hypot(x, y)
    picture = np.full((SIDE, SIDE), levels[0])
    for share, level in ((BODY, levels[1]), (DISC, levels[2])):
        # A pixel at the rim holds as much of the disc as it is covered by it.
        cover = np.clip(share * SIDE - radius + 0.5, 0, 1)
        picture += cover * (level - picture)
    stored = (picture - volume.intercept[0]) / volume.slope[0]
    if volume.array.dtype.kind in "iu":
        stored = np.rint(stored)
    spacing = (HU_PIXEL_MM, HU_PIXEL_MM) if hu else volume.spacing_mm[:2]
    return Volume(
        np.repeat(stored[None, :, :, None], repeats, axis=3).astype(volume.array.dtype),
        np.diag([*spacing, volume.spacing_mm[2], 1.0]),
        unit=volume.unit,
        modality=volume.modality,
        third_axis=Axis.SPACE,
        slope=volume.slope[:1],
        intercept=volume.intercept[:1],
        stored_range=volume.stored_range,
        inverted=volume.inverted,
        notes=("a digital disc",),
    )


def disc_figures(
    like: Volume, degradation: Degradation, bundles: Sequence[Bundle], **how: Any
) -> tuple[list[DiscFigures], list[Failure]]:
    """The disc as it was made worse, and as each bundle left it; and what failed on it.

    Args:
        like: what the disc is stored as.
        degradation: makes it worse.
        bundles: enhance it.
        how: see `clarivox.enhance.enhance`.
    """
    truth = disc_like(like)
    worse = degradation(at_full_dose(truth, like) if degradation.hu else truth, "disc")
    start = worse if worse.shape == truth.shape else enlarged(worse, truth)
    found, failures = [], []
    with suppress(RegionError):
        found.append(taken(INPUT, start, truth))
    for bundle in bundles:
        try:
            found.append(taken(bundle.info.name, enhance(worse, bundle, **how), truth))
        except ClarivoxError as error:
            if error.code == "cancelled":
                raise
            failures.append(Failure("the disc", error.code, str(error), bundle.info.name))
    return found, failures


def taken(method: str, volume: Volume, truth: Volume) -> DiscFigures:
    """The figures of a disc against its truth.

    Raises:
        RegionError: no edge is left of it.
    """
    values, right = volume.values()[0], truth.values()[0]
    side, spacing = values.shape[0], volume.spacing_mm[:2]
    mean = values.mean(axis=2, dtype=np.float64)
    middle = (side - 1) / 2
    x, y = np.mgrid[:side, : values.shape[1]] - middle
    radius = np.hypot(x, y) / side
    inside = radius < DISC - REACH
    ring = (radius > DISC + REACH) & (radius < BODY - REACH)
    noise = (values - mean[..., None]) * np.sqrt(values.shape[2] / (values.shape[2] - 1))
    sigma = float(np.sqrt(np.mean(noise[ring] ** 2, dtype=np.float64)))
    bias = [float(mean[mask].mean() - right.mean(axis=2)[mask].mean()) for mask in (inside, ring)]
    contrast = float(mean[inside].mean() - mean[ring].mean())
    unit = "" if volume.unit is Unit.RELATIVE else str(volume.unit)
    spectrum = noise_power(patches(noise), (spacing[0], spacing[1]))
    power = spectrum.power * spectrum.frequency_per_mm
    total = float(power.sum())
    figures = {
        "MTF50 at the disc's edge": (
            mtf50(
                mean,
                (middle, middle),
                DISC * side * spacing[0],
                (spacing[0], spacing[1]),
                reach_mm=REACH * side * spacing[0],
            ),
            "1/mm",
        ),
        "bias in the disc": (bias[0], unit),
        "bias around it": (bias[1], unit),
        "noise": (sigma, unit),
        "CNR": (abs(contrast) / sigma if sigma else float("inf"), ""),
        "mean frequency of the noise": (
            float((power * spectrum.frequency_per_mm).sum() / total) if total else 0.0,
            "1/mm",
        ),
    }
    if volume.modality == "US":
        level, spread = float(values[ring].mean(dtype=np.float64)), float(values[ring].std(dtype=np.float64))
        figures["ENL around it"] = ((level / spread) ** 2 if spread else float("inf"), "")
    return DiscFigures(method, figures, spectrum)


def patches(noise: NDArray[np.float32]) -> NDArray[np.float32]:
    """Square patches of noise between the disc and the rim, shape (P, P, N)."""
    side = noise.shape[0]
    wide = int(PATCH * side)
    cut = []
    for angle in np.arange(8) * np.pi / 4:
        x, y = (int(side / 2 + (DISC + BODY) / 2 * side * part - wide / 2) for part in (np.cos(angle), np.sin(angle)))
        cut.append(noise[x : x + wide, y : y + wide])
    return np.concatenate(cut, axis=2)
