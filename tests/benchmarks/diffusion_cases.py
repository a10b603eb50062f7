# SPDX-License-Identifier: Apache-2.0
"""Test volumes of the two diffusion bundles, cropped and made worse, for the benchmark and the experiment beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clarivox import bundle, splits
from clarivox.degradations import parsed
from clarivox.metrics import psnr, ssim
from clarivox.volume import Volume

DEGREES = {"mr": (0.03, 0.05, 0.09), "ct": (0.25, 0.1)}
"""Rician noise as a share of the crop's 99th percentile; dose as a share of the scan's own."""
SIDE, DEEP = 96, 24
"""Voxels of a crop along X and Y, and along Z at most."""
DISPLAY_HU = (-150.0, 250.0)
"""Window 50/400, in which CT is scored."""


@dataclass(frozen=True)
class Case:
    """One crop of a test volume, and a worse copy."""

    modality: str
    subject: str
    name: str
    degree: float
    worse: Volume
    truth: Volume

    def scores(self, result: NDArray[np.float32]) -> dict[str, float]:
        """PSNR (dB) and SSIM (Gaussian 11 x 11, slice by slice) of a result of shape (X, Y, Z).

        The range is the crop's 99th percentile for MR; for CT values are clipped to the window 50/400 first.
        """
        truth = self.truth.values()[0]
        if self.modality == "mr":
            width = float(np.percentile(truth, 99))
        else:
            truth, result = np.clip(truth, *DISPLAY_HU), np.clip(result, *DISPLAY_HU)
            width = DISPLAY_HU[1] - DISPLAY_HU[0]
        return {"PSNR dB": psnr(result, truth, data_range=width), "SSIM": ssim(result, truth, data_range=width)}


def crop(volume: Volume, side: int, deep: int) -> Volume:
    """The middle of a volume."""
    _, x, y, z = volume.shape
    wide, high, deep = min(side, x), min(side, y), min(deep, z)
    first = ((x - wide) // 2, (y - high) // 2, (z - deep) // 2)
    box = tuple(slice(f, f + n) for f, n in zip(first, (wide, high, deep), strict=True))
    values = np.ascontiguousarray(volume.values((slice(0, 1), *box)))
    return Volume(values, np.diag([*volume.spacing_mm, 1.0]), unit=volume.unit, modality=volume.modality)


def slab(volume: Volume, deep: int) -> Volume:
    """The slices that `crop` takes, whole."""
    return crop(volume, max(volume.shape), deep)


def cases(modality: str, folder: str, side: int, deep: int, degrees: Sequence[float]) -> Iterator[Case]:
    """Crops of the test volumes, each made worse by each degree; the same at each run."""
    split = bundle.find(f"{modality}_ddpm3d_denoise").folder / "configs" / "split.json"
    for example, volume in splits.volumes(folder, split, "test"):
        truth = crop(volume, side, deep)
        for degree in degrees:
            if modality == "mr":
                array = parsed(f"rician:{degree}")(truth, example.name).array
            else:
                # Projections are of whole slices; the crop is cut afterwards.
                array = crop(parsed(f"dose:{degree}")(slab(volume, truth.shape[3]), example.name), side, deep).array
            worse = truth.replace(array=array, modality=modality.upper())
            yield Case(modality, example.subject, example.name, degree, worse, truth)


def rows_of(case: Case, methods: dict[str, Callable[[Volume], NDArray[np.float32]]]) -> Iterator[dict[str, Any]]:
    """One row for each method: scores and seconds."""
    for name, method in methods.items():
        cpu, wall = time.process_time(), time.perf_counter()
        result = method(case.worse)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        about = {"modality": case.modality, "degree": f"{case.degree:.0%}", "method": name, "volume": case.name}
        yield about | case.scores(result) | {"CPU s": cpu, "wall s": wall, "voxels": int(np.prod(case.worse.shape))}


def means(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The mean over volumes of each modality, degree and method; seconds for a million voxels."""
    found = []
    for key in dict.fromkeys((row["modality"], row["degree"], row["method"]) for row in rows):
        some = [row for row in rows if (row["modality"], row["degree"], row["method"]) == key]
        voxels = sum(row["voxels"] for row in some)
        found.append(
            dict(zip(("modality", "degree", "method"), key, strict=True))
            | {name: float(np.mean([row[name] for row in some])) for name in ("PSNR dB", "SSIM")}
            | {
                "CPU s/Mvoxel": 1e6 * sum(row["CPU s"] for row in some) / voxels,
                "s/Mvoxel": 1e6 * sum(row["wall s"] for row in some) / voxels,
                "volumes": len(some),
            }
        )
    return found
