# SPDX-License-Identifier: Apache-2.0
"""Pairs of low-dose and full-dose CT slices: simulated once, kept on disk, and cut into patches while training.

Noise of low dose is made in the projections of whole slices, which is too slow for every patch anew. So each slice is
simulated at a few doses, the changes are kept, and a patch of any dose between is a slice plus a change that is scaled
by the law of doses.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from clarivox.errors import OptionError, RegionError
from clarivox.evaluation import Case
from clarivox.splits import examples, volumes
from clarivox.training_log import Shown
from clarivox.transforms.low_dose_ct import HU_RANGE, PADDING_HU, SOFT_HU, WATER_PER_MM, LowDoseCT, matching_photons
from clarivox.transforms.projection import Beam, Kernel, project, reconstruct
from clarivox.volume import Unit, Volume

logger = logging.getLogger(__name__)

AIR_HU, WATER_HU = -1000.0, 1000.0
"""What a network sees as 0, and the distance to what it sees as 1: attenuation relative to water's."""
DISPLAY_HU = (-150.0, 250.0)
"""The window 50/400, in which CT is scored."""
COARSE_VIEWS = 24
REGION = 9
"""Pixels of the squares in which a slice's own noise is measured."""


def soft_tissue_noise(hu: Tensor) -> float:
    """Standard deviation of the noise in a slice's soft tissue, in HU: the commonest one of small squares.

    Args:
        hu: shape (X, Y).

    Raises:
        RegionError: under 200 squares hold soft tissue alone.

    Source:
        Christianson et al., Automated technique to measure noise in clinical CT examinations, AJR 205 (2015).

    >>> noise = torch.randn(96, 96, generator=torch.Generator().manual_seed(0))
    >>> 9 < soft_tissue_noise(40 + 10 * noise) < 11
    True
    """
    values = hu.double()[None, None]
    soft = ((values > SOFT_HU[0]) & (values < SOFT_HU[1])).double()
    whole = F.avg_pool2d(soft, REGION, 1) > 1 - 1e-9
    near = values - 50
    variance = F.avg_pool2d(near * near, REGION, 1) - F.avg_pool2d(near, REGION, 1) ** 2
    deviations = variance[whole].clamp(min=0).sqrt() * math.sqrt(REGION**2 / (REGION**2 - 1))
    if deviations.numel() < 200:
        raise RegionError(f"noise is measured in 200 squares of soft tissue at least; found {deviations.numel()}")
    counts, edges = np.histogram(deviations.numpy(), 120, (0.0, 60.0))
    smooth = np.convolve(counts, (1, 2, 3, 2, 1), mode="same")
    return float(edges[np.argmax(smooth)] + edges[1] / 2)


def source_photons(hu: Tensor, sigma_hu: float, beam: Beam, kernel: Kernel) -> float:
    """`matching_photons` of a slice, found on a coarser grid and in few views, as variance is inverse to both.

    Args:
        hu: one slice, shape (X, Y).
        sigma_hu: noise in its soft tissue.
        beam: of the simulation to come.
        kernel: of that simulation.

    Raises:
        OptionError: the noise is not above 0.
        RegionError: there is no soft tissue.
    """
    factor = max(1, min(hu.shape) // 128)
    coarse = F.avg_pool2d(hu.clamp(*HU_RANGE)[None], factor)
    few = Beam(beam.pixel_mm * factor, COARSE_VIEWS, beam.source_mm)
    return matching_photons(coarse, sigma_hu, few, kernel) * COARSE_VIEWS / beam.views * factor**2


@dataclass(frozen=True)
class Simulation:
    """How slices are simulated.

    Args:
        doses: fractions of each scan's own dose, rising.
        kernels: one is drawn for each slice and dose.
        views: projections over half a turn.
        electronic: standard deviation of the detector's noise, in counts.
        noisiest_hu: slices with more noise of their own are left out.
        seed: of every draw.
    """

    doses: Sequence[float] = (0.05, 0.1, 0.2, 0.4)
    kernels: Sequence[Kernel] = ("hann", "hann", "hamming", "cosine")
    views: int = 180
    electronic: float = 5.0
    noisiest_hu: float = 30.0
    seed: int = 0

    def changes(self, hu: Tensor, pixel_mm: float, sigma_hu: float, number: int) -> Tensor:
        """What each dose adds to slice `number` of shape (X, Y), on its device: shape (doses, X, Y), HU."""
        draw = np.random.default_rng((self.seed, number))
        beam = Beam(pixel_mm, self.views)
        paths = project((hu.clamp(*HU_RANGE)[None] / 1000 + 1) * WATER_PER_MM, beam)
        found = []
        for dose in self.doses:
            kernel = self.kernels[int(draw.integers(len(self.kernels)))]
            photons = max(1.0, source_photons(hu, sigma_hu, beam, kernel))
            scan = LowDoseCT(dose, photons=photons, electronic=self.electronic, beam=beam, kernel=kernel)
            errors = scan.errors(paths, torch.Generator(hu.device).manual_seed(int(draw.integers(2**31))))
            found.append(reconstruct(errors, beam, (hu.shape[0], hu.shape[1]), kernel) * (1000 / WATER_PER_MM))
        return torch.cat(found)


def slices(
    dataset_dir: str | Path, split: str | Path, part: str, noisiest_hu: float
) -> Iterator[tuple[str, Tensor, float, float]]:
    """The slices of one part of a split: subject, values (X, Y) in HU, pixel in mm and own noise in HU.

    Slices with more noise than `noisiest_hu`, or without soft tissue to measure it in, are left out.
    """
    for example, volume in volumes(dataset_dir, split, part):
        for hu in torch.from_numpy(np.ascontiguousarray(volume.values()[0])).unbind(-1):
            values = hu.clamp(min=PADDING_HU)
            try:
                sigma = soft_tissue_noise(values)
            except RegionError:
                continue
            if 0 < sigma <= noisiest_hu:
                yield example.subject, values, float(volume.spacing_mm[0]), sigma


@dataclass(frozen=True, eq=False)
class Pairs:
    """Simulated slices on disk.

    Attributes:
        clean: slices as they were, in HU, shape (N, X, Y).
        changes: what each dose adds, in HU, shape (N, doses, X, Y).
        doses: fractions, rising.
        about: subject, pixel and noise of each slice.
    """

    clean: NDArray[np.int16]
    changes: NDArray[np.float16]
    doses: tuple[float, ...]
    about: tuple[dict[str, Any], ...]


def pairs(
    dataset_dir: str | Path,
    split: str | Path,
    part: str,
    cache_dir: str | Path,
    simulation: Mapping[str, Any],
    device: str | torch.device = "cpu",
) -> Pairs:
    """Simulates one part of a split, or opens what was simulated before with the same split and settings.

    Args:
        dataset_dir: the folder that the split's paths are below.
        split: the JSON file.
        part: train, validation or test.
        cache_dir: where the arrays are kept; about 2.6 MB a slice with four doses.
        simulation: arguments of `Simulation`.
        device: where to simulate; another kind of device draws other noise.

    Raises:
        OptionError: no slice can be used.
    """
    how = Simulation(**simulation)
    files = [str(one.path.relative_to(dataset_dir)) for one in examples(dataset_dir, split, part)]
    key = json.dumps([files, asdict(how)], default=list).encode()
    folder = Path(cache_dir) / f"{part}-{hashlib.sha256(key).hexdigest()[:12]}"
    if not (folder / "about.json").exists():
        _simulate(slices(dataset_dir, split, part, how.noisiest_hu), how, folder, torch.device(device))
    about = json.loads((folder / "about.json").read_text())
    if not about:
        raise OptionError(f"no slice of the part {part} holds soft tissue and at most {how.noisiest_hu} HU of noise")
    sides = tuple(about[0]["shape"])
    clean = np.memmap(folder / "clean.int16", np.int16, "r", shape=(len(about), *sides))
    changes = np.memmap(folder / "changes.float16", np.float16, "r", shape=(len(about), len(how.doses), *sides))
    return Pairs(clean, changes, tuple(how.doses), tuple(about))


def _simulate(
    found: Iterator[tuple[str, Tensor, float, float]], how: Simulation, folder: Path, device: torch.device
) -> None:
    """Writes the arrays slice by slice, into a folder that gets its name when they are whole."""
    partial = folder.with_name(f"{folder.name}.{os.getpid()}")
    partial.mkdir(parents=True, exist_ok=True)
    about: list[dict[str, Any]] = []
    with (partial / "clean.int16").open("wb") as clean, (partial / "changes.float16").open("wb") as changes:
        for subject, hu, pixel_mm, sigma in found:
            sides = about[0]["shape"] if about else list(hu.shape)
            fitted = _fitted(hu, sides)
            change = how.changes(fitted.to(device), pixel_mm, sigma, len(about))
            fitted.round().to(torch.int16).numpy().tofile(clean)
            change.half().cpu().numpy().tofile(changes)
            about.append({"subject": subject, "shape": sides, "pixel_mm": pixel_mm, "sigma_hu": sigma})
            logger.info("simulated slice %d, %s, %.1f HU", len(about), subject, sigma)
    (partial / "about.json").write_text(json.dumps(about, indent=1) + "\n")
    try:
        partial.rename(folder)
    except OSError:
        if not (folder / "about.json").exists():
            raise
        shutil.rmtree(partial)  # another process was sooner


def _fitted(hu: Tensor, sides: Sequence[int]) -> Tensor:
    """A slice cropped, or surrounded by air, to other sides about its middle.

    >>> _fitted(torch.zeros(4, 2), (2, 4)).tolist()
    [[-1024.0, 0.0, 0.0, -1024.0], [-1024.0, 0.0, 0.0, -1024.0]]
    """
    missing = [wanted - n for wanted, n in zip(sides, hu.shape, strict=True)]
    return F.pad(hu, [part for m in reversed(missing) for part in (m // 2, m - m // 2)], value=PADDING_HU)


class DosePatches:
    """Batches of low-dose and full-dose patches; batch number n depends on the seed and on n alone.

    A subject is drawn by the root of its number of slices, then a slice, a dose, a corner, flips and a turn. The
    change kept at the next lower dose is scaled by the law of doses: its variance goes with 1 / dose - 1.

    Args:
        source: what `pairs` gives.
        size: patch length in pixels.
        batch_size: patches a batch.
        doses: smallest and largest fraction; the logarithm is drawn evenly between.
        untouched: share of patches with nothing to take out.
        dark_hu: a patch with a lower mean is drawn again.
        tries: patches looked at before a dark one is taken.
        seed: begins every draw.

    Raises:
        OptionError: the slices are smaller than a patch, or no dose is as low as the smallest.
    """

    def __init__(
        self,
        source: Pairs,
        *,
        size: int = 64,
        batch_size: int = 16,
        doses: tuple[float, float] = (0.05, 1.0),
        untouched: float = 0.05,
        dark_hu: float = -700.0,
        tries: int = 4,
        seed: int = 0,
    ) -> None:
        if min(source.clean.shape[1:]) < size or doses[0] < source.doses[0]:
            raise OptionError(f"patches of {size} and doses from {doses[0]} do not fit what was simulated")
        self.source, self.size, self.batch_size, self.doses = source, size, batch_size, doses
        self.untouched, self.dark_hu, self.tries, self.seed = untouched, dark_hu, tries, seed
        self.places: dict[str, list[int]] = {}
        for place, one in enumerate(source.about):
            self.places.setdefault(one["subject"], []).append(place)
        roots = np.sqrt([len(places) for places in self.places.values()])
        self.chances = roots / roots.sum()

    def _patch(self, draw: np.random.Generator) -> tuple[Tensor, Tensor]:
        subject = list(self.places.values())[draw.choice(len(self.chances), p=self.chances)]
        for _ in range(self.tries):
            place = subject[draw.integers(len(subject))]
            x, y = (int(draw.integers(n - self.size + 1)) for n in self.source.clean.shape[1:])
            box = (slice(x, x + self.size), slice(y, y + self.size))
            clean = self.source.clean[(place, *box)].astype(np.float32)
            if clean.mean() > self.dark_hu:
                break
        dose = math.exp(draw.uniform(math.log(self.doses[0]), math.log(self.doses[1])))
        kept = max(number for number, one in enumerate(self.source.doses) if one <= dose * (1 + 1e-9))
        share = math.sqrt((1 / dose - 1) / (1 / self.source.doses[kept] - 1))
        share = 0.0 if draw.random() < self.untouched else share
        noisy = clean + share * self.source.changes[(place, kept, *box)].astype(np.float32)
        both = torch.from_numpy((np.stack((noisy, clean)) - AIR_HU) / WATER_HU)
        both = both.flip([axis for axis in (1, 2) if draw.random() < 0.5])
        both = both.transpose(1, 2) if draw.random() < 0.5 else both
        return both[:1], both[1:]

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        """Low-dose and full-dose patches, both of shape (N, 1, size, size), water at 1."""
        draw = np.random.default_rng((self.seed, number))
        noisy, clean = zip(*(self._patch(draw) for _ in range(self.batch_size)), strict=True)
        return torch.stack(noisy), torch.stack(clean)


class DoseGain:
    """Mean gain in PSNR over the input, in the window 50/400, of a network over the middles of fixed slices.

    Args:
        source: what `pairs` gives; the doses below 0.3 are scored.
        slices: evenly spaced ones.
        size: of the middle, in pixels.

    Attributes:
        shown: the first three, in the window, as the last call saw them.
    """

    def __init__(self, source: Pairs, slices: int = 10, size: int = 192) -> None:
        self.shown: list[Shown] = []
        places = np.linspace(0, len(source.about) - 1, min(slices, len(source.about))).round().astype(int)
        box = tuple(slice(max(0, (n - size) // 2), max(0, (n - size) // 2) + size) for n in source.clean.shape[1:])
        self.pairs = []
        for place in places:
            clean = torch.from_numpy(source.clean[(place, *box)].astype(np.float32))
            for kept, dose in enumerate(source.doses):
                if dose < 0.3:
                    change = torch.from_numpy(source.changes[(place, kept, *box)].astype(np.float32))
                    self.pairs.append((clean + change, clean))

    def __call__(self, network: nn.Module) -> float:
        """Larger is better; decibel."""
        device, gains = next((p.device for p in network.parameters()), torch.device("cpu")), []
        self.shown = []
        with torch.inference_mode():
            for noisy, clean in self.pairs:
                given = ((noisy[None, None] - AIR_HU) / WATER_HU).to(device)
                found = network(given)[0, 0].cpu() * WATER_HU + AIR_HU
                before, after = (_display_error(one, clean) for one in (noisy, found))
                gains.append(10 * math.log10(before / after))
                if len(self.shown) < 3:
                    self.shown.append(Shown(*(image.clamp(*DISPLAY_HU)[None] for image in (noisy, found, clean))))
        return float(np.mean(gains))


def _display_error(image: Tensor, clean: Tensor) -> float:
    """Mean squared difference within the window 50/400."""
    return float(torch.mean((image.clamp(*DISPLAY_HU) - clean.clamp(*DISPLAY_HU)) ** 2))


class DoseCases:
    """The slices of one part of a split at several doses, for `clarivox.evaluation.Evaluation`.

    Args:
        dataset_dir, split, part: which slices.
        doses: fractions of each scan's own dose.
        kernel: of the simulated reconstruction.
        views: projections over half a turn.
    """

    def __init__(
        self,
        dataset_dir: str,
        split: str,
        doses: Sequence[float] = (0.25, 0.1),
        part: str = "test",
        kernel: Kernel = "hann",
        views: int = 360,
    ) -> None:
        self.data, self.doses = (dataset_dir, split, part), doses
        self.kernel, self.views = kernel, views

    def __iter__(self) -> Iterator[Case]:
        """Reads and simulates one slice after another; those whose noise cannot be measured are left out."""
        how = Simulation(tuple(self.doses), (self.kernel,), self.views, seed=1)
        found = slices(*self.data, noisiest_hu=math.inf)
        for number, (subject, hu, pixel_mm, sigma) in enumerate(found):
            affine = np.diag([pixel_mm, pixel_mm, 1.0, 1.0])
            truth = Volume(hu.numpy()[None, ..., None], affine, unit=Unit.HU, modality="CT")
            for dose, change in zip(self.doses, how.changes(hu, pixel_mm, sigma, number), strict=True):
                worse = truth.replace(array=(hu + change).numpy()[None, ..., None])
                about = {"subject": subject, "slice": number, "dose": f"{dose:.0%}"}
                yield Case(about, worse, truth, None, subject, DISPLAY_HU)
