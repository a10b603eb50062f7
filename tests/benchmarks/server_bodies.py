# SPDX-License-Identifier: Apache-2.0
"""Large bodies on loopback: upload and download beside what the machine can do, and memory while many come at once.

    python -m tests.benchmarks.server_bodies --json out.json
    python -m tests.benchmarks.server_bodies --parallel-mb 50 --repeats 3

Upload of 268 MB, PUT /v1/blobs/{sha256}, beside the slowest of three of the same run: the bytes over a TCP connection,
their SHA-256, and a file that is written and made durable. Download beside Starlette's FileResponse, served by uvicorn
in a process of its own. All in turn, the best of some repeats. Memory is the proportional share (PSS) of API and
supervisor.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.benchmarks.measure import gate, options, report
from tests.benchmarks.server_latency import SETTINGS
from tests.served import Served, free_port, memory_mib, serving

CHUNK = 1 << 20
PEER = """
import sys, uvicorn
from starlette.applications import Starlette
from starlette.responses import FileResponse
from starlette.routing import Route
app = Starlette(routes=[Route("/file", lambda request: FileResponse(sys.argv[1]))])
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="critical")
"""


def content(size: int, seed: int) -> Iterator[bytes]:
    """Bytes that no other seed gives."""
    piece = random.Random(seed).randbytes(CHUNK)
    for start in range(0, size, CHUNK):
        yield (start.to_bytes(8, "little") + piece[8:])[: size - start]


def raw_tcp(data: bytes) -> None:
    """The bytes over a TCP connection to another process."""
    code = "import socket,sys\ns=socket.create_connection(('127.0.0.1',int(sys.argv[1])))\nb=bytearray(1<<20)\n"
    code += "while s.recv_into(b): pass\ns.close()"
    with socket.create_server(("127.0.0.1", 0)) as server:
        reader = subprocess.Popen([sys.executable, "-c", code, str(server.getsockname()[1])])
        connection, _ = server.accept()
        started = time.perf_counter()
        with connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)
        raw_tcp.seconds = time.perf_counter() - started  # type: ignore[attr-defined]
        reader.wait()


def seconds(call: Callable[[], object]) -> float:
    """Wall time of a call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def tcp_s(data: bytes) -> float:
    """Seconds of the bytes over TCP, without the start of the other process."""
    raw_tcp(data)
    return float(raw_tcp.seconds)  # type: ignore[attr-defined]


def file_s(data: bytes, folder: Path) -> float:
    """Seconds to write a file and make it durable."""
    path = folder / "written"

    def write() -> None:
        with path.open("wb", buffering=0) as file:
            for start in range(0, len(data), CHUNK):
                file.write(memoryview(data)[start : start + CHUNK])
            os.fsync(file.fileno())

    took = seconds(write)
    path.unlink()
    return took


def upload_s(server: Served, data: bytes) -> float:
    """Seconds of an upload of new bytes, until it is answered."""
    digest = hashlib.sha256(data).hexdigest()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120, blocksize=CHUNK)
    connection.connect()
    started = time.perf_counter()
    connection.request("PUT", f"/v1/blobs/{digest}", data)
    answer = connection.getresponse()
    answer.read()
    took = time.perf_counter() - started
    connection.close()
    if answer.status != 201:  # 200 would say that the bytes were there, and were not looked at
        raise RuntimeError(f"the upload was answered {answer.status}")
    return took


def download_s(port: int, path: str, size: int) -> float:
    """Seconds of a download, read into one buffer."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        buffer, found = bytearray(CHUNK), 0
        started = time.perf_counter()
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        while got := connection.recv_into(buffer):
            found += got
        took = time.perf_counter() - started
    if found < size:
        raise RuntimeError(f"a download gave {found} bytes of {size}")
    return took


def stored_result(data: Path, size: int) -> tuple[str, Path]:
    """Before a server starts on the folder: a job that ended with a large result; its id, and the file."""
    from clarivox.server.blobs import Blobs
    from clarivox.server.job import FileRef, NewJob, Outcome, State
    from clarivox.server.ledger import Ledger
    from clarivox.server.settings import Settings

    settings = Settings(data_dir=data, disk_watermark_bytes=0)
    blobs = Blobs(data, settings)
    with blobs.writer() as writer:
        for piece in content(size, 1 << 30):
            writer.write(piece)
        sha256, count = writer.commit()
    file = FileRef("result", sha256, count, "application/octet-stream", "result.bin")
    ledger = Ledger(settings.ledger_url, settings=settings)
    ledger.open()
    job, _ = ledger.submit(NewJob(owner="local", inputs=(), bundle="identity"))
    running = ledger.claim("stand-in")
    if running is None or not ledger.finish(job.id, running.attempt, Outcome(State.SUCCEEDED, results=(file,))):
        raise RuntimeError("the job could not be prepared")
    ledger.close()
    return job.id, blobs.path(sha256)


def bodies(server: Served, folder: Path, size: int, repeats: int, job: str, file: Path) -> list[dict[str, Any]]:
    """Rows of upload and download beside their peers."""
    found: dict[str, list[float]] = {}
    port = free_port()
    for turn in range(repeats):
        data = b"".join(content(size, turn))
        note = {"raw TCP": tcp_s(data), "SHA-256": seconds(lambda given=data: hashlib.sha256(given))}  # type: ignore[misc]
        note |= {"file write and fsync": file_s(data, folder), "upload": upload_s(server, data)}
        for name, took in note.items():
            found.setdefault(name, []).append(took)
    peer = subprocess.Popen([sys.executable, "-c", PEER, str(file), str(port)])
    try:
        _listening(port)
        for _ in range(repeats + 1):
            found.setdefault("FileResponse", []).append(download_s(port, "/file", size))
            found.setdefault("download", []).append(download_s(server.port, f"/v1/jobs/{job}/result", size))
    finally:
        peer.kill()
        peer.wait()
    return [
        {"what": name, "best s": min(values), "MB/s": size / 1e6 / min(values), "runs": len(values)}
        for name, values in found.items()
    ]


def _listening(port: int) -> None:
    for _ in range(500):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)


def sent_by_stream(port: int, size: int, seed: int, problems: list[str]) -> None:
    """One upload of many, made as it is sent."""
    digest = hashlib.sha256()
    for piece in content(size, seed):
        digest.update(piece)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    head = {"Content-Length": str(size)}
    try:
        connection.request("PUT", f"/v1/blobs/{digest.hexdigest()}", content(size, seed), head)
        answer = connection.getresponse()
        answer.read()
        if answer.status not in (200, 201, 204):
            problems.append(f"answered {answer.status}")
    except OSError as broken:
        problems.append(str(broken))
    finally:
        connection.close()


def parallel(server: Served, count: int, size: int) -> tuple[float, list[str]]:
    """Most memory of API and supervisor while so many uploads run, and what went wrong."""
    problems: list[str] = []
    clients = [
        threading.Thread(target=sent_by_stream, args=(server.port, size, 1000 + number, problems))
        for number in range(count)
    ]
    for one in clients:
        one.start()
    most = 0.0
    while any(one.is_alive() for one in clients):
        tree = server.tree()
        most = max(most, memory_mib(tree["api"] + tree["supervisor"]))
        time.sleep(0.25)
    return most, problems


def main() -> int:
    """Measure, print, and give the exit code."""
    parser = options(__doc__)
    parser.add_argument("--size", type=int, default=268_435_456, help="bytes of one body")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--uploads", type=int, default=20, help="at once")
    parser.add_argument("--parallel-mb", type=int, default=1000, help="MB of each of those")
    parser.add_argument("--slack", type=float, default=1.0, help="divides the limit of the upload, for shared machines")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "data").mkdir()
        job, file = stored_result(Path(name) / "data", arguments.size)
        with serving(Path(name), **SETTINGS) as server:
            rows = bodies(server, Path(name), arguments.size, arguments.repeats, job, file)
            most, problems = parallel(server, arguments.uploads, arguments.parallel_mb * 1_000_000)
    rate = {row["what"]: row["MB/s"] for row in rows}
    slowest = min(rate["raw TCP"], rate["SHA-256"], rate["file write and fsync"])
    rows.append({"what": f"API and supervisor, {arguments.uploads} uploads of {arguments.parallel_mb} MB at once"})
    rows[-1]["MiB"] = most
    for words in problems:
        print(words)
    gates = [
        gate(
            "upload, over the slowest of its parts",
            rate["upload"] / slowest,
            at_least=0.7 / arguments.slack,
            unit="times",
        ),
        gate("download, over FileResponse", rate["download"] / rate["FileResponse"], at_least=2, unit="times"),
        gate("API and supervisor during parallel uploads", most, at_most=250, unit="MiB"),
        gate("uploads that failed", len(problems), at_most=0, unit="uploads"),
    ]
    return report("large bodies", rows, gates, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
