# SPDX-License-Identifier: Apache-2.0
"""The denoisers of photographs against each other and against tuned filters of scikit-image.

Grey: the 40 pictures of BSD400 that were held back, by the protocol dncnn-gray (white noise, not clipped; PSNR of the
clipped result, range 1, the mean over the pictures). FFDNet is told the level, and once estimates it. The filters are
told the level too; their parameters are searched on pictures that chose the weights of the networks.

Colour: three photographs of scikit-image (public domain and CC0) as 8-bit RGB, each channel with noise of its own,
clipped and rounded to 8 bits; enhanced by the one path, channel by channel; PSNR over all channels, range 255.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import skimage.data
import torch
from numpy.typing import NDArray
from torch import Tensor

from clarivox import bundle
from clarivox.enhance import enhance
from clarivox.metrics import psnr
from clarivox.patches import pictures_of
from clarivox.protocols import DncnnGray, mean_psnr, of_bundle
from clarivox.transforms.gaussian import GaussianNoise
from clarivox.volume import Channels, Volume
from tests.benchmarks.measure import Gate, gate, options, report
from tests.benchmarks.photo_peers import Restore, peers

SIGMAS = (15, 25, 50)
BUNDLES = tuple(info.name for info in bundle.catalogue() if info.name.startswith("photo_"))
COLOURED = ("astronaut", "coffee", "chelsea")
LEAST_GAIN_DB = 2.0
"""What each bundle must gain over its input. How far it is ahead of the best filter is printed beside, as it is."""


def methods(sigma: float) -> dict[str, Restore]:
    """Every bundle as it is measured at one noise level: one that takes the level with it and without."""
    found = {}
    for name in BUNDLES:
        if "sigma" in bundle.find(name).options["properties"]:
            found[f"{name}, told the level"] = of_bundle(bundle.load(name, sigma=sigma))
            found[f"{name}, sigma auto"] = of_bundle(bundle.load(name))
        else:
            found[name] = of_bundle(bundle.load(name))
    return found


def grey(images: Sequence[Tensor], searched: Sequence[Tensor], sigmas: Sequence[float]) -> Iterator[dict[str, Any]]:
    """One row for each method and level; the filters' parameters are searched on further pictures."""
    for sigma in sigmas:
        protocol = DncnnGray(sigma)
        noisy = mean_psnr(protocol, images, lambda given: given)
        for name, restore in ({"noisy": lambda given: given} | methods(sigma) | peers(searched, sigma)).items():
            figure = mean_psnr(protocol, images, restore)
            yield {"set": "held back", "sigma": sigma, "pictures": len(images), "method": name} | {
                "PSNR dB": figure,
                "gain dB": figure - noisy,
            }


def photograph(name: str, side: int) -> NDArray[np.uint8]:
    """The middle of a colour photograph, shape (3, side, side); with a side of 0 all of it, shape (3, X, Y)."""
    picture = np.ascontiguousarray(getattr(skimage.data, name)().transpose(2, 1, 0))
    if side == 0:
        return picture
    x, y = ((n - side) // 2 for n in picture.shape[1:])
    return picture[:, x : x + side, y : y + side]


def coloured(sigma: float, sides: Sequence[int]) -> Iterator[dict[str, Any]]:
    """One row for each bundle and size: the mean over the photographs; a side of 0 takes them whole."""
    for side in sides:
        label = f"colour, {side} x {side}" if side else "colour, whole"
        scores: dict[str, list[float]] = {}
        for number, name in enumerate(COLOURED):
            truth = photograph(name, side)
            values = GaussianNoise(sigma / 255, seed=number, reference=1.0)(torch.from_numpy(truth / np.float32(255)))
            array = (values * 255).round().clamp(0, 255).to(torch.uint8).numpy()[..., None]
            worse = Volume(array, np.eye(4), channels=Channels.RGB, stored_range=(0, 255))
            results = {"noisy": array} | {name: enhance(worse, name, device="cpu").array for name in BUNDLES}
            for method, result in results.items():
                figure = psnr(result[..., 0].astype(np.float32), truth.astype(np.float32), data_range=255)
                scores.setdefault(method, []).append(figure)
        for method, found in scores.items():
            yield {"set": label, "sigma": sigma, "pictures": len(found), "method": method} | {
                "PSNR dB": float(np.mean(found)),
                "gain dB": float(np.mean(found) - np.mean(scores["noisy"])),
            }


def beside_the_best(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, those of bundles with their lead over the best filter of the same level."""
    best: dict[tuple[str, float], float] = {}
    for row in rows:
        if row["method"].endswith("tuned"):
            key = row["set"], row["sigma"]
            best[key] = max(row["PSNR dB"], best.get(key, 0.0))
    return [
        row | {"over the best filter dB": row["PSNR dB"] - best[key]}
        if (key := (row["set"], row["sigma"])) in best and row["method"].startswith("photo")
        else row
        for row in rows
    ]


def gates(rows: Sequence[dict[str, Any]]) -> list[Gate]:
    """Each bundle against its input."""
    return [
        gate(
            f"{row['method']}, {row['set']}, {row['sigma']:g}: gain", row["gain dB"], at_least=LEAST_GAIN_DB, unit="dB"
        )
        for row in rows
        if row["method"].startswith("photo")
    ]


def main() -> int:
    """Print the table; 1 where a gate fails."""
    parser = options(__doc__, data=True)
    parser.add_argument("--pictures", type=int, default=40, help="of those held back")
    parser.add_argument("--searched", type=int, default=4, help="pictures that the filters are tuned on")
    parser.add_argument("--sigmas", type=float, nargs="+", default=SIGMAS, help="of the grey pictures, of 255")
    parser.add_argument("--sides", type=int, nargs="+", default=(256, 0), help="of the colour pictures; 0: whole")
    chosen = parser.parse_args()
    split = bundle.find(BUNDLES[0]).folder / "configs" / "split.json"
    held, choosing = (
        [image for group in pictures_of(chosen.data, split, part, scale=255) for image in group.images]
        for part in ("test", "validation")
    )
    chosen_ones = held[:: len(held) // chosen.pictures][: chosen.pictures]
    rows = [*grey(chosen_ones, choosing[: chosen.searched], chosen.sigmas), *coloured(25, chosen.sides)]
    return report("photo_denoise", beside_the_best(rows), gates(rows), chosen.json)


if __name__ == "__main__":
    raise SystemExit(main())
