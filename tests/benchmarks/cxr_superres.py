# SPDX-License-Identifier: Apache-2.0
"""`cxr_srcnn_superres` against antialiased bicubic interpolation, patients not trained on.

Each picture of the test part of the split is cropped to multiples of the scale, shrunk by antialiased bicubic
interpolation, rounded to 8 bits, and enlarged again by the network and by bicubic interpolation; both results are
rounded to 8 bits. PSNR has the range 255 and leaves out a border of as many pixels as the scale. The network runs by
the one path, on an 8-bit volume.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clarivox import bundle, splits
from clarivox.enhance import enhance
from clarivox.metrics import psnr, ssim
from clarivox.patches import cropped
from clarivox.transforms.bicubic import BicubicResize
from clarivox.volume import Volume
from tests.benchmarks.measure import gate, options, report

SCALES = (2, 3, 4)
LEAST_GAIN_DB = 0.05


def resized(array: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """An 8-bit picture of shape (X, Y) shrunk or enlarged, rounded to 8 bits again."""
    result = BicubicResize(factor, levels=256)(torch.from_numpy(array[None] / np.float32(255)))
    return (result[0] * 255).round().to(torch.uint8).numpy()


def figures(truth: Volume, network: bundle.Bundle, scale: int) -> dict[str, float]:
    """PSNR and SSIM of both methods on one picture."""
    clean = np.ascontiguousarray(cropped(truth, scale).array[0, :, :, 0])
    small = resized(clean, 1 / scale)
    volume = Volume(small[None, :, :, None], np.eye(4), modality="DX", stored_range=(0, 255))
    results = {"srcnn": enhance(volume, network).array[0, :, :, 0], "bicubic": resized(small, scale)}
    inner = (slice(scale, -scale), slice(scale, -scale))
    row = {}
    for name, result in results.items():
        pair = result[inner].astype(np.float32), clean[inner].astype(np.float32)
        row |= {f"{name}_db": psnr(*pair, data_range=255), f"{name}_ssim": ssim(*pair, data_range=255)}
    return row


def run(folder: str) -> Iterator[dict[str, Any]]:
    """One row for each set and scale."""
    info = bundle.find("cxr_srcnn_superres")
    pictures: dict[str, list[tuple[str, Volume]]] = {}
    for example, volume in splits.volumes(folder, info.folder / "configs" / "split.json", "test"):
        pictures.setdefault(example.path.parent.name, []).append((example.subject, volume))
    for scale in SCALES:
        network = bundle.load(info.name, scale=scale)
        for name, members in pictures.items():
            found = [figures(volume, network, scale) for _, volume in members]
            gains = np.array([row["srcnn_db"] - row["bicubic_db"] for row in found])
            means = {key: float(np.mean([row[key] for row in found])) for key in found[0]}
            yield {
                "set": name,
                "scale": scale,
                "pictures": len(members),
                "patients": len({subject for subject, _ in members}),
                **means,
                "gain_db": float(gains.mean()),
                "smallest_gain_db": float(gains.min()),
                "worse": f"{np.mean(gains < 0):.0%}",
            }


def main() -> int:
    """Print the table; 1 where the mean gain of a set at a scale is too small."""
    parser = options(__doc__)
    parser.add_argument("--data", default=os.environ.get("CLARIVOX_DATA"), help="the folder of data sets")
    chosen = parser.parse_args()
    if not chosen.data or not Path(chosen.data).is_dir():
        parser.error("name the folder of data sets by --data or CLARIVOX_DATA")
    rows = list(run(chosen.data))
    gates = [
        gate(f"{row['set']} x{row['scale']}: mean gain over bicubic", row["gain_db"], at_least=LEAST_GAIN_DB, unit="dB")
        for row in rows
    ]
    return report("cxr_superres", rows, gates, chosen.json)


if __name__ == "__main__":
    raise SystemExit(main())
