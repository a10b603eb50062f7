# SPDX-License-Identifier: Apache-2.0
"""The supervisor, with workers that are a few lines of Python."""

import os
import signal
import subprocess
import sys
import time

import pytest

from clarivox.errors import OptionError
from clarivox.server import fleet
from clarivox.server.devices import Device, devices, listed, threads
from clarivox.server.fleet import Supervisor, forgotten
from clarivox.server.job import NewJob, Outcome, State, WorkerRow
from clarivox.server.ledger import Ledger
from clarivox.server.orders import closed, opened
from clarivox.server.settings import Settings
from clarivox.server.slot import Slot

HEAD = "import json, os, signal, sys, time\norder = json.loads(sys.stdin.readline())\n"
SAY = "def say(state, job=None, attempt=None, moved=-1, stop=False):\n"
SAY += "    print(json.dumps(dict(state=state, job=job, attempt=attempt, moved=moved, stop=stop)), flush=True)\n"


def worker(lines: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", HEAD + SAY + lines)


@pytest.fixture
def ledger(tmp_path):
    settings = Settings(data_dir=tmp_path, devices="cpu", retry_backoff_s=0, stall_s=0.5)
    one = Ledger(settings.ledger_url, settings=settings)
    one.open()
    yield one
    one.close()


@pytest.fixture
def supervised(ledger, monkeypatch):
    made = []

    def make(lines, **settings):
        one = Supervisor(ledger.settings.model_copy(update=settings), worker(lines))
        one._ledger = ledger
        made.append(one)
        one.fill()
        return one

    yield make
    for one in made:
        for slot in one.slots:
            slot.send(signal.SIGKILL)
            if slot.process is not None:
                slot.process.wait()
                slot.process.stdout.close()


def until(supervisor, what, most_s=90.0):
    end = time.monotonic() + most_s
    while not what():
        assert time.monotonic() < end, [(slot.state, slot.job) for slot in supervisor.slots]
        supervisor.look()
        time.sleep(0.01)


def claimed(ledger, supervisor):
    ledger.submit(NewJob(owner="me", inputs=()))
    return ledger.claim(supervisor.slots[0].worker_id)


def reasons(ledger, job):
    return [event.data["reason"] for event in ledger.events(job.id) if event.type == "requeued"]


def test_a_worker_that_ends_is_replaced(supervised):
    one = supervised("say('ready')\ntime.sleep(0.05)")
    first = one.slots[0].process.pid
    until(one, lambda: one.slots[0].process and one.slots[0].process.pid != first)


def test_a_worker_that_dies_before_it_is_ready_is_waited_for(supervised):
    begun = time.monotonic()
    one = supervised("sys.exit(1)")
    until(one, lambda: not one.slots[0].runs)
    assert one.slots[0].short_lives == 1
    assert one.slots[0].start_at > begun + 0.9


def test_the_job_of_a_worker_that_died_goes_back_at_once(supervised, ledger):
    one = supervised("say('ready')\nsys.stdin.read()\ntime.sleep(60)")
    job, other = claimed(ledger, one), claimed(ledger, one)
    slot = one.slots[0]
    until(one, lambda: slot.state == "ready")
    slot.job = (job.id, job.attempt)
    slot.process.kill()
    until(one, lambda: ledger.get(job.id).state is State.QUEUED)
    assert (reasons(ledger, job), ledger.get(job.id).crash_count) == (["crash"], 1)
    assert ledger.get(other.id).state is State.QUEUED
    assert ledger.get(other.id).crash_count == 0


def test_a_worker_whose_count_does_not_move_is_ended_though_it_speaks(supervised, ledger):
    lines = "say('ready')\nwhile True:\n    say('busy', 'x', 1, 7)\n    time.sleep(0.05)"
    one = supervised(lines)
    slot = one.slots[0]
    until(one, lambda: slot.state == "busy")
    job = claimed(ledger, one)
    first = slot.process.pid
    until(one, lambda: slot.process and slot.process.pid != first)
    assert reasons(ledger, job) == ["stalled"]


def test_a_worker_whose_count_moves_is_left_alone(monkeypatch):
    slot = Slot("w", Device("cpu", "cpu", "cpu"), process=object())
    clock = [0.0]
    monkeypatch.setattr("clarivox.server.slot.time.monotonic", lambda: clock[0])
    for count in range(5):
        slot._heard({"state": "busy", "job": "x", "attempt": 1, "moved": count})
        clock[0] += 0.4
        assert not slot.stands_still(0.5)
    slot._heard({"state": "busy", "job": "x", "attempt": 1, "moved": count})
    clock[0] += 0.2
    assert slot.stands_still(0.5)


def test_a_worker_that_does_not_hear_a_cancel_is_ended(supervised, ledger, monkeypatch):
    monkeypatch.setattr("clarivox.server.slot.DEAF_S", 0.2)
    lines = "say('ready')\nfor n in range(1000):\n    say('busy', 'x', 1, n, True)\n    time.sleep(0.05)"
    one = supervised(lines)
    job, first = claimed(ledger, one), one.slots[0].process.pid
    ledger.cancel(job.id)
    until(one, lambda: one.slots[0].process and one.slots[0].process.pid != first)
    assert ledger.get(job.id).state is State.CANCELLED


def test_three_device_faults_close_the_device(supervised):
    one = supervised("say('ready')\nsys.exit(70)")
    until(one, lambda: one.slots[0].state == "quarantined")
    assert len(one.slots[0].faults) == 3
    one.fill()
    assert not one.slots[0].runs


def test_old_faults_do_not_count(monkeypatch):
    slot = Slot("w", Device("cpu", "cpu", "cpu"))
    clock = [0.0]
    monkeypatch.setattr("clarivox.server.slot.time.monotonic", lambda: clock[0])
    assert [slot.fault(3), slot.fault(3)] == [False, False]
    clock[0] = 601.0
    assert not slot.fault(3)
    assert not slot.fault(3)
    assert slot.fault(3)


def test_draining_asks_workers_to_end_and_then_makes_them(supervised, ledger):
    lines = "signal.signal(signal.SIGTERM, lambda *_: say('draining'))\nsay('ready')\nwhile True: time.sleep(0.01)"
    one = supervised(lines, drain_s=0.3)
    job = claimed(ledger, one)
    until(one, lambda: one.slots[0].state == "ready")
    one.drain()
    until(one, lambda: one.empty())
    assert reasons(ledger, job) == ["drain"]
    assert not one.now


def test_a_second_signal_does_not_wait(supervised):
    one = supervised("signal.signal(signal.SIGTERM, signal.SIG_IGN)\nsay('ready')\nwhile True: time.sleep(0.01)")
    until(one, lambda: one.slots[0].state == "ready")
    one.drain()
    one.drain()
    assert one.settings.drain_s > 90, "it would be waited for longer"
    until(one, lambda: one.empty())


def test_workers_of_a_dead_supervisor_are_buried_and_their_jobs_go_back(supervised, ledger, monkeypatch):
    one = supervised("say('ready')\ntime.sleep(60)")
    gone = subprocess.Popen([sys.executable, "-I", "-S", "-c", ""])
    gone.wait()
    ledger.submit(NewJob(owner="me", inputs=()))
    job = ledger.claim("old")
    ledger.put_worker(WorkerRow("old", one.host, gone.pid, "cpu", "", "", "busy", 0.0, 0.0, job_id=job.id))
    monkeypatch.setattr(fleet, "FORGOTTEN_S", 0.0)
    one.reap()
    assert ledger.get(job.id).state is State.QUEUED
    assert ledger.get(job.id).crash_count == 0
    assert next(row for row in ledger.workers() if row.id == "old").state == "dead"


def test_a_worker_that_lives_is_not_forgotten():
    row = WorkerRow("a", "h", os.getpid(), "cpu", "", "", "busy", 0.0, 0.0)
    assert not forgotten(row)


def test_what_ended_trainings_left_is_swept(supervised, ledger):
    one = supervised("say('ready')\ntime.sleep(60)")
    job, ended = claimed(ledger, one), claimed(ledger, one)
    ledger.finish(ended.id, ended.attempt, Outcome(State.SUCCEEDED))
    kept = ledger.settings.data_dir / "training"
    for name in (job.id, ended.id, "00000000-0000-7000-8000-000000000000"):
        (kept / name).mkdir(parents=True)
    one.sweep()
    assert [path.name for path in kept.iterdir()] == [job.id]


def test_devices_are_what_the_settings_name(monkeypatch):
    gpus = listed("0, GPU-a, NVIDIA H100\n1, GPU-b, NVIDIA H100\nbroken")
    monkeypatch.setattr("clarivox.server.devices.nvidia", lambda: gpus)
    assert [one.name for one in devices(Settings())] == ["cuda:0", "cuda:1"]
    named = devices(Settings(devices="cpu, cuda:1", workers_cpu=2))
    assert [one.name for one in named] == ["cpu", "cpu", "cuda:1"]
    assert named[2].environment == {"CUDA_VISIBLE_DEVICES": "GPU-b"}
    assert named[2].torch_name == "cuda:0"
    with pytest.raises(OptionError, match="cuda:7"):
        devices(Settings(devices="cuda:7"))
    monkeypatch.setattr("clarivox.server.devices.nvidia", dict)
    assert [one.name for one in devices(Settings())] == ["cpu"]


def test_cores_are_shared_out(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert threads(Settings(), 2) == 4
    assert threads(Settings(threads=3), 2) == 3
    assert threads(Settings(), 0) == 8


def test_settings_travel_with_their_secrets_and_come_back_equal(tmp_path):
    settings = Settings(data_dir=tmp_path, database="postgresql+psycopg://me:secret@host/db", preload=("identity",))
    came = opened(closed(settings))
    assert came == settings
    assert came.database.get_secret_value().endswith("secret@host/db")


def test_the_supervisor_loads_nothing_that_computes():
    code = "import sys, clarivox.server.fleet, clarivox.server.fleet_handle, clarivox.server.ledger\n"
    code += "print([name for name in ('torch', 'monai', 'numpy', 'pydicom', 'fastapi') if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
