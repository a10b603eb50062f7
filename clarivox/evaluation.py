# SPDX-License-Identifier: Apache-2.0
"""A bundle against known truth: real images are made worse, enhanced, and compared with what they were."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clarivox.bundle import assemble
from clarivox.enhance import enhance
from clarivox.metrics import psnr
from clarivox.patches import cropped
from clarivox.splits import volumes
from clarivox.volume import Volume

logger = logging.getLogger(__name__)

Degrade = Callable[[torch.Tensor], torch.Tensor]


def degraded(volume: Volume, degrade: Degrade, width: float) -> Volume:
    """A worse copy of a volume, float32, in the volume's unit; the affine is the volume's.

    Args:
        volume: one channel.
        degrade: takes and gives a tensor of shape (1, X, Y, Z); it may change X and Y.
        width: the value that `degrade` sees as 1.

    >>> half = degraded(Volume(np.ones((1, 2, 2, 1), np.uint8), np.eye(4)), lambda x: x / 2, width=255)
    >>> float(half.array.max()), half.array.dtype.name
    (0.5, 'float32')
    """
    values = torch.from_numpy(np.ascontiguousarray(volume.values()))
    array = (degrade(values / width) * width).numpy()
    return volume.replace(array=array, slope=np.ones(1), intercept=np.zeros(1), stored_range=None, padding=None)


class Evaluation:
    """What `python -m monai.bundle run` runs with evaluate.yaml: PSNR of each test volume before and after.

    Args:
        bundle_root, network, preprocessing, inferer, options, weights: as in `clarivox.evaluator.Evaluator`.
        dataset_dir, split, part: which volumes.
        degradations: name: what makes a volume worse.
        width: the range of the PSNR, and what the degradations see as 1; None takes each volume's 99th percentile.
        multiple: volumes are cropped to multiples of this along X and Y.
        baseline: gives from the degraded values, shape (1, X, Y, Z), what is compared as "before"; None compares
            them as they are.
        output_dir: where results.json goes.
    """

    def __init__(
        self,
        bundle_root: str,
        network: Any,
        preprocessing: Any,
        inferer: Any,
        dataset_dir: str,
        split: str,
        degradations: Mapping[str, Degrade],
        output_dir: str,
        part: str = "test",
        width: float | None = None,
        multiple: int = 1,
        baseline: Degrade | None = None,
        options: Mapping[str, Any] | None = None,
        weights: str | None = None,
    ) -> None:
        parts = {"network_def": network, "preprocessing": preprocessing, "inferer": inferer, "weights": weights}
        self.bundle = assemble(Path(bundle_root).resolve(), parts, dict(options or {}))
        self.data = (dataset_dir, split, part)
        self.degradations, self.width, self.multiple, self.baseline = degradations, width, multiple, baseline
        self.output_dir = Path(output_dir)

    def run(self) -> list[dict[str, Any]]:
        """Evaluates, logs one line a volume, writes results.json and returns its rows."""
        rows = []
        for example, volume in volumes(*self.data):
            truth = cropped(volume, self.multiple)
            for name, degrade in self.degradations.items():
                about = {"subject": example.subject, "name": example.name, "degradation": name}
                row = about | self._compare(truth, degrade)
                logger.info("%(name)s %(degradation)s: %(before_db).2f to %(after_db).2f dB", row)
                rows.append(row)
        self.output_dir.mkdir(parents=True, exist_ok=True)
        (self.output_dir / "results.json").write_text(json.dumps(rows, indent=1) + "\n")
        return rows

    def _compare(self, truth: Volume, degrade: Degrade) -> dict[str, Any]:
        values = truth.values()[0]
        width = self.width or float(np.percentile(values, 99))
        worse = degraded(truth, degrade, width)
        better = enhance(worse, self.bundle).values()[0]
        before: NDArray[np.float32] = worse.array[0]
        if self.baseline is not None:
            before = (self.baseline(torch.from_numpy(worse.array / width)) * width).numpy()[0]
        figures = {
            "before_db": psnr(before, values, data_range=width),
            "after_db": psnr(better, values, data_range=width),
        }
        return figures | {"range": width}
