# SPDX-License-Identifier: Apache-2.0
"""What each way to end means for the job."""

import errno

import pytest

from clarivox.errors import BusyError, CancelledError, CapacityError, FormatError
from clarivox.server.child_link import ChildDiedError
from clarivox.server.ending import settle, sticky
from clarivox.server.job import FileRef, NewJob, Outcome, Role, State
from clarivox.server.ledger import Ledger
from clarivox.server.settings import Settings
from clarivox.server.task import Task
from clarivox.server.work import Shop

GONE = "0" * 64


class Reserve:
    given_up = False

    def give_up_reserve(self):
        self.given_up = True

    def has(self, sha256):
        return sha256 != GONE


@pytest.fixture
def shop():
    settings = Settings(retry_backoff_s=0)
    ledger = Ledger("sqlite://", settings=settings)
    ledger.open()
    yield Shop(settings, ledger, Reserve(), None, None, "cpu", "cpu")
    ledger.close()


@pytest.fixture
def task(shop, tmp_path):
    shop.ledger.submit(NewJob(owner="me", inputs=()))
    (tmp_path / "work").mkdir()
    return Task(shop.ledger.claim("w"), tmp_path / "work")


def after(task, shop, end):
    sick = settle(task, shop, end)
    job = shop.ledger.get(task.job.id)
    assert not task.folder.exists()
    reasons = [event.data["reason"] for event in shop.ledger.events(job.id) if event.type == "requeued"]
    return sick, job, reasons


def test_success_is_success(task, shop):
    sick, job, _ = after(task, shop, Outcome(State.SUCCEEDED, notes=("a",)))
    assert (sick, job.state, job.notes) == (False, State.SUCCEEDED, ("a",))


def test_a_result_that_is_gone_is_not_published(task, shop):
    gone = FileRef(Role.RESULT, GONE, 1, "application/gzip", "result.nii.gz")
    _, job, _ = after(task, shop, Outcome(State.SUCCEEDED, results=(gone,)))
    assert (job.state, job.results) == (State.RUNNING, ())  # its lease ends by itself


def test_an_error_of_ours_fails_for_good_and_says_all_of_it(task, shop):
    _, job, _ = after(task, shop, FormatError("not an image"))
    assert job.state is State.FAILED
    assert job.error == {
        "code": "unsupported_format",
        "title": "Unsupported Media Type",
        "detail": "not an image",
        "status": 415,
        "retryable": False,
    }


def test_a_strangers_words_are_not_kept(task, shop, caplog):
    _, job, _ = after(task, shop, KeyError("DOE^JANE"))
    assert (job.state, job.error["code"]) == (State.FAILED, "server_fault")
    assert "DOE" not in str(job) + caplog.text


def test_no_memory_is_no_capacity(task, shop):
    _, job, _ = after(task, shop, MemoryError())
    assert (job.error["code"], job.error["status"]) == ("no_memory", 507)


def test_a_wish_to_stop_cancels(task, shop):
    shop.ledger.cancel(task.job.id)
    task.cancelled = True
    _, job, _ = after(task, shop, CancelledError("stopped"))
    assert job.state is State.CANCELLED


def test_a_worker_that_must_end_gives_the_job_back_uncounted(task, shop):
    task.released = True
    _, job, reasons = after(task, shop, CancelledError("stopped"))
    assert (job.state, reasons) == (State.QUEUED, ["drain"])


def test_a_lost_attempt_changes_nothing(task, shop):
    shop.ledger.release(task.job.id, task.job.attempt, reason="lost", delay_s=0)
    second = shop.ledger.claim("other")
    task.lost = True
    for end in (FormatError("late"), CancelledError("late")):
        after(task, shop, end)
    assert shop.ledger.get(second.id).attempt == 2
    assert shop.ledger.get(second.id).state is State.RUNNING
    task.lost = False
    after(task, shop, Outcome(State.SUCCEEDED))
    assert shop.ledger.get(second.id).state is State.RUNNING


@pytest.mark.parametrize(
    ("error", "reason", "crashes"),
    [
        (ChildDiedError(), "reader_killed", 1),
        (BusyError("away", code="database_away"), "database_away", 0),
        (CapacityError("full", code="disk_full"), "disk_full", 0),
        (RuntimeError("CUDA error: device-side assert triggered"), "device_fault", 1),
    ],
)
def test_what_may_do_better_next_time_goes_back(task, shop, error, reason, crashes):
    sick, job, reasons = after(task, shop, error)
    assert (job.state, reasons, job.crash_count) == (State.QUEUED, [reason], crashes)
    assert sick == (reason == "device_fault")
    assert shop.blobs.given_up == (reason == "disk_full")


def test_faults_of_the_device_are_told_from_others():
    no_room = type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory; CUDA error")
    assert sticky(RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"))
    assert not sticky(no_room)
    assert not sticky(RuntimeError("shapes do not match"))
    assert not sticky(OSError(errno.ENOSPC, "no space"))


def test_shares_of_several_volumes_make_one_progress(task):
    from clarivox.progress import Step

    assert task.share(1, 4)(Step("enhance", 0.5, 2.0))
    assert task.done == 0.375
    assert task.eta_s == 2.0 + 2 * 4.0
    before = task.moved
    assert task.share(0, 1)(None)
    assert task.moved > before
    task.cancelled = True
    assert not task.share(0, 1)(None)


def test_each_layer_of_a_network_shows_life_and_hears_a_cancel(task, shop):
    import torch

    from clarivox.server.worker import Worker

    worker = Worker(shop, "w", "h")
    hook = worker.listen()
    try:
        network = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.ReLU())
        worker.pulse.current, before = task, task.moved
        network(torch.zeros(1))
        assert task.moved == before + 3
        task.cancelled = True
        with pytest.raises(CancelledError):
            network(torch.zeros(1))
        worker.pulse.current = None
        network(torch.zeros(1))
    finally:
        hook.remove()
