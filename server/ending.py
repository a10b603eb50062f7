# SPDX-License-Identifier: Apache-2.0
"""What the end of an attempt means: done, failed for good, given back to the queue, or no longer ours."""

from __future__ import annotations

import logging
import time
import traceback

from clarivox.errors import BusyError, CancelledError, CapacityError, ClarivoxError, ServiceError
from clarivox.server.child_link import ChildDiedError
from clarivox.server.job import Outcome, State
from clarivox.server.statuses import described
from clarivox.server.task import Task
from clarivox.server.work import Shop, cleared

logger = logging.getLogger(__name__)

STICKY = (
    "CUDA error",
    "CUBLAS_STATUS",
    "CUDNN_STATUS",
    "device-side assert",
    "illegal memory access",
    "unspecified launch failure",
    "uncorrectable ECC",
    "Xid",
)
"""Words of device faults after which every further call of the process fails (serving.md 4)."""
DISK_WAIT_S = 30.0
"""A job that found the disk full is tried again after so long."""
AGAIN_S = 0.2


def settle(task: Task, shop: Shop, end: Outcome | BaseException) -> bool:
    """Tell the ledger what came of an attempt, and delete what it left; True where the process must end.

    Args:
        task: the attempt.
        shop: the worker's.
        end: its outcome, or what stopped it.
    """
    sick = False
    try:
        if isinstance(end, Outcome):
            finish(task, shop, end)
        elif task.lost:
            logger.warning("job %s: the attempt was lost; nothing is published", task.job.id)
        elif isinstance(end, CancelledError):
            if task.cancelled:
                finish(task, shop, Outcome(State.CANCELLED, metrics=figures(task)))
            else:
                shop.ledger.release(task.job.id, task.job.attempt, reason="drain", counted=False)
        else:
            sick = failed(task, shop, end)
    except ClarivoxError as error:  # the lease ends by itself, and the job goes back
        logger.warning("job %s: its end could not be told [%s]", task.job.id, error.code)
    finally:
        cleared(task)
    return sick


def failed(task: Task, shop: Shop, error: BaseException) -> bool:
    """What an error means for the job; True where the device is at fault and the process must end."""
    job = task.job
    if isinstance(error, ChildDiedError):
        shop.ledger.release(job.id, job.attempt, reason="reader_killed", crashed=True)
    elif isinstance(error, BusyError):
        shop.ledger.release(job.id, job.attempt, reason=error.code)
    elif isinstance(error, CapacityError) and error.code == "disk_full":
        shop.blobs.give_up_reserve()
        shop.ledger.release(job.id, job.attempt, reason="disk_full", delay_s=DISK_WAIT_S)
    elif sticky(error):
        logger.error("job %s: the device failed; this process ends", job.id)
        shop.ledger.release(job.id, job.attempt, reason="device_fault", crashed=True)
        return True
    else:
        finish(task, shop, Outcome(State.FAILED, error=described(explained(task, error)), metrics=figures(task)))
    return False


def explained(task: Task, error: BaseException) -> ClarivoxError:
    """An error in words for the owner of the job; a stranger's text may name a patient, so it is never told."""
    if isinstance(error, ClarivoxError):
        logger.info("job %s failed [%s]", task.job.id, error.code)
        return error
    if isinstance(error, MemoryError):
        return CapacityError("the job takes more memory than the server has", code="no_memory")
    places = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-3:]]
    logger.error("job %s: %s at %s", task.job.id, type(error).__name__, " < ".join(reversed(places)))
    return ServiceError("the server failed at this job; its log says where", code="server_fault")


def sticky(error: BaseException) -> bool:
    """Whether an error means that this process can use its device no more.

    >>> sticky(RuntimeError("CUDA error: an illegal memory access was encountered")), sticky(ValueError("CUDA"))
    (True, False)
    """
    if isinstance(error, ClarivoxError) or type(error).__name__ == "OutOfMemoryError":
        return False
    return type(error).__name__ == "AcceleratorError" or any(words in str(error) for words in STICKY)


def figures(task: Task) -> dict[str, object]:
    """What was measured before the end."""
    return {name: value for name, value in task.metrics.items() if name != "like"}


def finish(task: Task, shop: Shop, outcome: Outcome) -> None:
    """End the attempt in the ledger; where the database is away, as long as the lease may hold.

    Raises:
        ClarivoxError: the ledger does not take it.
    """
    while True:
        try:
            if not shop.ledger.finish(task.job.id, task.job.attempt, outcome, has=shop.blobs.has):
                logger.warning("job %s: the attempt was lost; nothing is published", task.job.id)
            return
        except BusyError:
            if time.monotonic() - task.heard > shop.settings.lease_s:
                raise
            time.sleep(AGAIN_S)
