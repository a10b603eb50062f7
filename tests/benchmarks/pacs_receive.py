# SPDX-License-Identifier: Apache-2.0
"""How many CT slices a second the DICOM node takes, with one association and with four, beside dcmtk's storescp.

    python -m tests.benchmarks.pacs_receive [--slices N] [--json FILE]

Slices of 512x512, 16 bits, sent by dcmtk's storescu. Ours says success when file and row are on the disk; storescp
when it has written the file, which the system may lose: what that costs is measured here too, as the waits alone.
"""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

from clarivox.server.ledger import Ledger
from clarivox.server.pacs.inbox import Arrived, Inbox, inbox_folder
from clarivox.server.pacs.receiver import Receiver
from clarivox.server.settings import Settings
from tests.benchmarks.measure import gate, options, report
from tests.nodes import listening, series

AT_LEAST = 100.0
"""Slices a second in all that the node is to take."""
AT_ONCE = (1, 4)


def main() -> int:
    """Measure, print, and compare."""
    parser = options(__doc__)
    parser.add_argument("--slices", type=int, default=400, help="sent in each run")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--untimed", action="store_true", help="set no limit to the rate")
    wanted = parser.parse_args()
    missing = [name for name in ("storescu", "storescp") if shutil.which(name) is None]
    if missing:
        print(f"not measured: {' and '.join(missing)} of dcmtk not found")
        return 1
    best: dict[tuple[str, int], dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        folders = {at_once: sources(place, wanted.slices, at_once) for at_once in AT_ONCE}
        for turn in range(wanted.repeats):
            for at_once in AT_ONCE:
                for name, run in (("clarivox", ours), ("storescp", theirs)):
                    row = run(place / f"{name}-{turn}-{at_once}", folders[at_once])
                    key = (name, at_once)
                    if key not in best or row["slices_a_s"] > best[key]["slices_a_s"]:
                        best[key] = {"peer": name, "associations": at_once, **row}
        waits = disk(place / "disk") | together(place / "rows")
    found = max(best["clarivox", at_once]["slices_a_s"] for at_once in AT_ONCE)
    least = None if wanted.untimed else AT_LEAST
    gates = [gate("CT slices a second in all", found, at_least=least, unit="a second")]
    for name, wait in waits.items():
        print(f"{name}: {wait:.2f} ms")
    return report("pacs_receive", list(best.values()), gates, wanted.json, more={"disk_ms": waits})


def sources(place: Path, slices: int, at_once: int) -> list[Path]:
    """A folder for each association; no instance is in two."""
    made = []
    for number in range(at_once):
        folder = place / f"source-{at_once}-{number}"
        series(folder, slices // at_once, size=512, seed=f"{at_once}-{number}")
        made.append(folder)
    return made


def ours(place: Path, folders: list[Path]) -> dict[str, Any]:
    """Slices a second of the node."""
    with listening(place) as node:
        watched = psutil.Process(node.process.pid)
        found = sent(folders, node.port, "CLARIVOX", lambda: cpu_s(watched))
        with sqlite3.connect(place / "ledger.sqlite") as rows:
            count = "SELECT count(*), count(DISTINCT received) FROM pacs_instance"
            kept, transactions = rows.execute(count).fetchone()
    if kept != sum(len(list(folder.iterdir())) for folder in folders):
        raise RuntimeError(f"only {kept} instances were kept")
    shutil.rmtree(place)
    return found | {"slices_a_transaction": kept / transactions}


def theirs(place: Path, folders: list[Path]) -> dict[str, Any]:
    """Slices a second of storescp, a process for each association."""
    place.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with ExitStack() as stack:
        process = stack.enter_context(
            subprocess.Popen(["storescp", "--fork", "-pdu", "131072", "-od", str(place), str(port)])
        )
        stack.callback(process.terminate)
        until = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)
        found = sent(folders, port, "STORESCP", lambda: 0.0)
    shutil.rmtree(place)
    return found


def sent(folders: list[Path], port: int, called: str, cpu: Callable[[], float]) -> dict[str, Any]:
    """Send each folder by an association of its own."""
    command = ["storescu", "-q", "-aet", "TEST", "-aec", called, "-pdu", "131072", "+sd", "127.0.0.1", str(port)]
    cpu_before, began = cpu(), time.perf_counter()
    senders = [subprocess.Popen([*command, str(folder)]) for folder in folders]
    failed = [one.wait() for one in senders]
    wall_s = time.perf_counter() - began
    if any(failed):
        raise RuntimeError(f"storescu failed: {failed}")
    count = sum(len(list(folder.iterdir())) for folder in folders)
    took = (cpu() - cpu_before) / count * 1e3
    return {"slices_a_s": count / wall_s, "wall_s": wall_s, "cpu_ms_each": took or float("nan")}


def cpu_s(process: psutil.Process) -> float:
    """User and system time."""
    times = process.cpu_times()
    return float(times.user + times.system)


def disk(place: Path) -> dict[str, float]:
    """What waiting for the disk takes, in milliseconds: the median of a slice's file, and of a row's transaction."""
    place.mkdir()
    data = os.urandom(512 * 512 * 2 + 2000)

    def file(number: int) -> None:
        with (place / str(number)).open("xb", buffering=0) as opened:
            opened.write(data)
            os.fsync(opened.fileno())

    rows = sqlite3.connect(place / "rows.sqlite", isolation_level=None)
    rows.execute("PRAGMA journal_mode=TRUNCATE")
    rows.execute("PRAGMA synchronous=FULL")
    rows.execute("CREATE TABLE rows (number INTEGER, text TEXT)")

    def row(number: int) -> None:
        rows.execute("INSERT INTO rows VALUES (?, ?)", (number, "x" * 200))

    found = {}
    for name, call in (("fsync of a slice's file", file), ("transaction of SQLite", row)):
        took = []
        for number in range(50):
            began = time.perf_counter()
            call(number)
            took.append(time.perf_counter() - began)
        found[name] = sorted(took)[len(took) // 2] * 1e3
    rows.close()
    return found


def together(place: Path) -> dict[str, float]:
    """Milliseconds for each row where so many threads note theirs at one time, and share transactions."""
    settings = Settings(data_dir=place)
    place.mkdir()
    ledger = Ledger(settings.ledger_url, settings=settings)
    ledger.open()
    receiver = Receiver(Inbox(ledger.database, inbox_folder(place)), watermark_bytes=0)
    found = {}
    for threads in (1, 4, 16):
        rows = [
            Arrived("study", f"series {threads}", f"{number}", f"{threads}-{number}", 1, "0" * 64)
            for number in range(160)
        ]
        began = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(receiver.note, rows))
        found[f"row, {threads} at a time"] = (time.perf_counter() - began) / len(rows) * 1e3
    ledger.close()
    return found


if __name__ == "__main__":
    raise SystemExit(main())
