# SPDX-License-Identifier: Apache-2.0
"""Identity over every readable file: read, enhance with the bundle identity, write, read back, compare.

    python -m tests.benchmarks.roundtrip [FOLDER ...] [--json out.json]

Without folders: CLARIVOX_DATA and pydicom's own samples, DICOM, NIfTI, NRRD, MHA and pictures alike. Every stored
number must be equal bit for bit, padding with them; the affine, slope, intercept, unit and polarity equal; and in DICOM
every element of place and size byte for byte. Files that reading refuses are listed with the code of their error, and
volumes that writing refuses with the code of theirs. The exit code is 1 where anything differs.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from clarivox.enhance import enhance
from clarivox.errors import ClarivoxError
from clarivox.io import Unreadable, read_all, write
from clarivox.volume import Volume
from tests.benchmarks.measure import gate, options, report

GEOMETRY = [
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyID",
    "AccessionNumber",
    "FrameOfReferenceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "SliceLocation",
    "GantryDetectorTilt",
    "Rows",
    "Columns",
    "RescaleSlope",
    "RescaleIntercept",
    "BitsStored",
    "PixelRepresentation",
    "InstanceNumber",
    "NumberOfFrames",
    "AcquisitionNumber",
    "FrameTime",
    "WindowCenter",
    "WindowWidth",
]
"""Elements that must not change."""

FORMATS = {"dicom": "", "nifti": ".nii.gz", "nrrd": ".nrrd", "mha": ".mha", "png": ".png", "tiff": ".tif"}
"""How a result of each format is named."""


@dataclass
class Tally:
    """What was found under one folder."""

    volumes: Counter[str] = field(default_factory=Counter)
    voxels: int = 0
    padding: int = 0
    differences: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def roots(named: list[str]) -> Iterator[Path]:
    """Folders to go through, each on its own: a folder's files may belong to one series."""
    if not named:
        from pydicom.data import get_testdata_files

        data = os.environ.get("CLARIVOX_DATA")
        named = [data] if data else []
        named += sorted({str(Path(str(one)).parent) for one in get_testdata_files()})
    for one in named:
        yield from sorted(path for path in [Path(one), *Path(one).rglob("*")] if path.is_dir())


def go_through(folder: Path, tally: Tally) -> None:
    """Every volume of the files that lie directly in a folder; together, as they may be one series."""
    files = sorted(one for one in folder.iterdir() if one.is_file())
    alone = not any(one.is_dir() for one in folder.iterdir())
    for path in [folder] if alone and files else files:
        _all_of(path, tally)


def _all_of(path: Path, tally: Tally) -> None:
    try:
        for one in read_all(path, allow_uneven=True):
            files = _files(one)
            if isinstance(one, Volume):
                check(Path(files[0]).name, one, tally)
            elif len(files) > 1:  # files that make no volume together may each be one
                for file in files:
                    _all_of(Path(file), tally)
            else:
                tally.refused.append(f"{Path(files[0]).name}: {one.error.code}")
    except ClarivoxError as error:
        tally.refused.append(f"{path.name}: {error.code}")


def _files(one: Volume | Unreadable) -> tuple[Path | str, ...]:
    if isinstance(one, Unreadable):
        return tuple(one.info.files)
    return tuple(getattr(one.source, "files", ())) or (getattr(one.source, "name", "?"),)


def check(name: str, volume: Volume, tally: Tally) -> None:
    """One volume there and back."""
    assert volume.source is not None
    format_ = str(getattr(volume.source, "written_as", volume.source.format))
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / f"out{FORMATS[format_]}"
        try:
            result = enhance(volume, "identity", device="cpu", allow_uneven=True, force=True)
            written = write(result, target, as_=format_)
        except ClarivoxError as error:
            tally.refused.append(f"{name}: not written, {error.code}")
            return
        back = list(read_all(target if target.exists() else Path(folder), allow_uneven=True))
        found = [f"{name}: {what}" for what in differing(volume, back)]
        if format_ == "dicom":
            found += [f"{name}: {what}" for what in headers_differing(volume, written.files)]
    tally.differences += found
    tally.volumes[format_] += 1
    tally.voxels += volume.array.size
    mask = volume.padding_mask()
    tally.padding += 0 if mask is None else int(np.count_nonzero(mask))


def differing(volume: Volume, back: list[object]) -> Iterator[str]:
    """How what came back differs from what went out."""
    if len(back) != 1 or not isinstance(back[0], Volume):
        yield f"came back as {len(back)} volumes"
        return
    other = back[0]
    if other.array.dtype != volume.array.dtype or other.shape != volume.shape:
        yield f"{volume.array.dtype} {volume.shape} came back as {other.array.dtype} {other.shape}"
    elif other.array.tobytes() != volume.array.tobytes():
        yield f"{np.count_nonzero(other.array != volume.array)} of {volume.array.size} voxels differ"
    for what in ("affine", "slope", "intercept"):
        if not np.array_equal(getattr(volume, what), getattr(other, what)):
            yield f"{what} differs"
    for what in ("unit", "inverted", "channels", "third_axis", "stored_range"):
        if getattr(volume, what) != getattr(other, what):
            yield f"{what}: {getattr(volume, what)} came back as {getattr(other, what)}"
    if (volume.padding is None) != (other.padding is None) or (
        volume.padding is not None and other.padding is not None and not np.array_equal(volume.padding, other.padding)
    ):
        yield "padding differs"


def headers_differing(volume: Volume, files: tuple[Path, ...]) -> Iterator[str]:
    """Elements of place and size that differ between the source's instances and the derived ones."""
    import pydicom

    source = volume.source
    order = list(dict.fromkeys(source.placement[..., 0].ravel().tolist()))  # type: ignore[union-attr]
    for index, file in zip(order, files, strict=True):
        header = source.headers[index]  # type: ignore[union-attr]
        derived = pydicom.dcmread(file, stop_before_pixels=True)
        for keyword in GEOMETRY:
            if header.get(keyword) != derived.get(keyword):
                yield f"{keyword} differs"


def main() -> int:
    """Print counts, refusals and differences."""
    parser = options(__doc__)
    parser.add_argument("folders", nargs="*")
    asked = parser.parse_args()
    rows, total = [], Tally()
    for folder in roots(asked.folders):
        go_through(folder, total)
    rows = [{"format": name, "volumes": count} for name, count in sorted(total.volumes.items())]
    bad = len({one.split(":")[0] for one in total.differences})
    status = report(
        "roundtrip",
        rows,
        [
            gate("volumes that differ", bad, at_most=0, unit=f"of {sum(total.volumes.values())}"),
            gate("voxels compared", total.voxels, at_least=1, unit=f"of which {total.padding} padding"),
        ],
        asked.json,
    )
    for line in total.differences:
        print(f"DIFFERS {line}")
    for code, count in Counter(line.rsplit(": ", 1)[1] for line in total.refused).most_common():
        print(f"refused, {code}: {count}")
    for line in total.refused:
        print(f"refused {line}")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
