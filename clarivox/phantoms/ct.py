# SPDX-License-Identifier: Apache-2.0
"""A CT phantom of the abdomen or the head: Hounsfield units, photon noise from the projections, padding."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from clarivox.phantoms.shapes import (
    Ellipse,
    Insert,
    Pair,
    Picture,
    affine,
    blur,
    check_size,
    coverage,
    grid,
    paint,
    smooth_field,
    stack,
)
from clarivox.volume import Unit, Volume

FOV_MM = {"body": 400.0, "head": 250.0}
"""Side of the picture."""
WATER_PER_MM = 0.0206
"""Linear attenuation of water at 60 keV. Source: NIST XCOM, 0.2059 / cm."""
GE_PADDING = -2000
"""Stored value outside the circle of reconstruction."""
INTERCEPT = -1024

BODY = (
    Ellipse(-105, 0, 0.02, 0.88, 0.64),
    Ellipse(48, 0, 0.02, 0.81, 0.57),
    Ellipse(-95, 0.02, 0.02, 0.70, 0.44),
    Ellipse(112, -0.40, -0.02, 0.33, 0.38, 12),
    Ellipse(96, 0.50, 0.02, 0.17, 0.26, -20),
    Ellipse(18, 0.26, -0.22, 0.22, 0.17, 15),
    Ellipse(165, -0.27, 0.29, 0.10, 0.15, -18),
    Ellipse(165, 0.31, 0.29, 0.10, 0.15, 18),
    Ellipse(35, -0.24, 0.29, 0.035, 0.07, -18),
    Ellipse(35, 0.28, 0.29, 0.035, 0.07, 18),
    Ellipse(60, 0.02, -0.02, 0.16, 0.07, -8),
    Ellipse(55, -0.13, 0.44, 0.09, 0.09),
    Ellipse(55, 0.13, 0.44, 0.09, 0.09),
    Ellipse(520, 0, 0.33, 0.125, 0.105),
    Ellipse(230, 0, 0.33, 0.105, 0.085),
    Ellipse(480, 0, 0.465, 0.085, 0.05),
    Ellipse(30, 0, 0.455, 0.05, 0.035),
    Ellipse(420, 0, 0.56, 0.02, 0.06),
)
HEAD = (
    Ellipse(-30, 0, 0, 0.76, 0.92),
    Ellipse(1000, 0, 0, 0.72, 0.88),
    Ellipse(8, 0, 0, 0.65, 0.81),
    Ellipse(36, 0, 0, 0.63, 0.79),
    Ellipse(27, 0, -0.02, 0.40, 0.56),
    Ellipse(37, -0.17, 0.02, 0.11, 0.20, 12),
    Ellipse(37, 0.17, 0.02, 0.11, 0.20, -12),
    Ellipse(6, -0.10, -0.20, 0.05, 0.20, 14),
    Ellipse(6, 0.10, -0.20, 0.05, 0.20, -14),
    Ellipse(6, -0.13, 0.34, 0.06, 0.15, -22),
    Ellipse(6, 0.13, 0.34, 0.06, 0.15, 22),
)
PARTS = {"body": BODY, "head": HEAD}
OUTER = {"body": 3, "head": 4}
"""How many of the shapes are the patient's outline, which change together along the patient."""

INSERTS = {
    "body": (
        Insert("edge disc", (8.0, 36.0), 11.0, 210.0),
        Insert("cyst", (-98.0, -22.0), 9.0, 5.0),
        Insert("low contrast -30 HU", (-70.0, 22.0), 8.0, 82.0),
        Insert("low contrast +20 HU", (-62.0, -36.0), 8.0, 132.0),
        Insert("liver", (-104.0, 18.0), 9.0, 112.0),
    ),
    "head": (
        Insert("edge disc", (0.0, 62.0), 9.0, 90.0),
        Insert("bleed", (46.0, -30.0), 7.0, 68.0),
        Insert("infarct", (-52.0, -20.0), 8.0, 22.0),
        Insert("white matter", (-30.0, -50.0), 5.0, 27.0),
    ),
}
"""Discs of known value; the edge disc is for the modulation transfer, the low contrasts for the contrast-to-noise."""


def ct(
    *,
    size: int = 256,
    slices: int = 8,
    seed: int = 0,
    part: Literal["body", "head"] = "body",
    photons: float = 2.5e5,
    padding: bool = False,
    thickness_mm: float = 3.0,
) -> Pair:
    """A CT phantom; noise comes from simulated photon counts through filtered back-projection.

    Args:
        size: columns and rows.
        slices: how many.
        seed: of the noise and of the texture.
        part: which anatomy.
        photons: counts in each detector element without a patient; fewer is noisier.
        padding: True sets the pixels outside the circle of reconstruction to the stored value -2000, as GE does.
        thickness_mm: distance between slices.

    Returns:
        Two volumes (1, size, size, slices), int16, in HU.

    Raises:
        OptionError: `size` or `slices` is out of range.

    >>> noisy, truth = ct(size=64, slices=1)
    >>> noisy.shape, noisy.unit.value, bool(noisy.values().std() > truth.values().std())
    ((1, 64, 64, 1), 'HU', True)
    """
    check_size(size, slices)
    rng = np.random.default_rng(seed)
    fov = FOV_MM[part]
    truth = np.stack([_slice(size, (index + 0.5) / slices * 2 - 1, part, rng) for index in range(slices)])
    noisy = truth + photon_noise(truth, fov / size, photons, rng)
    made = [
        Volume(
            stack(pictures - INTERCEPT, np.int16, -1024, 32767),
            affine(size, fov, slices, thickness_mm),
            unit=Unit.HU,
            modality="CT",
            intercept=np.array([float(INTERCEPT)]),
            stored_range=(-32768, 32767),
            notes=(note,),
        )
        for pictures, note in (
            (noisy, f"digital phantom; photon noise simulated with {photons:.3g} photons a ray"),
            (truth, "digital phantom without noise"),
        )
    ]
    return Pair(*(_padded(volume) for volume in made)) if padding else Pair(*made)


def ct_inserts(part: Literal["body", "head"] = "body") -> tuple[Insert, ...]:
    """The discs of known value in `ct`."""
    return INSERTS[part]


def _slice(size: int, height: float, part: str, rng: np.random.Generator) -> Picture:
    """Truth of the slice at `height`, -1 to 1 along the patient, in HU."""
    x, y = grid(size)
    picture = np.full((size, size), -1000, np.float32)
    for number, shape in enumerate(PARTS[part]):
        outer = number < OUTER[part]
        sway = 0.96 + (0.03 * np.cos(1.7 * height) if outer else 0.11 * np.cos(1.7 * height + 0.9 * number))
        paint(picture, coverage(x, y, shape._replace(a=shape.a * sway, b=shape.b * sway)), shape.value)
    if part == "body":
        _body_details(picture, x, y, height)
    picture += np.where((picture > -80) & (picture < 200), 2.0, 0.0) * smooth_field((size, size), size / 64, rng)
    for insert in INSERTS[part]:
        half = FOV_MM[part] / 2
        cx, cy, radius = (value / half for value in (*insert.centre_mm, insert.radius_mm))
        paint(picture, coverage(x, y, Ellipse(0, cx, cy, radius, radius)), insert.value)
    return picture


def _body_details(picture: Picture, x: Picture, y: Picture, height: float) -> None:
    """Ribs around the trunk, gas in the stomach and the bowel, vessels of the liver, in place."""
    for step in range(7):
        angle = np.pi * (0.14 + 0.125 * step) + 0.10 * np.sin(2 * height + step)
        for side in (-1, 1):
            cx, cy = side * 0.735 * np.sin(angle), 0.02 - 0.50 * np.cos(angle)
            if abs(cx) < 0.16:
                continue
            turn = float(np.rad2deg(np.arctan2(-side * 0.50 * np.sin(angle), -0.735 * np.cos(angle))))
            paint(picture, coverage(x, y, Ellipse(0, cx, cy, 0.062, 0.024, -turn)), 620)
            paint(picture, coverage(x, y, Ellipse(0, cx, cy, 0.044, 0.011, -turn)), 220)
    paint(picture, coverage(x, y, Ellipse(0, 0.27, -0.30, 0.14, 0.045)), -990)
    for number in range(5):
        cx, cy = 0.02 + 0.095 * number, 0.10 + 0.035 * np.cos(2.1 * number + height)
        paint(picture, coverage(x, y, Ellipse(0, cx, cy, 0.045, 0.045)), 42)
        paint(picture, coverage(x, y, Ellipse(0, cx, cy - 0.012, 0.02, 0.016)), -700 if number % 2 else 15)
    for number in range(7):
        cx = -0.40 + 0.18 * np.cos(2.4 * number + 1.5 * height)
        cy = -0.02 + 0.20 * np.sin(2.4 * number + height)
        paint(picture, coverage(x, y, Ellipse(0, cx, cy, 0.013, 0.03, 40.0 * number)), 165)


def photon_noise(
    hu: NDArray[np.float32], pixel_mm: float, photons: float, rng: np.random.Generator, views: int = 0
) -> NDArray[np.float32]:
    """The change that photon and electronic noise makes to slices, reconstructed from parallel projections.

    Args:
        hu: slices, shape (Z, Y, X) with Y = X, in HU.
        pixel_mm: side of a pixel.
        photons: counts in each detector element without a patient.
        rng: of the counts.
        views: projections over half a turn; 0 takes 1.2 a column.

    Returns:
        float32, shape of `hu`, in HU; streaks along the longest paths, little power at low frequencies.

    Source:
        Kak and Slaney, Principles of Computerized Tomographic Imaging, 1988, ch. 3 (ramp filter, eq. 61).
    """
    depth, size, _ = hu.shape
    views = views or int(1.2 * size)
    mu = np.maximum(hu / 1000 + 1, 0).reshape(depth, -1).astype(np.float64) * WATER_PER_MM * pixel_mm
    x, y = (axis.ravel().astype(np.float64) * size / 2 for axis in grid(size))
    bins = int(np.ceil(size * 1.45)) | 1
    ramp = _ramp(bins, pixel_mm)
    noise = np.zeros((size * size, depth), np.float32)
    for angle in np.arange(views) * np.pi / views:
        place = x * np.cos(angle) + y * np.sin(angle) + bins // 2
        left = place.astype(np.intp)
        weight = (place - left).astype(np.float32)[:, None]
        path = np.stack([np.bincount(left, line, bins) for line in mu])
        counts = rng.poisson(photons * np.exp(-path)) + rng.normal(0, 6, path.shape)
        error = -np.log(np.maximum(counts, 1) / photons) - path
        filtered = np.fft.irfft(np.fft.rfft(error, 2 * bins) * ramp, 2 * bins)[:, :bins].T.astype(np.float32)
        filtered = np.ascontiguousarray(filtered)
        noise += filtered[left] * (1 - weight) + filtered[left + 1] * weight
    noise *= np.pi / views / WATER_PER_MM * 1000
    return blur(np.ascontiguousarray(noise.T).reshape(depth, size, size), (0.45, 0.45))


def _ramp(bins: int, step_mm: float) -> NDArray[np.float64]:
    """Transfer function of the band-limited ramp filter times the step, for rfft of length 2 bins."""
    offset = np.fft.fftfreq(2 * bins, 1 / (2 * bins)).round()
    kernel = np.zeros(2 * bins)
    odd = offset % 2 == 1
    kernel[odd] = -1 / (np.pi * offset[odd] * step_mm) ** 2
    kernel[0] = 1 / (4 * step_mm**2)
    transfer: NDArray[np.float64] = np.fft.rfft(kernel).real * step_mm
    return transfer


def _padded(volume: Volume) -> Volume:
    """The volume with GE's padding outside the circle of reconstruction."""
    x, y = grid(volume.shape[1])
    array = volume.array.copy(order="K")
    array.transpose(0, 3, 2, 1)[:, :, x * x + y * y > 1] = GE_PADDING
    return volume.replace(array=array, padding=np.full((volume.shape[3], 2), GE_PADDING, np.int64))
