# SPDX-License-Identifier: Apache-2.0
"""`us_svd_enhance` on real clips and frames without a truth, and on a phantom with one.

Real pictures: regions are 16 x 16 blocks, brighter than 10 % of the range and not flat; of these the tenth whose
standard deviation is least for their mean in the picture as it came. SNR is their mean over standard deviation, CNR the
contrast of the brightest and the darkest fifth of them over the root sum of their variances, both as medians. Edge: the
gradient (Gaussian derivative, 1 pixel) on the 2 % of pixels where the input, smoothed by 1.5 pixels, is steepest, after
over before. A Gaussian blur of the width that gives the same SNR stands beside: speckle figures alone mean nothing.

Phantom: PSNR against the phantom without interference, range 255, inside the sector. Under a probe in a clamp the
tissue's speckle repeats, which a filter over time keeps; under a drifting one 20 % of its power is new in each frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

import clarivox.io
from clarivox import bundle
from clarivox.enhance import enhance
from clarivox.metrics import psnr
from clarivox.phantoms.us import us
from clarivox.volume import Axis, Volume
from tests.benchmarks.measure import gate, options, report

Clip = NDArray[np.float32]
BLOCK = 16


def real(folder: Path, each: int) -> Iterator[tuple[str, str, Volume]]:
    """(set, name, volume) of three clips and of `each` evenly spaced pictures of two sets."""
    for path in sorted((folder / "us/cine").glob("*.npz")):
        frames = np.load(path)["frames"]
        array = np.ascontiguousarray(frames).transpose(2, 1, 0)[None]
        yield "clip " + path.stem, path.stem, volume_of(array, Axis.TIME)
    for name in ("busi_256", "muscle"):
        paths = sorted((folder / "us" / name).glob("*.png"))
        for index in np.linspace(0, len(paths) - 1, each).astype(int):
            picture = clarivox.io.read(paths[index])
            yield "frames " + name, paths[index].stem, volume_of(picture.array, Axis.SPACE)


def volume_of(array: NDArray[np.uint8], axis: Axis) -> Volume:
    """An 8-bit ultrasound volume."""
    return Volume(array, np.eye(4), modality="US", third_axis=axis, stored_range=(0, 255))


def regions(clip: Clip) -> list[tuple[slice, slice, slice]]:
    """The calmest tenth of the blocks of a clip's middle frame, with at least ten."""
    middle = clip.shape[2] // 2
    found = []
    for x in range(0, clip.shape[0] - BLOCK + 1, BLOCK):
        for y in range(0, clip.shape[1] - BLOCK + 1, BLOCK):
            place = (slice(x, x + BLOCK), slice(y, y + BLOCK), slice(middle, middle + 1))
            block = clip[place]
            if block.mean() > 25.5 and block.max() < 250 and block.std() > 1:
                found.append((float(block.std() / block.mean()), place))
    found.sort(key=lambda one: one[0])
    return [place for _, place in found[: max(10, len(found) // 10)]]


def speckle(clip: Clip, places: list[tuple[slice, slice, slice]]) -> tuple[float, float]:
    """(SNR, CNR) in regions."""
    means = np.array([clip[place].mean() for place in places])
    deviations = np.array([clip[place].std() + 1e-3 for place in places])
    order = np.argsort(means)
    fifth = max(1, len(order) // 5)
    dark, bright = order[:fifth], order[-fifth:]
    contrast = (means[bright][:, None] - means[dark][None]) / np.hypot(deviations[bright][:, None], deviations[dark])
    return float(np.median(means / deviations)), float(np.median(contrast))


def slope(clip: Clip, sigma: float) -> Clip:
    """Gradient magnitude of each frame."""
    return np.stack([ndimage.gaussian_gradient_magnitude(f, sigma) for f in np.moveaxis(clip, 2, 0)], axis=2)


def edge_kept(before: Clip, after: Clip) -> float:
    """Steepness after over before where the input is steepest."""
    smooth = slope(before, 1.5)
    steep = smooth >= np.quantile(smooth, 0.98)
    return float(slope(after, 1.0)[steep].mean() / slope(before, 1.0)[steep].mean())


def blurred(clip: Clip, sigma: float) -> Clip:
    """Each frame under a Gaussian."""
    return ndimage.gaussian_filter(clip, (sigma, sigma, 0))


def matching_blur(clip: Clip, places: list[tuple[slice, slice, slice]], snr: float) -> Clip:
    """The Gaussian blur that gives a wanted SNR, by bisection."""
    low, high = 0.0, 6.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if speckle(blurred(clip, middle), places)[0] < snr else (low, middle)
    return blurred(clip, high)


def real_rows(folder: Path, each: int, network: bundle.Bundle) -> Iterator[dict[str, Any]]:
    """One row for each set: means over its pictures."""
    sets: dict[str, list[dict[str, float]]] = {}
    for name, _, volume in real(folder, each):
        before = volume.values()[0]
        after = enhance(volume, network).values()[0]
        places = regions(before)
        snr, cnr = speckle(before, places)
        new_snr, new_cnr = speckle(after, places)
        blur = matching_blur(before, places, new_snr)
        sets.setdefault(name, []).append(
            {
                "snr_before": snr,
                "snr_after": new_snr,
                "cnr_before": cnr,
                "cnr_after": new_cnr,
                "edge_kept": edge_kept(before, after),
                "edge_kept_by_blur": edge_kept(before, blur),
                "mean_shift": float(after.mean() - before.mean()),
            }
        )
    for name, rows in sets.items():
        yield {"set": name, "pictures": len(rows)} | {key: float(np.mean([r[key] for r in rows])) for key in rows[0]}


def phantom_rows(network: bundle.Bundle) -> Iterator[dict[str, Any]]:
    """PSNR on the phantom's clip, over time and frame by frame, and on a frame, beside a median and a Gaussian."""
    filters: dict[str, Callable[[Clip], Clip]] = {
        "median_db": lambda clip: ndimage.median_filter(clip, (3, 3, 1)),
        "gauss_db": lambda clip: blurred(clip, 1.0),
    }
    still = bundle.load("us_svd_enhance", **{**network.options, "frames": 99})
    for name, frames, drift, chosen in (
        ("phantom clip, probe in a clamp", 12, 0.0, network),
        ("phantom clip, probe drifting", 12, 0.2, network),
        ("phantom clip, frame by frame", 12, 0.2, still),
        ("phantom frame", 1, 0.0, network),
    ):
        speckled, truth = us(size=256, slices=12, seed=5, drift=drift)
        before, clean = speckled.values()[0][..., :frames], truth.values()[0][..., :frames]
        inside = clean > 0
        after = enhance(volume_of(speckled.array[..., :frames], Axis.TIME), chosen).values()[0]
        results = {"input_db": before, "svd_db": after} | {key: call(before) for key, call in filters.items()}
        yield {"set": name, "pictures": 1} | {
            key: psnr(result, clean, data_range=255, mask=inside) for key, result in results.items()
        }


def main() -> int:
    """Print both tables; 1 where a blur of equal SNR keeps edges better, or the phantom gets worse."""
    parser = options(__doc__, data=True)
    parser.add_argument("--pictures", type=int, default=8, help="frames of each set")
    parser.add_argument("--level", type=float, help="the bundle's option; its default if not given")
    chosen = parser.parse_args()
    network = bundle.load("us_svd_enhance", **({} if chosen.level is None else {"level": chosen.level}))
    sets = list(real_rows(Path(chosen.data), chosen.pictures, network))
    phantoms = list(phantom_rows(network))
    gates = [
        gate(f"{row['set']}: edge kept", row["edge_kept"], at_least=row["edge_kept_by_blur"], unit="of the input's")
        for row in sets
    ]
    gates += [gate(f"{row['set']}: PSNR", row["svd_db"], at_least=row["input_db"], unit="dB") for row in phantoms]
    return report("us_svd", sets + phantoms, gates, chosen.json)


if __name__ == "__main__":
    raise SystemExit(main())
