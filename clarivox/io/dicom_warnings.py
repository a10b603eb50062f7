# SPDX-License-Identifier: Apache-2.0
"""pydicom's warnings, turned into notes that hold no values.

pydicom puts the offending value, which may be a name or a date, into its warnings and sends them to the log as well.
"""

from __future__ import annotations

import logging
import threading
import warnings
from types import TracebackType

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

    >>> with Quiet() as quiet:
    ...     warnings.warn("Invalid value for VR DA: '19700101X'")
    >>> quiet.notes
    ('a value breaks the rules of its type',)
    """

    def __init__(self) -> None:
        self.notes: tuple[str, ...] = ()
        self._catcher = warnings.catch_warnings(record=True)
        self._caught: list[warnings.WarningMessage] = []

    def __enter__(self) -> Quiet:
        _SIEVE.local.depth = getattr(_SIEVE.local, "depth", 0) + 1
        caught = self._catcher.__enter__()
        self._caught = [] if caught is None else caught
        warnings.simplefilter("always")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._catcher.__exit__(kind, error, trace)
        _SIEVE.local.depth -= 1
        self.notes = tuple(dict.fromkeys(_note(str(one.message)) for one in self._caught))


def _note(message: str) -> str:
    lowered = message.lower()
    return next((note for word, note in CATEGORIES if word in lowered), OTHER)


def hush_thread() -> None:
    """Keep pydicom's messages of the calling thread out of the log for good; for threads that only decode."""
    _SIEVE.local.depth = 1
