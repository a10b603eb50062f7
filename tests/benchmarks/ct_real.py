# SPDX-License-Identifier: Apache-2.0
"""Real noise without truth: a plastic head phantom, scanned once, reconstructed with a sharp kernel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage

from clarivox import io
from clarivox.metrics import edge_sharpness
from tests.benchmarks.ct_phantom import Filter

FILE = "ct/philips_head_phantom_1mm_YA_bone_z12.nii.gz"
"""Philips Ingenuity, 120 kV, 1 mm, kernel YA; there are no repeated scans in the data, so the noise is measured within
flat squares."""
SQUARE, SQUARES = 16, 24


def real_noise(folder: str, method: Filter, depth: int = 3) -> dict[str, float]:
    """Noise in flat squares of plastic before and after, shift of their means, and what is left of the edges."""
    volume = io.read(Path(folder) / FILE)
    middle = volume.shape[3] // 2
    before = np.moveaxis(volume.values()[0, :, :, middle : middle + depth], 2, 0)
    after = np.stack([method(hu, 0.0) for hu in before])
    smooth = ndimage.gaussian_filter(before.mean(axis=0), 2.0)
    places = []
    for x in range(0, smooth.shape[0] - SQUARE, SQUARE):
        for y in range(0, smooth.shape[1] - SQUARE, SQUARE):
            box = (slice(x, x + SQUARE), slice(y, y + SQUARE))
            if smooth[box].min() > -200 and smooth[box].max() < 300:
                places.append((float(smooth[box].std()), box))
    flat = [box for _, box in sorted(places, key=lambda one: one[0])[:SQUARES]]
    regions = [(slice(None), *box) for box in flat]
    noise = {
        name: float(np.sqrt(np.mean([scans[box].var(axis=(1, 2)).mean() for box in regions])))
        for name, scans in (("before", before), ("after", after))
    }
    shift = [float((after - before)[box].mean()) for box in regions]
    return {
        "noise before HU": noise["before"],
        "noise HU": noise["after"],
        "bias HU": float(np.mean(shift)),
        "edges kept %": 100 * edge_sharpness(after.transpose(1, 2, 0), before.transpose(1, 2, 0)),
    }
