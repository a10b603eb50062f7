# SPDX-License-Identifier: Apache-2.0
"""Telling the caller how far the work is, and letting the caller stop it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from clarivox.errors import CancelledError


@dataclass(frozen=True)
class Step:
    """Where the work stands."""

    stage: str
    """One of read, prepare, enhance, write, train."""
    fraction: float
    """Share of this stage that is done, 0 to 1."""
    eta_s: float | None = None
    """Seconds left in this stage, or None before the first share is done."""


Progress = Callable[[Step], bool | None]
"""Called after each share of work; returning False cancels."""


class Meter:
    """Counts shares of one stage and passes them on.

    Args:
        stage: the stage's name.
        total: how many units of work the stage holds, above 0.
        progress: the caller's function, or None where nobody watches.

    >>> seen = []
    >>> Meter("enhance", 2, lambda step: seen.append(step.fraction)).advance()
    >>> seen
    [0.5]
    """

    def __init__(self, stage: str, total: float, progress: Progress | None) -> None:
        self.stage = stage
        self.total = total
        self.progress = progress
        self.done = 0.0
        self.started = time.monotonic()

    def advance(self, units: float = 1.0) -> None:
        """Report that `units` more are done.

        Raises:
            CancelledError: the caller's function returned False.
        """
        self.done += units
        if self.progress is None:
            return
        fraction = min(1.0, self.done / self.total)
        elapsed = time.monotonic() - self.started
        eta_s = elapsed * (1 - fraction) / fraction if fraction > 0 else None
        if self.progress(Step(self.stage, fraction, eta_s)) is False:
            raise CancelledError(f"stopped on request at {fraction:.0%} of the stage {self.stage}; nothing was written")
