# SPDX-License-Identifier: Apache-2.0
"""`mr_unet_denoise` against filters of scikit-image, Rician noise added to real scans of subjects not trained on.

Noise level: 3, 5 and 9 % of each volume's 99th percentile, which is also the range of the PSNR. "head" compares where
the clean picture, smoothed by 1.5 pixels, is above 10 % of that percentile, holes filled, largest piece only; "whole"
compares everywhere. The truth is the real scan as it is: its own noise (about 1 to 3 %) bounds what anyone can reach at
3 %. Peers work on slices, as the network does, are told the true noise level, and have their parameters searched on
slices of training subjects; the network is told nothing. Figures are means over volumes, each volume's squared error
pooled over evenly spaced slices.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from clarivox import bundle, splits
from clarivox.enhance import enhance
from clarivox.metrics import psnr
from clarivox.transforms.rician import RicianNoise
from clarivox.volume import Volume
from tests.benchmarks.measure import Gate, gate, options, report
from tests.benchmarks.mr_peers import tuned

LEVELS = (0.03, 0.05, 0.09)
TUNING = ("study1_T1W", "study1_T2W", "study1_FLAIR", "stroke_T2", "seg3d_brain")
"""Training volumes that the peers are tuned on: names contain one of these."""


@dataclass(frozen=True)
class Case:
    """Slices of one clean volume, its 99th percentile being 1."""

    subject: str
    name: str
    clean: NDArray[np.float32]
    """(X, Y, slices)."""
    head: NDArray[np.bool_]

    def noisy(self, level: float) -> NDArray[np.float32]:
        """The same noise at each run."""
        seed = zlib.crc32(f"{self.name} {level}".encode())
        return RicianNoise(level, seed, reference=1.0)(torch.from_numpy(self.clean)).numpy()


def head_mask(picture: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The largest piece above 10 % of the 99th percentile, holes filled."""
    mask = ndimage.binary_fill_holes(ndimage.gaussian_filter(picture, 1.5) > 0.1)
    labels, count = ndimage.label(mask)
    if not count:
        return mask
    return labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))


def cases(folder: str, part: str, slices: int) -> Iterator[Case]:
    """Evenly spaced slices with at least a tenth of tissue of each volume of one part of the split."""
    split = bundle.find("mr_unet_denoise").folder / "configs" / "split.json"
    for example, volume in splits.volumes(folder, split, part):
        values = volume.values()[0]
        values = values / np.percentile(values, 99)
        useful = [z for z in range(values.shape[2]) if (values[:, :, z] > 0.1).mean() > 0.1]
        chosen = [useful[i] for i in np.linspace(0, len(useful) - 1, min(slices, len(useful))).round().astype(int)]
        clean = np.ascontiguousarray(values[:, :, chosen])
        yield Case(
            example.subject, example.name, clean, np.stack([head_mask(p) for p in np.moveaxis(clean, 2, 0)], axis=2)
        )


def measured(case: Case, level: float, peers: list[Any], network: bundle.Bundle) -> Iterator[dict[str, Any]]:
    """One row for the noisy volume, the network and each peer."""
    noisy = case.noisy(level)
    results = {"noisy": noisy, "mr_unet_denoise": enhance(Volume(noisy[None], np.eye(4)), network).array[0]}
    for peer in peers:
        slices = [peer(picture, level) for picture in np.moveaxis(noisy, 2, 0)]
        results[peer.label] = np.stack(slices, axis=2)
    for method, result in results.items():
        yield {
            "method": method,
            "volume": case.name,
            "head": psnr(result, case.clean, data_range=1, mask=case.head),
            "whole": psnr(result, case.clean, data_range=1),
        }


def run(folder: str, part: str, slices: int) -> list[dict[str, Any]]:
    """One row for each level and method: means over volumes, and the head figure of each volume."""
    network = bundle.load("mr_unet_denoise")
    tuning = [case for case in cases(folder, "train", 1) if any(name in case.name for name in TUNING)]
    tests = list(cases(folder, part, slices))
    rows = []
    for level in LEVELS:
        pictures = [(c.noisy(level)[..., 0], c.clean[..., 0], c.head[..., 0]) for c in tuning]
        peers = tuned(pictures, level)
        found = [row for case in tests for row in measured(case, level, peers, network)]
        for method in dict.fromkeys(row["method"] for row in found):
            some = [row for row in found if row["method"] == method]
            means = {key: float(np.mean([row[key] for row in some])) for key in ("head", "whole")}
            how = next((peer.how for peer in peers if peer.label == method), {})
            rows.append(
                {"level": f"{level:.0%}", "method": method}
                | means
                | {row["volume"]: row["head"] for row in some}
                | {"tuned": " ".join(f"{key}={value}" for key, value in how.items())}
            )
    return rows


def gates(rows: list[dict[str, Any]]) -> list[Gate]:
    """9 %: ahead of the best peer by 0.5 dB; 5 %: ahead; 3 %: said, not gated."""
    found = []
    for level, lead in ((0.09, 0.5), (0.05, 0.0), (0.03, -np.inf)):
        heads = {row["method"]: row["head"] for row in rows if row["level"] == f"{level:.0%}"}
        ours = heads.pop("mr_unet_denoise")
        best = max(heads, key=lambda method: heads[method])
        name = f"{level:.0%}, head: ahead of the best peer ({best})"
        found.append(gate(name, ours - heads[best], at_least=lead if np.isfinite(lead) else None, unit="dB"))
    return found


def main() -> int:
    """Print the table; 1 where a gate fails."""
    parser = options(__doc__, data=True)
    parser.add_argument("--slices", type=int, default=4, help="slices of each test volume")
    parser.add_argument(
        "--part", default="test", choices=("test", "validation", "train"), help="of the split; only test has gates"
    )
    chosen = parser.parse_args()
    rows = run(chosen.data, chosen.part, chosen.slices)
    return report("mr_denoise", rows, gates(rows) if chosen.part == "test" else [], chosen.json)


if __name__ == "__main__":
    raise SystemExit(main())
