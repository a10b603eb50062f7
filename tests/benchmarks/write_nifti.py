# SPDX-License-Identifier: Apache-2.0
"""Writing an int16 volume as .nii.gz: this library, nibabel and SimpleITK in turn, each run in a fresh process.

    python -m tests.benchmarks.write_nifti --size 512 --json out.json

The volume is noise like that of CT (12 bits of range, sigma 20) on a smooth object, the same for all. CPU time is user
plus system over all threads; sizes stand beside it, since a writer that compresses less is faster.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.measure import gate, interleaved, least, options, report


def slices(size: int) -> np.ndarray:
    """CT-like stored values, shape (Z, Y, X), int16."""
    rng = np.random.default_rng(1)
    line = np.linspace(-1, 1, size, dtype=np.float32)
    volume = np.empty((size, size, size), np.int16)
    for z in range(size):
        radius = np.sqrt(line[:, None] ** 2 + line**2 + line[z] ** 2 / 4)
        smooth = np.where(radius < 0.85, 1064 + 100 * np.cos(9 * radius), 24)
        noisy = smooth + rng.standard_normal((size, size), dtype=np.float32) * 20
        volume[z] = np.clip(np.rint(noisy), 0, 4095) - 1024
    return volume


def ours(size: int) -> Iterator[float]:
    """`clarivox.io.write`, as everyone calls it: temporary name, fsync, rename."""
    from clarivox.io import nifti_write, write  # noqa: F401 - the import is not measured
    from clarivox.volume import Volume

    volume = Volume(slices(size)[None].transpose(0, 3, 2, 1), np.diag([0.7, 0.7, 1.0, 1.0]))
    with tempfile.TemporaryDirectory() as folder:
        yield 0.0
        target = Path(folder) / "out.nii.gz"
        write(volume, target)
        yield target.stat().st_size / 1e6


def by_nibabel(size: int) -> Iterator[float]:
    """`nibabel.save` with its defaults."""
    import nibabel

    image = nibabel.Nifti1Image(slices(size).T, np.diag([0.7, 0.7, 1.0, 1.0]))
    with tempfile.TemporaryDirectory() as folder:
        yield 0.0
        target = Path(folder) / "out.nii.gz"
        nibabel.save(image, target)
        yield target.stat().st_size / 1e6


def by_simpleitk(size: int) -> Iterator[float]:
    """`SimpleITK.WriteImage` with its defaults."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(slices(size))
    with tempfile.TemporaryDirectory() as folder:
        yield 0.0
        target = Path(folder) / "out.nii.gz"
        SimpleITK.WriteImage(image, str(target), useCompression=True)
        yield target.stat().st_size / 1e6


def main() -> int:
    """Run, print, and say whether the gates hold."""
    parser = options(__doc__)
    parser.add_argument("--size", type=int, default=512, help="voxels along each side")
    parser.add_argument("--repeats", type=int, default=2)
    chosen = parser.parse_args()
    here = "tests.benchmarks.write_nifti"
    names = {"clarivox": f"{here}:ours", "nibabel": f"{here}:by_nibabel", "SimpleITK": f"{here}:by_simpleitk"}
    runs = interleaved(names, repeats=chosen.repeats, size=chosen.size)
    best = {name: least(found) for name, found in runs.items()}
    rows: list[dict[str, Any]] = [
        {
            "writer": name,
            "CPU s": run.cpu_s,
            "wall s": run.wall_s,
            "file MB": run.result,
            "memory MB": run.peak_rss_growth_mb,
            "input MB": chosen.size**3 * 2 / 1e6,
        }
        for name, run in best.items()
    ]
    mine = best["clarivox"]
    gates = [
        gate("CPU time over nibabel's", mine.cpu_s / best["nibabel"].cpu_s, at_most=0.45, unit="times"),
        gate("CPU time over SimpleITK's", mine.cpu_s / best["SimpleITK"].cpu_s, at_most=0.35, unit="times"),
        gate("file size over nibabel's", mine.result / best["nibabel"].result, at_most=1.05, unit="times"),
        gate("file size over SimpleITK's", mine.result / best["SimpleITK"].result, at_most=1.05, unit="times"),
    ]
    return report("write_nifti", rows, gates, chosen.json)


if __name__ == "__main__":
    sys.exit(main())
