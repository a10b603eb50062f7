# SPDX-License-Identifier: Apache-2.0
"""Results on their way to a destination: STOW-RS or C-STORE, with every answer looked at, instance by instance."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clarivox.errors import BusyError, ClarivoxError
from clarivox.io.dicom_header import read_header
from clarivox.io.dicom_values import text
from clarivox.io.limits import Limits
from clarivox.server.pacs.scu import Commitments, Peer
from clarivox.server.pacs.settings import Destination, Dimse
from clarivox.server.pacs.web import BATCH, DicomWeb

DUPLICATE = 0x0111
"""The destination has this instance already."""
WARNINGS = frozenset({0xB000, 0xB006, 0xB007})
"""Stored, though with elements changed, left out, or not as its class has them."""
NOTED = 25
"""Instances that are sent before what was taken is noted."""


@dataclass(frozen=True)
class Result:
    """One instance of a result."""

    path: Path
    sop: str
    sop_class: str
    syntax: str


@dataclass(frozen=True)
class Sent:
    """What came of some instances."""

    accepted: tuple[str, ...]
    """SOPInstanceUIDs."""
    refused: dict[str, int]
    """SOPInstanceUID: status of DIMSE, or reason of STOW-RS; 0 where nothing was said of it."""

    @property
    def code(self) -> str:
        """Why not all were accepted, as one short word for the list of dead letters."""
        statuses = sorted({status for status in self.refused.values() if status})
        return f"refused_{statuses[0]:04x}" if statuses else "not_stored"


Accepted = Callable[[Sequence[str]], None]


def results_of(folder: Path, limits: Limits) -> list[Result]:
    """The instances of an unpacked result.

    Raises:
        InputError: one is damaged.
    """
    found = []
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        header = read_header(path, limits)
        sop, sop_class = text(header.dataset, "SOPInstanceUID"), text(header.dataset, "SOPClassUID")
        found.append(Result(path, sop, sop_class, header.syntax))
    return found


class Sender:
    """Brings instances to one destination.

    Args:
        destination: as pacs.yaml has it.
        name: what pacs.yaml calls it.
    """

    def __init__(self, destination: Destination, name: str) -> None:
        self.destination, self.name = destination, name
        dimse = destination.dimse
        self._commitments = Commitments(dimse) if dimse is not None and dimse.commitment else None

    def send(self, results: Sequence[Result], accepted: Accepted) -> Sent:
        """Send instances; `accepted` is called with those that were taken, now and then.

        Raises:
            ClarivoxError: the destination does not answer, or lets nobody in.
        """
        if self.destination.dimse is not None:
            return by_dimse(self.destination.dimse, results, accepted)
        web = self.destination.dicomweb
        if web is None:
            raise ClarivoxError(f"destination {self.name} has no address")
        return by_web(web.client(), results, accepted)

    def uncommitted(self, results: Sequence[Result], stopping: threading.Event) -> list[str]:
        """Those that the destination does not promise to keep; none where it is not asked to.

        Raises:
            BusyError: it does not say in time, code not_committed.
        """
        if self._commitments is None:
            return []
        return self._commitments.failed([(one.sop_class, one.sop) for one in results], stopping)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the answers on storage commitment while this lasts, where some are to come.

        Raises:
            OptionError: the port of the answers is taken.
        """
        if self._commitments is None:
            yield
            return
        with self._commitments.listening():
            yield

    def check(self) -> None:
        """Ask whether the destination answers.

        Raises:
            ClarivoxError: it does not, or does not let us in.
        """
        if self.destination.dimse is not None:
            Peer(self.destination.dimse).echo()
        elif self.destination.dicomweb is not None:
            self.destination.dicomweb.client().search("studies", limit=1)


def by_web(web: DicomWeb, results: Sequence[Result], accepted: Accepted) -> Sent:
    """Store by STOW-RS, some at a time."""
    taken: list[str] = []
    refused: dict[str, int] = {}
    for first in range(0, len(results), BATCH):
        batch = results[first : first + BATCH]
        said = web.store([one.path for one in batch])
        there = {*said.stored, *(sop for sop, reason in said.refused.items() if reason == DUPLICATE)}
        good = [one.sop for one in batch if one.sop in there]
        accepted(good)
        taken += good
        refused |= {one.sop: said.refused.get(one.sop, 0) for one in batch if one.sop not in there}
    return Sent(tuple(taken), refused)


def by_dimse(dimse: Dimse, results: Sequence[Result], accepted: Accepted) -> Sent:
    """Store by C-STORE over one association.

    Raises:
        BusyError: the node does not answer, or the association broke before any instance was taken.
    """
    taken: list[str] = []
    refused: dict[str, int] = {}
    fresh: list[str] = []
    with Peer(dimse).association({(one.sop_class, one.syntax) for one in results}) as line:
        try:
            for one in results:
                status = line.store(one.path)
                if status is None:
                    raise BusyError("the node stopped answering; ask again", code="pacs_away")
                if status in (0, DUPLICATE) or status in WARNINGS:
                    taken.append(one.sop)
                    fresh.append(one.sop)
                else:
                    refused[one.sop] = status
                if len(fresh) >= NOTED:
                    accepted(fresh)
                    fresh = []
        finally:
            accepted(fresh)
    return Sent(tuple(taken), refused)
