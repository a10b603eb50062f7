# SPDX-License-Identifier: Apache-2.0
"""Ledgers to test with: on either database, with a clock that the test sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clarivox.server.job import FileRef, NewJob, Role
from clarivox.server.ledger import Ledger
from clarivox.server.settings import Settings

START = 1_800_000_000.0


class Clock:
    """A time that stands until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += seconds


def settings(folder: Path, **more: Any) -> Settings:
    """Small limits, no reserve, no watermark; a test names what it is about."""
    small: dict[str, Any] = {"disk_reserve_bytes": 0, "disk_watermark_bytes": 0, "data_dir": folder}
    return Settings(**(small | more))


def opened(url: str, folder: Path, clock: Clock | None = None, **more: Any) -> Ledger:
    """A ledger that is ready."""
    ledger = Ledger(url, settings=settings(folder, **more), clock=clock)
    ledger.open()
    return ledger


def file(number: int = 0, role: str = Role.INPUT) -> FileRef:
    """A file that a job may name; nothing lies behind it."""
    return FileRef(role, f"{number:064x}", 10, "application/gzip", "input.nii.gz")


def new(**more: Any) -> NewJob:
    """A job that asks for little."""
    return NewJob(**({"owner": "ward", "inputs": (file(),), "bundle": "identity"} | more))
