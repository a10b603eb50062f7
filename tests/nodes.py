# SPDX-License-Identifier: Apache-2.0
"""DICOM nodes of ours in processes of their own, and files to send them, for tests and benchmarks."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from clarivox.io.dicom_new import Kind, new_series, save_series
from clarivox.server.orders import closed
from clarivox.server.settings import Settings
from clarivox.volume import Volume


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
        return "\n".join([*kept, (self.data / "stderr").read_text()])

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def listening(
    data: Path, node: Mapping[str, Any] | None = None, *, more: Mapping[str, Any] | None = None, **settings: Any
) -> Iterator[Running]:
    """A node on a free port.

    Args:
        data: its data folder.
        node: of pacs.yaml; anybody of this machine titled TEST may call, without.
        more: the rest of pacs.yaml.
        settings: of the server.
    """
    data.mkdir(parents=True, exist_ok=True)
    allow = [{"ae_title": "TEST", "address": "127.0.0.1"}]
    content = {"node": {"port": 0, "allow": allow, **(node or {})}, **(more or {})}
    (data / "pacs.yaml").write_text(yaml.safe_dump(content))
    small: dict[str, Any] = {"disk_reserve_bytes": 0, "disk_watermark_bytes": 0, "data_dir": data}
    order = {"settings": closed(Settings(**(small | settings))), "pacs": str(data / "pacs.yaml")}
    with (data / "stderr").open("ab") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "clarivox.server.pacs.node"],
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
            raise RuntimeError(f"{said['failed']}\n{(data / 'stderr').read_text()[-2000:]}")
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
