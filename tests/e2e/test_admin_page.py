# SPDX-License-Identifier: Apache-2.0
"""The operator's page in a real browser, against a server with a filled ledger: by keys, by hand, by key of the API."""

import contextlib
import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn

from clarivox.server.auth import Scope
from clarivox.server.job import FileRef, Job, NewJob, Outcome, State, WorkerRow
from clarivox.server.keys import Keys
from clarivox.server.ledger import Ledger
from clarivox.server.main import create_app, listening
from clarivox.server.pacs.outbox import Delivery, DeliveryState, Outbox
from clarivox.server.settings import Settings
from tests.e2e.browser import Page, browser
from tests.served import PATIENCE_S, until

TEXT = "document.getElementById('{}').textContent"
FILE = FileRef("input", hashlib.sha256(b"zip").hexdigest(), 3, "application/zip", "input.zip")


def bound(settings: Settings) -> socket.socket | None:
    """A socket that listens; None where somebody has the port."""
    with contextlib.suppress(OSError):
        return listening(settings)
    return None


class Running:
    """A server in a thread; where a port is named, on that as soon as it is free."""

    def __init__(self, folder: Path, auth: str, port: int = 0) -> None:
        settings = Settings(data_dir=folder, auth=auth, port=port, lease_s=3600)
        self.app, self.socket = create_app(settings, workers=False), until(lambda: bound(settings))
        self.port = self.socket.getsockname()[1]
        self.server = uvicorn.Server(uvicorn.Config(self.app, log_config=None, access_log=False))
        self.thread = threading.Thread(target=self.server.run, args=([self.socket],), daemon=True)
        self.thread.start()
        until(lambda: self.server.started)
        with self.app.state.services.blobs.writer() as writer:
            writer.write(b"zip")
            writer.commit()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ledger(self) -> Ledger:
        return self.app.state.services.ledger

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(PATIENCE_S)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    one = Running(tmp_path, "off")
    yield one
    one.stop()


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Running]:
    one = Running(tmp_path, "on")
    yield one
    one.stop()


def put(ledger: Ledger, bundle: str, owner: str = "key-5be01c", **more: object) -> Job:
    return ledger.submit(NewJob(owner=owner, inputs=(FILE,), bundle=bundle, **more))[0]


def filled(ledger: Ledger) -> dict[str, Job]:
    """A morning of a busy server."""
    found = {}
    for name, code, detail in (
        (
            "ct_unet_denoise",
            "uneven_spacing",
            "slices must be evenly spaced; found gaps of 1.14 to 7.38 mm; use a 2D bundle",
        ),
        (
            "mr_unet_denoise",
            "wrong_modality",
            "bundle mr_unet_denoise is for MR; found CT; name another bundle, or force",
        ),
    ):
        put(ledger, name)
        taken = ledger.claim("worker-0")
        ledger.beat(taken.id, taken.attempt, stage="read")
        error = {"code": code, "detail": detail, "status": 422}
        ledger.finish(taken.id, taken.attempt, Outcome(State.FAILED, error=error))
        found[code] = taken
    for _ in range(4):
        put(ledger, "us_unet_enhance", "key-91aa02")
        taken = ledger.claim("worker-0")
        ledger.finish(taken.id, taken.attempt, Outcome(State.SUCCEEDED))
    put(ledger, "ct_unet_denoise")
    put(ledger, "mr_ddpm3d_denoise", "key-91aa02")
    for number, done in ((0, 0.62), (1, 0.18)):
        taken = ledger.claim(f"worker-{number}")
        ledger.beat(taken.id, taken.attempt, stage="enhance", done=done, eta_s=9 / done)
        found[f"running {number}"] = taken
        rss = {"rss": 1_640_000_000 - 300_000_000 * number}
        gpu = {"total": 25_400_000_000, "free": 9_300_000_000} if number == 0 else {}
        device = ("cuda:0", "NVIDIA RTX A5000") if number == 0 else ("cpu", "AMD EPYC 7B13")
        loaded = ("ct_unet_denoise", "mr_unet_denoise") if number == 0 else ("mr_ddpm3d_denoise",)
        row = WorkerRow(f"w{number}", "pacs-2", 1, *device, "0.1.0", "busy", time.time() - 9000, 0, loaded, taken.id)
        ledger.put_worker(WorkerRow(**{**vars(row), "memory": rss | gpu}))
    found["queued"] = put(ledger, "cxr_srcnn_superres")
    put(ledger, "us_mwcnn_despeckle", "key-91aa02", priority=-5)
    found["urgent"] = put(ledger, "ct_unet_denoise", "key-0077ee", priority=50)
    return found


def waited(page: Page, script: str, wanted: object = True) -> None:
    """Wait until an expression has a value."""
    page.wait(f"({script}) === {json.dumps(wanted)}")


def pressed(page: Page, selector: str, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Press a button with the mouse, and let go of it after what happens meanwhile."""
    middle = "(({x, y, width, height}) => [x + width / 2, y + height / 2])"
    box = page.run(f"{middle}({selector}.getBoundingClientRect())")
    page.mouse("mousePressed", *box)
    meanwhile()
    page.mouse("mouseReleased", *box)


def asked_anew(page: Page) -> None:
    """Wait until the page has heard how the server is once more."""
    page.wait(f"seen.now > {page.run('seen.now')}")


def opened(page: Page, running: Running, width: int, height: int) -> None:
    """Open the page where the second press of a key or a button may come as late as a slow machine sends it."""
    page.first("const later = setTimeout; setTimeout = (what, ms) => later(what, ms === 4000 ? 600000 : ms);")
    page.open(running.url + "/admin", width, height)


def heard(running: Running) -> None:
    """Let the workers of the ledger say that they live."""
    for row in running.ledger.workers():
        running.ledger.put_worker(row)


def rows(page: Page) -> list[str]:
    return list(page.run("[...document.querySelectorAll('tr.job')].map(one => one.dataset.at)"))


def test_an_operator_sees_the_queue_and_works_it_by_keys(running: Running) -> None:
    found = filled(running.ledger)
    with browser() as page:
        opened(page, running, 1440, 900)
        waited(page, "document.querySelectorAll('tr.job').length", 2)
        heard(running)
        waited(page, TEXT.format("state"), "2 workers are ready")
        assert [page.run(f"document.querySelector('#t-{name} b').textContent") for name in ("queued", "failed")] == [
            "3",
            "2",
        ]
        page.key("2", 50)
        assert rows(page)[:2] == [found["urgent"].id, found["queued"].id]
        page.key("ArrowDown", 40)
        page.key("ArrowDown", 40)
        page.key("c", 67)
        waited(page, "document.activeElement.dataset.at", found["queued"].id)
        assert running.ledger.get(found["queued"].id).state == State.QUEUED
        page.key("c", 67)
        waited(page, "document.querySelectorAll('tr.job').length", 2)
        assert running.ledger.get(found["queued"].id).state == State.CANCELLED
        page.key("3", 51)
        page.key("ArrowDown", 40)
        page.key("Enter", 13)
        waited(page, "document.querySelector('dl').textContent.includes('wrong_modality')")
        for _ in range(2):
            page.key("r", 82)
        waited(page, "document.querySelector('#t-queued b').textContent", "3")
        (again,) = running.ledger.jobs(states=(State.QUEUED,), parent=found["wrong_modality"].id)[0]
        assert again.bundle == "mr_unet_denoise"
        assert page.complaints == []
        assert {
            url.removeprefix(running.url).split("/")[1].split("?")[0] for url in page.requests if "data:" not in url
        } == {"admin"}


def test_an_operator_works_it_by_hand_and_on_a_telephone(running: Running) -> None:
    found = filled(running.ledger)
    with browser() as page:
        opened(page, running, 390, 844)
        waited(page, "document.querySelectorAll('tr.job').length", 2)
        assert page.run("document.documentElement.scrollWidth") <= 390
        job = found["running 1"].id
        for _ in range(2):
            page.run(f"document.querySelector('[data-at=\"cancel{job}\"]').click()")
        waited(page, "document.getElementById('panel').textContent.includes('stopping')")
        assert running.ledger.get(job).cancel_requested
        page.run("document.getElementById('tab-failed').click()")
        page.run(
            "const box = document.getElementById('filter'); box.value = 'UNEVEN'; box.dispatchEvent(new Event('input'))"
        )
        assert rows(page) == [found["uneven_spacing"].id]
        assert page.complaints == []


def test_where_keys_are_needed_the_page_asks_for_one_and_keeps_it_in_the_tab(locked: Running) -> None:
    keys = Keys(locked.ledger.database)
    weak, strong = keys.create("ward", (Scope.READ, Scope.INFER))[0], keys.create("operator", (Scope.ADMIN,))[0]
    filled(locked.ledger)
    with browser() as page:
        page.open(locked.url + "/admin", 1280, 800)
        waited(page, "document.getElementById('sign').hidden", False)
        for key, hidden in ((weak, False), (strong, True)):
            page.run(f"document.getElementById('key').value = '{key}'; document.querySelector('form button').click()")
            if key == weak:
                waited(page, TEXT.format("sign-why") + ".includes('has not the scope')")
            waited(page, "document.getElementById('sign').hidden", hidden)
        waited(page, "document.querySelectorAll('tr.job').length", 2)
        assert page.run("sessionStorage.length") == 1 and page.run("localStorage.length") == 0
        page.run("document.getElementById('out').click()")
        assert page.run("sessionStorage.length") == 0 and page.run("document.getElementById('main').hidden")
        assert strong not in str(page.requests)


def test_a_server_that_is_gone_is_said_and_found_again(running: Running, tmp_path: Path) -> None:
    found = filled(running.ledger)
    with browser() as page:
        page.open(running.url + "/admin", 1280, 800)
        waited(page, "document.querySelectorAll('tr.job').length", 2)
        heard(running)
        waited(page, TEXT.format("state"), "2 workers are ready")
        page.run("window.opened_once = true")
        running.stop()
        waited(page, TEXT.format("told") + ".includes('does not answer')")
        assert page.run(TEXT.format("state")) == "no answer"
        assert page.run("document.querySelectorAll('tr.job').length") == 2
        again = Running(tmp_path, "off", running.port)
        try:
            again.ledger.cancel(found["queued"].id)
            heard(again)
            waited(page, "document.getElementById('told').hidden")
            waited(page, TEXT.format("state"), "2 workers are ready")
            waited(page, "document.querySelector('#t-queued b').textContent", "2")
            assert page.run("window.opened_once")
        finally:
            again.stop()


LETTERS = "[...document.querySelectorAll('#pacs [data-at^=requeue]')].map(one => one.dataset.at).join()"
FACTS = "[...document.querySelectorAll('#pacs .fact')]"
FACT = FACTS + ".find(one => one.textContent.startsWith('{}')).lastChild.textContent"


def given_up(ledger: Ledger, code: str) -> Delivery:
    """A dead letter of a job that succeeded."""
    job = put(ledger, "ct_unet_denoise")
    taken = ledger.claim("worker-0")
    ledger.finish(taken.id, taken.attempt, Outcome(State.SUCCEEDED))
    outbox = Outbox(ledger.database)
    outbox.add(job.id, ["archive"])
    [found] = outbox.due("archive")
    outbox.dead(found, code)
    return found


def test_a_dead_letter_is_seen_with_its_reason_and_goes_when_its_button_is_pressed(running: Running) -> None:
    outbox, letter = Outbox(running.ledger.database), given_up(running.ledger, "refused_a700")
    button = f"document.querySelector('[data-at=\"requeue{letter.id}\"]')"
    with browser() as page:
        opened(page, running, 1440, 900)
        waited(page, LETTERS, f"requeue{letter.id}")
        told = page.run("document.getElementById('pacs').textContent")
        assert "to archive" in told and "refused_a700" in told and "status A700" in told and letter.job_id[:8] in told
        assert (page.run(FACT.format("given up")), page.run(FACT.format("deliveries that wait"))) == ("1", "0")
        pressed(page, button, lambda: asked_anew(page))
        waited(page, f"{button}.textContent", "Try again?")
        assert outbox.get(letter.id).state == DeliveryState.DEAD
        pressed(page, button)
        waited(page, LETTERS, "")
        assert page.run(FACT.format("deliveries that wait")) == "1" and page.run(FACT.format("given up")) == "0"
        [due] = outbox.due("archive")
        assert (due.id, due.state, due.tries) == (letter.id, DeliveryState.WAITING, 0)
        outbox.done(due, 12)
        waited(page, FACT.format("delivered"), "1")
        assert page.run(FACT.format("deliveries that wait")) == "0"
        assert page.complaints == []


def test_what_the_server_refuses_is_said_until_something_else_is_asked(running: Running) -> None:
    outbox = Outbox(running.ledger.database)
    letter, other = given_up(running.ledger, "pacs_away"), given_up(running.ledger, "pacs_away")
    button = "document.querySelector('[data-at=\"requeue{}\"]')"
    with browser() as page:
        opened(page, running, 1440, 900)
        waited(page, LETTERS + ".split(',').length", 2)
        pressed(page, button.format(letter.id))
        # Somebody else is faster.
        pressed(page, button.format(letter.id), lambda: outbox.requeue(letter.id))
        waited(page, LETTERS, f"requeue{other.id}")
        waited(page, TEXT.format("told") + ".includes('waiting, not dead')")
        for _ in range(2):
            asked_anew(page)
        assert "waiting, not dead" in page.run(TEXT.format("told"))
        for _ in range(2):
            pressed(page, button.format(other.id).replace("requeue", "dismiss"))
        waited(page, LETTERS, "")
        assert outbox.listed(DeliveryState.DEAD) == []
        waited(page, "document.getElementById('told').hidden")
