# SPDX-License-Identifier: Apache-2.0
"""Every ultrasound network on real frames, which have no truth.

    python -m tests.benchmarks.us_real [--pictures 8] [--json out.json]

Muscle frames, the middle frames of three clips, and a mouse's liver from its radio-frequency lines (envelope, 50 dB).
Calm blocks of 16 x 16 as in `us_svd`: ENL is the squared mean over the variance of grey values as shown, CNR the
contrast of the brightest and the darkest fifth of the blocks. Edges: `edge_sharpness` of `clarivox.metrics` (Gaussian
of 1.5 pixels, at which speckle has edges of its own), and the same with 4 pixels, which leaves outlines; after over
before, where they are steepest before. BUSI is left out: it was resized, so what its speckle was is lost.

Gated: ENL and CNR not down on any set. Printed: what is left of edges; the aim is 90 % at least.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from clarivox import bundle
from clarivox.metrics import edge_sharpness
from clarivox.volume import Axis, Volume
from tests.benchmarks.measure import Gate, gate, options, report
from tests.benchmarks.us_despeckle import NETWORKS, Grey, despeckled, stored
from tests.benchmarks.us_svd import real, regions, speckle, volume_of


def outlines(after: Grey, before: Grey) -> float:
    """Steepness under a Gaussian of 4 pixels after over before, where before it is steepest (2 %)."""
    steep = ndimage.gaussian_gradient_magnitude(before, 4.0)
    edges = steep >= np.quantile(steep, 0.98)
    return float(ndimage.gaussian_gradient_magnitude(after, 4.0)[edges].mean() / steep[edges].mean())


def on_real_frames(data: Path, each: int, loaded: dict[str, bundle.Bundle]) -> Iterator[dict[str, Any]]:
    """One row for each network and set: ENL and CNR before and after, and what is left of edges."""
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for name, _, volume in [*real(data, each), ("clip mouse liver, from RF", "", mouse(data))]:
        if "busi" in name:  # resized by its makers: what its speckle was is lost
            continue
        middle = volume.shape[3] // 2
        near = slice(max(0, middle - 2), middle + 3)
        clip = volume_of(np.ascontiguousarray(volume.array[..., near]), volume.third_axis)
        place = middle - near.start
        frame = volume_of(np.ascontiguousarray(clip.array[..., place : place + 1]), Axis.SPACE)
        before = frame.values()[0]
        places = regions(before)
        snr, cnr = speckle(before, places)
        for key, network in loaded.items():
            if network.info.clip and volume.third_axis is not Axis.TIME:
                continue
            after = despeckled(clip if network.info.clip else frame, network, place if network.info.clip else 0)
            new_snr, new_cnr = speckle(after[..., None], places)
            found.setdefault((key, name), []).append(
                {
                    "enl_before": snr**2,
                    "enl_after": new_snr**2,
                    "cnr_before": cnr,
                    "cnr_after": new_cnr,
                    "edge_1.5px": edge_sharpness(after, before[..., 0]),
                    "edge_4px": outlines(after, before[..., 0]),
                }
            )
    for (key, name), rows in found.items():
        yield {"network": key, "set": name, "pictures": len(rows)} | {
            figure: float(np.mean([row[figure] for row in rows])) for figure in rows[0]
        }


def mouse(data: Path) -> Volume:
    """Four frames of a mouse's liver, from the envelope of radio-frequency lines, over 50 dB, depth shrunk by 3."""
    packed = (data / "us/rf/MouseLiverRF.mha").read_bytes().partition(b"ElementDataFile = LOCAL\n")[2]
    return envelope_of(np.frombuffer(zlib.decompress(packed), "<i4").reshape(4, 128, 1536).astype(np.float64))


def envelope_of(lines: NDArray[np.float64], range_db: float = 50.0, every: int = 3) -> Volume:
    """Radio-frequency lines (frames, lines, samples) as an 8-bit clip, every third sample of the envelope."""
    count = lines.shape[-1]
    spectrum = np.fft.fft(lines, axis=-1)
    spectrum[..., 1 : count // 2] *= 2
    spectrum[..., count // 2 + 1 :] = 0
    envelope = np.abs(np.fft.ifft(spectrum, axis=-1))[..., ::every]
    level = 20 * np.log10(envelope / np.quantile(envelope, 0.999) + 1e-9) / range_db + 1
    return stored(torch.from_numpy(level.astype(np.float32)), Axis.TIME)


def gates_of(rows: Sequence[dict[str, Any]]) -> Iterator[Gate]:
    """What each network must meet: its worst figure over the sets."""
    for name in NETWORKS:
        for key in ("enl", "cnr"):
            ratio = min(row[f"{key}_after"] / row[f"{key}_before"] for row in rows if row["network"] == name)
            yield gate(f"{name}: {key.upper()} after over before, least of the sets", ratio, at_least=1.0, unit="")


def main() -> int:
    """Print the table; 1 where a gate fails."""
    parser = options(__doc__, data=True)
    parser.add_argument("--pictures", type=int, default=8, help="muscle frames")
    chosen = parser.parse_args()
    rows = list(on_real_frames(Path(chosen.data), chosen.pictures, {name: bundle.load(name) for name in NETWORKS}))
    return report("us_real", rows, list(gates_of(rows)), chosen.json)


if __name__ == "__main__":
    raise SystemExit(main())
