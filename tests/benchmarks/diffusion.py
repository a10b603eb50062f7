# SPDX-License-Identifier: Apache-2.0
"""Diffusion against U-Nets: `mr_ddpm3d_denoise` and `ct_ddpm3d_denoise` with 50, 4 and 1 steps, and their peers.

The middle of each test volume (patients not trained on), at most 96 x 96 x 24 voxels, is made worse (simulated): MR by
Rician noise of 3, 5 and 9 % of the crop's 99th percentile, CT by a scan at 25 % and 10 % of its dose. PSNR in dB and
SSIM (Gaussian, 11 x 11, slice by slice): MR, range the crop's 99th percentile; CT, values clipped to the window 50/400,
range 400 HU. Beside them stand the noisy crop and the bundles of 2D networks, which were trained on more. A 3D U-Net
trained on exactly the same blocks is measured on the same crops by `python -m tests.experiments diffusion_unet`. Times
are this machine's, for a million voxels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clarivox import bundle
from clarivox.enhance import enhance
from clarivox.volume import Volume
from tests.benchmarks.diffusion_cases import DEEP, DEGREES, SIDE, cases, means, rows_of
from tests.benchmarks.measure import Gate, gate, options, report

SLICES = {"mr": ("mr_unet_denoise",), "ct": ("ct_unet_denoise", "ct_redcnn_denoise")}
"""Bundles of 2D networks, where they are there."""


def by(loaded: bundle.Bundle) -> Callable[[Volume], NDArray[np.float32]]:
    """What a bundle makes of a volume."""

    def method(volume: Volume) -> NDArray[np.float32]:
        values: NDArray[np.float32] = enhance(volume, loaded, device="cpu").values()[0]
        return values

    return method


def methods(modality: str, steps: list[int]) -> dict[str, Callable[[Volume], NDArray[np.float32]]]:
    """What is compared, by name."""
    name = f"{modality}_ddpm3d_denoise"
    there = {info.name for info in bundle.catalogue()}
    found: dict[str, Callable[[Volume], NDArray[np.float32]]] = {"noisy": lambda volume: volume.values()[0]}
    found |= {f"{name}, {n} steps" if n > 1 else f"{name}, one step": by(bundle.load(name, steps=n)) for n in steps}
    return found | {other: by(bundle.load(other)) for other in SLICES[modality] if other in there}


def gates(rows: list[dict[str, Any]]) -> list[Gate]:
    """One step is ahead of the noisy input everywhere; the rest is said, not gated."""
    found = []
    for row in rows:
        if row["method"].endswith("one step"):
            noisy = next(
                r["PSNR dB"]
                for r in rows
                if (r["modality"], r["degree"], r["method"]) == (row["modality"], row["degree"], "noisy")
            )
            about = f"{row['modality']}, {row['degree']}: one step ahead of its input"
            found.append(gate(about, row["PSNR dB"] - noisy, at_least=0.0, unit="dB"))
    return found


def main() -> int:
    """Print the table; 1 where a gate fails."""
    parser = options(__doc__, data=True)
    parser.add_argument("--modality", choices=("mr", "ct"), action="append", help="both unless told")
    parser.add_argument("--steps", type=int, choices=(50, 4, 1), action="append", help="all three unless told")
    parser.add_argument("--degree", type=float, action="append", help="of noise or dose; every one unless told")
    parser.add_argument("--small", action="store_true", help="smaller crops, the strongest noise alone")
    chosen = parser.parse_args()
    side, deep = (48, 12) if chosen.small else (SIDE, DEEP)
    rows = []
    for modality in chosen.modality or ("mr", "ct"):
        compared = methods(modality, chosen.steps or [50, 4, 1])
        degrees = DEGREES[modality][-1:] if chosen.small else chosen.degree or DEGREES[modality]
        found = cases(modality, chosen.data, side, deep, degrees)
        rows += means([row for case in found for row in rows_of(case, compared)])
    return report("diffusion", rows, gates(rows), chosen.json)


if __name__ == "__main__":
    raise SystemExit(main())
