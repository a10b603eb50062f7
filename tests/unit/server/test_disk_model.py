# SPDX-License-Identifier: Apache-2.0
"""The model of a disk that power cuts are replayed on keeps what was synced, and nothing else."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import pytest

from tests.chaos.disk import Change, Disk

TOP = Path("/disk")


def after(changes: list[Change], to: Path, choose: random.Random | None = None) -> dict[str, bytes]:
    """What is there after a cut, by name."""
    disk = Disk(TOP)
    for change in changes:
        disk.apply(change)
    disk.write_out(to, choose)
    return {str(path.relative_to(to)): path.read_bytes() for path in to.rglob("*") if path.is_file()}


def written(name: str, data: bytes, *, at: int = 0) -> Change:
    return Change("write", f"{TOP}/{name}", at=at, data=data)


def synced(name: str = "") -> Change:
    return Change("sync", f"{TOP}/{name}".rstrip("/"))


def test_a_file_without_a_sync_of_its_folder_is_gone(tmp_path: Path) -> None:
    assert after([written("a", b"hello"), synced("a")], tmp_path) == {}


def test_a_name_without_a_sync_of_its_file_is_empty(tmp_path: Path) -> None:
    assert after([written("a", b"hello"), synced()], tmp_path) == {"a": b""}


def test_what_was_written_after_the_last_sync_is_dropped(tmp_path: Path) -> None:
    changes = [written("a", b"hello"), synced("a"), synced(), written("a", b"J"), written("a", b"!", at=5)]
    assert after(changes, tmp_path) == {"a": b"hello"}


def test_a_rename_without_a_sync_of_the_folder_is_undone(tmp_path: Path) -> None:
    changes = [written("a", b"1"), synced("a"), synced(), Change("rename", f"{TOP}/a", to=f"{TOP}/b")]
    assert after(changes, tmp_path / "undone") == {"a": b"1"}
    assert after([*changes, synced()], tmp_path / "done") == {"b": b"1"}


def test_a_file_in_a_folder_that_is_not_safe_is_gone_with_it(tmp_path: Path) -> None:
    changes = [Change("folder", f"{TOP}/in"), written("in/a", b"1"), synced("in/a"), synced("in")]
    assert after(changes, tmp_path / "gone") == {}
    assert after([*changes, synced()], tmp_path / "kept") == {"in/a": b"1"}


def test_a_random_cut_keeps_some_of_what_was_not_synced(tmp_path: Path) -> None:
    changes = [written("a", b"0000"), synced("a"), synced(), *(written("a", b"1", at=place) for place in range(4))]
    seen = {after(changes, tmp_path / str(seed), random.Random(seed))["a"] for seed in range(20)}
    assert len(seen) > 5 and all(set(content) <= set(b"01") for content in seen)


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or os.uname().machine != "x86_64",
    reason="not Linux on x86_64",
)
def test_a_trap_hears_and_refuses_calls_of_other_programs(tmp_path: Path) -> None:
    import errno
    import subprocess

    from tests.chaos.recorder import Recorder
    from tests.chaos.traps import Call, Traps

    recorder = Recorder(tmp_path)

    def heard(call: Call) -> int:
        recorder(call)
        return errno.ENOSPC if call.name == "mkdir" and call.paths()[0].endswith("refused") else 0

    launcher, descriptor = Traps(heard).launcher()
    words = "echo hello | tee a; mv a b; sync b; mkdir refused"
    done = subprocess.run([*launcher, "sh", "-c", words], cwd=tmp_path, pass_fds=[descriptor], capture_output=True)
    assert b"No space left" in done.stderr
    disk = Disk(tmp_path)
    for change in recorder.changes:
        disk.apply(change)
    assert [change.kind for change in recorder.changes][:3] == ["create", "write", "rename"]
    assert disk.find(f"{tmp_path}/b").safe == b"hello\n"  # type: ignore[union-attr]
