# SPDX-License-Identifier: Apache-2.0
"""What the processes log: events with a job's id and a code, and nothing of a patient.

A library's message may quote what it read, as pydicom's do, so that of a message that is not ours only the place is
kept; of an exception the types and the lines, not its text.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import logging.handlers
import os
import sys
import traceback
from collections.abc import MutableMapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import structlog

from clarivox.errors import ClarivoxError
from clarivox.server.settings import Settings

OURS = ("clarivox", "__main__", "uvicorn", "alembic")
"""Loggers whose messages are written in our own code or hold no data."""
FILE_BYTES = 16 << 20
"""Size at which the log file is set aside."""
KEPT = 3
"""How many that were set aside are kept."""

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("clarivox")
"""Where every module of the server logs: `log.info("claimed", job=job.id, attempt=2)`."""

job_bound = structlog.contextvars.bound_contextvars
"""`with job_bound(job=id):` every line within names the job."""


def configure(settings: Settings, process: str = "server") -> None:
    """Set up the logging of this process: to its standard error, and as JSON to data_dir/log/clarivox.jsonl.

    Args:
        settings: level, form and folder.
        process: server, supervisor or worker; stands in each line of the file, which all processes share.
    """

    def signed(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return {**event, "process": process, "pid": os.getpid()}

    ours = [structlog.contextvars.merge_contextvars, structlog.stdlib.add_log_level, _stamp, _places]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *ours, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    as_json = structlog.processors.JSONRenderer()
    plain = settings.log_format == "text" or (settings.log_format == "auto" and sys.stderr.isatty())
    screen = logging.StreamHandler(sys.stderr)
    screen.setFormatter(_formatter(structlog.dev.ConsoleRenderer(colors=False) if plain else as_json))
    folder = settings.data_dir / "log"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    kept = Kept(folder / "clarivox.jsonl", encoding="utf-8", delay=True)
    kept.setFormatter(_formatter(signed, as_json))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.handlers = [screen, kept]
    root.setLevel(settings.log_level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], name != "uvicorn.access"
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)
    logging.captureWarnings(True)
    logging.raiseExceptions = False
    sys.excepthook = _last_words


class Kept(logging.handlers.WatchedFileHandler):
    """A file that several processes append to; the one that finds it large sets it aside, the others follow."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        place = Path(self.baseFilename)
        if place.exists() and place.stat().st_size > FILE_BYTES:
            with (place.parent / ".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if place.exists() and place.stat().st_size > FILE_BYTES:
                    for number in range(KEPT - 1, 0, -1):
                        with contextlib.suppress(FileNotFoundError):
                            place.with_suffix(f".{number}.jsonl").rename(place.with_suffix(f".{number + 1}.jsonl"))
                    place.rename(place.with_suffix(".1.jsonl"))
        super().emit(record)


def _formatter(*last: Any) -> logging.Formatter:
    foreign = [structlog.contextvars.merge_contextvars, structlog.stdlib.add_log_level, _stamp, _unsaid, _places]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=foreign,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )


def _stamp(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """When it was, in UTC."""
    record: logging.LogRecord | None = event.get("_record")
    at = datetime.fromtimestamp(record.created, UTC) if record else datetime.now(UTC)
    event["at"] = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return event


def _unsaid(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Of a message that is not ours only the place: its text may quote a header, a path or a query."""
    record: logging.LogRecord = event["_record"]
    event["logger"] = record.name
    if record.name.split(".")[0] not in OURS:
        event["event"] = f"message of {Path(record.pathname).name}:{record.lineno}"
    event.pop("positional_args", None)
    return event


def _places(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """An exception as its types, codes and lines."""
    shown = event.pop("exc_info", None)
    event.pop("stack_info", None)
    if shown is True:
        shown = sys.exc_info()
    error = shown[1] if isinstance(shown, tuple) else shown
    if isinstance(error, BaseException):
        event["error"] = places(error)
    return event


def places(error: BaseException | None) -> list[str]:
    """Where an exception came from, without a word of its text.

    >>> try:
    ...     int("Smith^John")
    ... except ValueError as caught:
    ...     print(places(caught))
    ['ValueError', '<doctest ...[0]>:2 <module>']
    """
    said = []
    while error is not None:
        code = f" {error.code}" if isinstance(error, ClarivoxError) else ""
        said.append(type(error).__name__ + code)
        frames = traceback.extract_tb(error.__traceback__)
        said += [f"{_short(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames[-12:]]
        if len(said) > 60:
            break
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return said


def _short(path: str) -> str:
    """The last two parts of a path: the package and the file."""
    return "/".join(path.split("/")[-2:])


def _last_words(_: type[BaseException], error: BaseException, __: TracebackType | None) -> None:
    """What is said of an error that ends the process; Python would print its text."""
    if isinstance(error, KeyboardInterrupt):
        return
    log.error("ended by an error", exc_info=error)
