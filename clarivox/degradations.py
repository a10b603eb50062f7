# SPDX-License-Identifier: Apache-2.0
"""Named ways to make an image worse, so that what it was is the known truth: `rician:0.05`, `dose:0.25`, `shrink:2`.

All are simulated. Levels are shares of the volume's own range: the stored range of 8-bit pictures, 400 HU for CT, else
the 99th percentile.
"""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from clarivox.errors import ModalityError, OptionError
from clarivox.restore import refined_affine
from clarivox.transforms.bicubic import BicubicResize
from clarivox.transforms.clipped_gaussian import ClippedGaussianNoise
from clarivox.transforms.gaussian import GaussianNoise
from clarivox.transforms.kspace_crop import KSpaceCrop
from clarivox.transforms.low_dose_ct import SOFT_HU, LowDoseCT, matching_photons
from clarivox.transforms.multiplicative_speckle import MultiplicativeSpeckle
from clarivox.transforms.noncentral_chi import NoncentralChiNoise
from clarivox.transforms.projection import Beam
from clarivox.transforms.rician import RicianNoise
from clarivox.transforms.speckle import Speckle
from clarivox.volume import Unit, Volume

Degrade = Callable[[torch.Tensor], torch.Tensor]
"""Takes and gives a tensor of shape (C, X, Y, Z)."""
HU_RANGE = 400.0
CLEAN_HU = 2.0
"""Noise under which a CT counts as free of it, as a phantom is."""


def width_of(volume: Volume) -> float:
    """The value that a degradation sees as 1, and the range of a figure: named by `width_name`."""
    if volume.unit is Unit.HU:
        return HU_RANGE
    if _is_byte(volume):
        return 255.0
    return float(np.percentile(volume.values(), 99)) or 1.0


def width_name(volume: Volume) -> str:
    """`width_of` in words."""
    if volume.unit is Unit.HU:
        return "400 HU"
    return "255" if _is_byte(volume) else "the 99th percentile of the truth"


def degraded(volume: Volume, degrade: Degrade, width: float) -> Volume:
    """A worse copy of a volume, stored as the volume is; a coarser grid shows the same field of view.

    Args:
        volume: what is made worse; its padding stays.
        degrade: takes and gives a tensor of shape (C, X, Y, Z); it may change X and Y.
        width: the value that `degrade` sees as 1.

    >>> half = degraded(Volume(np.full((1, 2, 2, 1), 9, np.uint8), np.eye(4)), lambda x: x / 2, width=255)
    >>> int(half.array.max()), half.array.dtype.name
    (4, 'uint8')
    """
    values = torch.from_numpy(np.ascontiguousarray(volume.values()))
    array = ((degrade(values / width) * width).numpy() - volume.intercept) / volume.slope
    dtype = volume.array.dtype
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        array = np.clip(np.rint(array), *(volume.stored_range or (limits.min, limits.max)))
    array = array.astype(dtype)
    if array.shape == volume.array.shape:
        hidden = volume.padding_mask()
        return volume.replace(array=array if hidden is None else np.where(hidden, volume.array, array))
    fewer = [new / old for new, old in zip(array.shape[1:], volume.shape[1:], strict=True)]
    affine = refined_affine(volume.affine, (fewer[0], fewer[1], fewer[2]))
    return volume.replace(array=array, affine=affine)


@dataclass(frozen=True)
class Degradation:
    """A named way to make a volume worse.

    >>> parsed("gaussian:25/255").label
    'gaussian:25/255'
    """

    label: str
    """As it was asked for."""
    make: Callable[[int, Volume], Degrade]
    """Gives from a seed and a volume what degrades that volume's values."""
    hu: bool = False
    """It works in HU, not in shares of the range."""
    scale: int = 1
    """How many times coarser the result is along X and Y."""

    def __call__(self, volume: Volume, name: str, seed: int = 0) -> Volume:
        """A worse copy; the noise depends on `name` and `seed`, so that each case has its own, the same at each run.

        Raises:
            ModalityError: the degradation is for CT alone.
        """
        if self.hu and volume.unit is not Unit.HU:
            raise ModalityError(
                f"{self.label} is a fraction of a CT scan's dose; found values without Hounsfield units"
            )
        drawn = zlib.crc32(f"{self.label} {name} {seed}".encode()) % 2**31
        return degraded(volume, self.make(drawn, volume), 1.0 if self.hu else width_of(volume))


def parsed(text: str) -> Degradation:
    """A degradation from its name, and after a colon its numbers, which may be fractions.

    Raises:
        OptionError: there is none of this name, or its numbers are wrong.

    >>> parsed("shrink:3").scale
    3
    >>> parsed("blur:2")
    Traceback (most recent call last):
        ...
    clarivox.errors.OptionError: there is no degradation 'blur'; there are chi, clipped, dose, gaussian, kspace, ...
    """
    name, _, numbers = text.partition(":")
    if name not in NAMED:
        raise OptionError(f"there is no degradation {name!r}; there are {', '.join(sorted(NAMED))}")
    make = NAMED[name]
    try:
        values = [_number(part) for part in numbers.split(",") if part.strip()]
        inspect.signature(make).bind(text, *values)
    except (TypeError, ValueError, ZeroDivisionError):
        raise OptionError(f"{text!r} is not understood; {name} is given as {_usage(name)}") from None
    made = make(text, *values)
    # What a transform refuses is refused before the first image is read.
    if name not in ("dose", "shrink"):
        made.make(0, Volume(np.ones((1, 8, 8, 1), np.float32), np.eye(4)))(torch.ones(1, 8, 8, 1))
    return made


def _number(text: str) -> float:
    top, slash, bottom = text.partition("/")
    return float(top) / float(bottom) if slash else float(top)


def _usage(name: str) -> str:
    """How a degradation is written.

    >>> _usage("rician")
    'rician:LEVEL'
    """
    words = [word.upper() for word in list(inspect.signature(NAMED[name]).parameters)[1:]]
    return f"{name}:{','.join(words)}"


def _is_byte(volume: Volume) -> bool:
    return volume.array.dtype == np.uint8 and bool((volume.slope == 1).all() and (volume.intercept == 0).all())


def _gaussian(label: str, level: float) -> Degradation:
    return Degradation(label, lambda seed, _: GaussianNoise(level, seed, reference=1.0))


def _clipped(label: str, level: float) -> Degradation:
    return Degradation(label, lambda seed, _: ClippedGaussianNoise(level, seed))


def _rician(label: str, level: float) -> Degradation:
    return Degradation(label, lambda seed, _: RicianNoise(level, seed, reference=1.0))


def _chi(label: str, level: float, coils: float = 4) -> Degradation:
    return Degradation(label, lambda seed, _: NoncentralChiNoise(level, seed, reference=1.0, coils=int(coils)))


def _kspace(label: str, keep: float) -> Degradation:
    return Degradation(label, lambda *_: KSpaceCrop(keep))


def _speckle(label: str, axial: float = 2.5, lateral: float = 4.5) -> Degradation:
    return Degradation(label, lambda seed, _: Speckle(seed, axial_px=axial, lateral_px=lateral))


def _multiplicative(label: str, looks: float = 1) -> Degradation:
    return Degradation(label, lambda seed, _: MultiplicativeSpeckle(int(looks), seed))


def _shrink(label: str, scale: float) -> Degradation:
    whole = int(scale)
    if whole != scale or not 1 < whole <= 8:
        raise OptionError(f"shrink:SCALE takes a whole number from 2 to 8; found {scale:g}")

    def make(_: int, volume: Volume) -> Degrade:
        return BicubicResize((1 / whole, 1 / whole, 1), levels=256 if _is_byte(volume) else None)

    return Degradation(label, make, scale=whole)


def _dose(label: str, dose: float) -> Degradation:
    if not 0 < dose <= 1:
        raise OptionError(f"dose:FRACTION takes a fraction of the full dose, above 0 and at most 1; found {dose:g}")
    return Degradation(label, lambda seed, volume: _low_dose(dose, seed, volume), hu=True)


def scan_noise(volume: Volume) -> float:
    """Standard deviation of the noise in the soft tissue of a CT's middle slice, in HU; 0 where there is too little.

    >>> from clarivox.phantoms import ct
    >>> noisy, truth = ct(size=128, slices=1)
    >>> scan_noise(noisy) > CLEAN_HU > scan_noise(truth)
    True
    """
    from clarivox.metrics import noise_estimate

    depth = volume.shape[3]
    middle = volume.values((slice(0, 1), slice(None), slice(None), slice(depth // 2, depth // 2 + 1)))[0]
    soft = (middle > SOFT_HU[0]) & (middle < SOFT_HU[1])
    return noise_estimate(middle, soft) if soft.sum() > 400 else 0.0


def _low_dose(dose: float, seed: int, volume: Volume) -> Degrade:
    """A scan at a fraction of the dose, whose photons are those that the volume's own noise speaks of."""
    beam, sigma = Beam(pixel_mm=volume.spacing_mm[0]), scan_noise(volume)
    if sigma < CLEAN_HU:
        return LowDoseCT(dose, seed, clean=True, beam=beam)
    return LowDoseCT(dose, seed, photons=_photons(volume, sigma, beam), beam=beam)


def _photons(volume: Volume, sigma: float, beam: Beam) -> float:
    depth = volume.shape[3]
    middle = volume.values((slice(0, 1), slice(None), slice(None), slice(depth // 2, depth // 2 + 1)))[..., 0]
    return max(1.0, matching_photons(torch.from_numpy(middle.copy()), sigma, beam))


def at_full_dose(truth: Volume, like: Volume) -> Volume:
    """A CT phantom without noise, as a scanner would show it whose pictures have the noise of another volume."""
    sigma = scan_noise(like)
    if truth.unit is not Unit.HU or sigma < CLEAN_HU:
        return truth
    beam = Beam(pixel_mm=truth.spacing_mm[0])
    return degraded(truth, LowDoseCT(1.0, 1, photons=_photons(truth, sigma, beam), clean=True, beam=beam), 1.0)


NAMED: dict[str, Callable[..., Degradation]] = {
    "gaussian": _gaussian,
    "clipped": _clipped,
    "rician": _rician,
    "chi": _chi,
    "kspace": _kspace,
    "speckle": _speckle,
    "multiplicative": _multiplicative,
    "shrink": _shrink,
    "dose": _dose,
}
"""Name: what makes the degradation from its label and numbers."""
