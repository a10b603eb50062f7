# SPDX-License-Identifier: Apache-2.0
"""Another node as we call it: C-ECHO, C-STORE, and what it promises to keep (storage commitment)."""

from __future__ import annotations

import ssl
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from clarivox.errors import AccessError, BusyError, OptionError, ServiceError
from clarivox.io.dicom_values import PARSE_ERRORS
from clarivox.server.pacs.settings import Dimse, Tls

if TYPE_CHECKING:
    from pynetdicom.association import Association

VERIFICATION = "1.2.840.10008.1.1"
COMMITMENT, COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
"""Storage Commitment Push Model: its SOP class, and its one instance."""
NO_CONTEXT = 0x0122
"""SOP class not supported: what we say for an instance for which the node took no presentation context."""
MOST_CONTEXTS = 120
"""An association has room for 128."""
PLAIN = [str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian)]
LOOK_S = 0.2


class Peer:
    """A node.

    Args:
        dimse: where it is, and who we are to it.
    """

    def __init__(self, dimse: Dimse) -> None:
        self.dimse = dimse

    def echo(self) -> None:
        """Ask whether it answers.

        Raises:
            ClarivoxError: it does not, or does not let us in.
        """
        with self._associated([(VERIFICATION, [str(ImplicitVRLittleEndian)])]) as association:
            status = association.send_c_echo()
            if "Status" not in status or status.Status != 0:
                raise ServiceError("the node answers C-ECHO with an error", code="bad_answer")

    @contextmanager
    def association(self, kinds: set[tuple[str, str]]) -> Iterator[Line]:
        """A line to send instances over.

        Args:
            kinds: SOP class and transfer syntax of what will be sent.

        Raises:
            ClarivoxError: it does not answer, or does not let us in.
        """
        wanted = [
            (sop_class, PLAIN if syntax in PLAIN else [syntax]) for sop_class, syntax in sorted(kinds)[:MOST_CONTEXTS]
        ]
        with self._associated(wanted) as association:
            yield Line(association)

    @contextmanager
    def _associated(
        self, contexts: Sequence[tuple[str, list[str]]], handlers: Sequence[Any] = ()
    ) -> Iterator[Association]:
        from pynetdicom import AE

        node = AE(ae_title=self.dimse.calling)
        node.acse_timeout = node.dimse_timeout = node.network_timeout = self.dimse.timeout_s
        node.connection_timeout = self.dimse.timeout_s
        for sop_class, syntaxes in contexts:
            node.add_requested_context(sop_class, syntaxes)
        secure = {"tls_args": (tls_context(self.dimse.tls), self.dimse.host)} if self.dimse.tls else {}
        place = {"ae_title": self.dimse.called, "evt_handlers": list(handlers), **secure}
        association = node.associate(self.dimse.host, self.dimse.port, **place)  # type: ignore[arg-type]
        line = association.dul.socket and association.dul.socket.socket
        try:
            if association.is_rejected:
                raise AccessError(
                    "the node refuses the association; does it know our AE title, and is the called one right?",
                    code="no_association",
                )
            if not association.is_established:
                if association.rejected_contexts:
                    raise AccessError("the node takes none of what is offered to it", code="no_association")
                raise BusyError("the node does not answer; is its address right, and does it run?", code="pacs_away")
            yield association
        finally:
            if association.is_established:
                association.release()
            if line:  # pynetdicom leaves it open where the node was faster to close
                line.close()


class Line:
    """An association that instances go over."""

    def __init__(self, association: Association) -> None:
        self._association, self._number = association, 0

    def store(self, path: Path) -> int | None:
        """Send an instance: its status, or None where there was no answer."""
        self._number = self._number % 65535 + 1
        try:
            status = self._association.send_c_store(dcmread(path), msg_id=self._number)
        except RuntimeError:
            return None
        except ValueError:
            return NO_CONTEXT
        return int(status.Status) if "Status" in status else None


class Commitments:
    """What a node promises to keep. It says so over our association, or by one of its own to the port of answers.

    Args:
        dimse: the node.
    """

    def __init__(self, dimse: Dimse) -> None:
        self.dimse = dimse
        self._answers: dict[str, list[str] | None] = {}
        self._changed = threading.Condition()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take answers on the port of answers while this lasts, where pacs.yaml names one.

        Raises:
            OptionError: the port is taken, code no_address.
        """
        from pynetdicom import AE, evt

        if self.dimse.answers_port is None:
            yield
            return
        node = AE(ae_title=self.dimse.calling)
        node.add_supported_context(COMMITMENT, scu_role=True, scp_role=True)
        node.add_supported_context(VERIFICATION)
        secure = tls_context(self.dimse.tls, server=True) if self.dimse.tls else None
        place = (self.dimse.answers_host, self.dimse.answers_port)
        handlers = [(evt.EVT_N_EVENT_REPORT, self._heard)]
        try:
            server = node.start_server(place, block=False, ssl_context=secure, evt_handlers=handlers)  # type: ignore[arg-type]
        except OSError as cause:
            raise OptionError(
                f"port {self.dimse.answers_port} for answers on storage commitment is taken", code="no_address"
            ) from cause
        try:
            yield
        finally:
            if server is not None:
                server.shutdown()

    def failed(self, instances: Sequence[tuple[str, str]], stopping: threading.Event) -> list[str]:
        """Ask it to keep instances (SOP class, SOP instance); those that it does not.

        Raises:
            BusyError: it does not say in time, code not_committed.
            ClarivoxError: it does not answer, or does not let us in.
        """
        from pynetdicom import evt

        number = f"2.25.{uuid.uuid4().int}"
        asked = Dataset()
        asked.TransactionUID = number
        asked.ReferencedSOPSequence = [_reference(*one) for one in instances]
        self._answers[number] = None
        try:
            handlers = [(evt.EVT_N_EVENT_REPORT, self._heard)]
            with Peer(self.dimse)._associated([(COMMITMENT, PLAIN)], handlers) as association:
                status, _ = association.send_n_action(asked, 1, COMMITMENT, COMMITMENT_INSTANCE)
                if "Status" not in status or status.Status != 0:
                    raise BusyError("the node refuses to commit itself to what it stored", code="not_committed")
                answer = self._awaited(number, stopping, association if self.dimse.answers_port is None else None)
        finally:
            del self._answers[number]
        return answer

    def _awaited(self, number: str, stopping: threading.Event, line: Association | None) -> list[str]:
        until = time.monotonic() + self.dimse.timeout_s
        with self._changed:
            while (answer := self._answers[number]) is None:
                lost = line is not None and not line.is_established
                if lost or stopping.is_set() or time.monotonic() > until:
                    raise BusyError("the node does not say in time what it keeps", code="not_committed")
                self._changed.wait(LOOK_S)
            return answer

    def _heard(self, event: Any) -> tuple[int, None]:
        """Take an answer; one that we did not ask for is none."""
        try:
            said = event.event_information
            number = str(said.TransactionUID)
            failed = [str(one.ReferencedSOPInstanceUID) for one in said.get("FailedSOPSequence") or ()]
        except PARSE_ERRORS:
            return 0x0110, None
        with self._changed:
            if number not in self._answers:
                return 0x0112, None  # no such SOP instance
            self._answers[number] = failed
            self._changed.notify_all()
        return 0, None


def _reference(sop_class: str, sop: str) -> Dataset:
    found = Dataset()
    found.ReferencedSOPClassUID, found.ReferencedSOPInstanceUID = sop_class, sop
    return found


def tls_context(tls: Tls, *, server: bool = False) -> ssl.SSLContext:
    """What TLS is spoken with: our certificate, and the authority whose certificates we take.

    Raises:
        OptionError: a file cannot be used, code bad_pacs_file.
    """
    try:
        purpose = ssl.Purpose.CLIENT_AUTH if server else ssl.Purpose.SERVER_AUTH
        found = ssl.create_default_context(purpose, cafile=str(tls.authority))
        found.load_cert_chain(tls.certificate, tls.key)
    except (OSError, ssl.SSLError) as cause:
        raise OptionError("a file of tls in pacs.yaml cannot be used", code="bad_pacs_file") from cause
    found.verify_mode = ssl.CERT_REQUIRED
    if not server:
        found.check_hostname = False  # a node shows its authority's certificate, seldom with its name
    return found
