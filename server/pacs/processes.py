# SPDX-License-Identifier: Apache-2.0
"""The node and the courier as the process that started them holds them: kept alive, and gone when it is."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from clarivox.server.orders import closed
from clarivox.server.pacs.settings import Pacs
from clarivox.server.settings import Settings

logger = logging.getLogger(__name__)

AGAIN_S = 0.5
"""Wait before a process that died is replaced; doubled while it dies at once, up to `LONGEST_S`."""
LONGEST_S = 30.0
LASTED_S = 10.0
"""A process that lived so long did not fail at its start: the next one need not wait."""
GRACE_S = 15.0
"""For what it is doing, after which it is killed."""


class Part:
    """A process of ours, started again whenever it dies.

    It reads what it is to do from its standard input, and ends when that is closed: so it does not live on after the
    process that holds it, however that one ends.

    Args:
        name: node or courier; the module of that name is run.
        order: what it is to do.
        heard: called with each line that it says, JSON.
    """

    def __init__(self, name: str, order: dict[str, Any], heard: Callable[[dict[str, Any]], None]) -> None:
        self.name, self._order, self._heard = name, json.dumps(order).encode() + b"\n", heard
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=name, daemon=True)

    @property
    def pid(self) -> int:
        """Of the process that runs, or ran last."""
        return self._process.pid if self._process is not None else 0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Let it end what it is doing."""
        self._stopping.set()
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """End it; returns when it has ended."""
        self.ask_to_stop()
        process = self._process
        if process is not None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_S)
            if process.poll() is None:
                process.kill()
        self._thread.join(GRACE_S)

    def _keep(self) -> None:
        wait = AGAIN_S
        while not self._stopping.is_set():
            began = time.monotonic()
            self._process = process = self._started()
            if self._stopping.is_set():
                process.send_signal(signal.SIGTERM)
            self._listen(process)
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with suppress(BrokenPipeError):
                        pipe.close()
            if self._stopping.is_set():
                return
            logger.error("the %s ended with status %d and is started again", self.name, process.returncode)
            wait = AGAIN_S if time.monotonic() - began > LASTED_S else min(LONGEST_S, 2 * wait)
            self._stopping.wait(wait)

    def _started(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", f"clarivox.server.pacs.{self.name}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # a terminal's Ctrl-C is for who started it
        )
        if process.stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.write(self._order)
                process.stdin.flush()
        return process

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        for line in process.stdout or ():
            try:
                self._heard(json.loads(line))
            except ValueError:
                logger.warning("the %s said what is no JSON", self.name)


class Processes:
    """All that pacs.yaml asks for: the node, where there is one, and the courier.

    Args:
        settings: of the server whose ledger they share.
        pacs: what stands in the file.
        path: the file.
        told: called with a sentence of what there is to know, as where the node listens.
    """

    def __init__(
        self, settings: Settings, pacs: Pacs, path: Path, told: Callable[[str], None] = lambda sentence: None
    ) -> None:
        order = {"settings": closed(settings), "pacs": str(path.resolve())}
        self._told, self._pacs = told, pacs
        names = ("node", "courier") if pacs.node is not None else ("courier",)
        self.parts = [Part(name, order, self._heard) for name in names]

    def start(self) -> None:
        """Begin."""
        for one in self.parts:
            one.start()

    def stop(self) -> None:
        """End all; returns when they have ended."""
        for one in self.parts:
            one.ask_to_stop()
        for one in self.parts:
            one.stop()

    def _heard(self, said: dict[str, Any]) -> None:
        node = self._pacs.node
        if "failed" in said:
            self._told(f"the node does not start: {said['failed']}")
        elif "port" in said and node is not None:
            self._told(f"DICOM node {node.ae_title} listens on {node.host} port {said['port']}")


def start_processes(settings: Settings, told: Callable[[str], None] = lambda sentence: None) -> Processes | None:
    """Start what `settings.pacs` asks for; None where no file is named.

    Raises:
        OptionError: the file is not there, or not as it should be.
    """
    from clarivox.server.pacs.settings import read

    if settings.pacs is None:
        return None
    found = Processes(settings, read(settings.pacs), settings.pacs, told)
    found.start()
    return found
