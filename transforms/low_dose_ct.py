# SPDX-License-Identifier: Apache-2.0
"""Low-dose computed tomography: fewer photons in the projections, and what that does to the picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from clarivox.errors import OptionError, RegionError
from clarivox.transforms.projection import Beam, Kernel, project, reconstruct
from clarivox.transforms.twins import DictionaryTwin, RandomTwin

WATER_PER_MM = 0.0192
"""Linear attenuation of water at about 70 keV, the mean of a 120 kV beam. Source: NIST XCOM."""
HU_RANGE = (-1000.0, 2000.0)
"""What rays are computed from; denser metal starves them, and belongs to another simulation."""
PADDING_HU = -1024.0
"""Values under this are no tissue but the scanner's padding, and are kept."""
SLICES_AT_ONCE = 16
SOFT_HU = (-100.0, 200.0)
"""Where noise is compared."""


class LowDoseCT:
    """Adds the noise that a scan at a fraction of the dose would have.

    The picture's line integrals give the counts of the scan at full dose, which are thinned at random to the fraction;
    electronic noise is added; the error of the logarithm is back-projected and added to the ORIGINAL picture, so that
    its sharpness is kept. The noise is coloured, has streaks along long paths, and is strongest in the middle.

    Without `clean` the picture is taken as a scan at full dose, with the noise of that dose in it: the variance then
    grows by (1 / dose - 1) times its own, and dose 1 changes nothing. There is no bow-tie filter.

    Args:
        dose: fraction of the full dose, above 0, at most 1.
        seed: the same seed gives the same noise for the same picture on the same kind of device.
        photons: counts of each ray without a patient at full dose; for a scan with noise those that its noise speaks
            of, see `matching_photons`.
        electronic: standard deviation of the detector's own noise, in counts.
        clean: True where the picture has no noise; the photon noise of the full dose is then added too.
        beam: the scan.
        kernel: of the reconstruction.

    Raises:
        OptionError: the dose, the photons or the electronic noise is out of range.

    Source:
        Zeng et al., A simple low-dose x-ray CT simulation from high-dose scan, IEEE Trans Nucl Sci 62 (2015);
        Yu et al., Development and validation of a practical lower-dose-simulation tool, J Comput Assist Tomogr 36
        (2012).

    >>> water = torch.zeros(1, 48, 48)
    >>> quarter = LowDoseCT(0.25, seed=1, clean=True, beam=Beam(pixel_mm=4.0, views=60))(water)
    >>> quarter.shape, bool(quarter.std() > 3)
    (torch.Size([1, 48, 48]), True)
    """

    def __init__(
        self,
        dose: float,
        seed: int = 0,
        *,
        photons: float = 1e6,
        electronic: float = 5.0,
        clean: bool = False,
        beam: Beam = Beam(),  # noqa: B008 (frozen)
        kernel: Kernel = "hann",
    ) -> None:
        if not 0 < dose <= 1:
            raise OptionError(f"the dose is a fraction of the full dose, above 0 and at most 1; found {dose}")
        if photons < 1 or electronic < 0:
            raise OptionError(f"photons must be 1 or more, electronic noise 0 or more; found {photons}, {electronic}")
        self.dose, self.seed, self.photons, self.electronic = dose, seed, photons, electronic
        self.clean, self.beam, self.kernel = clean, beam, kernel

    def __call__(self, image: Tensor) -> Tensor:
        """A noisy copy, float32; `image` is in HU, shape (C, X, Y) or (C, X, Y, Z). Values under -1024 are kept."""
        image = image.float()
        return torch.where(image < PADDING_HU, image, image + self.change(image))

    def change(self, image: Tensor) -> Tensor:
        """The noise alone, in HU, shape of `image`: for training, where it is computed once and patches cut later."""
        slices = image.float() if image.ndim == 3 else image.float().movedim(-1, 1).flatten(0, 1)
        generator = torch.Generator(image.device).manual_seed(self.seed)
        noise = torch.cat([self._noise(part, generator) for part in torch.split(slices, SLICES_AT_ONCE)])
        return noise if image.ndim == 3 else noise.reshape(image.shape[0], -1, *image.shape[1:3]).movedim(1, -1)

    def _noise(self, hu: Tensor, generator: torch.Generator) -> Tensor:
        """Of slices (N, X, Y), in HU."""
        paths = project((hu.clamp(*HU_RANGE) / 1000 + 1) * WATER_PER_MM, self.beam)
        lines = self.errors(paths, generator)
        sides = (hu.shape[1], hu.shape[2])
        return reconstruct(lines, self.beam, sides, self.kernel) * (1000 / WATER_PER_MM)

    def errors(self, paths: Tensor, generator: torch.Generator) -> Tensor:
        """The errors of line integrals that a scan at this dose measures; shape (N, views, bins), as `project` gives.

        For those who simulate one slice at many doses and project it once.
        """
        expected = self.photons * torch.exp(-paths)
        counts = torch.poisson(expected, generator=generator) if self.clean else expected.round()
        held = paths if self.clean else -torch.log(counts.clamp(min=1) / self.photons)
        # Thinned electronic noise of the full dose is in the picture already, where it is not clean.
        electronic = self.electronic * (1.0 if self.clean else math.sqrt(1 - self.dose**2))
        thinned = torch.binomial(counts, torch.full_like(counts, self.dose), generator=generator)
        thinned += electronic * torch.randn(counts.shape, generator=generator, device=counts.device, dtype=counts.dtype)
        return -torch.log(thinned.clamp(min=1) / (self.dose * self.photons)) - held


class LowDoseCTd(DictionaryTwin):
    """Dictionary twin of `LowDoseCT`; every key gets noise from the same seed."""

    of = LowDoseCT


class RandLowDoseCT(RandomTwin):
    """Draws a dose, a kernel and a seed, then calls `LowDoseCT`.

    Args:
        doses: smallest and largest fraction; the logarithm is drawn evenly between, as noise goes with its root.
        prob: chance that noise is added at all.
        kernels: one is drawn, each as likely.
        photons: as in `LowDoseCT`.
        electronic: as in `LowDoseCT`.
        clean: as in `LowDoseCT`.
        beam: as in `LowDoseCT`.
    """

    def __init__(
        self,
        doses: tuple[float, float],
        prob: float = 1.0,
        *,
        kernels: Sequence[Kernel] = ("hann",),
        photons: float = 1e6,
        electronic: float = 5.0,
        clean: bool = False,
        beam: Beam = Beam(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__(prob)
        self.doses, self.kernels, self.photons, self.electronic = doses, tuple(kernels), photons, electronic
        self.clean, self.beam = clean, beam

    def draw(self) -> LowDoseCT:
        """The next scan."""
        dose = math.exp(self.evenly((math.log(self.doses[0]), math.log(self.doses[1]))))
        return LowDoseCT(
            min(dose, 1.0),
            self.seed(),
            photons=self.photons,
            electronic=self.electronic,
            clean=self.clean,
            beam=self.beam,
            kernel=self.kernels[int(self.R.randint(len(self.kernels)))],
        )


def matching_photons(
    image: Tensor,
    sigma_hu: float,
    beam: Beam = Beam(),  # noqa: B008 (frozen)
    kernel: Kernel = "hann",
) -> float:
    """The `photons` at which a simulated scan of this picture has the noise that was measured in it.

    Args:
        image: in HU, shape (C, X, Y) or (C, X, Y, Z).
        sigma_hu: standard deviation of the noise in the picture's soft tissue, above 0.
        beam: of the simulation.
        kernel: of the simulation; one like the scanner's, as a smoother one needs fewer photons for the same noise.

    Raises:
        OptionError: the noise is not above 0.
        RegionError: the picture has no soft tissue.

    >>> water, beam = torch.zeros(1, 48, 48), Beam(pixel_mm=4.0, views=60)
    >>> photons = matching_photons(water, 12.0, beam)
    >>> 10 < float(LowDoseCT(1.0, 5, photons=photons, clean=True, beam=beam).change(water).std()) < 14
    True
    """
    if sigma_hu <= 0:
        raise OptionError(f"the noise to match must be above 0 HU; found {sigma_hu}")
    soft = (image > SOFT_HU[0]) & (image < SOFT_HU[1])
    if not bool(soft.any()):
        raise RegionError(f"noise is matched in soft tissue, {SOFT_HU[0]} to {SOFT_HU[1]} HU; the picture has none")
    trial = 1e6
    simulated = LowDoseCT(1.0, photons=trial, electronic=0.0, clean=True, beam=beam, kernel=kernel).change(image)
    return trial * float(simulated[soft].std() / sigma_hu) ** 2
