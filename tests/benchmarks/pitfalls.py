# SPDX-License-Identifier: Apache-2.0
"""The pitfall matrix: eleven toy CT series that readers commonly get wrong in silence.

Each row is read and compared with what was written, or must be refused by a named error that lists the slices.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from clarivox.errors import GeometryError
from clarivox.io.dicom_read import read_dicom, scan_dicom
from clarivox.io.series import SeriesInfo
from clarivox.volume import Fault, Volume
from tests import toys
from tests.benchmarks.measure import Gate, options, report

PLAIN = np.array([[-0.5, 0, 0, 10], [0, -0.75, 0, 20], [0, 0, toys.SPACING_MM, 30], [0, 0, 0, 1]])
"""The toy series' affine, by hand."""


def expected(numbers: range = range(toys.SLICES)) -> np.ndarray:
    """The toy series' stored numbers, shape (1, X, Y, Z)."""
    return np.stack([toys.pixels(number).T for number in numbers], axis=-1)[None]


def right(volume: Volume, array: np.ndarray | None = None, affine: np.ndarray = PLAIN) -> bool:
    """Whether voxels and grid are those that were written."""
    wanted = expected() if array is None else array
    return np.array_equal(volume.array, wanted) and np.allclose(volume.affine, affine, atol=1e-4)


def refusal(info: SeriesInfo, code: str, slices: str) -> str:
    """How a series is refused, or "" where it is not, or not so."""
    try:
        read_dicom(info)
    except GeometryError as error:
        return f"refused: {error.code}" if error.code == code and slices in str(error) else ""
    return ""


def one(found: list[SeriesInfo]) -> Volume:
    """The volume of a folder's only usable series."""
    (info,) = [info for info in found if info.usable]
    return read_dicom(info)


def plain(found: list[SeriesInfo]) -> str:
    return "right" if right(one(found)) else ""


def missing(found: list[SeriesInfo]) -> str:
    return refusal(found[0], "missing_slices", "after slice 5 of 11")


def duplicate(found: list[SeriesInfo]) -> str:
    return refusal(found[0], "duplicate_position", "slices 6, 7")


def uneven(found: list[SeriesInfo]) -> str:
    return refusal(found[0], "uneven_spacing", "after slice 1, 2")


def tilted(found: list[SeriesInfo]) -> str:
    volume, angle = one(found), np.radians(15)
    sheared = PLAIN.copy()
    sheared[:3, 1] = [0, -0.75 * np.cos(angle), 0.75 * np.sin(angle)]
    said = volume.irregular is not None and volume.irregular.fault is Fault.TILTED and "15.00" in volume.notes[0]
    return "right: the affine carries the shear, said in a note" if said and right(volume, affine=sheared) else ""


def localizer(found: list[SeriesInfo]) -> str:
    scouts = [info for info in found if info.error_code == "localizer"]
    return "right: the localizer is left out and listed" if right(one(found)) and len(scouts) == 1 else ""


def two_series(found: list[SeriesInfo]) -> str:
    listed = len({info.series_uid for info in found}) == 2 and all(right(read_dicom(info)) for info in found)
    return "right: two volumes are listed" if listed else ""


def two_phases(found: list[SeriesInfo]) -> str:
    wanted = [expected(), expected(range(20, 20 + toys.SLICES))]
    volumes = [read_dicom(info) for info in found]
    return "right: two volumes are listed" if len(volumes) == 2 and all(map(right, volumes, wanted)) else ""


def slopes(found: list[SeriesInfo]) -> str:
    volume = one(found)
    values = expected()[0] * (1 + np.arange(toys.SLICES) / 8) - 1024
    return "right" if right(volume) and np.array_equal(volume.values()[0], values.astype(np.float32)) else ""


def inverted(found: list[SeriesInfo]) -> str:
    volume = one(found)
    return "right: stored numbers kept, polarity known" if right(volume) and volume.inverted else ""


CHECKS: dict[str, Callable[[list[SeriesInfo]], str]] = {
    "reversed instance numbers": plain,
    "missing slice": missing,
    "duplicate position": duplicate,
    "non-uniform spacing": uneven,
    "gantry tilt 15 degrees": tilted,
    "localizer inside the series": localizer,
    "two series in a folder": two_series,
    "two phases at the same positions": two_phases,
    "slope differs per slice": slopes,
    "MONOCHROME1": inverted,
    "12 bits with junk above": plain,
}
"""What each row must give: words for the outcome, or "" where it is wrong."""


def outcome(name: str, folder: Path) -> str:
    """Write one row's series below `folder`, read it, and say how that went; "" where it went wrong."""
    return CHECKS[name](scan_dicom(toys.write(toys.PITFALLS[name](), folder)))


def main() -> int:
    """Print the matrix; exit code 1 where a row is wrong."""
    arguments = options(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            {"case": name, "outcome": outcome(name, Path(folder, str(count))) or "WRONG"}
            for count, name in enumerate(CHECKS)
        ]
    silent = sum(row["outcome"] == "WRONG" for row in rows)
    good = len(rows) - silent
    text = f"{good} of {len(rows)} right or refused by name, {silent} silent changes"
    return report("pitfalls", rows, [Gate(text, silent == 0)], arguments.json)


if __name__ == "__main__":
    sys.exit(main())
