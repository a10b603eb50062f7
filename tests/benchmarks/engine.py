# SPDX-License-Identifier: Apache-2.0
"""OpenVINO against torch eager on a CPU: one picture through `enhance`, in turn in one process; medians.

The picture is seeded noise around a disc, float32, so that nothing is rounded after the network. Not timed apart: the
conversion, which the first call with an engine makes, is printed by itself.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import torch

from clarivox.bundle import load
from clarivox.enhance import enhance
from clarivox.volume import Volume, blank_like
from tests.benchmarks.measure import gate, options, report

BUNDLES = {"mr_unet_denoise": "MR", "cxr_srcnn_superres": "DX"}
LARGEST_RATIO, LARGEST_DIFFERENCE = 1.0, 1e-4


def picture(side: int, modality: str) -> Volume:
    """A disc in noise, 0 to about 1."""
    array = blank_like((1, side, side, 1), np.dtype(np.float32))
    across = np.linspace(-1, 1, side) ** 2
    disc = (across[:, None] + across[None, :]) < 0.7
    array[0, :, :, 0] = np.random.default_rng(0).normal(0.3 + 0.5 * disc, 0.05).clip(0, 1)
    return Volume(array, np.eye(4), modality=modality)


def measured(name: str, side: int, rounds: int) -> dict[str, Any]:
    """One row: medians of CPU and wall seconds of both engines, their ratio and the difference of the results."""
    bundle, source = load(name), picture(side, BUNDLES[name])
    started = time.perf_counter()
    bundle.for_openvino()
    row: dict[str, Any] = {"bundle": name, "conversion s": time.perf_counter() - started}
    cpu: dict[str, list[float]] = {"torch": [], "openvino": []}
    wall: dict[str, list[float]] = {"torch": [], "openvino": []}
    results = {}
    for number in range(rounds + 1):
        for engine in cpu:
            begun, worked = time.perf_counter(), time.process_time()
            results[engine] = enhance(source, bundle, device="cpu", engine=engine)
            if number:  # the first warms up
                cpu[engine].append(time.process_time() - worked)
                wall[engine].append(time.perf_counter() - begun)
    made = results["openvino"].provenance
    assert made is not None
    if made.engine != "openvino":
        raise SystemExit("; ".join(made.notes))
    for engine in cpu:
        row |= {f"{engine} CPU s": statistics.median(cpu[engine]), f"{engine} wall s": statistics.median(wall[engine])}
    row["CPU ratio"] = row["openvino CPU s"] / row["torch CPU s"]
    row["wall ratio"] = row["openvino wall s"] / row["torch wall s"]
    ours, theirs = results["openvino"].array, results["torch"].array
    row["difference / range"] = float(np.abs(ours - theirs).max() / np.ptp(theirs))
    return row


def main() -> int:
    """Print the table; 1 where OpenVINO is slower on the MR network, or differs."""
    parser = options(__doc__)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=15)
    chosen = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    rows = [measured(name, chosen.side, chosen.rounds) for name in BUNDLES]
    gates = [gate("mr_unet_denoise: CPU ratio", rows[0]["CPU ratio"], at_most=LARGEST_RATIO, unit="of torch")]
    for row in rows:
        name, found = row["bundle"], row["difference / range"]
        gates.append(gate(f"{name}: difference", found, at_most=LARGEST_DIFFERENCE, unit="of the range"))
    return report("engine", rows, gates, chosen.json)


if __name__ == "__main__":
    raise SystemExit(main())
