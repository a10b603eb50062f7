# SPDX-License-Identifier: Apache-2.0
"""A courier of the PACS in this process, whose steps a test takes one by one."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clarivox.server.blobs import Blobs
from clarivox.server.dicom_store import key_of
from clarivox.server.job import FileRef, Job, Outcome, Role, State
from clarivox.server.ledger import Ledger
from clarivox.server.pacs.courier import Courier
from clarivox.server.pacs.facts import instance_of
from clarivox.server.pacs.inbox import Arrived, SeriesState
from clarivox.server.pacs.postman import Postman
from clarivox.server.pacs.settings import read
from tests.ledgers import settings

SLICES = 4
PACS = """\
node:
  quiet_s: 10
  longest_s: 100
  allow: [{ae_title: SLOW, address: 127.0.0.1, quiet_s: 50, longest_s: 500}]
destinations:
  archive: {dicomweb: {url: http://127.0.0.1:9}}
  second: {dimse: {host: 127.0.0.1, port: 9, called: PACS}}
rules: rules.yaml
"""
RULES = """\
rules:
  - {name: no scouts, when: {image_type: LOCALIZER}, ignore: true}
  - {name: ct, when: {modality: CT}, bundle: identity, to: [archive, second]}
"""


class Desk:
    """A courier whose steps a test takes, and whose workers and destinations it plays.

    Args:
        folder: of the files of the PACS and of the data; empty.
        pacs: what pacs.yaml says.
    """

    def __init__(self, folder: Path, pacs: str = PACS) -> None:
        (folder / "pacs.yaml").write_text(pacs)
        (folder / "rules.yaml").write_text(RULES)
        (folder / "data").mkdir()
        first = Ledger(settings(folder / "data").ledger_url, settings=settings(folder / "data"))
        first.open()
        first.close()
        self.courier = Courier(settings(folder / "data"), read(folder / "pacs.yaml"))
        self.inbox, self.outbox, self.ledger = self.courier.inbox, self.courier.outbox, self.courier.ledger
        self.blobs: Blobs = self.courier.blobs

    def arrive(self, files: Sequence[Path], calling: str = "CT1") -> str:
        """Take files as the node does; the digest of their series."""
        rows = []
        for path in files:
            content = path.read_bytes()
            name = hashlib.sha256(content + str(len(list(self.inbox.folder.iterdir()))).encode()).hexdigest()[:32]
            (self.inbox.folder / name).write_bytes(content)
            found = instance_of(path)
            digests = (key_of(found.study), key_of(found.series), key_of(found.sop))
            rows.append(Arrived(*digests, name, len(content), hashlib.sha256(content).hexdigest(), calling))
        self.inbox.put(rows)
        return rows[0].series

    def route(self) -> list[SeriesState]:
        """Route every open series, whatever the time is."""
        self.courier.rules.look()
        assert self.courier.rules.now is not None
        return [self.courier.router.route(one, self.courier.rules.now) for one in self.inbox.ready()]

    def work(self) -> Job:
        """Do the next job as a worker that changes nothing."""
        job = self.ledger.claim("w")
        assert job is not None
        with zipfile.ZipFile(self.blobs.path(job.inputs[0].sha256)) as archive:
            assert len(archive.namelist()) > 1
        sha256, size = self.blobs.put_file(self.blobs.path(job.inputs[0].sha256))
        done = FileRef(Role.RESULT, sha256, size, "application/zip", "result.zip")
        assert self.ledger.finish(job.id, job.attempt, Outcome(State.SUCCEEDED, (done,)))
        return self.ledger.get(job.id)

    def postman(self, sender: Any) -> Postman:
        return Postman(self.courier.settings, self.ledger, self.blobs, self.outbox, sender, threading.Event())
