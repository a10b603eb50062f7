# SPDX-License-Identifier: Apache-2.0
"""pydicom's warnings, turned into notes that hold no values.

pydicom puts the offending value, which may be a name or a date, into its warnings and sends them to the log as well.
"""

from __future__ import annotations

import logging
import threading
import warnings
from types import TracebackType
from typing import TextIO

CATEGORIES = (
    ("value", "a value breaks the rules of its type"),
    ("vr", "elements are written in another form than the file says"),
    ("character", "text uses an unknown or wrong character set"),
    ("pixel", "the pixel data are longer or laid out otherwise than the header says"),
    ("end of file", "the file ends early"),
)
"""A word in a warning, and the note that stands for it."""

LOGGERS = (
    "pydicom",
    "pydicom.pixels.decoders.base",
    "pydicom.pixels.utils",
    "pylibjpeg.utils",
    "openjpeg.utils",
    "jpeg_ls._CharLS",
)
"""Where pydicom and its plugins log; a filter on a logger does not hold for those below it."""

OTHER = "the file departs from the DICOM standard"


class _Sieve(logging.Filter):
    """Keeps pydicom's messages out of the log while this thread reads."""

    def __init__(self) -> None:
        super().__init__()
        self.local = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a message may pass."""
        return not getattr(self.local, "depth", 0)


_SIEVE = _Sieve()
for _name in LOGGERS:
    logging.getLogger(_name).addFilter(_SIEVE)


class Quiet:
    """While inside, warnings of this thread's reading are collected; `notes` says what they were about.

    Threads may be inside at the same time: the process's filters are changed by the first and put back by the last, and
    a thread that is not inside has its warnings shown as before.

    >>> with Quiet() as quiet:
    ...     warnings.warn("Invalid value for VR DA: '19700101X'")
    >>> quiet.notes
    ('a value breaks the rules of its type',)
    """

    def __init__(self) -> None:
        self.notes: tuple[str, ...] = ()

    def __enter__(self) -> Quiet:
        _SIEVE.local.depth = getattr(_SIEVE.local, "depth", 0) + 1
        self._caught = _CATCHER.enter()
        return self

    def join(self) -> None:
        """Let the calling thread's warnings be collected here as well, for good; for threads that only decode."""
        _SIEVE.local.depth = 1
        _CATCHER.local.lists = [self._caught]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _SIEVE.local.depth -= 1
        self.notes = tuple(dict.fromkeys(_note(message) for message in _CATCHER.leave()))


class _Catcher:
    """Collects warnings by thread. `warnings.catch_warnings` alone changes the filters of every thread, and two threads
    that overlap leave each other's behind."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = 0
        self.local = threading.local()

    def enter(self) -> list[str]:
        """Begin a list for this thread, and give it."""
        with self.lock:
            if not self.inside:
                self.filters = warnings.catch_warnings()
                self.filters.__enter__()
                self.shown = warnings.showwarning
                warnings.simplefilter("always")
                warnings.showwarning = self.take
            self.inside += 1
        self.local.lists = [*getattr(self.local, "lists", []), []]
        begun: list[str] = self.local.lists[-1]
        return begun

    def leave(self) -> list[str]:
        """End this thread's newest list, and give it."""
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self.filters.__exit__(None, None, None)
        caught: list[str] = self.local.lists.pop()
        return caught

    def take(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        """Stands in for `warnings.showwarning`."""
        lists = getattr(self.local, "lists", [])
        if lists:
            lists[-1].append(str(message))
        else:
            self.shown(message, category, filename, lineno, file, line)


_CATCHER = _Catcher()


def _note(message: str) -> str:
    lowered = message.lower()
    return next((note for word, note in CATEGORIES if word in lowered), OTHER)
