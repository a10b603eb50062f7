# SPDX-License-Identifier: Apache-2.0
"""What the ablations on ultrasound share: the training data of the us_* bundles, and a table of paired differences."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import nn

from clarivox import bundle
from clarivox.metrics import psnr
from clarivox.networks.cost import cost
from tests.benchmarks.us_despeckle import PULSES, cases

RECIPE = "us_unet_enhance"
"""The bundle whose train.yaml says data, degradation, validation, loss and learning rate."""
SUBJECTS = 18
"""All subjects of the test part; one picture of each, under each pulse."""


def data_dir() -> Path:
    """The folder of data sets.

    Raises:
        SystemExit: CLARIVOX_DATA does not name it.
    """
    found = os.environ.get("CLARIVOX_DATA", "")
    if not Path(found).is_dir() or not found:
        raise SystemExit("name the folder of data sets by CLARIVOX_DATA")
    return Path(found)


def config(network: Mapping[str, Any], *, steps: int, seed: int = 1, **trainer: Any) -> dict[str, Any]:
    """A training as the ultrasound bundles are trained, with another network, another number of steps and a seed.

    Args:
        network: network_def.
        steps: batches in all.
        seed: of the first weights; the batches are the same for every seed.
        trainer: further arguments of the trainer.
    """
    folder = bundle.find(RECIPE).folder
    recipe: dict[str, Any] = yaml.safe_load((folder / "configs" / "train.yaml").read_text(encoding="utf-8"))
    every = max(2, steps // 5)
    settings = {"steps": steps, "learning_rate": recipe["learning_rate"], "every": every, "amp": True, "seed": seed}
    return recipe | {
        "bundle_root": str(folder),
        "dataset_dir": str(data_dir()),
        "network_def": dict(network),
        "loss": recipe["trainer"]["loss"],
        "trainer": settings | trainer,
    }


def scores(networks: Mapping[str, nn.Module], pictures: int = SUBJECTS) -> dict[str, NDArray[np.float64]]:
    """PSNR of each network on each test subject's picture, dB, range 255, whole picture; the mean of the two pulses."""
    found: dict[str, list[float]] = {name: [] for name in networks}
    with torch.inference_mode():
        for pulse in PULSES:
            for frame, _, truth in cases(data_dir(), "test", pictures, pulse):
                grey = torch.from_numpy(frame.values()[..., 0] / 255)[None]
                for name, network in networks.items():
                    output = (network(grey)[0, 0].clamp(0, 1) * 255).round().numpy()
                    found[name].append(psnr(output, truth, data_range=255))
    return {name: np.array(values).reshape(len(PULSES), -1).mean(axis=0) for name, values in found.items()}


def table(
    columns: Mapping[str, Mapping[str, Any]], found: Mapping[str, NDArray[np.float64]], pairs: Sequence[tuple[str, str]]
) -> list[dict[str, Any]]:
    """One row for each network; and for each pair, other against first, the paired difference and what it shows.

    Args:
        columns: by network, what the row says first.
        found: by network, PSNR of each subject; several trainings of one network are rows of the array.
        pairs: (first, other).
    """
    rows = []
    for name, about in columns.items():
        values = np.atleast_2d(found[name])
        row: dict[str, Any] = {"network": name} | dict(about) | {"PSNR dB": float(values.mean())}
        row["sd over subjects"] = float(values.mean(axis=0).std(ddof=1))
        if len(values) > 1:
            row["range over seeds"] = " to ".join(f"{value:.2f}" for value in sorted(values.mean(axis=1)))
        for first, other in pairs:
            if other == name:
                row |= _difference(first, np.atleast_2d(found[first]), values)
        rows.append(row)
    return rows


def _difference(name: str, first: NDArray[np.float64], other: NDArray[np.float64]) -> dict[str, Any]:
    """Mean paired difference with its 95 % interval over subjects; a smaller one than seeds make shows nothing."""
    apart = (other.mean(axis=0) - first.mean(axis=0)).astype(np.float64)
    half = 1.96 * float(apart.std(ddof=1)) / np.sqrt(len(apart))
    mean = float(apart.mean())
    seeds = max(float(np.ptp(values.mean(axis=1))) for values in (first, other))
    shown = abs(mean) > max(half, seeds)
    return {
        "against": name,
        "difference dB": mean,
        "95 % interval": f"{mean - half:+.2f} to {mean + half:+.2f}",
        "sd of the differences": float(apart.std(ddof=1)),
        "verdict": ("better" if mean > 0 else "worse") if shown else "no difference shown",
    }


def size(network: nn.Module) -> dict[str, int]:
    """Parameters and kFLOP a pixel."""
    counted = cost(lambda: network, 1, 256, 256)
    return {"parameters": counted.parameters, "kFLOP a pixel": counted.kflop}
