# SPDX-License-Identifier: Apache-2.0
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clarivox.bundle import find
from clarivox.server import foreman as foreman_module
from clarivox.server.auth import Caller
from clarivox.server.deps import Catalogue
from clarivox.server.foreman import Foreman
from clarivox.server.job import FileRef, Job, Kind, Outcome, Role, State
from clarivox.server.label_parts import Labels, labels_of
from clarivox.server.label_tasks import started_batch, started_scoring
from clarivox.server.ledger import Ledger
from clarivox.server.settings import Settings

AT_ONCE = 3
ME = Caller("me", frozenset({"read", "infer", "admin"}), "")
MODEL = find("any_median_denoise")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Store:
    """Has every file."""

    def has(self, _sha256: str) -> bool:
        return True


class Parts:
    def __init__(self, ledger: Ledger, settings: Settings) -> None:
        self.ledger, self.settings = ledger, settings
        self.catalogue, self.blobs, self.draining = Catalogue(settings), Store(), threading.Event()


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreman_module, "AT_ONCE", AT_ONCE)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def labels(tmp_path: Path, clock: Clock) -> Iterator[Labels]:
    settings = Settings(data_dir=tmp_path, owner_jobs=50)
    ledger = Ledger(settings.ledger_url, settings=settings, clock=clock)
    ledger.open()
    yield labels_of(Parts(ledger, settings))  # type: ignore[arg-type]
    ledger.close()


def fill(labels: Labels, count: int) -> None:
    for number in range(count):
        labels.datastore.put(
            f"case_{number}", FileRef("input", f"{number:064d}", 5, "application/gzip", "image.nii.gz")
        )


def work(labels: Labels, most: int = 10_000, **how: Any) -> list[Job]:
    """What a worker does with what is queued; by default all of it succeeds."""
    done: list[Job] = []
    while len(done) < most and (job := labels.parts.ledger.claim("w", kinds=(Kind.ENHANCE,))):
        result = FileRef(Role.RESULT, "f" * 64, 5, "application/gzip", "result.nii.gz")
        outcome = Outcome(State.SUCCEEDED, (result,), metrics={"figures": {"noise": {"before": 4.0, "after": 1.0}}})
        labels.parts.ledger.finish(job.id, job.attempt, how.get("outcome", outcome))
        done.append(job)
    return done


def test_a_batch_makes_one_job_for_each_image_and_ends_with_them(labels: Labels) -> None:
    fill(labels, 5)
    batch = started_batch(labels, ME, MODEL, "all", {"radius": 2, "max_batch_size": 0})
    foreman = Foreman(labels)
    foreman.look()
    jobs = work(labels, 1)
    foreman.look()
    assert labels.parts.ledger.get(batch.id).done == pytest.approx(0.2)
    for _ in range(2):
        jobs += work(labels)
        foreman.look()
    assert all(job.params["options"] == {"radius": 2} and job.parent_id == batch.id for job in jobs)
    ended = labels.parts.ledger.get(batch.id)
    assert (ended.state, ended.metrics) == (State.SUCCEEDED, {"images": 5, "enhanced": 5, "failed": 0})
    assert len(labels.datastore.images(enhanced=True)) == 5


def test_a_batch_leaves_room_in_the_queue(labels: Labels) -> None:
    fill(labels, 2 * AT_ONCE)
    started_batch(labels, ME, MODEL, "all", {})
    foreman = Foreman(labels)
    for _ in range(3):
        foreman.look()
    assert labels.parts.ledger.counts()[State.QUEUED] == AT_ONCE


def test_whoever_holds_a_batch_next_goes_on_with_it(labels: Labels, clock: Clock) -> None:
    fill(labels, 3)
    batch = started_batch(labels, ME, MODEL, "all", {})
    Foreman(labels).look()
    work(labels, 2)
    clock.now += 60  # the first holder is gone
    labels.parts.ledger.reap()
    clock.now += 60
    second = Foreman(labels)
    second.look()
    work(labels)
    second.look()
    ended = labels.parts.ledger.get(batch.id)
    assert (ended.state, ended.attempt, ended.metrics["enhanced"]) == (State.SUCCEEDED, 2, 3)
    assert len(labels.parts.ledger.jobs(parent=batch.id, limit=100)[0]) == 3


def test_a_stopped_server_gives_its_batches_back_uncounted(labels: Labels) -> None:
    fill(labels, 2)
    batch = started_batch(labels, ME, MODEL, "all", {})
    foreman = Foreman(labels)
    foreman.look()
    foreman.start()
    foreman.stop()
    assert labels.parts.ledger.get(batch.id).state is State.QUEUED


def test_a_cancelled_batch_cancels_what_has_not_ended(labels: Labels) -> None:
    fill(labels, 3)
    batch = started_batch(labels, ME, MODEL, "all", {})
    foreman = Foreman(labels)
    foreman.look()
    work(labels, 1)
    labels.parts.ledger.cancel(batch.id)
    foreman.look()
    assert labels.parts.ledger.get(batch.id).state is State.CANCELLED
    assert labels.parts.ledger.counts()[State.QUEUED] == 0
    assert labels.parts.ledger.counts()[State.SUCCEEDED] == 1


def test_an_image_that_went_away_counts_as_failed(labels: Labels) -> None:
    fill(labels, 2)
    batch = started_batch(labels, ME, MODEL, "all", {})
    labels.datastore.remove("case_0")
    foreman = Foreman(labels)
    foreman.look()
    work(labels)
    foreman.look()
    assert labels.parts.ledger.get(batch.id).metrics == {"images": 2, "enhanced": 1, "failed": 1}


def test_a_batch_of_which_nothing_was_enhanced_fails_with_the_first_reason(labels: Labels) -> None:
    fill(labels, 2)
    batch = started_batch(labels, ME, MODEL, "all", {})
    foreman = Foreman(labels)
    foreman.look()
    error = {"code": "wrong_modality", "title": "x", "status": 422, "detail": "for CT; found MR"}
    work(labels, outcome=Outcome(State.FAILED, error=error))
    foreman.look()
    ended = labels.parts.ledger.get(batch.id)
    assert (ended.state, (ended.error or {})["code"]) == (State.FAILED, "wrong_modality")
    assert labels.datastore.images(enhanced=True) == []


def test_a_batch_over_nothing_ends_well(labels: Labels) -> None:
    batch = started_batch(labels, ME, MODEL, "labeled", {})
    Foreman(labels).look()
    assert labels.parts.ledger.get(batch.id).state is State.SUCCEEDED


@pytest.mark.parametrize(("which", "count"), [("all", 3), ("labeled", 1), ("unlabeled", 2)])
def test_a_batch_takes_the_images_it_was_asked_for(labels: Labels, which: str, count: int) -> None:
    fill(labels, 3)
    labels.datastore.put_label("case_1", "final", FileRef("label", "e" * 64, 5, "x/y", "image.nrrd"), {})
    assert len(started_batch(labels, ME, MODEL, which, {}).params["images"]) == count


def test_a_scoring_gathers_figures_by_bundle_and_tells_each_image(labels: Labels) -> None:
    fill(labels, 2)
    started_batch(labels, ME, MODEL, "all", {})
    foreman = Foreman(labels)
    foreman.look()
    work(labels)
    foreman.look()
    scoring = started_scoring(labels, ME, "changes")
    foreman.look()
    found = labels.parts.ledger.get(scoring.id)
    means = {"any_median_denoise": {"noise before": 4.0, "noise after": 1.0}}
    assert (found.state, found.metrics) == (State.SUCCEEDED, {"method": "changes", "images": 2, "bundles": means})
    assert labels.datastore.images(enhanced=True)[0].info["scores"] == means["any_median_denoise"]


def test_a_bundle_that_a_training_made_is_noticed(labels: Labels, tmp_path: Path) -> None:
    foreman = Foreman(labels)
    shutil.copytree(MODEL.folder, tmp_path / "bundles" / "any_median_denoise_v2")
    foreman.look()
    assert labels.parts.catalogue.find("any_median_denoise_v2").name == "any_median_denoise_v2"
