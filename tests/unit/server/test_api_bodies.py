# SPDX-License-Identifier: Apache-2.0
"""How bodies come in: hashed and written in threads, refused when they stand still or do not end."""

import asyncio
import hashlib
import os
import random
import threading
import time
from pathlib import Path

import pytest
from starlette.exceptions import HTTPException

from clarivox.errors import CapacityError
from clarivox.server.blobs import Blobs
from clarivox.server.downloads import Warm
from clarivox.server.job import NewJob, State
from clarivox.server.ledger import Ledger
from clarivox.server.patience import Patience
from clarivox.server.pump import BATCH, HIGH, Pump
from clarivox.server.settings import Settings
from clarivox.server.watch import POLL_S, Watch


def test_a_pump_gives_every_sink_every_piece_in_order() -> None:
    pieces = [bytes([n % 256]) * (n * 7919 % 300_000) for n in range(60)]
    written, digest = bytearray(), hashlib.sha256()

    async def run() -> None:
        async with Pump(written.extend, digest.update) as pump:
            for piece in pieces:
                await pump.put(piece)

    asyncio.run(run())
    assert bytes(written) == b"".join(pieces)
    assert digest.hexdigest() == hashlib.sha256(written).hexdigest()


def test_a_pump_waits_for_its_slowest_sink() -> None:
    taken = 0

    def slow(piece: bytes) -> None:
        nonlocal taken
        time.sleep(0.001)
        taken += len(piece)

    async def run() -> None:
        given = 0
        async with Pump(slow, lambda piece: None) as pump:
            for _ in range(64):
                await pump.put(bytes(1 << 18))
                given += 1 << 18
                assert given - taken <= HIGH + BATCH

    asyncio.run(run())
    assert taken == 64 << 18


@pytest.mark.parametrize("after", [0, 3, 40])
def test_what_a_sink_raises_comes_out_and_no_thread_stays(after: int) -> None:
    count = 0

    def full(_: bytes) -> None:
        nonlocal count
        count += 1
        if count > after:
            raise CapacityError("full", code="disk_full")

    async def run() -> None:
        async with Pump(full, lambda piece: None) as pump:
            for _ in range(40):
                await pump.put(bytes(BATCH))
            await pump.put(b"last")

    with pytest.raises(CapacityError, match="full"):
        asyncio.run(run())
    assert not any(thread.name.startswith("pump") for thread in threading.enumerate())


def test_a_cancelled_pump_leaves_no_thread_with_a_file(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path, Settings(data_dir=tmp_path))

    async def upload() -> None:
        with blobs.writer() as writer:
            async with Pump(writer.hash, writer.store) as pump:
                while True:
                    await pump.put(bytes(1 << 16))
                    await asyncio.sleep(0)

    async def run() -> None:
        task = asyncio.create_task(upload())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert not list(blobs.temporary.iterdir())


@pytest.mark.parametrize("warm", [True, False], ids=["in memory", "on the disk"])
def test_a_file_is_read_whole_and_closed(tmp_path: Path, warm: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    content = random.Random(0).randbytes(700_001)
    (tmp_path / "file").write_bytes(content)
    if not warm:

        def cold(*_: object) -> int:
            raise BlockingIOError

        monkeypatch.setattr("os.preadv", cold)
    handle = os.open(tmp_path / "file", os.O_RDONLY)

    async def run() -> bytes:
        file, found = Warm(handle), bytearray()
        while piece := await file.read(1 << 18):
            found += piece
        await file.seek(700_000)
        assert await file.read(10) == content[-1:]
        file.close()
        return bytes(found)

    assert asyncio.run(run()) == content
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(handle)


def test_a_download_that_is_cancelled_closes_its_file_after_the_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(bytes(1000))
    handle = os.open(tmp_path / "file", os.O_RDONLY)
    closed: list[bool] = []

    def slow(given: int, size: int, offset: int) -> bytes:
        time.sleep(0.1)
        os.fstat(given)
        closed.append(False)
        return b""

    monkeypatch.setattr("os.pread", slow)

    async def run() -> None:
        file = Warm(handle)
        reading = asyncio.create_task(file.read(2000))
        await asyncio.sleep(0.02)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        file.close()
        await asyncio.sleep(0.2)

    asyncio.run(run())
    assert closed == [False]
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(handle)


def sent(messages: list[tuple[float, int]], idle_s: float, body_bytes: int, length: int = -1) -> int:
    """Bytes that an application hears of a body whose pieces come after so many seconds each."""
    heard = 0

    async def application(_scope, receive, _send) -> None:  # type: ignore[no-untyped-def]
        nonlocal heard
        more = True
        while more:
            message = await receive()
            heard += len(message.get("body", b""))
            more = message.get("more_body", False)

    coming = iter(messages)

    async def receive() -> dict[str, object]:
        wait, size = next(coming, (0.0, -1))
        await asyncio.sleep(wait)
        return {"type": "http.request", "body": bytes(max(size, 0)), "more_body": size >= 0}

    async def send(_: object) -> None: ...

    headers = [(b"content-length", str(length).encode())] if length >= 0 else []
    asyncio.run(Patience(application, idle_s, body_bytes)({"type": "http", "headers": headers}, receive, send))
    return heard


def test_a_steady_body_is_heard_whole() -> None:
    assert sent([(0.06, 1000)] * 10, idle_s=0.5, body_bytes=10_000) == 10_000


@pytest.mark.parametrize(
    ("messages", "length", "status"),
    [
        ([(0.0, 1000), (0.3, 1000)], -1, 408),
        ([(0.04, 1)] * 20, -1, 408),
        ([(0.0, 1000)] * 11, -1, 413),
        ([(0.0, 1000)], 10_001, 413),
    ],
    ids=["silence", "a trickle", "no end", "an announced end too far"],
)
def test_a_body_that_stands_still_or_does_not_end_is_refused(
    messages: list[tuple[float, int]], length: int, status: int
) -> None:
    with pytest.raises(HTTPException) as found:
        sent(messages, idle_s=0.1, body_bytes=10_000, length=length)
    assert found.value.status_code == status


def test_many_wait_with_one_query_a_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}", settings=Settings(data_dir=tmp_path))
    ledger.open()
    jobs = [ledger.submit(NewJob(owner="me", inputs=(), bundle="identity"))[0] for _ in range(20)]
    asked = 0

    async def run() -> list[bool]:
        watch = Watch(ledger, lambda: False)
        waits = [asyncio.create_task(watch.changed(job.id, job.seq, 60.0)) for job in jobs for _ in range(5)]
        await asyncio.sleep(4 * POLL_S)
        for job in jobs:
            ledger.cancel(job.id)
        found = await asyncio.gather(*waits)
        await watch.close()
        assert not watch._waiting
        return found

    def counted(*given: object) -> dict[str, int]:
        nonlocal asked
        asked += 1
        return real(*given)  # type: ignore[arg-type]

    from clarivox.server import watch as module

    real = module.seqs_of
    monkeypatch.setattr(module, "seqs_of", counted)
    assert asyncio.run(run()) == [True] * 100
    assert asked < 300, "one for all, not one for each of the hundred"
    assert ledger.get(jobs[0].id).state is State.CANCELLED
    ledger.close()


def test_who_waits_returns_when_the_server_stops(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}", settings=Settings(data_dir=tmp_path))
    ledger.open()
    job, _ = ledger.submit(NewJob(owner="me", inputs=(), bundle="identity"))
    stopping = threading.Event()

    async def run() -> State:
        watch = Watch(ledger, stopping.is_set)
        threading.Timer(0.1, stopping.set).start()
        found = await watch.ended(job, 3600.0)
        await watch.close()
        return found.state

    assert asyncio.run(run()) is State.QUEUED
    ledger.close()
