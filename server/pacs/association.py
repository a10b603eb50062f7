# SPDX-License-Identifier: Apache-2.0
"""Connections of the DICOM node: pynetdicom's, with limits on what a peer may send, hold open, or let us wait for.

pynetdicom reads 4 kB at a time, believes the length that a peer names, keeps a whole data set in memory, shakes TLS
hands one after the other in the thread that accepts, and lets a connection that says nothing count as an association.
"""

from __future__ import annotations

import os
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from queue import Queue
from typing import Any, BinaryIO, cast

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from clarivox.server.pacs.settings import Node

PDU_BYTES = 1 << 20
"""Longest unit that is taken; longer ones end the connection before a byte of them is stored."""
MEMORY_BYTES = 8 << 20
"""Of one data set that are kept in memory; what is longer goes to the disk."""
HELLO_S = 10.0
"""How long a connection may say nothing, and how long a handshake may take."""
IDLE_S = 60.0
"""How long an association may say nothing."""
SPARE = 48
"""Connections that may wait for their first word, beside the associations; then the oldest of them goes."""
STRANGERS = 8
"""Connections from unknown addresses at a time: enough to tell them that they are not known."""


class DataSet(BytesIO):
    """A data set as it comes: in memory, and beyond `MEMORY_BYTES` in a file; what does not fit is let go by.

    >>> found = DataSet(most_bytes=4, folder=Path())
    >>> found.write(b"abcde"), found.refused
    (5, 'too_large')
    """

    def __init__(self, *, most_bytes: int, folder: Path) -> None:
        super().__init__()
        self._most, self._folder = most_bytes, folder
        self.size = 0
        self.refused = ""
        """Why it was not kept: too_large, or disk_full."""
        self.spilled: BinaryIO | None = None

    def write(self, piece: Any, /) -> int:
        """Add bytes."""
        self.size += len(piece)
        if self.size > self._most:
            self.drop("too_large")
        if self.refused:
            return len(piece)
        if self.spilled is None and self.size <= MEMORY_BYTES:
            return super().write(piece)
        try:
            if self.spilled is None:
                self.spilled = _nameless(self._folder)
                self.spilled.write(self.getbuffer())
                self.truncate(0)
            self.spilled.write(piece)
        except OSError:
            self.drop("disk_full")
        return len(piece)

    def drop(self, why: str) -> None:
        """Keep nothing of it."""
        self.refused = why
        self.truncate(0)
        if self.spilled is not None:
            self.spilled.close()
            self.spilled = None


def _nameless(folder: Path) -> BinaryIO:
    """A file that is gone when it is closed."""
    handle, name = tempfile.mkstemp(dir=folder)
    Path(name).unlink()
    return os.fdopen(handle, "w+b")


class Messages(DIMSEServiceProvider):
    """Puts the messages of an association together; data sets go where they may."""

    def __init__(self, association: Association, most_bytes: int, folder: Path) -> None:
        super().__init__(association)
        self._most, self._folder = most_bytes, folder

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take a part of a message."""
        if self.message is None:
            self.message = DIMSEMessage()
            self.message.data_set = DataSet(most_bytes=self._most, folder=self._folder)
        super().receive_primitive(primitive)


class Line(AssociationSocket):
    """A connection: read in one go, and no further than a unit may be long."""

    def __init__(self, association: Association, client_socket: socket.socket) -> None:
        super().__init__(association, client_socket=client_socket)
        self.opened = time.monotonic()

    def recv(self, nr_bytes: int) -> bytearray:
        """So many bytes, or fewer where the connection ends.

        Raises:
            OSError: the connection fails, or says nothing for too long.
        """
        if nr_bytes > PDU_BYTES or self.socket is None:
            raise OSError("a unit is longer than was agreed on")
        found = bytearray(nr_bytes)
        with memoryview(found) as rest:
            got = 0
            while got < nr_bytes:
                more = self.socket.recv_into(rest[got:])
                if not more:
                    break
                got += more
        if got == 0 and nr_bytes:
            self.forget()
        del found[got:]
        return found

    def _shutdown_socket(self) -> None:
        """End the connection; pynetdicom leaves it open where the peer was faster."""
        line = self.socket
        if line is not None:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
            line.close()

    def forget(self) -> None:
        """Wake who waits for the first word: none will come."""
        if self.assoc.requestor.primitive is None:
            cast(Queue[Any], self.assoc.dul.to_user_queue).put(None)

    def cut(self) -> None:
        """End the connection without a word."""
        self.forget()
        if self.socket is not None:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)


def address_of(association: Association) -> str:
    """Of the peer."""
    found = association.requestor.address_info
    return "" if found is None else found.address


class Request(RequestHandler):
    """Makes an association of a connection."""

    server: Server

    def _create_association(self) -> Association:
        found = Association(self.ae, "acceptor")
        found._server = self.server
        found.name = f"AcceptorThread@{self.client_address[1]}"
        found.set_socket(Line(found, cast(socket.socket, self.request)))
        found.dimse = Messages(found, self.server.most_bytes, self.server.folder)
        found.acceptor.maximum_length = self.ae.maximum_pdu_size
        found.acceptor.ae_title = self.server.ae_title
        found.acceptor.address_info = self.local
        found.acceptor.implementation_class_uid = self.ae.implementation_class_uid
        found.acceptor.implementation_version_name = self.ae.implementation_version_name
        found.acceptor.supported_contexts = self.server.contexts
        found.requestor.address_info = self.remote
        for event, handlers in self.server._handlers.items():
            if isinstance(event, evt.InterventionEvent):
                found.bind(event, *handlers)
            else:
                for handler in cast(list[tuple[Callable[..., Any], list[Any] | None]], handlers):
                    found.bind(event, *handler)
        return found


class Server(ThreadedAssociationServer):
    """Accepts connections, few of them from strangers, and never waits for one."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(
        self,
        entity: AE,
        node: Node,
        contexts: list[PresentationContext],
        handlers: list[Any],
        *,
        tls: ssl.SSLContext | None,
        most_bytes: int,
        folder: Path,
    ) -> None:
        """Listen.

        Args:
            entity: pynetdicom's.
            node: the settings.
            contexts: services beside storage.
            handlers: of events.
            tls: how to shake hands.
            most_bytes: of one data set.
            folder: for data sets that are not kept in memory.
        """
        self.node, self.most_bytes, self.folder = node, most_bytes, folder
        self._shaking = threading.Semaphore(SPARE)
        super().__init__(entity, (node.host, node.port), node.ae_title, contexts, tls, handlers, Request)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether there is room for a connection; one that waited longest for its first word makes room."""
        known = self.node.knows(client_address[0])
        kind = [one for one in self.active_associations if self.node.knows(address_of(one)) == known]
        if len(kind) < (self.node.associations + SPARE if known else STRANGERS):
            return True
        silent = [one for one in kind if one.requestor.primitive is None and isinstance(one.dul.socket, Line)]
        if not known or not silent:
            return False
        cast(Line, min(silent, key=lambda one: cast(Line, one.dul.socket).opened).dul.socket).cut()
        return True

    def get_request(self) -> tuple[socket.socket, Any]:
        """A connection; hands are shaken by its own thread."""
        if self.socket is None:
            raise OSError("closed")
        found, address = self.socket.accept()
        found.settimeout(IDLE_S)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return found, address

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Shake hands where TLS is asked for, and begin."""
        if self.ssl_context is not None:
            if not self._shaking.acquire(blocking=False):
                self.shutdown_request(request)
                return
            try:
                request.settimeout(HELLO_S)
                request = self.ssl_context.wrap_socket(request, server_side=True)
                request.settimeout(IDLE_S)
            except (OSError, ssl.SSLError):
                self.shutdown_request(request)
                return
            finally:
                self._shaking.release()
        super().process_request_thread(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: pynetdicom would print it."""
