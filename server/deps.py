# SPDX-License-Identifier: Apache-2.0
"""What the routes ask for: the parts of the server, and who calls."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from clarivox.bundle import BundleInfo, catalogue
from clarivox.errors import BundleError, NotFoundError
from clarivox.server.audit import Audit
from clarivox.server.auth import Reader
from clarivox.server.blobs import Blobs
from clarivox.server.channels import Channels
from clarivox.server.dicom_store import DicomStore
from clarivox.server.job import FileRef, Job
from clarivox.server.ledger import Ledger
from clarivox.server.seal import Seal
from clarivox.server.settings import Settings
from clarivox.server.subscriptions import Subscriptions
from clarivox.server.watch import Watch
from clarivox.server.worklist import Worklist

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clarivox.server.fleet_handle import SupervisorHandle
    from clarivox.server.pacs.settings import Pacs
    from clarivox.server.pacs.web import DicomWeb


class Catalogue:
    """The bundles that can be asked for, by name; read at the start, and again on `refresh`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._by_name: Mapping[str, BundleInfo] = {}
        self.refresh()

    def refresh(self) -> None:
        """Look into the folders of bundles again, as after a training."""
        trained = self._settings.data_dir / "bundles"
        folders = [*self._settings.bundle_dirs, *([trained] if trained.is_dir() else [])]
        self._by_name = {info.name: info for info in catalogue(folders)}

    def find(self, name: str) -> BundleInfo:
        """A bundle by its name; a path names none, so that no request reaches outside the folders.

        Raises:
            NotFoundError: there is none.
        """
        if name not in self._by_name:
            raise NotFoundError(f"there is no bundle {name[:80]!r}; GET /v1/bundles lists them", code="no_such_bundle")
        return self._by_name[name]

    def known(self, name: str) -> BundleInfo:
        """A bundle that a job asks for.

        Raises:
            BundleError: there is none, code unknown_bundle.
        """
        if name not in self._by_name:
            raise BundleError(f"there is no bundle {name[:80]!r}; GET /v1/bundles lists them", code="unknown_bundle")
        return self._by_name[name]

    def all(self) -> list[BundleInfo]:
        """Every bundle, by name."""
        return list(self._by_name.values())


@dataclass
class Services:
    """The parts of a running server."""

    settings: Settings
    catalogue: Catalogue
    ledger: Ledger
    blobs: Blobs
    audit: Audit
    draining: threading.Event = field(default_factory=threading.Event)
    """Set when the server is to stop: new work is refused; what runs is followed and fetched until it has ended."""
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set when it stops: waiting requests return."""
    workers: SupervisorHandle | None = None
    opened: bool = False
    """Whether the ledger is open and what a crash left behind was cleared away."""
    watch: Watch = field(init=False)
    dicom: DicomStore = field(init=False)
    worklist: Worklist = field(init=False)
    channels: Channels = field(init=False)
    conversions: dict[tuple[str, str], FileRef] = field(default_factory=dict)
    """Results in other formats, by the SHA-256 of the result and the format."""
    pacs: Pacs | None = field(init=False, default=None)
    """What pacs.yaml says, where there is one."""
    archive: DicomWeb | None = field(init=False, default=None)
    """The PACS that is asked by DICOMweb."""

    def __post_init__(self) -> None:
        if self.settings.pacs is not None:
            from clarivox.server.pacs.settings import read

            self.pacs = read(self.settings.pacs)
            self.archive = self.pacs.web() if self.pacs.dicomweb is not None else None
        self.watch = Watch(self.ledger, self.stopping.is_set)
        self.dicom = DicomStore(self.ledger, self.blobs)
        self.worklist = Worklist(self.ledger, Seal(self.settings.data_dir))
        self.channels = Channels(Subscriptions(self.worklist), self.stopping.is_set)


def services(request: Request) -> Services:
    """The parts of the server that a request runs in."""
    found: Services = request.app.state.services
    return found


Parts = Annotated[Services, Depends(services)]
"""A parameter of a route: `def route(parts: Parts)`."""


def owned(job_id: str, parts: Parts, caller: Reader) -> Job:
    """The job of a path, if the caller may see it.

    Raises:
        NotFoundError: there is none, or it is another's.
    """
    return parts.ledger.get(job_id, caller.sees)


Owned = Annotated[Job, Depends(owned)]
"""A parameter of a route below a job."""
