# SPDX-License-Identifier: Apache-2.0
"""What DICOM files hold, written down so that a server can hand out headers, frames and files without parsing DICOM.

An index is one file: the lines and bytes that it refers to, a head of one JSON object, and 32 bytes that say where the
head begins. Offsets count in the index itself (`own`) or in the file that an instance came in (`source`). A deflated
archive's files, and pixels that no byte range of a file gives (deflated, big-endian), are kept in the index.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from clarivox.errors import CapacityError, ClarivoxError, LimitError
from clarivox.io.archive import CHUNK, ZIP_ERRORS, is_zip
from clarivox.io.atomic import NO_ROOM
from clarivox.io.dicom_header import Header, read_header
from clarivox.io.dicom_json import HERE, JsonHeader, JsonWriter, Span
from clarivox.io.dicom_layout import Place, frames_of
from clarivox.io.dicom_objects import DIRECTORY
from clarivox.io.dicom_values import PARSE_ERRORS, text
from clarivox.io.limits import Limits

MAGIC = b"clarivox-index1\n"
"""How the last 32 bytes of an index begin; 16 hexadecimal digits follow."""

SERIES_TAGS = frozenset(
    [
        "00080005",
        "00080020",
        "00080030",
        "00080050",
        "00080060",
        "00080090",
        "00080201",
        "0008103E",
        "00081030",
        "00100010",
        "00100020",
        "00100030",
        "00100040",
        "0020000D",
        "0020000E",
        "00200010",
        "00200011",
        "00400244",
        "00400245",
        "00400275",
        "00180015",
    ]
)
"""What a search is answered from without looking further; the rest is in the line of what all instances share."""

INSTANCE_TAGS = frozenset(["00080016", "00080018", "00200013", "00280008", "00280010", "00280011", "00280100"])
"""The same of one instance."""

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_HEAD_TAGS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


@dataclass(frozen=True)
class Source:
    """A stored file: a DICOM file, or a zip of them."""

    sha256: str
    path: Path


@dataclass
class _Series:
    """What was found of one series."""

    study: str
    uid: str
    shared: dict[str, str]
    classes: set[str] = field(default_factory=set)
    records: dict[str, dict[str, object]] = field(default_factory=dict)


def write_index(sources: Sequence[Source], out: Path, limits: Limits | None = None) -> int:
    """Write the index of DICOM files.

    Args:
        sources: the files as they are stored; those that are no DICOM are passed over.
        out: the index to write; nothing is left there where no instance was found.
        limits: ceilings on each file.

    Returns:
        How many instances it holds.

    Raises:
        LimitError: more files, or larger after unpacking, than the limits allow.
        CapacityError: the disk is full.
    """
    try:
        with out.open("w+b") as file:
            building = _Building(file, limits or Limits())
            for number, source in enumerate(sources):
                building.add(number, source.path, out)
            count = building.finish([source.sha256 for source in sources])
    except OSError as error:
        out.unlink(missing_ok=True)
        if error.errno in NO_ROOM:
            raise CapacityError("no room for the index; free disk space and run again", code="disk_full") from error
        raise
    if not count:
        out.unlink()
    return count


class _Building:
    """An index that is being written."""

    def __init__(self, file: BinaryIO, limits: Limits) -> None:
        self._file, self._limits = file, limits
        self._at = self._entries = self._unpacked = 0
        self._series: dict[tuple[str, str], _Series] = {}
        self._kept: dict[bytes, Span] = {}
        self._json = JsonWriter(self._keep)

    def add(self, number: int, path: Path, own: Path) -> None:
        """Take in one stored file."""
        if not is_zip(path):
            self._entries += 1
            self._check_entries()
            self._instance(Place(number, path, 0, path.stat().st_size))
            return
        for place in self._entries_of(number, path, own):
            self._instance(place)

    def finish(self, sha256: list[str]) -> int:
        """Write the head; how many instances there are."""
        listed = []
        for series in self._series.values():
            records = sorted(series.records.values(), key=lambda one: (one["number"] or 0, one["sop"]))
            begin = self._at
            for record in records:
                self._append((json.dumps(record, separators=(",", ":")) + "\n").encode())
            whole = self._append(JsonHeader(series.shared, {}).line().encode())
            few = {tag: json.loads(body) for tag, body in series.shared.items() if tag in SERIES_TAGS}
            listed.append(
                {
                    "study": series.study,
                    "series": series.uid,
                    "count": len(records),
                    "classes": sorted(series.classes),
                    "few": few,
                    "shared": whole,
                    "records": (begin, whole[0] - begin),
                }
            )
        at, _ = self._append(json.dumps({"sources": sha256, "series": listed}, separators=(",", ":")).encode())
        self._append(MAGIC + b"%016x" % at)
        return sum(len(series.records) for series in self._series.values())

    def _append(self, data: bytes) -> Span:
        self._file.seek(self._at)
        self._file.write(data)
        self._at += len(data)
        return self._at - len(data), len(data)

    def _keep(self, data: bytes) -> Span:
        """A binary value, once however often it comes."""
        key = hashlib.sha256(data).digest()
        if key not in self._kept:
            self._kept[key] = self._append(data)
        return self._kept[key]

    def _check_entries(self) -> None:
        if self._entries > self._limits.entries:
            raise LimitError(f"over {self._limits.entries} files; send fewer at a time", code="too_many_files")

    def _entries_of(self, number: int, path: Path, own: Path) -> Iterator[Place]:
        """Each file of an archive: where it lies in it, or in the index where it had to be unpacked."""
        try:
            with zipfile.ZipFile(path) as archive:
                for entry in archive.infolist():
                    self._entries += 1
                    self._check_entries()
                    if entry.is_dir() or entry.flag_bits & 1:
                        continue
                    if entry.compress_type == zipfile.ZIP_STORED:
                        yield Place(number, path, _start(archive, entry), entry.file_size)
                    else:
                        yield self._unpacked_entry(archive, entry, own)
        except ZIP_ERRORS as error:
            if isinstance(error, OSError) and error.errno in NO_ROOM:
                raise
            return  # a damaged archive: what was found up to there stays

    def _unpacked_entry(self, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, own: Path) -> Place:
        begin = self._at
        with archive.open(entry) as packed:
            while chunk := packed.read(CHUNK):
                self._unpacked += len(chunk)
                if self._unpacked > self._limits.unpacked_bytes:
                    raise LimitError("the zip unpacks to more than is read; send less at a time", code="zip_bomb")
                self._append(chunk)
        self._file.flush()
        return Place(-1, own, begin, self._at - begin)

    def _instance(self, place: Place) -> None:
        try:
            header = read_header(place.path, self._limits, (place.at, place.bytes))
        except ClarivoxError:
            self._forget(place)
            return
        study, series, sop = (text(header.dataset, keyword) for keyword in _HEAD_TAGS)
        sop_class = text(header.dataset, "SOPClassUID")
        if sop_class == DIRECTORY or not all(map(_is_uid, (study, series, sop, sop_class, header.syntax))):
            self._forget(place)
            return
        written = self._json.header(header.dataset, little=header.little)
        elements = written.elements
        if header.pixels is not None:
            elements["7FE00010"] = f'{{"vr":"OW","BulkDataURI":"{HERE}/bulkdata/7FE00010"}}'
        elements["00083002"] = json.dumps({"vr": "UI", "Value": [header.syntax]}, separators=(",", ":"))
        ordered = JsonHeader(dict(sorted(elements.items())), written.bulk)
        known = self._series.setdefault((study, series), _Series(study, series, dict(ordered.elements)))
        if sop in known.records:
            self._forget(place)
            return
        known.shared = {tag: body for tag, body in known.shared.items() if ordered.elements.get(tag) == body}
        known.classes.add(sop_class)
        known.records[sop] = self._record(header, place, sop, sop_class, ordered)

    def _record(self, header: Header, place: Place, sop: str, sop_class: str, written: JsonHeader) -> dict[str, object]:
        few = {tag: json.loads(body) for tag, body in written.elements.items() if tag in INSTANCE_TAGS}
        number = few.get("00200013", {}).get("Value", [None])[0]
        return {
            "sop": sop,
            "class": sop_class,
            "number": number if isinstance(number, int) else None,
            "syntax": header.syntax,
            "file": self._file_of(header, place),
            "frames": frames_of(header, place, self._append, self._limits),
            "meta": self._append(written.line().encode()),
            "bulk": written.bulk,
            "few": few,
        }

    def _file_of(self, header: Header, place: Place) -> dict[str, object]:
        """Where the file lies after its preamble, and what goes before it in place of 128 zeros and the mark."""
        with place.path.open("rb") as file:
            file.seek(place.at + 128)
            marked = file.read(4) == b"DICM"
        if marked:
            return {"source": place.source, "at": place.at + 132, "bytes": place.bytes - 132}
        found: dict[str, object] = {"source": place.source, "at": place.at, "bytes": place.bytes}
        if not text(header.dataset.file_meta, "TransferSyntaxUID"):
            found["meta"] = self._append(_meta(header))
        return found

    def _forget(self, place: Place) -> None:
        """Give back the room of an unpacked file that is not used."""
        if place.source == -1 and place.at + place.bytes == self._at:
            self._at = place.at
            self._file.truncate(self._at)


def _is_uid(value: str) -> bool:
    return len(value) <= 64 and _UID.fullmatch(value) is not None


def _start(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> int:
    """Where the bytes of an entry that is not compressed begin in its archive."""
    with archive.open(entry) as opened:  # checks the local header
        opened.read(0)
    file = archive.fp
    if file is None:
        raise zipfile.BadZipFile
    file.seek(entry.header_offset + 26)
    lengths = file.read(4)
    return entry.header_offset + 30 + int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")


def _meta(header: Header) -> bytes:
    """File meta information for a file that has none."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_file_meta_info

    from clarivox.io.dicom_uid import IMPLEMENTATION_UID

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = text(header.dataset, "SOPClassUID")
    meta.MediaStorageSOPInstanceUID = text(header.dataset, "SOPInstanceUID")
    meta.TransferSyntaxUID = header.syntax
    meta.ImplementationClassUID = IMPLEMENTATION_UID
    buffer = DicomBytesIO()
    try:
        write_file_meta_info(buffer, meta)
    except PARSE_ERRORS:
        return b""
    return bytes(buffer.getvalue())
