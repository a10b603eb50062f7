# SPDX-License-Identifier: Apache-2.0
"""The field's claims on diffusion, each measured here as far as it can be: what docs/claims.md is printed from.

One CT (C4KC-KiTS-00072, not trained on; 0.66 x 0.66 x 2.5 mm), its middle 96 x 96 voxels of every slice, at a simulated
25 % of its dose; the truth is the scan itself. The same result is scored with several ranges, and beside the networks
stands a Gaussian blur, which knows nothing. SNR is the mean over the standard deviation in the 20 most uniform squares
of 11 x 11 pixels of soft tissue, the median over them; once with the values in HU and once above air (HU + 1000).
Sharpness is the gradient across the truth's edges, over the truth's own. SSIM: Gaussian, 11 x 11, slice by slice.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from clarivox import bundle, tiles
from clarivox.diffusion import DiffusionWindows
from clarivox.metrics import edge_sharpness, psnr, ssim
from clarivox.passes import Run
from tests.benchmarks.diffusion import methods
from tests.benchmarks.diffusion_cases import DISPLAY_HU, SIDE, Case, cases
from tests.benchmarks.measure import options, report

Result = NDArray[np.float32]
BLURS_PX = (0.6, 0.8, 1.0)
SQUARE, SQUARES = 11, 20
RANGES_HU = (4096.0, 2000.0)
"""Ranges of the whole values, beside the window 50/400."""
PUBLISHED_TFLOP = 4.8188
"""One step of the field's configuration on 64^3; counted in tests/unit/test_diffusion.py."""


def squares(truth: Result) -> list[tuple[slice, slice, slice]]:
    """The most uniform squares of soft tissue, none over another."""
    found = []
    for z in range(truth.shape[2]):
        for x in range(0, truth.shape[0] - SQUARE, SQUARE):
            for y in range(0, truth.shape[1] - SQUARE, SQUARE):
                box = (slice(x, x + SQUARE), slice(y, y + SQUARE), slice(z, z + 1))
                values = truth[box]
                if 0 < values.mean() < 200 and values.min() > -100:
                    found.append((float(values.std()), box))
    return [box for _, box in sorted(found, key=lambda pair: pair[0])[:SQUARES]]


def snr(result: Result, boxes: list[tuple[slice, slice, slice]], offset: float) -> float:
    """Median over the squares."""
    return float(np.median([(result[box].mean() + offset) / result[box].std() for box in boxes]))


def scored(name: str, result: Result, case: Case, boxes: list[tuple[slice, slice, slice]]) -> dict[str, Any]:
    """One row of a method."""
    truth = case.truth.values()[0]
    shown, expected = np.clip(result, *DISPLAY_HU), np.clip(truth, *DISPLAY_HU)
    row: dict[str, Any] = {"method": name, "SNR, HU": snr(result, boxes, 0), "SNR, HU + 1000": snr(result, boxes, 1000)}
    row["ROI bias, HU"] = float(np.median([result[box].mean() - truth[box].mean() for box in boxes]))
    row["sharpness"] = edge_sharpness(result, truth)
    row["PSNR, 50/400"] = psnr(shown, expected, data_range=400)
    row["SSIM, 50/400"] = ssim(shown, expected, data_range=400)
    for width in RANGES_HU:
        row[f"PSNR, range {width:.0f}"] = psnr(result, truth, data_range=width)
        row[f"SSIM, range {width:.0f}"] = ssim(result, truth, data_range=width)
    return row


def blurred(sigma: float) -> Callable[[Case], Result]:
    """A blur within the slice."""
    return lambda case: ndimage.gaussian_filter(case.worse.values()[0], (sigma, sigma, 0)).astype(np.float32)


def rows(folder: str, steps: list[int]) -> Iterator[dict[str, Any]]:
    """Every method on the one case."""
    case = next(case for case in cases("ct", folder, SIDE, 64, (0.25,)) if case.subject == "kits_00072")
    boxes = squares(case.truth.values()[0])
    for sigma in BLURS_PX:
        yield scored(f"Gaussian blur, {sigma:g} px", blurred(sigma)(case), case, boxes)
    for name, method in methods("ct", steps).items():
        yield scored(name, method(case.worse), case, boxes)


def volume_times() -> dict[str, Any]:
    """What 512^3 costs: windows, arithmetic of the field's network, and this machine's seconds for one window."""
    loaded = bundle.load("ct_ddpm3d_denoise", steps=1)
    inferer = loaded.windows
    assert isinstance(inferer, DiffusionWindows)
    windows = len(tiles.blended((512,) * 3, (inferer.window,) * 3, inferer.stride, inferer.overlap))
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        inferer(torch.rand(1, 1, 64, 64, 64), loaded.network, run=Run())
        seconds.append(time.perf_counter() - started)
    return {
        "method": "512^3",
        "windows of 64^3": windows,
        "field, PFLOP, 50 steps": windows * 50 * PUBLISHED_TFLOP / 1000,
        "field, s at 400 TFLOP/s": windows * 50 * PUBLISHED_TFLOP / 400,
        "ours, s a window and step": min(seconds),
        "ours, h, 50 steps": windows * 50 * min(seconds) / 3600,
        "ours, h, one step": windows * min(seconds) / 3600,
        "threads": torch.get_num_threads(),
    }


def subjects() -> dict[str, Any]:
    """How many subjects the two bundles saw."""
    found: dict[str, Any] = {"method": "subjects"}
    for modality in ("mr", "ct"):
        path = bundle.find(f"{modality}_ddpm3d_denoise").folder / "configs" / "split.json"
        for part, content in json.loads(path.read_text()).items():
            found[f"{modality} {part}"] = len(content)
    return found


def decibels() -> dict[str, Any]:
    """What from 18.3 to 24.7 dB is."""
    return {
        "method": "18.3 to 24.7 dB",
        "ratio of the two figures": 24.7 / 18.3,
        "amplitude": 10 ** ((24.7 - 18.3) / 20),
        "power": 10 ** ((24.7 - 18.3) / 10),
        "dB of +35 %": 20 * math.log10(1.35),
    }


def main() -> int:
    """Print the table."""
    parser = options(__doc__, data=True)
    parser.add_argument("--steps", type=int, choices=(50, 4, 1), action="append", help="all three unless told")
    chosen = parser.parse_args()
    found = [*rows(chosen.data, chosen.steps or [50, 4, 1]), volume_times(), subjects(), decibels()]
    return report("claims", found, [], chosen.json)


if __name__ == "__main__":
    raise SystemExit(main())
