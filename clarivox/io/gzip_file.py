# SPDX-License-Identifier: Apache-2.0
"""Bytes out of and into files that may be compressed, by gzip or as a zlib stream, through isal, in bounded memory."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from clarivox.errors import DecodeError, TruncatedError

isal_zlib: Any
try:
    from isal import igzip, igzip_threaded, isal_zlib
except ImportError:  # a machine that only trains: slower, and other bytes of the same content are written
    igzip, igzip_threaded, isal_zlib = None, None, zlib

GZIP_MAGIC = b"\x1f\x8b"

MAX_RATIO = 1040
"""Bytes that one byte of deflate can stand for at most (1032), with room for headers."""

_CHUNK = 4 << 20
_DAMAGE: Any = (gzip.BadGzipFile, isal_zlib.error)
_MAX_THREADS = 8


def is_gzip(path: Path) -> bool:
    """Whether a file begins as gzip does."""
    with path.open("rb") as stream:
        return stream.read(2) == GZIP_MAGIC


@contextmanager
def reading(path: Path) -> Iterator[BinaryIO]:
    """The file's bytes, unpacked where it is gzip; errors of the packing become ours.

    Raises:
        TruncatedError: the compressed stream stops before its end.
        DecodeError: the compressed stream is damaged.
    """
    with reading_at(path, 0, "gzip" if is_gzip(path) else "raw") as stream:
        yield stream


@contextmanager
def reading_at(path: Path, offset: int, packing: str) -> Iterator[BinaryIO]:
    """The file's bytes from an offset on, unpacked.

    Args:
        path: the file.
        offset: where the packed bytes begin.
        packing: raw, gzip or zlib.

    Raises:
        TruncatedError, DecodeError: as `reading`.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            yield cast(BinaryIO, _unpacked(file, packing))
    except EOFError as error:
        raise TruncatedError("the compressed file ends before its voxels do; fetch it again") from error
    except _DAMAGE as error:
        raise DecodeError("the compressed data are damaged (bad gzip stream); fetch the file again") from error


def _unpacked(file: BinaryIO, packing: str) -> Any:
    if packing == "gzip":
        return (igzip.IGzipFile if igzip else gzip.GzipFile)(fileobj=file, mode="rb")
    return io.BufferedReader(_ZlibReader(file)) if packing == "zlib" else file


class _ZlibReader(io.RawIOBase):
    """A zlib stream as a file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._unpacker = isal_zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._unpacker.eof:
            packed = self._unpacker.unconsumed_tail or self._file.read(1 << 20)
            if not packed:
                raise EOFError
            data = self._unpacker.decompress(packed, len(buffer))
            if data:
                buffer[: len(data)] = data
                return len(data)
        return 0


def head(path: Path, size: int) -> bytes:
    """The first bytes of a file, unpacked where it is gzip; fewer where it is shorter or damaged."""
    try:
        with reading(path) as stream:
            return stream.read(size)
    except (TruncatedError, DecodeError):
        return b""


def fill(stream: BinaryIO, buffer: memoryview, tell: Callable[[float], None]) -> None:
    """Read exactly as many bytes as the buffer holds, a few megabytes at a time.

    Raises:
        TruncatedError: there are fewer.
    """
    view, done = buffer.cast("B"), 0
    while done < len(view):
        count = stream.readinto(view[done : done + _CHUNK])  # type: ignore[attr-defined]
        if not count:
            raise TruncatedError(
                f"the header promises {len(view)} bytes of voxels and the file holds {done}; fetch it again"
            )
        done += count
        tell(done / len(view))


def left_over(stream: BinaryIO) -> bool:
    """Whether bytes follow; at the end of a gzip stream its checksum is verified by this."""
    return bool(stream.read(1 << 16))


def write(path: Path, blocks: Iterable[NDArray[Any] | bytes], packed: bool, level: int = 3) -> None:
    """Write blocks of bytes one after another; gzip on several threads where `packed`.

    The bytes depend on the blocks and the level alone: no time stamp, no name, no number of threads.

    Args:
        path: a name that may be overwritten.
        blocks: contiguous arrays or bytes, each used before the next is asked for.
        packed: whether to compress.
        level: 0 to 3, isal's own scale; 3 costs no more than 1 on CT-like noise and is as small as zlib's level 6.
    """
    if not packed:
        write_after(path, b"", blocks, "raw")
        return
    with path.open("wb") as file:
        _write_gzip(file, blocks, level)


def write_after(path: Path, start: bytes, blocks: Iterable[NDArray[Any] | bytes], packing: str, level: int = 3) -> int:
    """Write plain bytes and after them blocks in the given packing; the length of the packed part."""
    with path.open("wb") as file:
        file.write(start)
        if packing == "gzip":
            _write_gzip(file, blocks, level)
        elif packing == "zlib":
            packer = isal_zlib.compressobj(level)
            for block in blocks:
                file.write(packer.compress(_bytes_of(block)))
            file.write(packer.flush())
        else:
            for block in blocks:
                file.write(_bytes_of(block))
        return file.tell() - len(start)


def _write_gzip(file: BinaryIO, blocks: Iterable[NDArray[Any] | bytes], level: int) -> None:
    threads = max(1, min(_MAX_THREADS, len(os.sched_getaffinity(0))))
    if igzip_threaded is None:
        packer: Any = gzip.GzipFile("", "wb", 6, file, mtime=0)
    else:
        packer = igzip_threaded.open(file, "wb", compresslevel=level, threads=threads)
    with packer as stream:
        for block in blocks:
            stream.write(_bytes_of(block))


def _bytes_of(block: NDArray[Any] | bytes) -> memoryview:
    if isinstance(block, bytes):
        return memoryview(block)
    return np.ascontiguousarray(block).reshape(-1).view(np.uint8).data
