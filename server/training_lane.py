# SPDX-License-Identifier: Apache-2.0
"""The thread of a worker that holds a training: beside the jobs of enhancement, which need not wait for its end.

What a training has done so far lies in data_dir/training, by the job's id; another attempt goes on with it. The new
bundle appears in data_dir/bundles when it is whole, never in place of another.
"""

from __future__ import annotations

import json
import logging
import os
import re
import select
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clarivox.errors import CancelledError, ClarivoxError, InputError, OptionError, TrainingError
from clarivox.server.child_link import limits_of, rebuilt
from clarivox.server.ending import settle
from clarivox.server.inputs import ending, placed
from clarivox.server.job import Job, Kind, Outcome, Role, State
from clarivox.server.task import Task
from clarivox.server.work import Shop

if TYPE_CHECKING:
    from clarivox.server.pulse import Pulse

logger = logging.getLogger(__name__)

LOOK_S = 0.5
STILL_S = 900.0
"""Longest time between two words of a training: a validation of a diffusion network on a CPU takes minutes."""
GRACE_S = 20.0
"""Time to save a checkpoint in."""
NAME = re.compile(r"[a-z][a-z0-9_]{2,79}_v[0-9]{1,4}")


class TrainingLane(threading.Thread):
    """Trains one bundle at a time."""

    def __init__(self, shop: Shop, pulse: Pulse, worker_id: str) -> None:
        super().__init__(name="training", daemon=True)
        self.shop, self.pulse, self.worker_id = shop, pulse, worker_id
        self.task: Task | None = None
        self._over = threading.Event()

    def run(self) -> None:
        """Look for trainings until stopped."""
        while not self._over.wait(LOOK_S):
            try:
                job = self.shop.ledger.claim(self.worker_id, kinds=(Kind.TRAIN,))
            except ClarivoxError:
                continue
            if job is not None:
                self.attempt(job)

    def stop(self) -> None:
        """Save the training that runs, give it back, and take no more."""
        self._over.set()
        if self.task is not None:
            self.task.released = True
        if self.is_alive():
            self.join(GRACE_S + LOOK_S)

    def attempt(self, job: Job) -> None:
        """One attempt at one training."""
        self.task = task = Task(job, self.shop.settings.data_dir / "work" / f"{job.id}.{job.attempt}")
        self.pulse.hold(task)
        kept = self.shop.settings.data_dir / "training" / job.id
        end: Outcome | BaseException
        try:
            end = train(task, self.shop, kept)
        except Exception as error:  # noqa: BLE001  whatever it is, the next job must not suffer
            end = CancelledError("stopped") if task.stopped else error
        if isinstance(end, Outcome) or task.cancelled or isinstance(end, InputError | TrainingError):
            shutil.rmtree(kept, ignore_errors=True)
        settle(task, self.shop, end)
        self.pulse.drop(task)
        self.task = None


def train(task: Task, shop: Shop, kept: Path) -> Outcome:
    """Make the images ready, train, and put the new bundle among the others.

    Args:
        task: the attempt.
        shop: the worker's.
        kept: what earlier attempts left, and this one leaves.

    Raises:
        ClarivoxError: the images cannot be used, or the training stopped.
        CancelledError: it has to stop; what was done is kept.
    """
    from clarivox.bundle import find

    params, settings = task.job.params, shop.settings
    info, name = find(task.job.bundle, shop.shelf.folders), str(params.get("output", ""))
    target = settings.data_dir / "bundles" / name
    if not NAME.fullmatch(name):
        raise OptionError(f"a trained bundle is called NAME_v2 or so; found {name!r}", code="bad_name")
    check_free(target, shop)
    kept.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not (kept / "ready").is_file():
        shutil.rmtree(kept / "data", ignore_errors=True)
        task.metrics |= gathered(task, shop, kept / "data", info.modalities)
        (kept / "ready").touch()
    task.enter("train")
    order: dict[str, Any] = {
        "bundle": str(info.folder),
        "folders": [],
        "data": str(kept / "data"),
        "output": str(kept / name),
        "settings": {**params.get("settings", {}), **({"steps": params["steps"]} if params.get("steps") else {})},
        "minutes": params.get("minutes"),
        "device": shop.device,
        "memory_bytes": 2 * settings.parse_memory_bytes,
    }
    task.metrics |= run(task, order) | {"bundle": name}
    check_free(target, shop)
    (kept / name).rename(target)
    return Outcome(State.SUCCEEDED, metrics=task.metrics)


def check_free(target: Path, shop: Shop) -> None:
    """Refuse to hide a bundle that is there.

    Raises:
        OptionError: there is a bundle of this name (code bundle_exists).
    """
    from clarivox.bundle import catalogue

    if target.exists() or target.name in {info.name for info in catalogue(shop.shelf.folders)}:
        raise OptionError(f"there is a bundle {target.name} already; choose another name", code="bundle_exists")


def gathered(task: Task, shop: Shop, out: Path, modalities: tuple[str, ...]) -> dict[str, Any]:
    """The images as a prepared set, by a limited child.

    Raises:
        ClarivoxError: none can be used.
    """
    task.enter("read")
    shutil.rmtree(task.folder, ignore_errors=True)
    task.room.mkdir(parents=True, mode=0o700)
    files = [file for file in task.job.inputs if file.role == Role.INPUT]
    sources = []
    for number, file in enumerate(files):
        sources.append(str(task.folder / f"{number:06d}{ending(file.name)}"))
        placed(shop.blobs.path(file.sha256), Path(sources[-1]))
    order = {
        "do": "gather",
        "sources": sources,
        "out": str(out),
        "modalities": list(modalities),
        "limits": limits_of(shop.settings),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    with shop.nursery.child(task.room, [out.parent], readable=[task.folder]) as child:
        found = child.call(order, task.share(0, 1), size_bytes=10 * sum(file.bytes for file in files))
    return {key: int(found[key]) for key in ("images", "unreadable")}


def run(task: Task, order: dict[str, Any]) -> dict[str, Any]:
    """Train in a process of its own.

    Raises:
        ClarivoxError: what the process says, or its end (code training_ended).
        CancelledError: the work has to stop.
    """
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "clarivox.server.child_train"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    if process.stdin is None or process.stdout is None:
        raise TrainingError("the training does not start", code="training_ended")
    follow = task.share(0, 1)
    try:
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.flush()
        from clarivox.progress import Step

        for said in lines(process.stdout.fileno()):
            if said is None or "step" in said:
                if not follow(None if said is None else Step(*said["step"])):
                    process.stdin.close()  # lets it save a checkpoint
                    process.wait(GRACE_S)
                    raise CancelledError("stopped on request; what was done is kept")
            elif "done" in said:
                found: dict[str, Any] = said["done"]
                return found
            else:
                raise rebuilt(said.get("error"))
        raise TrainingError("the process of the training ended before its time", code="training_ended")
    except subprocess.TimeoutExpired:
        raise CancelledError("stopped on request; what was saved last is kept") from None
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):
                pipe.close()


def lines(fd: int) -> Iterator[dict[str, Any] | None]:
    """What a process says, None while it says nothing; ends with it, or when it is silent for too long."""
    rest, heard = b"", time.monotonic()
    while time.monotonic() - heard < STILL_S:
        if not select.select([fd], [], [], LOOK_S)[0]:
            yield None
            continue
        more = os.read(fd, 1 << 16)
        if not more:
            return
        heard = time.monotonic()
        *whole, rest = (rest + more).split(b"\n")
        for line in whole:
            yield json.loads(line)
