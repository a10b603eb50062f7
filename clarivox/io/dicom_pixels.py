# SPDX-License-Identifier: Apache-2.0
"""The pixels of planned instances into one block of memory, by several threads.

Uncompressed grey frames go from the file straight to their place; nothing is copied twice.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clarivox.errors import CapacityError, FormatError, TruncatedError
from clarivox.io.dicom_codecs import decode
from clarivox.io.dicom_fragments import frame_spans, read_spans
from clarivox.io.dicom_image import PixelFormat
from clarivox.io.dicom_instance import Instance, Plan
from clarivox.io.dicom_objects import NATIVE
from clarivox.io.dicom_warnings import Quiet
from clarivox.progress import Meter
from clarivox.volume import blank_like

Pixels = NDArray[Any]

CUT = "the file ends within its pixels; send it again"


class Frames:
    """The frames of one open file.

    Used as a context manager; `into` may be called from several threads at once.
    """

    def __init__(self, instance: Instance) -> None:
        self.format = instance.format
        self.syntax = instance.header.syntax
        self.little = instance.header.little
        self.pixels = instance.header.pixels
        self.inflated: bytes | None = None
        self.notes: set[str] = set()
        try:
            self._descriptor = os.open(instance.path, os.O_RDONLY)
        except OSError as error:
            raise FormatError("a file of the series is no longer there; scan again", code="not_readable") from error
        try:
            if instance.header.deflated_at:
                self.inflated = self._inflate(instance)
            elif self.syntax not in NATIVE:
                self.spans = frame_spans(self._descriptor, self._offset, instance.header.size, instance.format.frames)
        except BaseException:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> Frames:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    @property
    def _offset(self) -> int:
        return 0 if self.pixels is None else self.pixels.offset

    def into(self, target: Pixels, frame: int) -> None:
        """Put one frame into `target`, shape (samples, rows, columns)."""
        if self.syntax not in NATIVE:
            numbers, note = decode(read_spans(self._descriptor, self.spans[frame]), self.syntax, self.format)
            if note:
                self.notes.add(note)
            spread(numbers, target)
        elif self.format.samples == 1:
            self._grey(target[0], frame)
        else:
            spread(self._colour(frame), target)
        keep_stored_bits(target, self.format)

    def _grey(self, target: Pixels, frame: int) -> None:
        start = self._offset + frame * self.format.frame_bytes
        room = target.reshape(-1).view(np.uint8).data
        if self.format.allocated == 8 and not self.little:
            room[:] = self._native(frame)
        elif self.inflated is not None:
            room[:] = self.inflated[start : start + len(room)]
        elif os.preadv(self._descriptor, [room], start) != len(room):
            raise TruncatedError(CUT, code="truncated_pixel_data")
        if not self.little and self.format.allocated > 8:
            target.byteswap(inplace=True)

    def _native(self, frame: int) -> bytes:
        """One frame's bytes in the order of its samples; big-endian words of two 8-bit samples are turned round."""
        length = self.format.frame_bytes
        start = frame * length
        swapped = not self.little and self.format.allocated == 8 and self.pixels and self.pixels.vr == "OW"
        first, last = (start - start % 2, start + length + (start + length) % 2) if swapped else (start, start + length)
        if self.inflated is not None:
            data = self.inflated[self._offset + first : self._offset + last]
        else:
            data = os.pread(self._descriptor, last - first, self._offset + first)
        if swapped:
            even = len(data) // 2 * 2
            data = np.frombuffer(data[:even], np.uint16).byteswap().tobytes() + data[even:]
        data = data[start - first : start - first + length]
        if len(data) != length:
            raise TruncatedError(CUT, code="truncated_pixel_data")
        return data

    def _colour(self, frame: int) -> Pixels:
        found = self.format
        numbers = np.frombuffer(self._native(frame), found.dtype if self.little else found.dtype.newbyteorder(">"))
        if found.photometric == "YBR_FULL_422":
            return full_chroma(numbers, found)
        if found.planar:
            return numbers.reshape(3, found.rows, found.columns).transpose(1, 2, 0)
        return numbers.reshape(found.rows, found.columns, 3)

    def _inflate(self, instance: Instance) -> bytes:
        needed = self._offset + self.format.frame_bytes * self.format.frames
        with instance.path.open("rb") as file:
            file.seek(instance.header.deflated_at)
            try:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(file.read(), needed)
            except zlib.error as error:
                raise TruncatedError("the deflated data are damaged; send the file again") from error
        if len(data) < needed:
            raise TruncatedError(CUT, code="truncated_pixel_data")
        return data


def full_chroma(numbers: Pixels, found: PixelFormat) -> Pixels:
    """4:2:2 samples (Y Y Cb Cr for two pixels) with the chroma repeated, shape (rows, columns, 3).

    >>> f = PixelFormat(1, 2, 3, 8, 8, False, "YBR_FULL_422", False, 1)
    >>> full_chroma(np.array([10, 20, 128, 129], np.uint8), f).tolist()
    [[[10, 128, 129], [20, 128, 129]]]
    """
    pairs = numbers.reshape(found.rows, found.columns // 2, 4)
    out = np.empty((found.rows, found.columns, 3), numbers.dtype)
    out[:, :, 0] = pairs[:, :, :2].reshape(found.rows, found.columns)
    out[:, :, 1:] = np.repeat(pairs[:, :, 2:], 2, axis=1)
    return out


def spread(numbers: Pixels, target: Pixels) -> None:
    """Put decoded numbers, channels last if any, into a target with the channels first."""
    if target.shape[0] == 1:
        np.copyto(target[0], numbers, casting="unsafe")
    else:
        np.copyto(target, numbers.transpose(2, 0, 1), casting="unsafe")


def keep_stored_bits(target: Pixels, found: PixelFormat) -> None:
    """Clear what lies above the stored bits, in place, and extend the sign.

    >>> a = np.array([[[0xF123]]], np.uint16)
    >>> keep_stored_bits(a, PixelFormat(1, 1, 1, 16, 12, False, "MONOCHROME2", False, 1))
    >>> hex(a[0, 0, 0])
    '0x123'
    """
    if found.stored == found.allocated:
        return
    low, high = found.stored_range
    if target.max() <= high and (not found.signed or target.min() >= low):
        return
    unused = found.allocated - found.stored
    np.left_shift(target, unused, out=target)
    np.right_shift(target, unused, out=target)


def read_pixels(plan: Plan, meter: Meter) -> tuple[Pixels, tuple[str, ...]]:
    """The stored numbers of a plan, shape (C, X, Y, Z), and notes.

    Args:
        plan: what to read.
        meter: told after each frame; what it raises ends the reading.

    Raises:
        TruncatedError, DecodeError: a frame is cut short or damaged.
        CapacityError: the volume does not fit into memory.
    """
    try:
        array = blank_like(plan.shape, plan.instances[0].format.dtype)
    except MemoryError as error:
        raise CapacityError("the volume does not fit into memory; read fewer frames, or on a larger machine") from error
    frames = array.transpose(0, 3, 2, 1)
    samples = plan.instances[0].format.samples
    notes: set[str] = set()
    workers = min(8, os.cpu_count() or 1)
    with ExitStack() as opened, Quiet() as quiet:
        one = opened.enter_context(Frames(plan.instances[0])) if len(plan.instances) == 1 else None
        pool = opened.enter_context(ThreadPoolExecutor(max_workers=workers, initializer=quiet.join))
        for found in _in_turn(pool, _tasks(plan, frames, samples, one)):
            notes |= found
            meter.advance()
    return array, (*quiet.notes, *sorted(notes))


def _tasks(plan: Plan, frames: Pixels, samples: int, one: Frames | None) -> Iterator[Callable[[], set[str]]]:
    """What fills each slice: from the one file that is open, or from a file for each slice."""
    for v, z in np.ndindex(plan.placement.shape[:2]):
        number, frame = (int(index) for index in plan.placement[v, z])
        target = frames[v * samples : (v + 1) * samples, z]
        yield _file_task(plan.instances[number], target, frame) if one is None else _task(one, target, frame)


def _task(source: Frames, target: Pixels, frame: int) -> Callable[[], set[str]]:
    def run() -> set[str]:
        source.into(target, frame)
        return source.notes

    return run


def _file_task(instance: Instance, target: Pixels, frame: int) -> Callable[[], set[str]]:
    def run() -> set[str]:
        with Frames(instance) as source:
            source.into(target, frame)
            return source.notes

    return run


def _in_turn(pool: ThreadPoolExecutor, tasks: Iterator[Callable[[], set[str]]]) -> Iterator[set[str]]:
    """Results as they come, with a bounded number of tasks under way; none is left running at the end."""
    running: set[Future[set[str]]] = set()
    try:
        while True:
            running |= {pool.submit(task) for task in islice(tasks, 32 - len(running))}
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for one in done:
                yield one.result()
    finally:
        for one in running:
            one.cancel()
        wait(running)
