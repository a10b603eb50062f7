# SPDX-License-Identifier: Apache-2.0
"""DICOM nodes of ours in processes of their own, and files to send them, for tests and benchmarks."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import yaml
from pydicom import filereader
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode

from clarivox.io.dicom_new import Kind, new_series, save_series
from clarivox.server.dicom_store import key_of
from clarivox.server.orders import closed
from clarivox.server.settings import Settings
from clarivox.volume import Volume

VERIFICATION = "1.2.840.10008.1.1"


@dataclass
class Running:
    """A node that listens."""

    process: subprocess.Popen[bytes]
    port: int
    data: Path

    @property
    def address(self) -> tuple[str, str]:
        """As dcmtk's programs take it."""
        return "127.0.0.1", str(self.port)

    def log(self) -> str:
        """All that it and its like wrote down."""
        folder = self.data / "log"
        kept = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*"))] if folder.is_dir() else []
        return "\n".join([*kept, stderr_of(self.data).read_text()])

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.kill()
        self.process.wait()


def stderr_of(data: Path) -> Path:
    """Where the node of a data folder writes what it says."""
    return data.with_suffix(".stderr")


@contextlib.contextmanager
def listening(
    data: Path,
    node: Mapping[str, Any] | None = None,
    *,
    more: Mapping[str, Any] | None = None,
    launcher: Sequence[str] = (),
    **settings: Any,
) -> Iterator[Running]:
    """A node on a free port.

    Args:
        data: its data folder.
        node: of pacs.yaml; anybody of this machine titled TEST may call, without.
        more: the rest of pacs.yaml.
        launcher: what stands before the command.
        settings: of the server.
    """
    data.mkdir(parents=True, exist_ok=True)
    allow = [{"ae_title": "TEST", "address": "127.0.0.1"}]
    content = {"node": {"port": 0, "allow": allow, **(node or {})}, **(more or {})}
    written = data.with_suffix(".yaml")
    written.write_text(yaml.safe_dump(content))
    small: dict[str, Any] = {"disk_reserve_bytes": 0, "disk_watermark_bytes": 0, "data_dir": data}
    order = {"settings": closed(Settings(**(small | settings))), "pacs": str(written)}
    with stderr_of(data).open("ab") as stderr:
        process = subprocess.Popen(
            [*launcher, sys.executable, "-m", "clarivox.server.pacs.node"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.flush()
        said = json.loads(process.stdout.readline() or b'{"failed": "no word"}')
        if "port" not in said:
            raise RuntimeError(f"{said['failed']}\n{stderr_of(data).read_text()[-2000:]}")
        yield Running(process, said["port"], data)
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def series(folder: Path, slices: int, *, size: int = 16, seed: str = "0", **more: Any) -> list[Path]:
    """A CT series of noise, as files."""
    values = np.random.default_rng(len(seed)).integers(-1000, 1000, (1, size, size, slices), dtype=np.int16)
    volume = Volume(values, np.diag([1.0, 1.0, 1.25, 1.0]))
    save_series(new_series(volume, Kind.CT, seed=seed, **more), folder)
    return sorted(folder.iterdir())


@contextlib.contextmanager
def associated(
    node: Running,
    syntaxes: Sequence[str] = (ExplicitVRLittleEndian,),
    *,
    calling: str = "TEST",
    called: str = "CLARIVOX",
    classes: Sequence[str] = (CTImageStorage,),
    others: Sequence[str] = (),
    **more: Any,
) -> Iterator[Association]:
    """An association with a node, ended at the end; `others` are services beside storage."""
    caller = AE(calling)
    caller.acse_timeout = caller.dimse_timeout = caller.network_timeout = 60
    caller.add_requested_context(VERIFICATION)
    for one in classes:
        for syntax in syntaxes:
            caller.add_requested_context(one, [syntax])
    for one in others:
        caller.add_requested_context(one)
    association = caller.associate("127.0.0.1", node.port, ae_title=called, **more)
    line = association.dul.socket and association.dul.socket.socket
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        if line:  # pynetdicom leaves it open where the other side was faster to close
            line.close()


def until(true: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Wait for it."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.02)


def rows(node: Running) -> dict[str, tuple[str, int]]:
    """File and versions by the digest of each instance."""
    with contextlib.closing(sqlite3.connect(node.data / "ledger.sqlite", timeout=60)) as database:
        found = database.execute("SELECT sop, file, versions FROM pacs_instance").fetchall()
    return {sop: (file, versions) for sop, file, versions in found}


def kept(node: Running, instance: pydicom.Dataset) -> Path:
    """The file of an instance in the inbox."""
    return node.data / "pacs" / "in" / rows(node)[key_of(str(instance.SOPInstanceUID))][0]


def body(path: Path) -> bytes:
    """The data set of a file as it is encoded."""
    with path.open("rb") as file:
        filereader.read_preamble(file, False)
        filereader._read_file_meta_info(file)
        return file.read()


def echoes(node: Running) -> None:
    """Make sure that it answers."""
    with associated(node) as association:
        assert association.is_established
        assert association.send_c_echo().Status == 0


@contextlib.contextmanager
def flooded(node: Running, connections: int) -> Iterator[list[socket.socket]]:
    """So many connections that say nothing, half a head, announce 4 GB, or speak another language."""
    words = (b"", b"\x01\x00\x00", b"\x01\x00\xff\xff\xff\xff" + b"x" * 100, b"GET / HTTP/1.1\r\n\r\n")
    held: list[socket.socket] = []
    try:
        for number in range(connections):
            with contextlib.suppress(OSError):
                held.append(socket.create_connection(node.address, 5))
                held[-1].sendall(words[number % len(words)])
        yield held
    finally:
        for one in held:
            one.close()


def gets_in(node: Running) -> bool:
    """Whether it accepts an association now."""
    with associated(node) as association:
        return bool(association.is_established)


def stored(association: Association, instance: pydicom.Dataset, **command: str) -> int:
    """The answer to a C-STORE whose command may say other things than its data set."""
    request = C_STORE()
    request.MessageID = 7
    request.AffectedSOPClassUID = command.get("sop_class", instance.SOPClassUID)
    request.AffectedSOPInstanceUID = command.get("sop", instance.SOPInstanceUID)
    request.Priority = 2
    data = command.get("data")
    raw = encode(instance, False, True) if data is None else data.encode("latin-1")
    request.DataSet = io.BytesIO(raw or b"")
    [context] = [one for one in association.accepted_contexts if one.abstract_syntax == CTImageStorage]
    association._reactor_checkpoint.clear()
    until(lambda: bool(association._is_paused), "the association's pause")
    try:
        association.dimse.send_msg(request, context.context_id)
        _, answer = association.dimse.get_msg(block=True)
    finally:
        association._reactor_checkpoint.set()
    assert answer is not None
    return int(answer.Status)
