# SPDX-License-Identifier: Apache-2.0
"""Derived objects against dciodvfy and dcentvfy: no message that the source did not have.

    python -m tests.benchmarks.validate [--json out.json]

Each object is enhanced with the bundle identity and written; the messages about the derived files, and about source
and derived files as one study, are compared with those about the source. Objects are phantoms of every kind, pydicom's
samples, and real files where CLARIVOX_DATA names them. A message that names an instance's index counts once.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clarivox.enhance import enhance
from clarivox.io import read_all, write
from clarivox.io.dicom_new import Kind
from clarivox.volume import Volume
from tests.benchmarks.measure import gate, options, report
from tests.dicom_objects import series_of
from tests.validators import missing, object_messages, study_messages

REAL = {
    "CT, GE": "ct/dcmqi_chest_3slice_dicom",
    "CT, Philips": "ct/philips_head_phantom_5mm_dicom",
    "CT, JPEG": "awkward/transfer_syntax_same_ct/CTImage_JPEGProcess1_1.2.840.10008.1.2.4.50.dcm",
    "CT, big-endian": "awkward/transfer_syntax_same_ct/CTImage_BigEndianExplicit_1.2.840.10008.1.2.2.dcm",
    "MR, Hitachi": "awkward/series_hitachi_anatomical_001",
    "CR, MONOCHROME1": "awkward/misc/RG3_J2KI.dcm",
    "US, YBR_FULL_422": "awkward/misc/US-YBR_FULL_422-EVRLE.dcm",
    "US multi-frame, YBR": "awkward/broken_or_odd/examples_ybr_color.dcm",
    "US multi-frame, palette": "awkward/misc/color-pl.dcm",
    "SC, RGB multi-frame": "awkward/misc/SC_rgb_16bit_2frame.dcm",
    "Enhanced CT, perfusion": "awkward/enhanced/eCT_Supplemental.dcm",
    "Enhanced MR": "awkward/enhanced/emri_small.dcm",
    "Enhanced MR, big-endian": "awkward/enhanced/emri_small_big_endian.dcm",
    "Enhanced MR, Siemens": "mr/siemens_xa30_enhanced_t1_recon_unnormalised.dcm",
}
"""Real objects under CLARIVOX_DATA."""

SAMPLES = ("CT_small.dcm", "MR_small.dcm", "MR_small_implicit.dcm")
"""Of pydicom's own."""


ACCEPTED = {
    re.compile(r"present when condition unsatisfied.*Module=<(MRPulseSequence|BulkMotionSynchronization)>"): (
        'dicom3tools 20220618 forbids in DERIVED what PS3.3 2024e C.8.13.4 allows ("May be present otherwise"); the '
        "elements describe the acquisition, so they are kept"
    ),
    re.compile(r"PhotometricInterpretation.*Unrecognized enumerated value = <YBR_FULL>"): (
        "ultrasound that came compressed in YBR_FULL is written uncompressed in YBR_FULL: RGB would change its pixels"
    ),
}
"""New messages that are accepted, and why; counted on their own."""

SAME_FAULT = (
    re.compile(r"Illegal root for UID = <.*>"),
    re.compile(r"PhotometricInterpretation.*Unrecognized enumerated value"),
    re.compile(r"Unrecognized SOP Class - [0-9.]+"),
)
"""Faults of the source that the derived object repeats with another path or word: a reference quotes the source's
illegal identifier, 4:2:2 becomes full YBR in an object that knows neither."""


@dataclass(frozen=True)
class Compared:
    """Messages about one object, before and after."""

    name: str
    source: int
    derived: int
    new: tuple[str, ...]
    accepted: tuple[str, ...]


def added(derived: set[str], source: set[str]) -> set[str]:
    """Messages about the derived files that say something new."""
    known = {found.group() for line in source for one in SAME_FAULT if (found := one.search(line))}
    return {
        line
        for line in derived - source
        if not any((found := one.search(line)) and found.group() in known for one in SAME_FAULT)
    }


def compared(name: str, path: Path, compress: str | None = None) -> Compared:
    """Read, enhance with identity, write, and compare the messages."""
    before: set[str] = set()
    after: set[str] = set()
    new: set[str] = set()
    for volume in read_all(path, allow_uneven=True):
        if not isinstance(volume, Volume):
            raise volume.error
        with tempfile.TemporaryDirectory() as folder:
            result = enhance(volume, "identity", device="cpu", allow_uneven=True)
            written = write(result, Path(folder) / "derived", compress=compress)
            sources = list(getattr(volume.source, "files", ()))
            before |= (source := object_messages(sources))
            after |= (derived := object_messages(written.files))
            new |= added(derived, source)
            known = study_messages(sources)
            new |= added(study_messages(written.files) | study_messages([*sources, *written.files]), known)
    accepted = {line for line in new if any(one.search(line) for one in ACCEPTED)}
    return Compared(name, len(before), len(after), tuple(sorted(new - accepted)), tuple(sorted(accepted)))


def objects(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every object's name and path; phantoms are written under `folder`."""
    for kind in Kind:
        where = folder / kind
        series_of(kind, where)
        yield f"phantom {kind}", where
    from pydicom.data import get_testdata_file

    for name in SAMPLES:
        found = get_testdata_file(name, download=False)
        if found:
            yield f"pydicom {name}", Path(str(found))
    data = os.environ.get("CLARIVOX_DATA")
    for name, path in REAL.items():
        if data and (Path(data) / path).exists():
            yield name, Path(data) / path


def main() -> int:
    """Print the table; 1 where a message is new."""
    parser = options(__doc__)
    asked = parser.parse_args()
    if missing():
        print(missing())
        return 1
    with tempfile.TemporaryDirectory() as folder:
        found = [compared(name, path) for name, path in objects(Path(folder))]
    rows = [
        {
            "object": one.name,
            "source messages": one.source,
            "derived messages": one.derived,
            "new": len(one.new),
            "accepted": len(one.accepted),
        }
        for one in found
    ]
    status = report(
        "validate", rows, [gate("new messages", sum(len(one.new) for one in found), at_most=0, unit="")], asked.json
    )
    for pattern, reason in ACCEPTED.items():
        if any(pattern.search(message) for one in found for message in one.accepted):
            print(f"accepted: {reason}")
    for one in found:
        for message in one.new:
            print(f"{one.name}: {message}")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
