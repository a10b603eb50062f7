# SPDX-License-Identifier: Apache-2.0
"""Simulated low-dose CT of a disc of water: how the noise goes with dose, its correlation, and where it is strongest.

    python -m tests.benchmarks.dose_law [--repeats 24] [--json out.json]

Gated: sigma at 10 % to 100 % of the dose within 3 % of the root of 10 in both beams; lag-1 correlation above 0.3; the
middle noisier than the edge. The dose of 10 % is thinned from the counts of a full dose; electronic noise is on.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clarivox.transforms.low_dose_ct import LowDoseCT
from clarivox.transforms.projection import Beam

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


def main(arguments: list[str] | None = None) -> int:
    """Print the figures; 1 where one misses its gate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=24, help="scans of each dose")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args(arguments)
    print(f"water, {WATER_MM:.0f} mm, {options.repeats} scans of each dose; the law: ratio {math.sqrt(10):.3f}")
    found: dict[str, Any] = {}
    failed = False
    for name, beam in BEAMS.items():
        found[name] = row = figures(beam, options.repeats)
        off = row["ratio"] / math.sqrt(10) - 1
        good = abs(off) <= GATE and row["lag_1"] > 0.3 and row["centre_to_edge"] > 1
        failed |= not good
        print(
            f"{name:9} sigma {row['sigma_10_hu']:5.1f} HU at 10 %, {row['sigma_100_hu']:5.1f} at 100 %, ratio "
            f"{row['ratio']:.3f} ({off:+.1%}); lag-1 {row['lag_1']:.2f}; centre/edge {row['centre_to_edge']:.2f}"
            f"  {'ok' if good else 'FAILED'}"
        )
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
