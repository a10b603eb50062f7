# SPDX-License-Identifier: Apache-2.0
"""`cxr_srcnn_superres`, `cxr_vdsr_superres` and `cxr_srgan_superres` against antialiased bicubic interpolation.

Each picture of the test part of the split, of patients not trained on, is cropped to multiples of the scale, shrunk by
antialiased bicubic interpolation, rounded to 8 bits, and enlarged again by each network and by bicubic interpolation;
results are rounded to 8 bits. PSNR and SSIM (Gaussian window of 11 x 11) have the range 255 and leave out a border of
as many pixels as the scale. Gains are over bicubic interpolation, in dB: the mean, the smallest, and how many pictures
got worse. Invented: share of the result's edges near which the truth has none; missed: the other way round; an edge is
as steep as the steepest tenth of the truth (`clarivox.metrics.edge_faults`). Networks run by the one path, on an 8-bit
volume; the time is one picture's, and depends on what else the machine does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clarivox import bundle, splits
from clarivox.compare import spread
from clarivox.enhance import enhance
from clarivox.metrics import edge_faults, psnr, ssim
from clarivox.patches import cropped
from clarivox.transforms.bicubic import BicubicResize
from clarivox.volume import Volume
from tests.benchmarks.measure import Gate, gate, options, report

LEAST_GAIN_DB = {"cxr_srcnn_superres": 0.05, "cxr_vdsr_superres": 0.05, "cxr_srgan_superres": None}
"""The mean gain that each must have; a network trained against a discriminator gives PSNR away for texture."""
Pictures = dict[str, list[tuple[str, Volume]]]
Figures = dict[str, float]


def resized(array: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """An 8-bit picture of shape (X, Y) shrunk or enlarged, rounded to 8 bits again."""
    result = BicubicResize(factor, levels=256)(torch.from_numpy(array[None] / np.float32(255)))
    return (result[0] * 255).round().to(torch.uint8).numpy()


def figures(truth: Volume, network: bundle.Bundle | None, scale: int) -> Figures:
    """What one method does to one picture; None is bicubic interpolation."""
    clean = np.ascontiguousarray(cropped(truth, scale).array[0, :, :, 0])
    small = resized(clean, 1 / scale)
    if network is None:
        found, seconds = resized(small, scale), 0.0
    else:
        volume = Volume(small[None, :, :, None], np.eye(4), modality="DX", stored_range=(0, 255))
        result = enhance(volume, network, device="cpu")
        found, seconds = result.array[0, :, :, 0], result.provenance.seconds if result.provenance else 0.0
    inner = (slice(scale, -scale), slice(scale, -scale))
    pair = found[inner].astype(np.float32), clean[inner].astype(np.float32)
    faults = edge_faults(*pair)
    return {
        "db": psnr(*pair, data_range=255),
        "ssim": ssim(*pair, data_range=255),
        "invented": faults.invented,
        "missed": faults.missed,
        "seconds": seconds,
    }


def row_of(about: dict[str, Any], found: list[Figures], bicubic: list[Figures]) -> dict[str, Any]:
    """The means over a set's pictures."""
    means = {key: float(np.mean([one[key] for one in found])) for key in found[0]}
    gains = np.array([one["db"] - other["db"] for one, other in zip(found, bicubic, strict=True)])
    return about | {
        "PSNR dB": means["db"],
        "SSIM": means["ssim"],
        "mean gain dB": float(gains.mean()),
        "smallest gain dB": float(gains.min()),
        "got worse": f"{np.mean(gains < 0):.0%}",
        "invented edges": f"{means['invented']:.2%}",
        "missed edges": f"{means['missed']:.2%}",
        "s/picture": means["seconds"],
    }


def chosen_pictures(folder: str, most: int | None) -> Pictures:
    """The test pictures by set, `most` of each at most, evenly spaced."""
    split = bundle.find("cxr_srcnn_superres").folder / "configs" / "split.json"
    pictures: Pictures = {}
    for example, volume in splits.volumes(folder, split, "test"):
        pictures.setdefault(example.path.parent.name, []).append((example.subject, volume))
    return {
        name: [members[place] for place in spread(len(members), most or len(members))]
        for name, members in pictures.items()
    }


def run(folder: str, most: int | None = None) -> Iterator[dict[str, Any]]:
    """One row for each set, scale and method."""
    pictures = chosen_pictures(folder, most)
    scales = {name: bundle.find(name).options["properties"]["scale"]["enum"] for name in LEAST_GAIN_DB}
    for scale in sorted(set().union(*scales.values())):
        networks = {name: bundle.load(name, scale=scale) for name, allowed in scales.items() if scale in allowed}
        for name, members in pictures.items():
            about = {
                "set": name,
                "scale": scale,
                "pictures": len(members),
                "patients": len({who for who, _ in members}),
            }
            bicubic = [figures(volume, None, scale) for _, volume in members]
            yield row_of(about | {"method": "bicubic"}, bicubic, bicubic)
            for method, network in networks.items():
                found = [figures(volume, network, scale) for _, volume in members]
                yield row_of(about | {"method": method}, found, bicubic)


def gates(rows: list[dict[str, Any]]) -> list[Gate]:
    """The mean gain of each set, scale and network that must have one."""
    return [
        gate(
            f"{row['method']}, {row['set']} x{row['scale']}: mean gain over bicubic",
            row["mean gain dB"],
            at_least=LEAST_GAIN_DB[row["method"]],
            unit="dB",
        )
        for row in rows
        if LEAST_GAIN_DB.get(row["method"]) is not None
    ]


def main() -> int:
    """Print the table; 1 where the mean gain of a set at a scale is too small."""
    parser = options(__doc__, data=True)
    parser.add_argument("--pictures", type=int, metavar="N", help="of each set; all without")
    chosen = parser.parse_args()
    rows = list(run(chosen.data, chosen.pictures))
    return report("cxr_superres", rows, gates(rows), chosen.json)


if __name__ == "__main__":
    raise SystemExit(main())
