# SPDX-License-Identifier: Apache-2.0
"""Simulated speckle on flat content: the statistics of its envelope, beside the easy variant.

    python -m tests.benchmarks.speckle [--repeats 8] [--json out.json]

Gated: the envelope's mean over standard deviation within 2 % of 1.91, which is fully developed speckle, for each pulse.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from clarivox.transforms.multiplicative_speckle import MultiplicativeSpeckle
from clarivox.transforms.speckle import Speckle
from tests.benchmarks.measure import gate, options, report

SIDE, GREY, GATE = 384, 0.6, 0.02
PULSES = {"short": (1.5, 3.0), "default": (2.5, 4.5), "long": (4.0, 6.0)}
"""Full widths at half maximum along depth and across the beam, in pixels."""
RAYLEIGH = math.sqrt(math.pi / (4 - math.pi))


def figures(pictures: Tensor) -> dict[str, float]:
    """Of pictures (N, X, Y): mean over standard deviation, and the correlation of neighbours across and along."""
    across, along = (
        float(torch.corrcoef(torch.stack((first.flatten(), second.flatten())))[0, 1])
        for first, second in ((pictures[:, 1:], pictures[:, :-1]), (pictures[..., 1:], pictures[..., :-1]))
    )
    return {"mean_over_std": float(pictures.mean() / pictures.std()), "lag_1_across": across, "lag_1_along": along}


def main() -> int:
    """Print the figures; 1 where one misses its gate."""
    parser = options(__doc__)
    parser.add_argument("--repeats", type=int, default=8, help="pictures of each pulse")
    chosen = parser.parse_args()
    flat, seeds = torch.full((1, SIDE, SIDE), GREY), range(chosen.repeats)
    found = {
        name: figures(torch.cat([Speckle(s, axial_px=along, lateral_px=across).envelope(flat) for s in seeds]))
        for name, (along, across) in PULSES.items()
    }
    easy = figures(torch.cat([MultiplicativeSpeckle(1, s)(flat) for s in seeds]))
    rows = [{"pulse": name, **row} for name, row in {**found, "easy (multiplicative)": easy}.items()]
    low, high = RAYLEIGH * (1 - GATE), RAYLEIGH * (1 + GATE)
    gates = [
        gate(f"{name}: mean over standard deviation", row["mean_over_std"], at_least=low, at_most=high, unit="")
        for name, row in found.items()
    ]
    return report(f"speckle, flat content, {chosen.repeats} pictures of {SIDE} x {SIDE}", rows, gates, chosen.json)


if __name__ == "__main__":
    raise SystemExit(main())
