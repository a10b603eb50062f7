# SPDX-License-Identifier: Apache-2.0
"""Simulated low-dose CT of a disc of water: how the noise goes with dose, its correlation, and where it is strongest.

    python -m tests.benchmarks.dose_law [--repeats 24] [--json out.json]

Gated: sigma at 10 % to 100 % of the dose within 3 % of the root of 10 in both beams; lag-1 correlation above 0.3; the
middle noisier than the edge. The dose of 10 % is thinned from the counts of a full dose; electronic noise is on.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from clarivox.transforms.low_dose_ct import LowDoseCT
from clarivox.transforms.projection import Beam
from tests.benchmarks.measure import gate, options, report

SIDE, FIELD_MM, WATER_MM = 128, 256.0, 200.0
"""Pixels, field of view and diameter of the disc; the real phantom is as large."""
BEAMS = {
    "parallel": Beam(FIELD_MM / SIDE, 180),
    "fan": Beam(FIELD_MM / SIDE, 360, source_mm=540.0),
}
GATE = 0.03


def disc() -> tuple[Tensor, Tensor]:
    """Water in air in HU, shape (1, SIDE, SIDE), and the distance of each pixel from the middle in mm."""
    line = (torch.arange(SIDE) - (SIDE - 1) / 2) * (FIELD_MM / SIDE)
    distance = torch.hypot(line[:, None], line[None])
    return torch.where(distance < WATER_MM / 2, 0.0, -1000.0)[None], distance


def noise(dose: float, beam: Beam, repeats: int) -> Tensor:
    """The noise of repeated scans, shape (repeats, SIDE, SIDE), in HU."""
    slices = disc()[0][..., None].expand(-1, -1, -1, repeats)
    return LowDoseCT(dose, seed=1, clean=True, beam=beam).change(slices)[0].movedim(-1, 0)


def sigma(scans: Tensor, region: Tensor) -> float:
    """Root of the mean variance over repeats of the pixels in a region."""
    return float(scans.var(0)[region].mean().sqrt())


def figures(beam: Beam, repeats: int) -> dict[str, float]:
    """Everything gated, of one beam."""
    distance = disc()[1]
    middle, edge = distance < 0.3 * WATER_MM, (distance > 0.40 * WATER_MM) & (distance < 0.47 * WATER_MM)
    core = distance < 0.1 * WATER_MM
    low, full = noise(0.1, beam, repeats), noise(1.0, beam, repeats)
    pairs = [low.roll(1, axis)[:, middle].flatten() for axis in (1, 2)]
    lag = [float(torch.corrcoef(torch.stack((low[:, middle].flatten(), pair)))[0, 1]) for pair in pairs]
    return {
        "sigma_10_hu": sigma(low, middle),
        "sigma_100_hu": sigma(full, middle),
        "ratio": sigma(low, middle) / sigma(full, middle),
        "lag_1": sum(lag) / 2,
        "centre_to_edge": sigma(low, core) / sigma(low, edge),
    }


def main() -> int:
    """Print the figures; 1 where one misses its gate."""
    parser = options(__doc__)
    parser.add_argument("--repeats", type=int, default=24, help="scans of each dose")
    chosen = parser.parse_args()
    found = {name: figures(beam, chosen.repeats) for name, beam in BEAMS.items()}
    law = math.sqrt(10)
    gates = []
    for name, row in found.items():
        text = f"{name}: sigma at 10 % over 100 % of the dose"
        gates.append(gate(text, row["ratio"], at_least=law * (1 - GATE), at_most=law * (1 + GATE), unit=""))
        gates.append(gate(f"{name}: lag-1 correlation", row["lag_1"], at_least=0.3, unit=""))
        gates.append(gate(f"{name}: centre over edge", row["centre_to_edge"], at_least=1.0, unit=""))
    rows = [{"beam": name, **row} for name, row in found.items()]
    title = f"dose law, water disc of {WATER_MM:.0f} mm, {chosen.repeats} scans of each dose"
    return report(title, rows, gates, chosen.json)


if __name__ == "__main__":
    raise SystemExit(main())
