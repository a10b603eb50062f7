# SPDX-License-Identifier: Apache-2.0
"""The courier: `python -m clarivox.server.pacs.courier`. What came in becomes jobs, and results go where rules say.

One thread routes series, one follows an Orthanc, and one for each destination delivers. All that is to survive stands
in the database; the process may be killed between any two steps:

| killed after | what is there | what the next courier does |
| --- | --- | --- |
| a fetch from Orthanc | files without rows; the position is the old one | deletes them, reads the page again |
| the rows of the fetch | rows; the position is the old one | finds the instances in the inbox, fetches none |
| packing | a file of the store that nothing uses | packs again: the same bytes; the sweep deletes what is left |
| `submit` | a job; the series is open | submits by the same key: the same job |
| `Outbox.add` | a job and its deliveries; the series is open | the same; deliveries are there once |
| closing the series | all | nothing |
| noting what was made | digests in the registry | notes them again |
| sending, before it is noted | instances at the destination | sends them again, under the same identifiers |
| noting what was taken | digests in the registry | sends the rest |
| a promise to keep | all noted; the delivery waits | asks for the promise again |

An instance that comes between submitting and closing keeps its series open (`Inbox.close` looks at the number of what
came), so that it is never lost: all make a new job, of which a destination is sent what it has not.
"""

from __future__ import annotations

import fcntl
import json
import logging
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from clarivox.bundle import BundleInfo, catalogue
from clarivox.errors import ClarivoxError
from clarivox.server.blobs import Blobs
from clarivox.server.ledger import Ledger
from clarivox.server.logs import configure, places
from clarivox.server.orders import opened
from clarivox.server.pacs.deliver import Sender
from clarivox.server.pacs.inbox import Inbox, SeriesState, inbox_folder
from clarivox.server.pacs.orthanc import Poller
from clarivox.server.pacs.outbox import Outbox
from clarivox.server.pacs.postman import Postman
from clarivox.server.pacs.router import Router
from clarivox.server.pacs.rules import Watched
from clarivox.server.pacs.settings import Node, Pacs, Wait, read
from clarivox.server.pacs.standing import STATUS_FILE
from clarivox.server.retention import DAY_S
from clarivox.server.settings import Settings

logger = logging.getLogger("clarivox.server.pacs.courier")

LOOK_S = 0.5
AFTER_ERROR_S = 5.0
KEEP_HOUSE_S = 60.0
TELL_S = 10.0


class Courier:
    """All threads of one courier.

    Args:
        settings: of the server whose ledger it shares.
        pacs: pacs.yaml.

    Raises:
        OptionError: a variable of the environment that pacs.yaml names is not set.
    """

    def __init__(self, settings: Settings, pacs: Pacs) -> None:
        self.settings, self.pacs, self.stopping = settings, pacs, threading.Event()
        self.node = pacs.node or Node.model_validate({})
        self.ledger = Ledger(settings.ledger_url, settings=settings)
        self.ledger.open(check=False)
        self.blobs = Blobs(settings.data_dir, settings)
        database = self.ledger.database
        self.inbox, self.outbox = Inbox(database, inbox_folder(settings.data_dir)), Outbox(database)
        self.router = Router(settings, self.ledger, self.blobs, self.inbox, self.outbox)
        self.rules = Watched(pacs.rules, self._bundles, tuple(pacs.destinations))
        self.senders = [Sender(one, name) for name, one in pacs.destinations.items()]
        self.poller = None
        if pacs.orthanc is not None:
            shared = (settings, database, self.inbox, self.outbox, self.blobs, self.stopping)
            self.poller = Poller(pacs.orthanc, *shared)
        self.wrong: dict[str, str] = {}
        """What does not work now, by thread: a code."""
        self._tended = self._told = float("-inf")
        self._said: dict[str, Any] = {}

    def run(self) -> None:
        """Work until `stopping` is set."""
        threads = [
            threading.Thread(target=self._deliver, args=(one,), name=f"to {one.name}", daemon=True)
            for one in self.senders
        ]
        if self.poller is not None:
            threads.append(threading.Thread(target=self._poll, args=(self.poller,), name="orthanc", daemon=True))
        for one in threads:
            one.start()
        self._over("rules", self.round, LOOK_S)
        for one in threads:
            one.join(10)

    def round(self) -> bool:
        """Look at the rules, and at every series that is whole."""
        self._keep_house()
        if self.rules.look():
            if self.rules.error:
                kept = "the old rules stay" if self.rules.now else "nothing is routed"
                logger.error("rules.yaml is wrong, %s: %s", kept, self.rules.error)
            else:
                logger.info("the rules of rules.yaml are in effect")
        self._tell()
        if self.rules.now is None:
            return False
        at_once = Wait(quiet_s=0, longest_s=0)  # what Orthanc calls stable is whole
        for series in self.inbox.ready(lambda calling: self.node.wait_for(calling) if calling else at_once):
            if self.stopping.is_set():
                break
            state = self.router.route(series, self.rules.now)
            if state is SeriesState.FAILED:
                logger.error("a series that came in cannot be used")
        return False

    def _bundles(self) -> list[BundleInfo]:
        trained = self.settings.data_dir / "bundles"
        return catalogue([*self.settings.bundle_dirs, *([trained] if trained.is_dir() else [])])

    def _deliver(self, sender: Sender) -> None:
        postman = Postman(self.settings, self.ledger, self.blobs, self.outbox, sender, self.stopping)

        def listened() -> bool:
            with sender.listening():
                self._over(f"to {sender.name}", lambda: postman.round() > 0, LOOK_S)
            return False

        self._over(f"port of {sender.name}", listened, LOOK_S)

    def _poll(self, poller: Poller) -> None:
        poller.sweep()
        every_s = self.pacs.orthanc.every_s if self.pacs.orthanc is not None else LOOK_S
        self._over("orthanc", poller.round, every_s)

    def _over(self, name: str, work: Callable[[], bool], every_s: float) -> None:
        """Work over and over until it is to end; an error is said once, and waited after."""
        while not self.stopping.is_set():
            try:
                wait_s = 0.0 if work() else every_s
                self.wrong.pop(name, None)
            except ClarivoxError as error:
                self._failed(name, error.code)
                wait_s = AFTER_ERROR_S
            except Exception as error:  # noqa: BLE001  whatever it is, the next round must not suffer
                self._failed(name, type(error).__name__)
                logger.error("a round of the courier failed: %s", places(error))
                wait_s = AFTER_ERROR_S
            self.stopping.wait(wait_s)

    def _failed(self, name: str, code: str) -> None:
        if self.wrong.get(name) != code:
            logger.warning("the courier (%s) cannot go on for now: %s", name, code)
        self.wrong[name] = code

    def _keep_house(self) -> None:
        if time.monotonic() - self._tended < KEEP_HOUSE_S:
            return
        self._tended = time.monotonic()
        self.inbox.forget(self.node.keep_h * 3600)
        self.outbox.forget(time.time() - self.settings.keep_events_days * DAY_S)

    def _tell(self) -> None:
        loaded = self.rules.now
        said = {
            "rules": len(loaded.rules.rules) if loaded is not None else None,
            "rules_error": self.rules.error,
            "wrong": dict(self.wrong),
        }
        if said == self._said and time.monotonic() - self._told < TELL_S:
            return
        self._said, self._told = said, time.monotonic()
        path = self.settings.data_dir / "pacs" / STATUS_FILE
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps({**said, "at": time.time()}), encoding="utf-8")
        fresh.replace(path)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the one courier of a data folder; wait for another to end."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "courier.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main() -> None:
    """Work as the process that started this one says; it lives no longer than that one."""
    order = json.loads(sys.stdin.readline())
    settings, pacs = opened(order["settings"]), read(Path(order["pacs"]))
    configure(settings, "courier")
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)  # it writes down what peers say
    with ExitStack() as stack:
        stack.enter_context(alone(settings.data_dir / "pacs"))
        courier = Courier(settings, pacs)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: courier.stopping.set())

        def orphaned() -> None:
            select.select([sys.stdin], [], [])
            courier.stopping.set()

        threading.Thread(target=orphaned, daemon=True).start()
        with suppress(OSError):  # who started this one need not listen
            sys.stdout.write(json.dumps({"ready": True}) + "\n")
            sys.stdout.flush()
        courier.run()


if __name__ == "__main__":
    main()
