# SPDX-License-Identifier: Apache-2.0
"""Storage commitment: what we were sent and hold, we say that we hold (PS3.4 annex J).

An instance is held while its row and its file are here: both are durable before a C-STORE is answered with success,
and both go when its series is old (`keep_h`). The report goes over the association that asked; where pacs.yaml says at
which port the caller listens, by an association of our own.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

from pydicom import Dataset
from pynetdicom import AE, build_role
from pynetdicom.association import Association

from clarivox.errors import ClarivoxError
from clarivox.io.dicom_values import PARSE_ERRORS
from clarivox.server.dicom_store import key_of
from clarivox.server.pacs.association import HELLO_S, address_of
from clarivox.server.pacs.inbox import Inbox
from clarivox.server.pacs.scu import COMMITMENT, COMMITMENT_INSTANCE, tls_context
from clarivox.server.pacs.settings import Node

log = logging.getLogger("clarivox.server.pacs.commitment")

SUCCESS, NO_SUCH_ACTION, INVALID, OUT_OF_RESOURCES = 0x0000, 0x0123, 0x0115, 0x0213
NO_SUCH_INSTANCE = 0x0112
REQUEST, ALL_HELD, SOME_NOT_HELD = 1, 1, 2
MOST = 100_000
"""Instances of one request."""
AFTER_S = (0.0, 1.0, 5.0, 30.0)
"""Waits before each try to report."""
AT_ONCE = 8
"""Reports that may wait at a time."""

Reference = tuple[str, str]
"""SOP class and SOP instance."""


class Commitment:
    """Takes requests, and reports.

    Args:
        inbox: knows what is held.
        node: the settings.
    """

    def __init__(self, inbox: Inbox, node: Node) -> None:
        self._inbox, self._node = inbox, node
        self._room = threading.Semaphore(AT_ONCE)

    def asked(self, association: Association, action: int | None, information: Dataset) -> int:
        """Take a request; what to answer. The report follows by a thread of its own."""
        if action != REQUEST:
            return NO_SUCH_ACTION
        try:
            number = str(information.TransactionUID)
            wanted = [
                (str(one.ReferencedSOPClassUID), str(one.ReferencedSOPInstanceUID))
                for one in information.ReferencedSOPSequence
            ]
        except PARSE_ERRORS:
            return INVALID
        if not number or not wanted or len(wanted) > MOST:
            return INVALID
        if not self._room.acquire(blocking=False):
            return OUT_OF_RESOURCES
        try:
            held = self._inbox.held([key_of(sop) for _, sop in wanted])
        except ClarivoxError as error:
            self._room.release()
            log.warning("a request for storage commitment was not answered: %s", error.code)
            return OUT_OF_RESOURCES
        report = report_of(number, wanted, held)
        threading.Thread(target=self._report, args=(association, report), name="commitment", daemon=True).start()
        return SUCCESS

    def _report(self, association: Association, report: Dataset) -> None:
        try:
            for wait_s in AFTER_S:
                time.sleep(wait_s)
                if self._said(association, report):
                    log.info("storage commitment reported: %d failed", len(report.get("FailedSOPSequence", ())))
                    return
            log.warning("a report on storage commitment could not be delivered")
        finally:
            self._room.release()

    def _said(self, association: Association, report: Dataset) -> bool:
        """One try."""
        asked = association.requestor.primitive
        title = str(asked.calling_ae_title).strip() if asked is not None else ""
        port = self._node.port_of(title)
        if port is None:
            return association.is_established and _send(association, report)
        line = _called(self._node, (address_of(association), port), title)
        if not line.is_established:
            return False
        try:
            return _send(line, report)
        finally:
            if line.is_established:
                line.release()


def report_of(number: str, wanted: Sequence[Reference], held: set[str]) -> Dataset:
    """What is held of what was asked.

    >>> report_of("1.2", [("1.3", "1.4")], set()).FailedSOPSequence[0].FailureReason
    274
    """
    found = Dataset()
    found.TransactionUID = number
    there = [_reference(one) for one in wanted if key_of(one[1]) in held]
    lacking = [_reference(one) for one in wanted if key_of(one[1]) not in held]
    for one in lacking:
        one.FailureReason = NO_SUCH_INSTANCE
    if there:
        found.ReferencedSOPSequence = there
    if lacking:
        found.FailedSOPSequence = lacking
    return found


def _reference(one: Reference) -> Dataset:
    found = Dataset()
    found.ReferencedSOPClassUID, found.ReferencedSOPInstanceUID = one
    return found


def _send(association: Association, report: Dataset) -> bool:
    kind = SOME_NOT_HELD if "FailedSOPSequence" in report else ALL_HELD
    try:
        status, _ = association.send_n_event_report(report, kind, COMMITMENT, COMMITMENT_INSTANCE)
    except (RuntimeError, ValueError):  # the association has ended, or has no context for it
        return False
    return "Status" in status and status.Status == SUCCESS


def _called(node: Node, place: tuple[str, int], title: str) -> Association:
    """An association of our own with a caller, in which we are who reports."""
    entity = AE(node.ae_title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = HELLO_S
    entity.add_requested_context(COMMITMENT)
    secure: dict[str, Any] = {"tls_args": (tls_context(node.tls), place[0])} if node.tls else {}
    role = build_role(COMMITMENT, scp_role=True)
    return entity.associate(*place, ae_title=title, ext_neg=[role], **secure)
