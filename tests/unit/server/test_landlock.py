# SPDX-License-Identifier: Apache-2.0
"""What a process that is kept to its folder can still see."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from clarivox.server.landlock import keep_to

TRIES = """
import os, sys
from pathlib import Path
from clarivox.server.landlock import keep_to
own, other = Path(sys.argv[1]), Path(sys.argv[2])
os.link(other / "stored", own / "stored")
if not keep_to([own]):
    raise SystemExit(9)
for number, what in enumerate((
    lambda: (other / "new").write_text("x"),
    lambda: (other / "stored").write_text("x"),
    lambda: (other / "stored").read_text(),
    lambda: os.listdir(other),
    lambda: (own.parent / "new").mkdir(),
    lambda: (other / "stored").unlink(),
    lambda: (own / "stored").rename(other / "moved"),
    lambda: Path("/etc/hosts").read_text(),
    lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
    lambda: Path("/var/tmp/clarivox-escaped").write_text("x"),
)):
    try:
        what()
    except OSError:
        continue
    raise SystemExit(f"allowed: {number}")
(own / "link").symlink_to(other / "stored")
try:
    (own / "link").read_text()
    raise SystemExit("followed")
except PermissionError:
    pass
(own / "deep").mkdir()
(own / "deep" / "file").write_text("x")
(own / "deep" / "file").rename(own / "file")
(own / "file").unlink()
Path("/dev/null").write_text("x")
import csv, decimal, getpass; getpass.getuser()
import numpy, pydicom, clarivox.io.dicom_read, clarivox.server.child_write
print((own / "stored").read_text())
"""


def test_a_process_that_is_kept_to_a_folder_sees_that_and_programs(tmp_path: Path):
    own, other = tmp_path / "own", tmp_path / "other"
    own.mkdir()
    other.mkdir()
    (other / "stored").write_text("a volume")
    run = subprocess.run([sys.executable, "-c", TRIES, str(own), str(other)], capture_output=True, text=True)
    if run.returncode == 9:
        pytest.skip("this kernel has no Landlock")
    assert (run.returncode, run.stdout.strip()) == (0, "a volume"), run.stderr
    assert (other / "stored").read_text() == "a volume" and sorted(p.name for p in other.iterdir()) == ["stored"]


def test_elsewhere_than_on_linux_nothing_is_promised(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_to([Path("/")]) is False


def test_every_part_of_the_package_is_seen_though_a_checkout_links_it_from_elsewhere(tmp_path: Path) -> None:
    code = "from clarivox.server.landlock import programs; print(*programs(), sep='\\n')"
    said = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    for part in ("server", "transforms", "cli", "io", "networks"):
        spec = importlib.util.find_spec(f"clarivox.{part}")
        assert spec is not None and spec.origin is not None
        place = Path(spec.origin).resolve()
        assert any(place.is_relative_to(seen) for seen in said.stdout.splitlines()), part
