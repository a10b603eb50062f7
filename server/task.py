# SPDX-License-Identifier: Apache-2.0
"""One attempt at one job, as the threads of a worker share it: how far it is, and whether it has to stop."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clarivox.errors import CancelledError
from clarivox.progress import Step
from clarivox.server.job import Job

if TYPE_CHECKING:
    from clarivox.server.child_link import Child

ROOM = "child"
"""The part of a job's folder that its limited child may write to."""


@dataclass
class Task:
    """One attempt.

    Attributes:
        job: as it was claimed.
        folder: its own, gone at the end.
        child: the limited process that reads and writes for it.
        found: what the child read, volume by volume.
        failure: why reading failed, for the thread that goes on with the job.
        stage, done, eta_s: how far it is.
        moved: goes up with each sign of life of the work itself; the supervisor looks at nothing else.
        cancelled: the user asked to stop.
        lost: the attempt is another's by now; nothing of it may be published.
        released: the worker is to give it back at once.
        heard: when the ledger last said that the attempt is ours, of the monotonic clock.
        metrics: figures of the run.
    """

    job: Job
    folder: Path
    child: Child | None = None
    found: list[dict[str, Any]] = field(default_factory=list)
    failure: BaseException | None = None
    stage: str = "claimed"
    done: float = 0.0
    eta_s: float | None = None
    moved: int = 0
    cancelled: bool = False
    lost: bool = False
    released: bool = False
    heard: float = field(default_factory=time.monotonic)
    metrics: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What its folder is called."""
        return f"{self.job.id}.{self.job.attempt}"

    @property
    def room(self) -> Path:
        """Where its child works; beside it lie the inputs, which the child can only read."""
        return self.folder / ROOM

    @property
    def stopped(self) -> bool:
        """Whether the work has to stop, for whatever reason."""
        return self.cancelled or self.lost or self.released

    def enter(self, stage: str) -> None:
        """Begin a stage.

        Raises:
            CancelledError: the work has to stop.
        """
        self.stage, self.done, self.eta_s = stage, 0.0, None
        self.alive()

    def alive(self) -> None:
        """Show that the work goes on.

        Raises:
            CancelledError: it has to stop.
        """
        self.moved += 1
        if self.stopped:
            raise CancelledError("stopped on request; nothing was written")

    def share(self, place: int, count: int) -> Share:
        """The progress of one volume of several, as progress of the stage."""
        return Share(self, place, count)


@dataclass
class Share:
    """Takes the steps of one volume of several."""

    task: Task
    place: int
    count: int

    def __call__(self, step: Step | None) -> bool:
        """False where the work has to stop; None says only that a child with limits of its own is at work."""
        self.task.moved += 1
        if step is not None:
            self.task.done = (self.place + step.fraction) / self.count
            left = self.count - self.place - 1
            # The volumes to come take as long as this one, as far as anyone knows.
            whole = None if step.eta_s is None or step.fraction >= 1 else step.eta_s / (1 - step.fraction)
            self.task.eta_s = None if step.eta_s is None else step.eta_s + left * (whole or 0.0)
        return not self.task.stopped
