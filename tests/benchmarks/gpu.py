# SPDX-License-Identifier: Apache-2.0
"""Every bundle on 512 x 512 x 512 int16 voxels in memory on a GPU: seconds and peak memory, warm.

Prints "not run: no GPU" where there is none. The time is that of `enhance`: preparation, transfer, network, transfer
back, restoration; files are neither read nor written.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
import torch

from clarivox.bundle import BundleInfo, catalogue, load
from clarivox.enhance import enhance
from clarivox.volume import Axis, Volume, blank_like
from tests.benchmarks.measure import options, report


def volume(side: int, info: BundleInfo) -> Volume:
    """Seeded noise around a ball, 12 bits; a clip for a bundle of clips."""
    array = blank_like((1, side, side, side), np.dtype(np.int16))
    generator = np.random.default_rng(0)
    across = np.linspace(-1, 1, side) ** 2
    for z in range(side):
        ball = (across[:, None] + across[None, :] + across[z]) < 0.7
        array[0, :, :, z] = (generator.normal(300, 60, (side, side)) + 900 * ball).clip(0, 4095)
    modality = info.modalities[0] if info.modalities else "OT"
    axis = Axis.TIME if info.clip else Axis.SPACE
    return Volume(array, np.eye(4), modality=modality, stored_range=(0, 4095), third_axis=axis)


def measured(info: BundleInfo, side: int, rounds: int) -> dict[str, Any]:
    """One row: the least time of some rounds after one to warm up, and the most memory that the GPU held."""
    bundle, source = load(info.folder), volume(side, info)
    small = Volume(np.ascontiguousarray(source.array[..., :8]), source.affine, modality=source.modality)
    enhance(small, bundle, device="cuda")
    torch.cuda.reset_peak_memory_stats()
    seconds, result = [], None
    for _ in range(rounds):
        started = time.perf_counter()
        result = enhance(source, bundle, device="cuda")
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    assert result is not None and result.provenance is not None
    return {
        "bundle": info.name,
        "seconds": min(seconds),
        "gpu peak GB": torch.cuda.max_memory_allocated() / 1e9,
        "windows": result.provenance.windows,
        "redundancy": result.provenance.redundancy,
        "notes": "; ".join(result.provenance.notes),
    }


def main() -> int:
    """Print the table."""
    parser = options(__doc__)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--bundle", action="append", help="only these")
    chosen = parser.parse_args()
    if not torch.cuda.is_available():
        print("not run: no GPU")
        return 0
    wanted = [info for info in catalogue() if not chosen.bundle or info.name in chosen.bundle]
    rows = [measured(info, chosen.side, chosen.rounds) for info in wanted]
    print(torch.cuda.get_device_name(0), "torch", torch.__version__, file=sys.stderr)
    return report("gpu", rows, [], chosen.json)


if __name__ == "__main__":
    raise SystemExit(main())
