# SPDX-License-Identifier: Apache-2.0
"""An Orthanc whose list of changes is followed: each series that it calls stable is fetched into the inbox.

The position in the list is saved after the series of a page are in the inbox, so that a kill repeats a page at most,
and an instance that is here already is not fetched again. Orthanc tells a series as stable once nothing came to it
for its StableAge, and does not say so again after a restart of its own in between.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import logging
import os
import secrets
import ssl
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import select

from clarivox.errors import AccessError, BusyError, ClarivoxError, InputError, LimitError, NotFoundError, ServiceError
from clarivox.server.blobs import Blobs
from clarivox.server.dialects import Database
from clarivox.server.dicom_store import key_of
from clarivox.server.pacs.facts import instance_of
from clarivox.server.pacs.inbox import Arrived, Inbox
from clarivox.server.pacs.outbox import Outbox
from clarivox.server.pacs.settings import Orthanc, secret
from clarivox.server.settings import Settings
from clarivox.server.tables import pacs_cursor, pacs_instance
from clarivox.server.writing import full_disk, sync_folder, write_all

logger = logging.getLogger(__name__)

CURSOR = "orthanc"
SOURCE = "orthanc"
PAGE = 100
"""Changes of one question."""
CHUNK = 1 << 20
UNFETCHED = "orthanc-"
"""How names of files begin that are fetched, so that what a kill left of them is known."""


class Server:
    """Orthanc's own interface.

    Args:
        orthanc: where it is.

    Raises:
        OptionError: a variable of the environment that pacs.yaml names is not set.
    """

    def __init__(self, orthanc: Orthanc) -> None:
        parts = urllib.parse.urlsplit(orthanc.url)
        self._secure, self._place = parts.scheme == "https", (parts.hostname or "", parts.port)
        self._root, self._timeout_s = parts.path.rstrip("/"), orthanc.timeout_s
        said = f"{orthanc.user}:{secret(orthanc.password_from)}".encode()
        self._headers = {"Authorization": "Basic " + base64.b64encode(said).decode()} if orthanc.user else {}

    def ask(self, path: str) -> Any:
        """An answer in JSON.

        Raises:
            NotFoundError: it is not there, code no_such_object.
            ClarivoxError: Orthanc does not answer, or does not let us in.
        """
        with self.got(path) as answer:
            try:
                return json.loads(answer.read())
            except ValueError as cause:
                raise ServiceError("this is no Orthanc; is its address right?", code="bad_answer") from cause

    @contextmanager
    def got(self, path: str) -> Iterator[http.client.HTTPResponse]:
        """An answer to read.

        Raises:
            NotFoundError: it is not there, code no_such_object.
            ClarivoxError: Orthanc does not answer, or does not let us in.
        """
        line: http.client.HTTPConnection
        if self._secure:
            line = http.client.HTTPSConnection(
                *self._place, timeout=self._timeout_s, context=ssl.create_default_context()
            )
        else:
            line = http.client.HTTPConnection(*self._place, timeout=self._timeout_s)
        try:
            line.request("GET", self._root + path, headers=self._headers)
            answer = line.getresponse()
            if answer.status in (401, 403):
                raise AccessError("Orthanc lets clarivox not in; look at user and password", code="no_access")
            if answer.status == 404:
                raise NotFoundError("Orthanc has it no more", code="no_such_object")
            if answer.status != 200:
                raise ServiceError(f"Orthanc answers with status {answer.status}", code="bad_answer")
            yield answer
        except (OSError, http.client.HTTPException) as cause:
            raise BusyError(
                "Orthanc does not answer; is its address right, and does it run?", code="pacs_away"
            ) from cause
        finally:
            line.close()


class Poller:
    """Follows the changes of an Orthanc.

    Args:
        orthanc: where it is.
        settings: limits.
        database: holds the position.
        inbox: where series go.
        outbox: knows what was made here.
        blobs: says whether there is room.
        stopping: set when it is to end.
    """

    def __init__(
        self,
        orthanc: Orthanc,
        settings: Settings,
        database: Database,
        inbox: Inbox,
        outbox: Outbox,
        blobs: Blobs,
        stopping: threading.Event,
    ) -> None:
        self.server, self.settings, self.database = Server(orthanc), settings, database
        self.inbox, self.outbox, self.blobs, self.stopping = inbox, outbox, blobs, stopping

    @property
    def position(self) -> int:
        """The last change that was seen to."""
        with self.database.read() as connection:
            query = select(pacs_cursor.c.position).where(pacs_cursor.c.name == CURSOR)
            return int(connection.scalar(query) or 0)

    def round(self) -> bool:
        """See to one page of changes; whether there are more.

        Raises:
            ClarivoxError: Orthanc does not answer, or there is no room; the page is seen to again.
        """
        since = self.position
        said = self.server.ask(f"/changes?since={since}&limit={PAGE}")
        last, changes, done = int(said["Last"]), said["Changes"], bool(said["Done"])
        if not changes and int(self.server.ask("/changes?last")["Last"]) < since:
            logger.warning("the list of changes of Orthanc is shorter than it was; it is read from the beginning")
            self._save(0)
            return True
        for series in dict.fromkeys(one["ID"] for one in changes if one["ChangeType"] == "StableSeries"):
            if self.stopping.is_set():
                return False
            try:
                self.fetch(str(series))
            except NotFoundError:
                continue  # deleted since
        if changes:
            self._save(last)
        return not done

    def fetch(self, series: str) -> int:
        """Bring what is new of a series to the inbox; how many instances that were.

        A series that was made here is left where it is.

        Raises:
            ClarivoxError: it cannot be fetched.
        """
        listed = self.server.ask(f"/series/{urllib.parse.quote(series, safe='')}/instances")
        sops = {str(one["ID"]): key_of(str(one["MainDicomTags"].get("SOPInstanceUID", ""))) for one in listed}
        if self.outbox.known(list(sops.values())):
            return 0
        if len(sops) > self.settings.frames:
            said = f"a series of Orthanc has over {self.settings.frames} instances"
            logger.error(said)
            return 0
        here = self.inbox.held(list(sops.values()))
        self.blobs.admit(sum(int(one.get("FileSize") or 0) for one in listed))
        arrived = [self._fetched(one) for one, sop in sops.items() if sop not in here and not self.stopping.is_set()]
        if self.stopping.is_set():
            raise BusyError("the courier is stopping", code="draining")
        whole = [one for one in arrived if one is not None]
        sync_folder(self.inbox.folder)
        if whole:  # in one transaction: the series is whole for whoever looks
            self.inbox.put(whole, SOURCE)
        return len(whole)

    def sweep(self) -> int:
        """Delete what a kill left of files that were being fetched; how many."""
        names = {path.name for path in self.inbox.folder.glob(f"{UNFETCHED}*")}
        with self.database.read() as connection:
            names -= set(connection.scalars(select(pacs_instance.c.file)))
        for name in names:
            (self.inbox.folder / name).unlink(missing_ok=True)
        return len(names)

    def _fetched(self, instance: str) -> Arrived | None:
        """One instance as a durable file; None where it is none that can be used."""
        path = self.inbox.folder / f"{UNFETCHED}{secrets.token_hex(16)}"
        digest, size = hashlib.sha256(), 0
        try:
            place = f"/instances/{urllib.parse.quote(instance, safe='')}/file"
            with self.server.got(place) as answer, full_disk(), path.open("xb", buffering=0) as file:
                while piece := answer.read(CHUNK):
                    digest.update(piece)
                    size += len(piece)
                    if size > self.settings.file_bytes:
                        raise LimitError("an instance of Orthanc is too large", code="file_too_large")
                    write_all(file, piece)
                os.fsync(file.fileno())
            found = instance_of(path, limits=self.settings.limits)
        except InputError as error:
            path.unlink(missing_ok=True)
            logger.error("an instance of Orthanc cannot be used: %s", error.code)
            return None
        except ClarivoxError:
            path.unlink(missing_ok=True)
            raise
        study, series, sop = key_of(found.study), key_of(found.series), key_of(found.sop)
        return Arrived(study, series, sop, path.name, size, digest.hexdigest())

    def _save(self, position: int) -> None:
        with self.database.write() as connection:
            row = {"name": CURSOR, "position": position}
            self.database.upsert(connection, pacs_cursor, ("name",), row)


def checked(orthanc: Orthanc) -> str:
    """The version of an Orthanc that answers.

    Raises:
        ClarivoxError: it does not, or does not let us in.
    """
    return str(Server(orthanc).ask("/system").get("Version", "unknown"))
