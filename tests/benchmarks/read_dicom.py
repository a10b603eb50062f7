# SPDX-License-Identifier: Apache-2.0
"""Read an uncompressed CT series of 512 x 512 x 200 int16, beside SimpleITK and itk in the same run.

Gates: CPU time at most SimpleITK's; memory at most the array and 20 MB. Every reader's values are compared.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests import toys
from tests.benchmarks.measure import gate, interleaved, least, options, report

MARGIN_MB = 20


def make(folder: Path, rows: int, slices: int) -> None:
    """A series of noise on a ramp with a padded corner, file names in no order."""
    random = np.random.default_rng(1)
    for number in range(slices):
        dataset = toys.ct_slice(number)
        numbers = random.integers(0, 2000, (rows, rows), np.int16)
        numbers[: rows // 8, : rows // 8] = -2000
        toys.put_pixels(dataset, numbers)
        toys.write([dataset], folder / f"{(number * 7919) % 10007:05d}")
    for parent in list(folder.iterdir()):
        next(parent.iterdir()).rename(folder / f"{parent.name}.dcm")
        parent.rmdir()


def clarivox(folder: str) -> Iterator[float | None]:
    import clarivox.io.dicom_codecs  # noqa: F401  the codecs' import is not what is measured
    from clarivox.io.dicom_read import read_dicom, scan_dicom

    yield None
    (info,) = scan_dicom(folder)
    volume = read_dicom(info)
    yield float(
        volume.array[0, ::37, ::31, ::7].astype(np.float64).sum() - 1024 * volume.array[0, ::37, ::31, ::7].size
    )


def simpleitk(folder: str) -> Iterator[float | None]:
    import SimpleITK

    yield None
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(folder))
    image = reader.Execute()
    array = SimpleITK.GetArrayViewFromImage(image)
    yield float(array[::7, ::31, ::37].astype(np.float64).sum())


def itk(folder: str) -> Iterator[float | None]:
    import itk as toolkit

    kind = toolkit.Image[toolkit.SS, 3]
    reader_kind = toolkit.ImageSeriesReader[kind]
    names = toolkit.GDCMSeriesFileNames.New()
    image_io = toolkit.GDCMImageIO.New()
    yield None
    names.SetDirectory(folder)
    reader = reader_kind.New(FileNames=names.GetInputFileNames(), ImageIO=image_io)
    reader.Update()
    array = toolkit.GetArrayViewFromImage(reader.GetOutput())
    yield float(array[::7, ::31, ::37].astype(np.float64).sum())


def main() -> int:
    """Print the table; exit code 1 where a gate fails."""
    parser = options(__doc__)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--slices", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    targets = {name: f"tests.benchmarks.read_dicom:{name}" for name in ("clarivox", "simpleitk", "itk")}
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), arguments.rows, arguments.slices)
        runs = interleaved(targets, repeats=arguments.repeats, folder=folder)
    best = {name: least(of) for name, of in runs.items()}
    rows = [
        {
            "reader": name,
            "CPU s": one.cpu_s,
            "wall s": one.wall_s,
            "MB above import": one.peak_rss_growth_mb,
            "ratio of CPU to SimpleITK": one.cpu_s / best["simpleitk"].cpu_s,
            "checksum": one.result,
        }
        for name, one in best.items()
    ]
    array_mb = arguments.rows**2 * arguments.slices * 2 / 1e6
    gates = [
        gate("CPU time", best["clarivox"].cpu_s, at_most=best["simpleitk"].cpu_s, unit="s"),
        gate("memory", best["clarivox"].peak_rss_growth_mb, at_most=array_mb + MARGIN_MB, unit="MB"),
        gate("largest difference of the checksums", _spread([row["checksum"] for row in rows]), at_most=0, unit="HU"),
    ]
    return report("read_dicom", rows, gates, arguments.json)


def _spread(sums: list[float]) -> float:
    return max(sums) - min(sums)


if __name__ == "__main__":
    sys.exit(main())
