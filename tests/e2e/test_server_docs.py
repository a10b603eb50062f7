# SPDX-License-Identifier: Apache-2.0
"""What docs/server.md tells a reader to type works as it stands, in a fresh folder, against a fresh server."""

import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

from clarivox.io import read
from tests import held
from tests.e2e.test_serve import COMMAND, Served, environment

PAGE = (Path(__file__).parents[2] / "docs" / "server.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
CODE = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def typed(text: str, server: Served, folder: Path) -> str:
    """Run a block as a shell would, with `clarivox` being this one."""
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / "clarivox").write_text(f"#!/bin/sh\nexec {COMMAND[0]} -c '{COMMAND[2]}' \"$@\"\n")
    (folder / "bin" / "clarivox").chmod(0o755)
    variables = environment()
    variables["PATH"] = f"{folder / 'bin'}:{variables['PATH']}"
    text = text.replace("http://127.0.0.1:8000", server.url).replace("--data clarivox-data", "--data data")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text], cwd=folder, env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0, (text, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout + done.stderr


def test_every_block_of_the_page_works_in_its_order(tmp_path: Path) -> None:
    server = Served(tmp_path, command=held.PROGRAM).ready()
    try:
        said = []
        for block in BLOCKS:
            # A job that the page cancels must not end before.
            with held.held(server.data) if "-X DELETE" in block else nullcontext():
                said.append(typed(block, server, tmp_path))
        assert "event: succeeded" in said[1]
        assert "event: cancelled" in said[2]
        (code,) = CODE
        code = code.replace("http://127.0.0.1:8000", server.url)
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=environment()
        )
        assert done.returncode == 0 and "succeeded" in done.stdout, done.stderr
    finally:
        server.stop(9)
    shape = read(tmp_path / "sample" / "image").array.shape
    for name in (
        "out.nii.gz",
        "enhanced.zip",
        "result.zip",
        "result.nii.gz",
        "enhanced",
        "later.nii.gz",
        "from_python.zip",
    ):
        assert read(tmp_path / name).array.shape == shape, name
    for name in ("changes.html", "page.html"):
        assert (tmp_path / name).read_text().startswith("<!doctype html>")
