# SPDX-License-Identifier: Apache-2.0
"""The filters without weights, by `enhance` as any bundle, on pictures made worse; scikit-image's filters beside.

    python -m tests.benchmarks.classical [--pictures 4] [--json out.json]

Sets, all with simulated noise: photographs with Gaussian noise of 15 and 50 (of 255, unclipped); an averaged T1 head
with Rician noise of 5 % of its 99th percentile; chest CT thinned to a quarter of its dose (512 x 512, halved to 256 x
256 first, in the window 50/400 HU); speckle, as scatterers under a pulse, on a phantom and on photographs. PSNR within
each set's range, as the mean over pictures: before, after, and by the same filter of scikit-image or SciPy, told the
same noise level. Seconds are those of one picture, the filter alone; edge is `edge_sharpness` against the truth. Each
filter runs with its bundle's defaults.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.restoration import cycle_spin, denoise_nl_means, denoise_tv_chambolle, denoise_wavelet

import clarivox.io
from clarivox import bundle
from clarivox.classical.nlm import STRICTNESS
from clarivox.classical.noise import noise_level
from clarivox.classical.tv import WEIGHT
from clarivox.enhance import enhance
from clarivox.metrics import edge_sharpness, psnr
from clarivox.phantoms.us import us
from clarivox.transforms.low_dose_ct import LowDoseCT
from clarivox.transforms.projection import Beam
from clarivox.transforms.rician import RicianNoise
from clarivox.transforms.speckle import Speckle
from clarivox.volume import Volume
from tests.benchmarks.measure import gate, options, report

Picture = NDArray[np.float32]
CHEST = "ct/rider_pilot_0117_1p25mm"
SMOOTHERS = ("any_nlm_denoise", "any_tv_denoise", "any_wavelet_denoise", "any_median_denoise")


@dataclass(frozen=True)
class Case:
    """A picture made worse, and what it was; both (X, Y)."""

    set: str
    modality: str
    worse: Picture
    truth: Picture
    window: tuple[float, float]


def spread(paths: list[Path], number: int) -> list[Path]:
    """So many of the paths, evenly spaced."""
    return [paths[i] for i in np.linspace(0, len(paths) - 1, number).round().astype(int)]


def photographs(folder: Path, number: int) -> Iterator[Case]:
    """Gaussian noise of two levels."""
    for index, path in enumerate(spread(sorted((folder / "natural/train400_gray180").glob("*.png")), number)):
        truth = clarivox.io.read(path).values()[0, :, :, 0]
        for sigma in (15, 50):
            noise = np.random.default_rng(index).normal(scale=sigma, size=truth.shape)
            yield Case(f"photographs, noise {sigma}", "OT", (truth + noise).astype(np.float32), truth, (0, 255))


def heads(folder: Path, number: int) -> Iterator[Case]:
    """Rician noise of 5 % on slices of an averaged head."""
    values = clarivox.io.read(folder / "mr/mni_icbm152_t1_template.nii.gz").values()[0]
    top = float(np.percentile(values, 99))
    for z in np.linspace(60, 120, number).astype(int):
        truth = np.ascontiguousarray(values[:, :, z])
        worse = RicianNoise(0.05, int(z), reference=top)(torch.from_numpy(truth)[None])[0].numpy()
        yield Case("T1 head, Rician 5 %", "MR", worse, truth, (0, top))


def chests(folder: Path, number: int) -> Iterator[Case]:
    """A quarter of the dose; the slices are halved, so that they hold less noise of their own."""
    volume = clarivox.io.read(folder / CHEST)
    values = volume.values()[0]
    for z in np.linspace(2, values.shape[2] - 3, number).round().astype(int):
        fine = values[:, :, z].clip(-1024, 3071)
        truth = fine.reshape(256, 2, 256, 2).mean((1, 3)).astype(np.float32)
        low = LowDoseCT(0.25, seed=int(z), photons=1e5, beam=Beam(1.4, 360))
        worse = low(torch.from_numpy(truth)[None])[0].numpy()
        yield Case("chest CT, 25 % dose", "CT", worse, truth, (-150, 250))


def ultrasound(folder: Path, number: int) -> Iterator[Case]:
    """Speckle on a phantom and on photographs."""
    for seed in range(1, number + 1):
        worse, truth = (part.values()[0, :, :, 0] for part in us(size=256, slices=1, seed=seed))
        yield Case("phantom, speckle", "US", worse, truth, (0, 255))
    for index, path in enumerate(spread(sorted((folder / "natural/train400_gray180").glob("*.png")), number)):
        truth = clarivox.io.read(path).values()[0, :, :, 0]
        worse = (Speckle(index)(torch.from_numpy(truth / 255)[None])[0] * 255).round().numpy()
        yield Case("photographs, speckle", "US", worse, truth, (0, 255))


def nlm(picture: Picture, sigma: float) -> Picture:
    """Non-local means; the fast mode sums 16 of the 25 squared differences, so its h is 4 / 5 of ours."""
    h = 0.8 * STRICTNESS * sigma
    return denoise_nl_means(picture, patch_size=5, patch_distance=6, h=h, sigma=sigma, fast_mode=True)


def tv(picture: Picture, sigma: float) -> Picture:
    """Chambolle's algorithm at the same weight."""
    return denoise_tv_chambolle(picture, weight=WEIGHT * sigma, eps=1e-6, max_num_iter=300)


def wavelet(picture: Picture, sigma: float) -> Picture:
    """Haar, BayesShrink, 16 shifts."""
    how = {"sigma": sigma, "wavelet": "haar", "wavelet_levels": 3, "rescale_sigma": False}
    return cycle_spin(picture, denoise_wavelet, max_shifts=3, func_kw=how, workers=1)


def median(picture: Picture, _sigma: float) -> Picture:
    """SciPy's, 3 x 3."""
    return ndimage.median_filter(picture, 3, mode="nearest")


PEERS: dict[str, Callable[[Picture, float], Picture]] = dict(zip(SMOOTHERS, (nlm, tv, wavelet, median), strict=True))


def score(case: Case, picture: Picture) -> float:
    """PSNR within the case's window; what is black on both sides does not count in ultrasound."""
    low, high = case.window
    inside = case.truth > 0 if case.modality == "US" else None
    return psnr(picture.clip(low, high), case.truth.clip(low, high), data_range=high - low, mask=inside)


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call gives, and its seconds."""
    began = time.perf_counter()
    result = call()
    return result, time.perf_counter() - began


def compared(case: Case, network: bundle.Bundle) -> dict[str, Any]:
    """The figures of one filter on one picture."""
    whole = (0.0, 255.0) if case.modality == "US" else None
    stored = np.uint8 if whole else np.float32
    volume = Volume(
        case.worse[None, ..., None].astype(stored),
        np.eye(4),
        modality=case.modality,
        stored_range=(0, 255) if whole else None,
    )
    after = enhance(volume, network).values()[0, :, :, 0]
    tensor = torch.from_numpy(case.worse)[None, None] / (255 if whole else 1)
    with torch.inference_mode():
        _, seconds = timed(lambda: network.network(tensor))
    row = {"before_db": score(case, case.worse), "after_db": score(case, after), "seconds": seconds}
    row["edge"] = edge_sharpness(after, case.truth)
    peer = PEERS.get(network.info.name)
    if peer is not None:
        sigma = float(noise_level(torch.from_numpy(case.worse)[None, None]))
        theirs, row["peer_seconds"] = timed(lambda: peer(case.worse, sigma))
        row["peer_db"] = score(case, theirs)
    return row


def cases(folder: Path, number: int) -> Iterator[Case]:
    """All sets."""
    for make in (photographs, heads, chests, ultrasound):
        yield from make(folder, number)


def rows_of(folder: Path, number: int) -> list[dict[str, Any]]:
    """One row for each set and filter: means over pictures."""
    names = (*SMOOTHERS, "us_srad_despeckle", "us_svd_enhance")
    networks = [bundle.load(name) for name in names]
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for case in cases(folder, number):
        for network in networks:
            if network.info.accepts(case.modality):
                found.setdefault((case.set, network.info.name), []).append(compared(case, network))
    return [
        {"set": place, "bundle": name, "pictures": len(rows)}
        | {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        for (place, name), rows in found.items()
    ]


def main() -> int:
    """Print the table; 1 where a filter is behind scikit-image's, or does not gain on a set it is for."""
    parser = options(__doc__, data=True)
    parser.add_argument("--pictures", type=int, default=4, help="pictures of each set")
    chosen = parser.parse_args()
    rows = rows_of(Path(chosen.data), chosen.pictures)
    gates = []
    for row in rows:
        label = f"{row['bundle']}, {row['set']}"
        if row["bundle"] == "us_srad_despeckle" or "noise" in row["set"] or "Rician" in row["set"]:
            gates.append(gate(f"{label}: PSNR", row["after_db"], at_least=row["before_db"], unit="dB"))
        if "peer_db" in row:
            gates.append(gate(f"{label}: PSNR", row["after_db"], at_least=row["peer_db"] - 0.1, unit="dB"))
    return report("classical", rows, gates, chosen.json)


if __name__ == "__main__":
    raise SystemExit(main())
