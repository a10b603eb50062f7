# SPDX-License-Identifier: Apache-2.0
"""A bundle against known truth: real images are made worse, enhanced, and compared with what they were."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clarivox.bundle import assemble
from clarivox.enhance import enhance
from clarivox.metrics import psnr
from clarivox.patches import cropped
from clarivox.phantoms.us import us
from clarivox.splits import volumes
from clarivox.volume import Volume

logger = logging.getLogger(__name__)

Degrade = Callable[[torch.Tensor], torch.Tensor]


def degraded(volume: Volume, degrade: Degrade, width: float) -> Volume:
    """A worse copy of a volume, stored as the volume is; the affine is the volume's.

    Args:
        volume: one channel.
        degrade: takes and gives a tensor of shape (1, X, Y, Z); it may change X and Y.
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
    return volume.replace(array=array.astype(dtype))


@dataclass(frozen=True)
class Case:
    """One volume made worse, and what it was."""

    about: dict[str, Any]
    """What the row says first."""
    worse: Volume
    truth: Volume
    width: float
    """The range of the PSNR, in the volume's unit."""


class SplitCases:
    """The volumes of one part of a split, each made worse in each way.

    Args:
        dataset_dir, split, part: which volumes.
        degradations: name: what makes a volume worse.
        width: the range of the PSNR, and what the degradations see as 1; None takes each volume's 99th percentile.
        multiple: volumes are cropped to multiples of this along X and Y.
    """

    def __init__(
        self,
        dataset_dir: str,
        split: str,
        degradations: Mapping[str, Degrade],
        part: str = "test",
        width: float | None = None,
        multiple: int = 1,
    ) -> None:
        self.data = (dataset_dir, split, part)
        self.degradations, self.width, self.multiple = degradations, width, multiple

    def __iter__(self) -> Iterator[Case]:
        """Reads one volume after another."""
        for example, volume in volumes(*self.data):
            truth = cropped(volume, self.multiple)
            width = self.width or float(np.percentile(truth.values(), 99))
            for name, degrade in self.degradations.items():
                about = {"subject": example.subject, "name": example.name, "degradation": name}
                yield Case(about, degraded(truth, degrade, width), truth, width)


class SpeckleCases:
    """Ultrasound phantoms with speckle, and without.

    Args:
        frames: lengths of the clips.
        seeds: one phantom each.
    """

    def __init__(self, frames: Sequence[int] = (1, 12), seeds: Sequence[int] = (1, 2, 3)) -> None:
        self.frames, self.seeds = frames, seeds

    def __iter__(self) -> Iterator[Case]:
        """Makes one phantom after another."""
        for seed in self.seeds:
            for frames in self.frames:
                worse, truth = us(slices=frames, seed=seed)
                yield Case({"phantom": seed, "frames": frames}, worse, truth, 255.0)


class Evaluation:
    """What `python -m monai.bundle run` runs with evaluate.yaml: PSNR of each case before and after.

    Args:
        bundle_root, network, preprocessing, inferer, options, weights: as in `clarivox.evaluator.Evaluator`.
        cases: what is enhanced.
        baseline: gives from the worse values, shape (1, X, Y, Z), the range being 1, what is compared as "before";
            None compares them as they are.
        output_dir: where results.json goes.
    """

    def __init__(
        self,
        bundle_root: str,
        network: Any,
        preprocessing: Any,
        inferer: Any,
        cases: Iterable[Case],
        output_dir: str,
        baseline: Degrade | None = None,
        options: Mapping[str, Any] | None = None,
        weights: str | None = None,
    ) -> None:
        parts = {"network_def": network, "preprocessing": preprocessing, "inferer": inferer, "weights": weights}
        self.bundle = assemble(Path(bundle_root).resolve(), parts, dict(options or {}))
        self.cases, self.baseline, self.output_dir = cases, baseline, Path(output_dir)

    def run(self) -> list[dict[str, Any]]:
        """Evaluates, logs one line a case, writes results.json and returns its rows."""
        rows = []
        for case in self.cases:
            row = case.about | self._compare(case)
            logger.info(
                "%s: %.2f to %.2f dB", " ".join(map(str, case.about.values())), row["before_db"], row["after_db"]
            )
            rows.append(row)
        for key in ("before_db", "after_db"):
            logger.info("mean %s of %d: %.2f", key, len(rows), np.mean([row[key] for row in rows]))
        self.output_dir.mkdir(parents=True, exist_ok=True)
        (self.output_dir / "results.json").write_text(json.dumps(rows, indent=1) + "\n")
        return rows

    def _compare(self, case: Case) -> dict[str, Any]:
        truth, before = case.truth.values()[0], case.worse.values()[0]
        after = enhance(case.worse, self.bundle).values()[0]
        if self.baseline is not None:
            before = (self.baseline(torch.from_numpy(before[None] / case.width)) * case.width).numpy()[0]
        figures = {
            name: psnr(values, truth, data_range=case.width)
            for name, values in (("before_db", before), ("after_db", after))
        }
        return figures | {"range": case.width}
