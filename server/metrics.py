# SPDX-License-Identifier: Apache-2.0
"""What a collector of metrics is told. Labels hold words of ours alone: no name, no path, no identifier."""

from __future__ import annotations

import bisect
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from clarivox.server.gate import App, Message
from clarivox.server.job import ENDED, Event, State
from clarivox.server.pacs.standing import SILENT_S, pacs_standing
from clarivox.server.tables import job, job_event

if TYPE_CHECKING:
    from fastapi import FastAPI
    from prometheus_client.core import Metric

    from clarivox.server.deps import Services

HTTP_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
STAGE_S = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OPEN_JOBS = 10_000
"""Jobs whose stages are followed at a time; more are counted, but not timed."""


class Histogram:
    """Counts of durations by labels.

    >>> seen = Histogram((0.1, 1.0))
    >>> seen.observe(("GET",), 0.5)
    >>> seen.rows()
    [(('GET',), [('0.1', 0), ('1.0', 1), ('+Inf', 1)], 0.5)]
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds, self._rows, self._lock = bounds, dict[tuple[str, ...], list[float]](), threading.Lock()

    def observe(self, labels: tuple[str, ...], seconds: float) -> None:
        """Count one."""
        with self._lock:
            row = self._rows.setdefault(labels, [0.0] * (len(self._bounds) + 2))
            row[bisect.bisect_left(self._bounds, seconds)] += 1
            row[-1] += seconds

    def rows(self) -> list[tuple[tuple[str, ...], list[tuple[str, int]], float]]:
        """Labels, the numbers up to each bound, and the sum."""
        told = []
        with self._lock:
            for labels, row in self._rows.items():
                total, buckets = 0, []
                for bound, number in zip((*map(str, self._bounds), "+Inf"), row[:-1], strict=True):
                    total += int(number)
                    buckets.append((bound, total))
                told.append((labels, buckets, row[-1]))
        return told


class Timed:
    """An ASGI layer that measures how long a request waits for the first byte of its answer."""

    def __init__(self, app: App, latencies: Histogram) -> None:
        self.app, self.latencies = app, latencies

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.monotonic()
        # A request that asks to be held until a job changes says nothing of how fast the server is.
        held = b"wait" in scope.get("query_string", b"") or any(name == b"prefer" for name, _ in scope["headers"])

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start" and not held:
                route = str(getattr(scope.get("route"), "path", "")) or "none"
                method = scope["method"] if scope["method"] in METHODS else "other"
                kind = f"{message['status'] // 100}xx"
                self.latencies.observe((method, route, kind), time.monotonic() - began)
            await send(message)

        await self.app(scope, receive, watched)


class Stages:
    """Follows the events of the ledger: how long jobs wait, how long each stage takes, how they end."""

    def __init__(self) -> None:
        self.seconds = Histogram(STAGE_S)
        self.ended: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()
        self.requeued = 0
        self.seen = 0
        self._open: dict[str, tuple[str, float]] = {}

    def take(self, events: Sequence[Event]) -> None:
        """Count events, in their order."""
        for event in events:
            self.seen = event.seq
            if event.type in ("created", "started", "requeued", "stage") or event.type in ENDED:
                stage, since = self._open.pop(event.job_id, ("", 0.0))
                if stage:
                    self.seconds.observe((stage,), max(0.0, event.at - since))
            if event.type in ("created", "requeued", "stage") and len(self._open) < OPEN_JOBS:
                stage = str(event.data.get("stage") or "work") if event.type == "stage" else "wait"
                self._open[event.job_id] = (stage, event.at)
            self.requeued += event.type == "requeued"
            if event.type in ENDED:
                self.ended[event.type] += 1
            if event.type == State.FAILED:
                self.codes[str(event.data.get("code") or "unknown")] += 1


class Figures:
    """All that `/metrics` says, gathered when it is asked for."""

    def __init__(self, parts: Services, latencies: Histogram) -> None:
        self._parts, self._latencies, self._stages = parts, latencies, Stages()
        self._lock = threading.Lock()

    def text(self) -> bytes:
        """In Prometheus' text format.

        Raises:
            BusyError: the database does not answer.
        """
        from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

        registry = CollectorRegistry()
        with self._lock:
            self._follow()
            registry.register(self)
            ProcessCollector(registry=registry)
            return generate_latest(registry)

    def begin(self) -> None:
        """Count from now on; what was before is told by no counter, as Prometheus expects."""
        with self._parts.ledger.database.read() as connection:
            self._stages.seen = int(connection.scalar(select(func.max(job_event.c.seq))) or 0)

    def _follow(self) -> None:
        ledger = self._parts.ledger
        while events := ledger.events(after=self._stages.seen):
            self._stages.take(events)

    def collect(self) -> Iterator[Metric]:
        """Each family of metrics."""
        yield from self._of_jobs()
        yield from self._of_workers()
        yield from self._of_pacs()
        parts = self._parts
        disk = {"free": parts.blobs.free(), "used": parts.blobs.used(), "quota": parts.settings.blob_quota_bytes}
        disk["watermark"] = parts.settings.disk_watermark_bytes
        yield _gauge("disk_bytes", "Bytes for files of jobs.", ("kind",), {(kind,): n for kind, n in disk.items()})
        yield _gauge("draining", "Whether the server is stopping.", (), {(): float(parts.draining.is_set())})
        yield _histogram("http_wait_seconds", "Until the first byte of the answer.",
                         ("method", "route", "status"), self._latencies)  # fmt: skip

    def _of_jobs(self) -> Iterator[Metric]:
        ledger, stages = self._parts.ledger, self._stages
        with ledger.database.read() as connection:
            oldest = connection.scalar(select(func.min(job.c.created)).where(job.c.state == State.QUEUED.value))
            age_s = 0.0 if oldest is None else max(0.0, ledger.database.now(connection) - oldest)
        counts = {(state.value,): float(number) for state, number in ledger.counts().items()}
        yield _gauge("jobs", "Jobs that are known, by state.", ("state",), counts)
        yield _gauge("queue_age_seconds", "How long the oldest job of the queue has been there.", (), {(): age_s})
        ended = {(state.value,): float(stages.ended[state.value]) for state in sorted(ENDED)}
        yield _counter("jobs_ended", "Jobs that ended since the start, by state.", ("state",), ended)
        codes = {(code,): float(number) for code, number in stages.codes.items()}
        yield _counter("jobs_failed", "Jobs that failed since the start, by the error's code.", ("code",), codes)
        requeued = {(): float(stages.requeued)}
        yield _counter("jobs_requeued", "Jobs that went back to the queue since the start.", (), requeued)
        yield _histogram("stage_seconds", "How long a stage of a job took.", ("stage",), stages.seconds)

    def _of_pacs(self) -> Iterator[Metric]:
        found = pacs_standing(self._parts.ledger.database, self._parts.settings.data_dir)
        series = {(state,): float(number) for state, number in found.series.items()}
        yield _gauge("pacs_series", "Series that came in from the PACS, by state.", ("state",), series)
        letters = {(state,): float(number) for state, number in found.deliveries.items()}
        yield _gauge("pacs_deliveries", "Deliveries to the PACS, by state.", ("state",), letters)
        wrong = {(): float(bool(found.rules_error))}
        yield _gauge("pacs_rules_wrong", "Whether rules.yaml as it is has no effect.", (), wrong)
        silent = {(): float(found.silent_s is not None and found.silent_s > SILENT_S)}
        yield _gauge("pacs_courier_silent", "Whether a courier ran here and is not heard.", (), silent)

    def _of_workers(self) -> Iterator[Metric]:
        now, states, memory = time.time(), Counter[tuple[str, ...]](), dict[tuple[str, ...], float]()
        for row in self._parts.ledger.workers():
            lost = now - row.heartbeat > self._parts.settings.lease_s
            states[row.host, row.device, "dead" if lost else row.state] += 1
            if not lost:
                for kind, number in row.memory.items():
                    place = (row.host, row.device, kind)
                    memory[place] = memory.get(place, 0.0) + number
        yield _gauge("workers", "Worker processes by device and state.", ("host", "device", "state"), states)
        yield _gauge("worker_memory_bytes", "Memory of workers and devices.", ("host", "device", "kind"), memory)


def install(app: FastAPI, parts: Services) -> None:
    """Measure an application's answers, and let its routes find the figures at `app.state.figures`."""
    latencies = Histogram(HTTP_S)
    app.state.figures = Figures(parts, latencies)
    app.add_middleware(Timed, latencies=latencies)


def _gauge(name: str, says: str, labels: Sequence[str], rows: Any) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(f"clarivox_{name}", says, labels=labels)
    for values, number in rows.items():
        family.add_metric(values, number)
    return family


def _counter(name: str, says: str, labels: Sequence[str], rows: Any) -> Metric:
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(f"clarivox_{name}", says, labels=labels)
    for values, number in rows.items():
        family.add_metric(values, number)
    return family


def _histogram(name: str, says: str, labels: Sequence[str], rows: Histogram) -> Metric:
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(f"clarivox_{name}", says, labels=labels)
    for values, buckets, total in rows.rows():
        family.add_metric(values, buckets, total)
    return family
