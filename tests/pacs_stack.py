# SPDX-License-Identifier: Apache-2.0
"""A real Orthanc, a server, and the node and the courier of the PACS, each in processes that a test may kill."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydicom import dcmread

from clarivox.server.orders import closed
from clarivox.server.pacs.web import DicomWeb
from clarivox.server.settings import Settings
from tests.served import Served

PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
PACS_HTTP, PACS_DIMSE, NODE, ANSWERS = 18042, 14242, 11112, 11113
"""Ports; all of it runs in a network namespace of its own."""
USER, PASSWORD = "clarivox", "secret"
PATIENT_S = 240.0
BACK = "function OnStoredInstance(id, tags, metadata)\n  SendToModality(id, 'clarivox')\nend\n"
"""Orthanc sends every instance to our node, those that came from it too."""


def wait_for(what: str, held: Callable[[], Any], within_s: float = PATIENT_S) -> Any:
    """Look until it holds.

    Raises:
        TimeoutError: it never did.
    """
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        if found := held():
            return found
        time.sleep(0.1)
    raise TimeoutError(f"{what}: not within {within_s:.0f} s")


@dataclass
class Orthanc:
    """A PACS that has everything and sends it all back."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def web(self) -> DicomWeb:
        """Its DICOMweb."""
        return DicomWeb(f"http://127.0.0.1:{PACS_HTTP}/dicom-web", user=USER, password=PASSWORD)

    def start(self) -> None:
        """Start it, and return when it answers."""
        for name in ("db", "tmp"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "back.lua").write_text(BACK)
        modalities = {
            "clarivox": {"AET": "CLARIVOX", "Host": "127.0.0.1", "Port": NODE},
            "answers": {"AET": "CLVXOUT", "Host": "127.0.0.1", "Port": ANSWERS, "AllowStorageCommitment": True},
        }
        settings = {
            "Name": "PACS",
            "StorageDirectory": str(self.folder / "db"),
            "IndexDirectory": str(self.folder / "db"),
            "TemporaryDirectory": str(self.folder / "tmp"),
            "Plugins": [PLUGIN],
            "LuaScripts": [str(self.folder / "back.lua")],
            "HttpPort": PACS_HTTP,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": True,
            "RegisteredUsers": {USER: PASSWORD},
            "DicomServerEnabled": True,
            "DicomAet": "PACS",
            "DicomPort": PACS_DIMSE,
            "DicomAlwaysAllowStore": True,
            "DicomModalities": modalities,
            "OverwriteInstances": True,
            "StableAge": 1,
            "JobsHistorySize": 1000,
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "Host": f"127.0.0.1:{PACS_HTTP}", "Ssl": False},
        }
        (self.folder / "orthanc.json").write_text(json.dumps(settings))
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(["Orthanc", str(self.folder / "orthanc.json")], stdout=log, stderr=log)
        wait_for("Orthanc", self._answers, 60)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            line = http.client.HTTPConnection("127.0.0.1", PACS_HTTP, timeout=5)
            line.request("GET", "/system")
            return line.getresponse().status in (200, 401)
        return False

    def ask(self, path: str) -> Any:
        """Its own interface."""
        from clarivox.server.pacs.orthanc import Server
        from clarivox.server.pacs.settings import Orthanc as Place

        os.environ["PACS_PASSWORD"] = PASSWORD
        place = {"url": f"http://127.0.0.1:{PACS_HTTP}", "user": USER, "password_from": "PACS_PASSWORD"}
        return Server(Place.model_validate(place)).ask(path)

    def send_all(self) -> None:
        """Have it send all that it has to our node, and return when it has."""
        said = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        line = http.client.HTTPConnection("127.0.0.1", PACS_HTTP, timeout=PATIENT_S)
        body = json.dumps(self.ask("/series")).encode()
        line.request("POST", "/modalities/clarivox/store", body, {"Authorization": f"Basic {said}"})
        answer = line.getresponse()
        answer.read()
        line.close()
        if answer.status != 200:
            raise RuntimeError(f"Orthanc could not send: {answer.status}")

    def series(self) -> dict[str, list[str]]:
        """The SOPInstanceUIDs of each series, by SeriesInstanceUID."""
        found = {}
        for name in self.ask("/series"):
            uid = self.ask(f"/series/{name}")["MainDicomTags"]["SeriesInstanceUID"]
            listed = self.ask(f"/series/{name}/instances")
            found[uid] = [one["MainDicomTags"]["SOPInstanceUID"] for one in listed]
        return found

    def idle(self) -> bool:
        """Whether it has nothing left to send."""
        return all(one["State"] not in ("Pending", "Running", "Retry") for one in self.ask("/jobs?expand"))

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)


@dataclass
class Part:
    """The node or the courier."""

    name: str
    order: dict[str, Any]
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return when it says that it works."""
        self.begin()
        self.begun()

    def begin(self) -> None:
        """Start it; returns at once."""
        environment = {**os.environ, "PACS_PASSWORD": PASSWORD}
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"clarivox.server.pacs.{self.name}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
            )
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(self.order).encode() + b"\n")
        self.process.stdin.flush()

    def begun(self) -> None:
        """Return when it says that it works.

        Raises:
            RuntimeError: it does not.
        """
        assert self.process is not None
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        if not said or b"failed" in said:
            raise RuntimeError((self.folder / f"{self.name}.log").read_text()[-3000:])

    def kill(self) -> None:
        """End it as a crash does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()


@dataclass
class Stack:
    """All of it."""

    folder: Path
    rules: list[dict[str, Any]]
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        web = {"url": f"http://127.0.0.1:{PACS_HTTP}/dicom-web", "user": USER, "password_from": "PACS_PASSWORD"}
        dimse = {"host": "127.0.0.1", "port": PACS_DIMSE, "called": "PACS", "calling": "CLVXOUT"}
        pacs = {
            "dicomweb": web,
            "node": {
                "port": NODE,
                "quiet_s": 4,  # a busy machine may take 2 s over an instance, and a pause makes a job of its own
                "longest_s": 30,
                "allow": [{"ae_title": name, "address": "127.0.0.1"} for name in ("CT1", "PACS")],
            },
            "orthanc": {
                "url": f"http://127.0.0.1:{PACS_HTTP}",
                "user": USER,
                "password_from": "PACS_PASSWORD",
                "every_s": 0.5,
            },
            "destinations": {
                "web": {"dicomweb": web},
                "dimse": {"dimse": {**dimse, "commitment": True, "answers_port": ANSWERS}},
            },
            "rules": "rules.yaml",
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file = self.folder / "pacs.yaml"
        self.file.write_text(yaml.safe_dump(pacs))
        (self.folder / "rules.yaml").write_text(yaml.safe_dump({"rules": self.rules}))
        small = {"disk_reserve_bytes": 0, "disk_watermark_bytes": 0, "lease_s": 5.0, **self.settings}
        self.server = Served(self.folder / "data", {name.upper(): str(value) for name, value in small.items()})
        known = Settings(data_dir=self.folder / "data", **small)
        order = {"settings": closed(known), "pacs": str(self.file)}
        self.orthanc = Orthanc(self.folder / "orthanc")
        self.node, self.courier = (Part(name, order, self.folder) for name in ("node", "courier"))

    def start(self) -> None:
        """Start all, and return when all work."""
        self.orthanc.start()
        self.server.start()
        self.server.answers("/livez", PATIENT_S)  # it has made the database
        for part in (self.node, self.courier):
            part.begin()
        for part in (self.node, self.courier):
            part.begun()
        self.server.answers("/readyz", PATIENT_S, 0.2)

    def stop(self) -> None:
        """End all."""
        self.courier.kill()
        self.node.kill()
        if self.orthanc.process is not None:
            self.orthanc.process.terminate()  # it takes its time
        self.server.kill()
        self.orthanc.stop()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What stands in the ledger's database."""
        import sqlite3

        with contextlib.closing(sqlite3.connect(self.folder / "data" / "ledger.sqlite", timeout=30)) as database:
            return list(database.execute(query))

    def standing(self) -> tuple[Any, ...]:
        """What must stand still when nothing is left to do; () while something is."""
        busy = [
            "select count(*) from job where state in ('queued', 'running')",
            "select count(*) from pacs_series where state = 'open'",
            "select count(*) from pacs_delivery where state = 'waiting'",
        ]
        if any(self.rows(query)[0][0] for query in busy) or not self.orthanc.idle():
            return ()
        last = self.orthanc.ask("/changes?last")["Last"]
        if self.rows("select position from pacs_cursor where name = 'orthanc'") != [(last,)]:
            return ()
        jobs = self.rows("select count(*) from job")[0][0]
        return (last, jobs, self.rows("select sum(seq) from pacs_series")[0][0], True)

    def quiet(self, rounds: int = 2, round_s: float = 2.0) -> None:
        """Wait until several rounds passed in which nothing came, ran or went; Orthanc calls stable what is 1 s old."""
        before: tuple[Any, ...] = ()
        passed, until = 0, time.monotonic() + PATIENT_S
        while passed < rounds:
            if time.monotonic() > until:
                raise TimeoutError(
                    f"it never came to rest: {self.standing()} {self.rows('select * from pacs_delivery')}"
                )
            now = self.standing()
            passed = passed + 1 if now and now == before else 0
            before = now
            if passed < rounds:
                time.sleep(round_s if now else 0.2)


@contextlib.contextmanager
def running(stack: Stack) -> Iterator[Stack]:
    """All of it, ended at the end."""
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


def c_store(files: Sequence[Path], calling: str = "CT1", on_each: Callable[[int], None] = lambda number: None) -> None:
    """Send files to the node as a modality does: each until it is answered with success.

    Args:
        files: to send, each with its own SOP instance.
        calling: our title.
        on_each: called before each; it may kill the node.
    """
    from pynetdicom import AE
    from pynetdicom.presentation import build_context

    waiting = list(enumerate(files))
    until = time.monotonic() + PATIENT_S
    while waiting:
        if time.monotonic() > until:
            raise TimeoutError("the node did not take all instances")
        entity = AE(calling)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
        kinds = {(str(one.SOPClassUID), str(one.file_meta.TransferSyntaxUID)) for one in map(head, files)}
        entity.requested_contexts = [build_context(sop_class, syntax) for sop_class, syntax in sorted(kinds)]
        line = entity.associate("127.0.0.1", NODE, ae_title="CLARIVOX")
        while line.is_established and waiting:
            number, path = waiting[0]
            on_each(number)
            try:
                status = line.send_c_store(dcmread(path))
            except (RuntimeError, OSError):
                break
            if status.get("Status") != 0:
                break
            waiting.pop(0)
        if line.is_established:
            line.release()
        if waiting:
            time.sleep(0.2)


def head(path: Path) -> Any:
    """Of a file all but the pixels."""
    return dcmread(path, stop_before_pixels=True)


def apart() -> list[str]:
    """What stands before a command so that it has a network of its own; where that cannot be had, nothing."""
    may = subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode == 0
    return ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"] if may else []


def port_is_free(port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) != 0
