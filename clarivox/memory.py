# SPDX-License-Identifier: Apache-2.0
"""How much memory a piece of work took at most, above what was held before it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from types import TracebackType

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Peak:
    """Measures the work done within a `with`.

    On a GPU it is the memory that torch held there; elsewhere the resident memory of the process, which Linux alone
    tells. Memory that an earlier piece of work left to the process counts as held before.

    Args:
        device: where the work is done: auto, cpu, cuda, cuda:N or mps.

    >>> with Peak("cpu") as peak:
    ...     block = bytearray(64_000_000)
    >>> peak.bytes is None or peak.bytes > 50_000_000
    True
    """

    def __init__(self, device: str = "auto") -> None:
        self.bytes: int | None = None
        self._cuda = torch.cuda.is_available() and device.split(":")[0] in ("auto", "cuda")
        self._before = 0

    def __enter__(self) -> Peak:
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated()
        else:
            with suppress(OSError):
                # Sets the process's peak back to what is resident now.
                _CLEAR.write_text("5")
                self._before = _resident("VmRSS:")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._cuda:
            self.bytes = torch.cuda.max_memory_allocated() - self._before
        elif self._before:
            self.bytes = max(0, _resident("VmHWM:") - self._before)


def _resident(field: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(field))
    return 1024 * int(line.split()[1])
