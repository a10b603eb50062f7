# SPDX-License-Identifier: Apache-2.0
"""What a filter does to a CT phantom of known truth: edges, faint discs, the colour of the noise, and clean slices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from clarivox.dose_pairs import source_photons
from clarivox.phantoms import ct, ct_inserts
from clarivox.spectra import mtf50, noise_power
from clarivox.transforms.low_dose_ct import HU_RANGE, WATER_PER_MM, LowDoseCT
from clarivox.transforms.projection import Beam, project, reconstruct

Image = NDArray[np.float32]
Filter = Callable[[Image, float], Image]

SIDE, PIXEL_MM = 512, 400 / 512
BLUR_MM = 0.6
"""Width of the scanner's own blur, to which the phantom's edges are taken: MTF50 about 0.31 / mm."""
SOURCE_HU = 12.0
"""Noise of the full dose, as the median of the test patients' slices."""
CUT = (slice(80, 336), slice(160, 416))
"""The part of the slice that is filtered: liver, the low contrasts and the edge disc."""
FLAT = (slice(44, 76), slice(90, 122))
"""Nothing but liver, within the cut."""

FAINT = "low contrast -30 HU"


@dataclass(frozen=True)
class Phantom:
    """Repeated scans of one slice at one dose, and its truth; shapes (X, Y) and (repeats, X, Y), HU."""

    truth: Image
    scans: Image
    sigma_hu: float
    """Noise that was added."""


def phantom(dose: float, repeats: int) -> Phantom:
    """The same scans at each run."""
    truth = ct(size=SIDE, slices=1, photons=1e9)[1].values()[0, :, :, 0]
    truth = ndimage.gaussian_filter(truth, BLUR_MM / PIXEL_MM)
    beam, hu = Beam(PIXEL_MM, 360), torch.from_numpy(truth)
    photons = source_photons(hu, SOURCE_HU, beam, "hann")
    paths = project((hu.clamp(*HU_RANGE)[None] / 1000 + 1) * WATER_PER_MM, beam)
    scan = LowDoseCT(dose, photons=photons, clean=True, beam=beam)
    errors = scan.errors(paths.expand(repeats, -1, -1).contiguous(), torch.Generator().manual_seed(5))
    change = reconstruct(errors, beam, (SIDE, SIDE), scan.kernel).numpy() * (1000 / WATER_PER_MM)
    cut = (slice(None), *CUT)
    sigma = float(change[cut][(slice(None), *FLAT)].std())
    return Phantom(truth[CUT], (truth + change)[cut], sigma)


def edge(picture: Image, name: str) -> float:
    """MTF50 of a disc's edge, in 1/mm; `picture` is the cut."""
    x, y, radius = _place(name)
    return mtf50(picture, (x, y), radius, (PIXEL_MM, PIXEL_MM), reach_mm=3.5)


def contrast(picture: Image, name: str) -> float:
    """Mean of a disc's inner part less that of the ring around it, in HU."""
    x, y, radius = _place(name)
    distance = PIXEL_MM * np.hypot(np.arange(256)[:, None] - x, np.arange(256)[None] - y)
    ring = (distance > radius + 2) & (distance < radius + 5)
    return float(picture[distance < radius - 2].mean() - picture[ring].mean())


def _place(name: str) -> tuple[float, float, float]:
    """Middle of a disc as an index into the cut, and its radius in mm."""
    disc = next(one for one in ct_inserts("body") if one.name == name)
    x, y = ((place / PIXEL_MM) + (SIDE - 1) / 2 - side.start for place, side in zip(disc.centre_mm, CUT, strict=True))
    return x, y, disc.radius_mm


def figures(method: Filter, source: Phantom) -> dict[str, float]:
    """What is left of edges and contrast in the mean of repeated scans, and of the noise in what differs.

    Losses are against the mean of the same scans unfiltered, so that what noise the mean still has counts on neither
    side.
    """
    found = np.stack([method(scan, source.sigma_hu) for scan in source.scans])
    mean, given = found.mean(axis=0), source.scans.mean(axis=0)
    regions = (found - mean)[(slice(None), *FLAT)].transpose(1, 2, 0) * np.sqrt(len(found) / (len(found) - 1))
    spectrum = noise_power(regions, (PIXEL_MM, PIXEL_MM))
    power = np.convolve(spectrum.power, (0.25, 0.5, 0.25), mode="same")
    return {
        "noise HU": float(np.sqrt((regions**2).mean())),
        "MTF50 loss %, 173 HU": 100 * (1 - edge(mean, "edge disc") / edge(given, "edge disc")),
        "MTF50 loss %, 107 HU": 100 * (1 - edge(mean, "cyst") / edge(given, "cyst")),
        "42 HU disc kept %": 100 * contrast(mean, FAINT) / contrast(given, FAINT),
        "NPS peak /mm": float(spectrum.frequency_per_mm[np.argmax(power)]),
    }


def untouched(method: Filter, truth: Image) -> dict[str, float]:
    """How far a slice without any noise is changed, in HU: root mean square of all, and of flat liver."""
    change = method(truth, 0.0) - truth
    return {
        "change rms HU": float(np.sqrt((change**2).mean())),
        "change flat HU": float(np.sqrt((change[FLAT] ** 2).mean())),
    }
