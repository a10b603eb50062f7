# SPDX-License-Identifier: Apache-2.0
"""Files and folders that appear under their final name whole, or not at all.

Both context managers hand out a hidden name in the target's own directory, so that the last step is one rename on one
file system. A kill or a full disk leaves at most that hidden name behind, never a half result under the final one.
"""

from __future__ import annotations

import ctypes
import errno
import fnmatch
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from clarivox.errors import CapacityError, OutputError

_HERE, _RENAME_EXCHANGE = -100, 2
"""AT_FDCWD and RENAME_EXCHANGE of Linux."""

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Errors of the system that say so: disk, quota or largest file."""


@contextmanager
def file(path: Path | str, overwrite: bool = False, durable: bool = True) -> Iterator[Path]:
    """A name to write to; it becomes `path` when the block ends without an error.

    The name ends as `path` does (`.nii.gz`), for writers that go by suffix. Missing parent folders are made. What is
    not `durable` is whole after a kill, but may be lost with the power; it spares the wait for the disk.

    Raises:
        OutputError: `path` exists and `overwrite` is False (code output_exists), is a folder, or cannot be made.
        CapacityError: the disk is full (code disk_full).

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with file(Path(folder) / "a.txt") as temporary:
    ...         _ = temporary.write_text("whole")
    ...     (Path(folder) / "a.txt").read_text()
    'whole'
    """
    final = Path(path)
    if final.is_dir():
        raise OutputError(f"a file is to be written, but {final.name!r} is a folder; name a file in it")
    if not overwrite and os.path.lexists(final):
        raise _exists(final)
    with _disk_errors(final):
        temporary = _hidden_name(final, "".join(final.suffixes[-2:]))
        try:
            yield temporary
            if durable:
                sync(temporary)
            if overwrite:
                temporary.replace(final)
            else:
                _appear(temporary, final)
            if durable:
                sync(final.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def folder(path: Path | str, overwrite: bool, own: str | Callable[[Path], bool]) -> Iterator[Path]:
    """A new empty folder to write to; it becomes `path` when the block ends without an error.

    An empty folder at `path` counts as absent. With `overwrite` a folder there is replaced as a whole, provided that
    it holds nothing but files that `own` (a pattern of names, or a function) knows: a folder with anything else is
    never deleted. On Linux the two change places in one step; elsewhere a kill between two renames leaves the old
    folder under a hidden name.

    Raises:
        OutputError: `path` exists and `overwrite` is False, or it holds other things (code output_exists).
        CapacityError: the disk is full (code disk_full).
    """
    final = Path(path).resolve()
    _check_replaceable(final, overwrite, own)
    with _disk_errors(final):
        temporary = _hidden_name(final, "")
        temporary.mkdir()
        try:
            yield temporary
            for entry in sorted(temporary.rglob("*")):
                sync(entry)
            sync(temporary)
            _check_replaceable(final, overwrite, own)
            _swap_in(temporary, final)
            sync(final.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _exists(final: Path) -> OutputError:
    return OutputError(f"{final.name!r} exists already; choose another name, or --overwrite", code="output_exists")


def _hidden_name(final: Path, suffix: str) -> Path:
    final.parent.mkdir(parents=True, exist_ok=True)
    return final.parent / f".clarivox-{secrets.token_hex(8)}{suffix}"


def _appear(temporary: Path, final: Path) -> None:
    """Rename without replacing: a link fails where the name was taken meanwhile; some file systems have no links."""
    try:
        os.link(temporary, final)
    except FileExistsError:
        raise _exists(final) from None
    except OSError:
        if os.path.lexists(final):
            raise _exists(final) from None
        temporary.rename(final)


def _check_replaceable(final: Path, overwrite: bool, own: str | Callable[[Path], bool]) -> None:
    if not os.path.lexists(final):
        return
    if not final.is_dir():
        raise OutputError(f"a folder is to be written, but {final.name!r} is a file", code="output_exists")
    entries = list(final.iterdir())
    if not entries:
        return
    if not overwrite:
        raise _exists(final)
    knows = own if callable(own) else lambda entry: fnmatch.fnmatch(entry.name, own)
    foreign = [entry for entry in entries if not entry.is_file() or not knows(entry)]
    if foreign:
        raise OutputError(
            f"{final.name!r} holds {len(foreign)} entries that clarivox did not write, and replacing it would delete "
            "them; choose another folder",
            code="output_exists",
        )


def _swap_in(temporary: Path, final: Path) -> None:
    """Put the new folder in the old one's place; the old one comes back when that fails."""
    if not final.exists():
        temporary.rename(final)
        return
    if _exchange(temporary, final):  # the caller removes what now has the temporary name
        return
    aside = _hidden_name(final, ".old")
    final.rename(aside)
    try:
        temporary.rename(final)
    except OSError:
        aside.rename(final)
        raise
    shutil.rmtree(aside)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change names in one step; False where the system has no such call."""
    swap = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    return swap is not None and swap(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _RENAME_EXCHANGE) == 0


@contextmanager
def _disk_errors(final: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno is None:  # raised by a library in our place, not by the system
            raise
        reason = errno.errorcode.get(error.errno, "error")
        if error.errno in NO_ROOM:
            raise CapacityError(
                f"no room to write {final.name!r} ({reason}); free disk space and run again", code="disk_full"
            ) from error
        raise OutputError(f"{final.name!r} cannot be written ({reason}); check the folder's permissions") from error
