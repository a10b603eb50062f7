# SPDX-License-Identifier: Apache-2.0
"""Zip archives unpack to plain files in a private folder, or are refused by name."""

import resource
import stat
import struct
import time
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from clarivox.errors import ClarivoxError
from clarivox.io.archive import extracted, is_zip
from clarivox.io.limits import Limits
from tests import hostile


def packed(folder: Path, entries: dict[str, bytes]) -> Path:
    path = folder / "in.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return path


def code_of(path: Path, limits: Limits | None = None) -> str:
    with pytest.raises(ClarivoxError) as caught, extracted(path, limits):
        pass
    return caught.value.code


def test_files_come_out_with_their_bytes_and_suffixes_and_go_away(tmp_path: Path) -> None:
    path = packed(tmp_path, {"a/1": b"one", "a/scan.nii.gz": b"two", "b/Name of Patient.PNG": b"three"})
    assert is_zip(path)
    with extracted(path) as folder:
        found = {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        assert found == {"00000/000000": b"one", "00000/000001.nii.gz": b"two", "00001/000002.png": b"three"}
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not folder.exists()


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "..\\x", "C:/x"])
def test_a_name_that_leads_out_is_refused(name: str, tmp_path: Path) -> None:
    assert code_of(packed(tmp_path, {name: b"x"})) == "unsafe_name"


def test_a_link_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.zip"
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    assert code_of(path) == "unsafe_entry"


def test_a_zip_within_a_zip_is_refused(tmp_path: Path) -> None:
    inner = BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("x", b"x")
    assert code_of(packed(tmp_path, {"inner": inner.getvalue()})) == "nested_zip"


def test_the_same_name_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", b"1")
        archive.writestr("y", b"2")
    path.write_bytes(path.read_bytes().replace(b"y", b"x"))
    assert code_of(path) == "duplicate_name"


def test_bombs_are_refused_by_what_they_claim(tmp_path: Path) -> None:
    assert code_of(packed(tmp_path, {"zeros": bytes(8 << 20)})) == "zip_bomb"
    assert code_of(packed(tmp_path, {str(n): b"x" for n in range(20)}), Limits(entries=10)) == "zip_bomb"
    assert code_of(packed(tmp_path, {"x": bytes(200)}), Limits(unpacked_bytes=100)) == "zip_bomb"


@pytest.mark.parametrize("count", [1_000_000, 3], ids=["said", "not said"])
def test_a_million_entries_are_refused_before_they_are_listed(tmp_path: Path, count: int) -> None:
    whole = bytearray(hostile.many(1_000_000))
    struct.pack_into("<QQ", whole, len(whole) - 22 - 76 + 24, count, count)
    path = tmp_path / "in.zip"
    path.write_bytes(whole)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    assert code_of(path) == "zip_bomb"
    assert time.process_time() - started < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_a_lying_size_does_not_help_a_bomb(tmp_path: Path) -> None:
    path = packed(tmp_path, {"zeros": bytes(8 << 20)})
    data = path.read_bytes().replace(struct.pack("<L", 8 << 20), struct.pack("<L", 100))
    path.write_bytes(data)
    assert code_of(path) in ("zip_bomb", "truncated")


@pytest.mark.parametrize("cut", [10, 60, 200])
def test_a_damaged_zip_is_named_so(cut: int, tmp_path: Path) -> None:
    path = packed(tmp_path, {"x": bytes(range(256)) * 8})
    path.write_bytes(path.read_bytes()[:-cut])
    assert code_of(path) == "bad_zip"


def test_an_encrypted_zip_is_named_so(tmp_path: Path) -> None:
    path = packed(tmp_path, {"x": b"secret"})
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(data))
    assert code_of(path) == "encrypted_zip"


def test_a_full_disk_is_not_called_damage(tmp_path: Path) -> None:
    path = packed(tmp_path, {"a.bin": bytes(range(256)) * 64})
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, usual[1]))
    try:
        assert code_of(path) == "disk_full"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
