# SPDX-License-Identifier: Apache-2.0
"""The DICOM node: receives, and answers what it holds. `python -m clarivox.server.pacs.node`.

It decodes nothing. It writes what it is sent as it is, and says success when file and row are durable; the courier
does the rest.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from socketserver import BaseServer
from types import FrameType
from typing import Any

import pynetdicom._config
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_FIND, C_STORE, N_ACTION
from pynetdicom.events import Event
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from clarivox.errors import ClarivoxError, OptionError
from clarivox.io.dicom_uid import IMPLEMENTATION_NAME, IMPLEMENTATION_UID
from clarivox.io.dicom_values import PARSE_ERRORS
from clarivox.server.blobs import Blobs
from clarivox.server.dicom_store import DicomStore
from clarivox.server.ledger import Ledger
from clarivox.server.logs import configure
from clarivox.server.orders import opened
from clarivox.server.pacs.association import HELLO_S, IDLE_S, MEMORY_BYTES, DataSet, Server, address_of
from clarivox.server.pacs.commitment import INVALID, Commitment
from clarivox.server.pacs.finding import CANNOT_PROCESS, KEYS_BYTES, Finder, Found
from clarivox.server.pacs.inbox import Inbox, inbox_folder
from clarivox.server.pacs.receiver import Receiver, Sent, Status, code_of
from clarivox.server.pacs.scu import COMMITMENT, tls_context
from clarivox.server.pacs.settings import Node, Pacs, read
from clarivox.server.settings import Settings

log = logging.getLogger("clarivox.server.pacs.node")

PDU_BYTES = 256 << 10
"""Longest unit that peers are asked to send; dcmtk sends 128 kB at most."""
SWEEP_S = 3600.0
MANY = 10_000
END_S = 10.0

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"

Rejection = tuple[int, int, int]
"""Result, source and reason of PS3.8 table 9-21."""
NOT_CALLED: Rejection = (1, 1, 7)
NOT_CALLING: Rejection = (1, 1, 3)
TOO_MANY: Rejection = (2, 3, 2)


class DicomNode:
    """A node that listens.

    Args:
        settings: of the server: the disk's watermark, the largest file.
        pacs: pacs.yaml, with a node.
        ledger: opened.

    Raises:
        OptionError: the file has no node, or its certificate cannot be used; code bad_pacs_file.
        OSError: the port is taken.
    """

    def __init__(self, settings: Settings, pacs: Pacs, ledger: Ledger) -> None:
        if pacs.node is None:
            raise OptionError("pacs.yaml has no node: {ae_title: …, port: …, allow: […]}", code="bad_pacs_file")
        self.node: Node = pacs.node
        self.inbox = Inbox(ledger.database, inbox_folder(settings.data_dir))
        self.receiver = Receiver(self.inbox, watermark_bytes=settings.disk_watermark_bytes)
        entity = AE(self.node.ae_title)
        entity.implementation_class_uid, entity.implementation_version_name = IMPLEMENTATION_UID, IMPLEMENTATION_NAME
        entity.maximum_pdu_size, entity.maximum_associations = PDU_BYTES, MANY  # ours count, not connections
        entity.acse_timeout, entity.dimse_timeout, entity.network_timeout = HELLO_S, HELLO_S, IDLE_S
        self.finder = Finder(DicomStore(ledger, Blobs(settings.data_dir, settings)))
        self.commitment = Commitment(self.inbox, self.node)
        handlers: list[Any] = [
            (evt.EVT_REQUESTED, self.admit),
            (evt.EVT_C_STORE, self.store),
            (evt.EVT_C_FIND, self.find),
            (evt.EVT_N_ACTION, self.commit),
        ]
        self.server = Server(
            entity,
            self.node,
            contexts(),
            handlers,
            tls=None if self.node.tls is None else tls_context(self.node.tls, server=True),
            most_bytes=settings.file_bytes,
            folder=self.inbox.folder.parent,
        )
        self._admitting = threading.Lock()
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.2,), name="node", daemon=True)

    @property
    def port(self) -> int:
        """That it listens on."""
        return int(self.server.server_address[1])

    def start(self) -> None:
        """Begin to take connections."""
        self.sweep()
        self._thread.start()

    def stop(self) -> None:
        """Take no more, and end those that are open."""
        BaseServer.shutdown(self.server)  # pynetdicom's own wants a server that it made itself
        self.server.server_close()
        for one in self.server.active_associations:
            one.abort()

    def sweep(self) -> None:
        """Delete files that a crash left without a row."""
        try:
            self.inbox.sweep(SWEEP_S)
        except (ClarivoxError, OSError) as error:
            log.warning("the inbox was not swept: %s", code_of(error))

    def admit(self, event: Event) -> None:
        """Turn away who may not call, before anything is agreed on."""
        association = event.assoc
        with self._admitting:
            why = self.rejection(association)
            if why is None:
                return
        log.warning("an association was rejected: reason %d.%d.%d", *why)
        association.acse.send_reject(*why)
        association.kill()

    def rejection(self, association: Association) -> Rejection | None:
        """Why an association is not accepted."""
        asked = association.requestor.primitive
        if asked is None or not self.node.knows(address_of(association), str(asked.calling_ae_title).strip()):
            return NOT_CALLING
        if str(asked.called_ae_title).strip() != self.node.ae_title:
            return NOT_CALLED
        there = [one for one in self.server.active_associations if one.is_established]
        return TOO_MANY if len(there) >= self.node.associations else None

    def store(self, event: Event) -> int:
        """C-STORE."""
        request, asked = event.request, event.assoc.requestor.primitive
        if not isinstance(request, C_STORE) or not isinstance(request.DataSet, DataSet) or asked is None:
            return Status.CANNOT_UNDERSTAND
        sent = Sent(
            str(request.AffectedSOPClassUID),
            str(request.AffectedSOPInstanceUID),
            str(event.context.transfer_syntax),
            str(asked.calling_ae_title).strip(),
            str(asked.called_ae_title).strip(),
        )
        return self.receiver.take(request.DataSet, sent)

    def find(self, event: Event) -> Iterator[Found]:
        """C-FIND."""
        request = event.request
        data = request.Identifier if isinstance(request, C_FIND) else None
        if not isinstance(data, DataSet) or data.size > KEYS_BYTES:
            yield CANNOT_PROCESS, None
            return
        yield from self.finder.find(lambda: event.identifier, lambda: event.is_cancelled)

    def commit(self, event: Event) -> tuple[int, None]:
        """N-ACTION of storage commitment."""
        request = event.request
        data = request.ActionInformation if isinstance(request, N_ACTION) else None
        if not isinstance(data, DataSet) or data.size > MEMORY_BYTES:
            return INVALID, None
        try:
            return self.commitment.asked(event.assoc, event.action_type, event.action_information), None
        except PARSE_ERRORS:
            return INVALID, None


def contexts() -> list[PresentationContext]:
    """The services beside storage, which is taken in every class and every transfer syntax."""
    return [build_context(one) for one in (Verification, STUDY_ROOT_FIND, COMMITMENT)]


def quiet() -> None:
    """Keep pynetdicom from writing down what peers say, and let it take every storage class."""
    pynetdicom._config.UNRESTRICTED_STORAGE_SERVICE = True
    pynetdicom._config.LOG_HANDLER_LEVEL = "none"
    pynetdicom._config.LOG_REQUEST_IDENTIFIERS = pynetdicom._config.LOG_RESPONSE_IDENTIFIERS = False
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
    threading.excepthook = _last_words


def _last_words(args: threading.ExceptHookArgs) -> None:
    log.error("a thread ended by an error", exc_info=args.exc_value)


def main() -> None:
    """Receive as the process that started this one says; it lives no longer than that one."""
    order = json.loads(sys.stdin.readline())
    settings = opened(order["settings"])
    configure(settings, "node")
    quiet()
    ending = threading.Event()

    def end(_number: int = 0, _frame: FrameType | None = None) -> None:
        ending.set()

    def alone() -> None:
        select.select([sys.stdin], [], [])
        end()

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, end)
    threading.Thread(target=alone, daemon=True).start()
    ledger = Ledger(settings.ledger_url, settings=settings)
    try:
        ledger.open(check=False)
        node = DicomNode(settings, read(Path(order["pacs"])), ledger)
    except (ClarivoxError, OSError) as error:
        log.error("the node does not start: %s", code_of(error))
        say(failed=str(error))
        raise SystemExit(1) from None
    node.start()
    say(port=node.port)
    while not ending.wait(SWEEP_S):
        node.sweep()
    threading.Timer(END_S, os._exit, (0,)).start()
    node.stop()
    ledger.close()
    os._exit(0)  # threads of connections that a peer holds open would keep the process


def say(**what: Any) -> None:
    """Tell who started this process."""
    with suppress(OSError):
        sys.stdout.write(json.dumps(what) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
