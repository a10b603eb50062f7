# SPDX-License-Identifier: Apache-2.0
"""What dicom3tools says about DICOM files."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

NEEDED = ("dciodvfy", "dcentvfy")


def missing() -> str:
    """A reason to skip, or an empty text where both programs are there."""
    absent = [name for name in NEEDED if shutil.which(name) is None]
    return f"{' and '.join(absent)} not installed: apt-get install dicom3tools" if absent else ""


def object_messages(files: Sequence[Path]) -> set[str]:
    """Errors and warnings of dciodvfy about the objects, each kind once."""
    found: set[str] = set()
    for file in files:
        found |= _said(["dciodvfy", "-new", str(file)])
    return {line for line in found if line.startswith(("Error", "Warning"))}


def study_messages(files: Sequence[Path]) -> set[str]:
    """What dcentvfy says about files that lie in one study."""
    return _said(["dcentvfy", *(str(file) for file in files)])


def _said(command: list[str]) -> set[str]:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=60)
    return set(done.stderr.splitlines())
