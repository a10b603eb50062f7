# SPDX-License-Identifier: Apache-2.0
"""Zip archives from anyone, unpacked safely."""

from __future__ import annotations

import os
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from clarivox.errors import CapacityError, FormatError, LimitError, TruncatedError
from clarivox.io.atomic import NO_ROOM
from clarivox.io.limits import Limits

CHUNK = 1 << 20
"""Bytes unpacked between two checks of the size."""

END_BYTES = 65_535 + 22 + 76
"""How far before the end of an archive its directory is described: a comment, the record, and those of zip64."""
ENTRY_BYTES = 46
"""Of the directory for one entry, without its name."""

NESTED = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
"""How a zip within the zip begins."""

ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError)
"""What zipfile raises on damaged, encrypted or exotic archives."""


def is_zip(path: str | Path) -> bool:
    """Whether a file begins as a zip archive does."""
    with Path(path).open("rb") as file:
        return file.read(4) in NESTED


@contextmanager
def extracted(path: str | Path, limits: Limits | None = None) -> Iterator[Path]:
    """Unpack a zip archive to a private folder that goes away at the end of the `with` block.

    Names in the archive decide only the order and the sub-folders; files are numbered, so that no name from outside
    reaches the disk, but keep a known suffix (.nii.gz, .png) by which they are told apart.

    Raises:
        FormatError: not a zip, encrypted, damaged, or holding links, another zip, the same name twice, or a name that
            leads out of the folder.
        LimitError: too many entries, or unpacked too large, or packed more tightly than real images are.
        TruncatedError: an entry ends too early.
        CapacityError: the disk is full.
    """
    limits = limits or Limits()
    with tempfile.TemporaryDirectory(prefix="clarivox-zip-") as folder:
        root = Path(folder)
        try:
            _check_entries(Path(path), limits)
            with zipfile.ZipFile(path) as archive:
                _unpack(archive, root, limits, Path(path).stat().st_size)
        except ZIP_ERRORS as error:
            raise FormatError("the zip archive is damaged; pack it again", code="bad_zip") from error
        yield root


def _check_entries(path: Path, limits: Limits) -> None:
    """Count the entries before zipfile makes an object of each: a million takes it 15 s and half a gigabyte."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - END_BYTES))
        end = file.read()
        at = end.rfind(b"PK\x05\x06")
        if at < 0 or len(end) - at < 22:
            return
        count, length = struct.unpack_from("<HL", end, at + 10)
        directory_end = size - len(end) + at
        if at >= 76 and end[at - 20 : at - 16] == b"PK\x06\x07" and end[at - 76 : at - 72] == b"PK\x06\x06":
            directory_end -= 76
            count, length = struct.unpack_from("<QQ", end, at - 76 + 32)
        if count <= limits.entries < length // ENTRY_BYTES:  # the count may lie
            file.seek(max(0, directory_end - length))
            count = 0
            while count <= limits.entries and len(head := file.read(ENTRY_BYTES)) == ENTRY_BYTES:
                file.seek(sum(struct.unpack_from("<3H", head, 28)), os.SEEK_CUR)
                count += 1
    if count > limits.entries:
        raise LimitError(f"the zip has {count} entries; at most {limits.entries} are read", code="zip_bomb")


def _unpack(archive: zipfile.ZipFile, root: Path, limits: Limits, packed: int) -> None:
    entries = archive.infolist()
    _check_total(sum(entry.file_size for entry in entries), packed, limits)
    folders: dict[PurePosixPath, Path] = {}
    seen: set[str] = set()
    total = 0
    for number, entry in enumerate(entries):
        name = _checked_name(entry, limits)
        if entry.is_dir():
            continue
        if str(name) in seen:
            raise FormatError("the zip holds the same name twice; pack it again", code="duplicate_name")
        seen.add(str(name))
        folder = folders.setdefault(name.parent, root / f"{len(folders):05d}")
        folder.mkdir(exist_ok=True)
        total += _unpack_entry(archive, entry, folder / f"{number:06d}{_suffix(name)}", limits, total, packed)


def _checked_name(entry: zipfile.ZipInfo, limits: Limits) -> PurePosixPath:
    name = PurePosixPath(entry.filename.replace("\\", "/"))
    if len(entry.filename) > limits.path_chars:
        raise LimitError(f"the zip holds a name over {limits.path_chars} characters long", code="long_name")
    if name.is_absolute() or ".." in name.parts or (name.parts and ":" in name.parts[0]):
        raise FormatError("the zip holds a name that leads out of its folder; pack it again", code="unsafe_name")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise FormatError("the zip holds a link or a device; pack plain files only", code="unsafe_entry")
    if entry.flag_bits & 1:
        raise FormatError("the zip is encrypted; unpack it first", code="encrypted_zip")
    return name


def _suffix(name: PurePosixPath) -> str:
    known = "".join(name.suffixes[-2:]).lower() if name.name.lower().endswith(".gz") else name.suffix.lower()
    return known if len(known) <= 8 and known.replace(".", "").isalnum() and known.isascii() else ""


def _unpack_entry(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, limits: Limits, before: int, packed: int
) -> int:
    count = 0
    try:
        with archive.open(entry) as source, target.open("wb") as file:
            while chunk := source.read(CHUNK):
                if count == 0 and chunk[:4] in NESTED:
                    raise FormatError("the zip holds another zip; unpack that one first", code="nested_zip")
                count += len(chunk)
                _check_total(before + count, packed, limits)
                file.write(chunk)
    except ZIP_ERRORS as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise CapacityError("no room to unpack the zip; free disk space and run again", code="disk_full") from error
        raise TruncatedError("an entry of the zip is damaged or ends too early; pack it again") from error
    return count


def _check_total(unpacked: int, packed: int, limits: Limits) -> None:
    if unpacked > limits.unpacked_bytes:
        raise LimitError(f"the zip unpacks to over {limits.unpacked_bytes} bytes", code="zip_bomb")
    if unpacked > limits.ratio * max(packed, CHUNK // limits.ratio):
        raise LimitError(f"the zip unpacks to over {limits.ratio} times its size", code="zip_bomb")
