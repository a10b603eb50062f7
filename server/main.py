# SPDX-License-Identifier: Apache-2.0
"""The application: its routes, and what starts and ends with it."""

from __future__ import annotations

import gc
import socket
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from importlib import import_module, resources
from types import FrameType

import uvicorn
from fastapi import APIRouter, FastAPI
from starlette.concurrency import run_in_threadpool

from clarivox import __version__
from clarivox.errors import CapacityError
from clarivox.server import logs, metrics, openapi, problems, telemetry
from clarivox.server.audit import Audit
from clarivox.server.auth import check_start, tls_options
from clarivox.server.blobs import Blobs
from clarivox.server.deps import Catalogue, Services
from clarivox.server.devices import devices
from clarivox.server.fleet_handle import start_supervisor
from clarivox.server.foreman import Foreman
from clarivox.server.heads import patient
from clarivox.server.keeper import Keeper
from clarivox.server.keys import Keys
from clarivox.server.label_parts import labels_of
from clarivox.server.ledger import Ledger
from clarivox.server.pacs.processes import start_processes
from clarivox.server.patience import Patience
from clarivox.server.protection import protect
from clarivox.server.settings import Settings
from clarivox.server.viewer_files import folder_of


def routers(settings: Settings, *, archive: bool = False) -> Iterator[APIRouter]:
    """The routers that the settings ask for; each module has one named `router`.

    Args:
        settings: of the server.
        archive: whether a PACS stands behind /dicom-web, in place of the server's own store.

    A line per module; owners add theirs here.
    """
    modules = [
        "clarivox.server.routes.pages",
        "clarivox.server.routes.reference",
        "clarivox.server.routes.health",
        "clarivox.server.routes.metrics",
        "clarivox.server.routes.admin",
        "clarivox.server.routes.jobs",
        "clarivox.server.routes.results",
        "clarivox.server.routes.deliveries",
        "clarivox.server.routes.enhance",
        "clarivox.server.routes.blobs",
        "clarivox.server.routes.bundles",
    ]
    if settings.monai_label:
        named = ("info", "infer", "image", "label", "session", "sample", "tasks", "model", "logs", "auth", "proxy")
        modules += [f"clarivox.server.routes.monailabel_{name}" for name in named]
    if settings.dicom_web:
        images = ("dicomweb_pacs",) if archive else ("dicomweb_search", "dicomweb")
        modules += [f"clarivox.server.routes.{name}" for name in (*images, "workitems", "workitem_events")]
    for module in modules:
        yield import_module(module).router
    if settings.viewer:
        folder_of(settings)  # refuses to start without one
        yield import_module("clarivox.server.routes.viewer").router  # the last: it takes what no other route does
    else:
        yield import_module("clarivox.server.routes.pages").front


def start(parts: Services) -> None:
    """Open the ledger, bring it up to date, and clear away what a crash left behind."""
    parts.ledger.open()
    parts.ledger.tend(parts.blobs)
    parts.opened = True


def create_app(settings: Settings, *, workers: bool = True) -> FastAPI:
    """The application for some settings.

    Args:
        settings: how the server is set up.
        workers: start the supervisor of the workers with it; tests of routes do without.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if not parts.opened:
            await run_in_threadpool(start, parts)
        await run_in_threadpool(app.state.figures.begin)
        keeper = Keeper(parts.ledger, parts.blobs)
        keeper.start()
        foreman = Foreman(labels_of(parts)) if settings.monai_label else None
        if foreman is not None:
            foreman.start()
        parts.audit.application("start")
        parts.workers = start_supervisor(settings) if workers else None
        processes = start_processes(settings, logs.log.info) if workers else None
        try:
            yield
        finally:
            parts.draining.set()
            parts.stopping.set()
            await parts.watch.close()
            await parts.channels.close()
            if processes is not None:
                await run_in_threadpool(processes.stop)
            if parts.workers is not None:
                await run_in_threadpool(parts.workers.stop)
            if foreman is not None:
                await run_in_threadpool(foreman.stop)
            await run_in_threadpool(keeper.stop)
            parts.ledger.close()
            with suppress(CapacityError):
                parts.audit.application("stop")
            parts.audit.close()
            await run_in_threadpool(telemetry.stop)

    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    ledger = Ledger(settings.ledger_url, settings=settings)
    blobs, audit = Blobs(settings.data_dir, settings), Audit(settings.data_dir)
    parts = Services(settings, Catalogue(settings), ledger, blobs, audit)
    app = FastAPI(
        title="clarivox",
        version=__version__,
        summary="Medical image enhancement: the geometry kept, every change shown.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry=telemetry.for_fastapi(settings),
        separate_input_output_schemas=False,
    )
    app.state.services = parts
    metrics.install(app, parts)
    protect(app, settings, Keys(ledger.database), parts.audit)
    app.add_middleware(Patience, idle_s=settings.idle_timeout_s, body_bytes=settings.body_bytes)
    problems.install(app)
    openapi.describe(app)
    for router in routers(settings, archive=parts.archive is not None):
        app.include_router(router)
    return app


class Server(uvicorn.Server):
    """uvicorn, but it answers while the jobs at work end, so that they can be followed and fetched."""

    def __init__(self, config: uvicorn.Config, parts: Services) -> None:
        super().__init__(config)
        self._parts = parts

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains; a second one gives the jobs at work back to the queue; a third ends at once."""
        if not self._parts.draining.is_set():
            self._parts.draining.set()
            threading.Thread(target=self._drain, name="drain", daemon=True).start()
            return
        self.force_exit = self.should_exit
        if self._parts.workers is not None:
            self._parts.workers.hurry()

    def _drain(self) -> None:
        logs.log.info("stopping when the jobs at work have ended; a second signal gives them back to the queue")
        if self._parts.workers is not None:
            self._parts.workers.stop()
        self._parts.stopping.set()
        self.should_exit = True


def listening(settings: Settings) -> socket.socket:
    """A socket that listens as the settings say; port 0 takes a free one.

    Raises:
        OSError: the port is taken, or the address is not of this machine.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((settings.host, settings.port))
    sock.listen(2048)
    return sock


def serve(settings: Settings, *, ready: Callable[[str], None] = lambda url: None, workers: bool = True) -> None:
    """Serve until SIGTERM or SIGINT; running jobs end or go back to the queue before it returns.

    Args:
        settings: how the server is set up.
        ready: called with the address before the first request is taken.
        workers: start the supervisor of the workers with it.

    Raises:
        OptionError: the set-up would let anybody in by mistake, or names a device that is not here.
        ServiceError: the ledger is damaged, or its database does not answer.
        OSError: the port is taken, or the address is not of this machine.
    """
    to_know = check_start(settings)
    if workers and settings.devices != "auto":
        devices(settings)
    logs.configure(settings)
    for sentence in to_know:
        logs.log.warning(sentence)
    if settings.viewer and not (resources.files("clarivox.web") / "dist/assets/ohif.js").is_file():
        logs.log.warning("OHIF has no panel of clarivox: make web builds it; then install clarivox again")
    sock = listening(settings)
    scheme = "https" if settings.tls_certificate else "http"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    app = create_app(settings, workers=workers)
    start(app.state.services)
    tempfile.tempdir = str(settings.data_dir.resolve() / "tmp")  # where uploads are spooled
    tls = tls_options(settings)
    config = uvicorn.Config(
        app,
        http=patient(settings.idle_timeout_s),
        ws="websockets-sansio",
        ws_max_size=4096,
        log_config=None,
        access_log=False,
        server_header=False,
        ssl_certfile=tls.get("ssl_certfile"),
        ssl_keyfile=tls.get("ssl_keyfile"),
        timeout_keep_alive=65,
        timeout_graceful_shutdown=10,
    )
    ready(f"{scheme}://{host}:{sock.getsockname()[1]}")
    gc.freeze()  # what is loaded by now stays: a full collection that looked through it held answers up for 60 ms
    Server(config, app.state.services).run(sockets=[sock])
