# SPDX-License-Identifier: Apache-2.0
"""Workers as the server runs them, through the ledger: what becomes of a job when its worker fails."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import psutil
import pytest

from clarivox import io
from clarivox.server.blobs import Blobs
from clarivox.server.convert import convert
from clarivox.server.fleet_handle import start_supervisor
from clarivox.server.job import FileRef, Kind, NewJob, Role, State
from clarivox.server.ledger import Ledger
from clarivox.server.orders import closed
from clarivox.server.settings import Settings
from clarivox.volume import Volume, blank_like
from tests.dicom_objects import series_of
from tests.held import held
from tests.served import PATIENCE_S

WORKER = (sys.executable, str(Path(__file__).with_name("faulty_worker.py")))


class Server:
    """A ledger, a store, and workers that fail on demand."""

    def __init__(self, folder: Path, command=WORKER, **settings):
        given = {"retry_backoff_s": 0, "stall_s": 300, "devices": "cpu", "drain_s": 120, "quarantine_faults": 2}
        self.settings = Settings(data_dir=folder, **{**given, **settings})
        self.ledger = Ledger(self.settings.ledger_url, settings=self.settings)
        self.ledger.open()
        self.blobs = Blobs(folder, self.settings)
        self.handle = start_supervisor(self.settings, command)

    def stored(self, path: Path, role=Role.INPUT) -> FileRef:
        sha256, size = self.blobs.put_file(path)
        suffix = "".join(path.suffixes)
        media = "application/zip" if suffix == ".zip" else "application/octet-stream"
        return FileRef(role, sha256, size, media, f"input{suffix}")

    def submit(self, *files: FileRef, bundle="identity", fault="", **more):
        new = NewJob(owner="me", inputs=files, bundle=bundle, tags={"fault": fault} if fault else {}, **more)
        return self.ledger.submit(new)[0]

    def wait(self, job, until=lambda job: job.ended, most_s=PATIENCE_S):
        end = time.monotonic() + most_s
        while not until(job := self.ledger.get(job.id)):
            assert time.monotonic() < end, f"{job.state} in {job.stage}; {self.ledger.workers()}"
            time.sleep(0.02)
        return job

    def ready(self, count=1):
        end = time.monotonic() + PATIENCE_S
        while sum(row.state == "ready" for row in self.ledger.workers()) < count:
            assert time.monotonic() < end, self.ledger.workers()
            time.sleep(0.05)

    def at_work(self, job):
        """The job once it stands at its hold."""
        return self.wait(job, lambda job: job.stage == "enhance" and job.done > 0)

    def events(self, job):
        return [event.type for event in self.ledger.events(job.id)]

    def reasons(self, job):
        return [event.data["reason"] for event in self.ledger.events(job.id) if event.type == "requeued"]

    def left(self):
        """Files that are still there after the moment that tidying takes."""
        end = time.monotonic() + PATIENCE_S
        while found := [path for name in ("work", "tmp") for path in (self.settings.data_dir / name).glob("*")]:
            if time.monotonic() > end:
                break
            time.sleep(0.05)
        return found


def picture(path: Path, side=160) -> Path:
    array = blank_like((1, side, side, 1), np.dtype(np.uint8))
    array[...] = np.random.default_rng(5).integers(40, 90, array.shape)
    io.write(Volume(array, np.eye(4)), path)
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    one = Server(tmp_path_factory.mktemp("server"))
    one.ready()
    yield one
    one.handle.stop()
    assert {row.state for row in one.ledger.workers()} == {"dead"}


@pytest.fixture(scope="module")
def image(server, tmp_path_factory):
    return server.stored(picture(tmp_path_factory.mktemp("image") / "a.png"))


def test_a_job_gives_the_image_in_its_own_form_and_a_page(server, image):
    job = server.wait(server.submit(image))
    assert job.state is State.SUCCEEDED, job.error
    assert [(one.role, one.name, one.media) for one in job.results] == [
        ("result", "result.png", "image/png"),
        ("evidence", "evidence.html", "text/html; charset=utf-8"),
    ]
    before, after = (io.read(server.blobs.path(one.sha256)) for one in (image, job.results[0]))
    np.testing.assert_array_equal(before.array, after.array)
    assert server.events(job)[:2] == ["created", "started"]
    assert server.events(job)[-1] == "succeeded"
    assert job.metrics["volumes"] == 1
    assert server.left() == []


def test_a_series_comes_back_as_a_zip_with_an_index_and_converts(server, tmp_path):
    files = series_of("ct", tmp_path / "series")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in files:
            archive.write(path, path.name)
    job = server.wait(server.submit(server.stored(tmp_path / "a.zip")))
    assert job.state is State.SUCCEEDED, job.error
    assert [one.role for one in job.results] == ["result", "evidence", "index"]
    result = job.results[0]
    with zipfile.ZipFile(server.blobs.path(result.sha256)) as archive:
        assert len(archive.infolist()) == len(files)
        assert {one.compress_type for one in archive.infolist()} == {zipfile.ZIP_STORED}
    nifti = convert(server.settings, server.blobs, result, "nifti")
    assert nifti.name == "result.nii.gz"
    assert io.read(server.blobs.path(nifti.sha256)).shape == io.read(server.blobs.path(result.sha256)).shape
    series = [server.stored(path, Role.LIKE) for path in files]
    again = convert(server.settings, server.blobs, nifti, "dicom", like=series)
    assert io.read(server.blobs.path(again.sha256)).shape == io.read(server.blobs.path(result.sha256)).shape


def test_what_is_wrong_with_an_input_is_told_to_its_owner_and_not_tried_again(server, tmp_path):
    (tmp_path / "a.txt").write_text("no image")
    job = server.wait(server.submit(server.stored(tmp_path / "a.txt")))
    assert (job.state, job.attempt) == (State.FAILED, 1)
    assert set(job.error) == {"code", "title", "detail", "status", "retryable"}
    assert (job.error["code"], job.error["status"], job.error["retryable"]) == ("unsupported_format", 415, False)


def test_of_several_images_those_that_can_be_read_are_enhanced(server, tmp_path):
    files = [server.stored(picture(tmp_path / f"{n}.png", 60 + n)) for n in range(2)]
    (tmp_path / "bad.png").write_bytes((tmp_path / "0.png").read_bytes()[:300])
    (tmp_path / "readme.txt").write_text("no image")
    files += [server.stored(tmp_path / name) for name in ("bad.png", "readme.txt")]
    job = server.wait(server.submit(*files, params={"as": "nrrd", "report": False}))
    assert job.state is State.SUCCEEDED, job.error
    assert {name: job.metrics[name] for name in ("volumes", "enhanced", "failed")} == {
        "volumes": 4,
        "enhanced": 2,
        "failed": 2,
    }
    assert sum("was left out" in note for note in job.notes) == 2
    (result,) = job.results
    with zipfile.ZipFile(server.blobs.path(result.sha256)) as archive:
        assert [Path(name).suffix for name in archive.namelist()] == [".nrrd", ".nrrd"]


@pytest.mark.parametrize(("fault", "reason"), [("killed", "crash"), ("reader", "reader_killed")])
def test_a_job_whose_process_is_killed_runs_again(server, image, fault, reason):
    job = server.wait(server.submit(image, fault=fault))
    assert (job.state, job.attempt) == (State.SUCCEEDED, 2), job.error
    assert server.reasons(job) == [reason], "and not because its lease ended"
    assert job.crash_count == 1


def test_a_job_that_ends_its_workers_is_given_up(server, image):
    job = server.wait(server.submit(image, fault="poison"))
    assert (job.state, job.attempt, job.error["code"]) == (State.FAILED, 2, "poison"), server.reasons(job)


@pytest.fixture(scope="module")
def watchful(tmp_path_factory):
    """A server that waits for a job that stands still no longer than any step takes on a slow machine."""
    one = Server(tmp_path_factory.mktemp("watchful"), stall_s=10, max_attempts=10)
    yield one
    one.handle.stop(drain=False)


@pytest.mark.parametrize("fault", ["hangs", "frozen"])
def test_a_job_that_stands_still_is_taken_from_its_worker(watchful, tmp_path, fault):
    watchful.ready()
    job = watchful.wait(watchful.submit(watchful.stored(picture(tmp_path / "a.png")), fault=fault))
    assert job.state is State.SUCCEEDED and job.attempt >= 2, job.error
    assert set(watchful.reasons(job)) == {"stalled"}


def test_a_strangers_error_is_told_without_its_text(server, image):
    job = server.wait(server.submit(image, fault="stranger"))
    assert (job.state, job.error["code"], job.error["status"]) == (State.FAILED, "server_fault", 500)
    assert "PATIENT" not in str(job.error)


def test_a_cancelled_job_ends_at_once_and_leaves_nothing(server, image):
    """Within two seconds, says the benchmark of the server's latency; here, before it would end by itself."""
    with held(server.settings.data_dir):
        job = server.at_work(server.submit(image))
        server.ledger.cancel(job.id)
        job = server.wait(job)
    assert job.state is State.CANCELLED
    assert not job.results
    assert server.left() == []


def test_steps_back_for_memory_are_kept_and_told(server, tmp_path):
    image = server.stored(picture(tmp_path / "b.png", 300))
    job = server.wait(server.submit(image, bundle="photo_dncnn_denoise", fault="limited"))
    assert job.state is State.SUCCEEDED, job.error
    assert [text for text in job.degradations if "out of memory" in text]
    assert "degraded" in server.events(job)
    plain = server.wait(server.submit(image, bundle="photo_dncnn_denoise"))
    assert plain.degradations == ()
    assert plain.results[0].sha256 == job.results[0].sha256


def test_the_next_job_is_read_while_the_device_works(server, image):
    server.ready()
    with held(server.settings.data_dir) as release:
        first = server.at_work(server.submit(image))
        second = server.wait(server.submit(image), lambda job: job.stage == "waiting")
        server.ledger.cancel(second.id)
        assert server.wait(second).state is State.CANCELLED
        third = server.wait(server.submit(image), lambda job: job.stage == "waiting")
        assert server.ledger.get(first.id).state is State.RUNNING
        release()
        first, third = server.wait(first), server.wait(third)
    assert third.started < first.finished
    assert (first.state, third.state, third.attempt) == (State.SUCCEEDED, State.SUCCEEDED, 1)


def test_a_training_makes_a_new_bundle_beside_the_work_and_goes_on_after_a_kill(server, image, tmp_path):
    server.ready()
    images = [server.stored(picture(tmp_path / f"{n}.png", 96 + n)) for n in range(5)]
    params = {"output": "photo_dncnn_denoise_v2", "steps": 24}
    job = server.submit(*images, bundle="photo_dncnn_denoise", kind=Kind.TRAIN, params=params)
    job = server.wait(job, lambda job: job.stage == "train" and job.done > 0)
    (row,) = [row for row in server.ledger.workers() if row.state != "dead"]
    (trains,) = [one for one in psutil.Process(row.pid).children() if "clarivox.server.child_train" in one.cmdline()]
    trains.suspend()
    assert server.wait(server.submit(image)).state is State.SUCCEEDED
    assert server.ledger.get(job.id).state is State.RUNNING
    os.kill(row.pid, signal.SIGKILL)
    job = server.wait(job, most_s=500)  # it runs below everything else
    assert not trains.is_running()
    assert (job.state, job.attempt, job.crash_count) == (State.SUCCEEDED, 2, 0), job.error
    assert (job.metrics["bundle"], job.metrics["steps"]) == ("photo_dncnn_denoise_v2", 24)
    assert server.wait(server.submit(image, bundle="photo_dncnn_denoise_v2")).state is State.SUCCEEDED
    again = server.submit(*images, bundle="photo_dncnn_denoise", kind=Kind.TRAIN, params=params)
    assert server.wait(again).error["code"] == "bundle_exists"
    assert not list((server.settings.data_dir / "training").iterdir())


def test_after_the_supervisor_dies_jobs_go_on(server, image):
    server.ready()
    with held(server.settings.data_dir):
        job = server.at_work(server.submit(image))
        old = server.handle.pid
        os.kill(old, signal.SIGKILL)
        again = server.wait(job, lambda job: job.attempt == 2 and job.stage == "enhance")
    assert server.handle.pid != old
    assert again.crash_count == 0
    assert server.wait(job).state is State.SUCCEEDED


def test_a_worker_whose_supervisor_died_while_it_started_ends(tmp_path):
    settings = Settings(data_dir=tmp_path, devices="cpu")
    ledger = Ledger(settings.ledger_url, settings=settings)
    ledger.open()
    ledger.close()
    order = {"settings": closed(settings), "id": "one", "host": "here", "device": "cpu", "device_name": "CPU"}
    command = [sys.executable, "-P", "-m", "clarivox.server.worker"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        worker.stdout.close()
        worker.stdin.write(json.dumps(order).encode() + b"\n")
        worker.stdin.close()
        assert worker.wait(PATIENCE_S) == 0


def test_a_sticky_fault_ends_the_process_and_several_close_the_device(server, image):
    server.ready()
    for count in (1, 2):
        job = server.submit(image, fault="sticky")
        if count == 1:
            job = server.wait(job)
            assert (job.state, job.attempt, server.reasons(job)) == (State.SUCCEEDED, 2, ["device_fault"])
        else:
            server.wait(job, lambda _: "quarantined" in {row.state for row in server.ledger.workers()})
            time.sleep(1)  # in which nobody may take it
            job = server.ledger.get(job.id)
            assert (job.state, job.attempt, server.reasons(job)) == (State.QUEUED, 1, ["device_fault"])
            server.ledger.cancel(job.id)


def test_draining_ends_the_job_at_work_and_takes_no_more(tmp_path):
    server = Server(tmp_path)
    image = server.stored(picture(tmp_path / "a.png"))
    server.ready()
    with held(server.settings.data_dir) as release:
        first = server.at_work(server.submit(image))
        second = server.submit(image)
        stop = threading.Thread(target=server.handle.stop)
        stop.start()
        server.wait(first, lambda _: "draining" in {row.state for row in server.ledger.workers()})
        assert server.handle.alive()
        release()
        stop.join()
    assert server.ledger.get(first.id).state is State.SUCCEEDED
    second = server.ledger.get(second.id)
    assert second.state is State.QUEUED
    assert second.attempt == 0 or server.reasons(second) == ["drain"]
    assert not server.handle.alive()
    assert {row.state for row in server.ledger.workers()} == {"dead"}


def test_a_hurried_end_gives_the_job_back_uncounted(tmp_path):
    server = Server(tmp_path, max_attempts=1)
    image = server.stored(picture(tmp_path / "a.png"))
    server.ready()
    with held(server.settings.data_dir):
        job = server.at_work(server.submit(image))
        server.handle.stop(drain=False)
        job = server.ledger.get(job.id)
    assert (job.state, server.reasons(job), job.kind) == (State.QUEUED, ["drain"], Kind.ENHANCE)
