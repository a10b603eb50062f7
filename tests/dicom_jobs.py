# SPDX-License-Identifier: Apache-2.0
"""A server with DICOM series as finished jobs, without workers: what DICOMweb serves."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from clarivox.io.dicom_index import Source, write_index
from clarivox.server.blobs import Blobs
from clarivox.server.deps import Services
from clarivox.server.dicom_store import record
from clarivox.server.job import FileRef, Job, NewJob, Outcome, Role, State
from clarivox.server.ledger import Ledger
from clarivox.server.main import create_app
from clarivox.server.settings import Settings


def published(
    ledger: Ledger, blobs: Blobs, files: Sequence[Path], results: Sequence[Path] = (), owner: str = "local"
) -> Job:
    """A finished job with these inputs and results, and the index of both; no other job may be in the queue."""

    def stored(path: Path, role: Role) -> FileRef:
        sha256, size = blobs.put_file(path)
        return FileRef(role, sha256, size, "application/dicom", "input")

    inputs = [stored(path, Role.INPUT) for path in files]
    job, _ = ledger.submit(NewJob(owner=owner, inputs=tuple(inputs), bundle="identity"))
    claimed = ledger.claim("worker")
    assert claimed is not None and claimed.id == job.id
    made = [stored(path, Role.RESULT) for path in results]
    index = blobs.temporary / "test-index"
    sources = [Source(file.sha256, blobs.path(file.sha256)) for file in (*inputs, *made)]
    if write_index(sources, index):
        sha256, size = blobs.put_file(index)
        record(ledger, job.id, sha256, index, [source.sha256 for source in sources])
        made.append(FileRef(Role.INDEX, sha256, size, "application/octet-stream", "index.bin"))
    index.unlink(missing_ok=True)
    assert ledger.finish(claimed.id, claimed.attempt, Outcome(State.SUCCEEDED, tuple(made)))
    return ledger.get(job.id)


@dataclass
class Running:
    """A server in a thread of this process."""

    url: str
    parts: Services
    folder: Path

    def publish(self, files: Sequence[Path], results: Sequence[Path] = (), owner: str = "local") -> Job:
        """See `published`."""
        return published(self.parts.ledger, self.parts.blobs, files, results, owner)


@contextmanager
def running(folder: Path, **settings: object) -> Iterator[Running]:
    """A server on a free port."""
    app = create_app(Settings(data_dir=folder / "data", disk_watermark_bytes=0, **settings), workers=False)  # type: ignore[arg-type]
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False, ws="websockets-sansio"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Running(f"http://127.0.0.1:{port}", app.state.services, folder)
    finally:
        server.should_exit = True
        thread.join(10)
