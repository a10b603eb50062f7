# SPDX-License-Identifier: Apache-2.0
"""The prebuilt OHIF: one version, verified by its checksum, without what is never asked for."""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from clarivox.errors import FormatError, OptionError
from clarivox.io import atomic
from clarivox.server.settings import Settings

PACKAGE, VERSION = "@ohif/app", "3.13.2"
CHECKSUM = "sha512-WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA=="
"""Integrity of the package, as npm lists it for this version."""
INSIDE = "package/dist/"
LEFT_OUT = ("ort/", "dicom-microscopy-viewer/")
"""A runtime for ONNX and a microscopy viewer: 156 of 204 MB, and never asked for here."""
PACKED = (".js", ".css", ".html", ".wasm", ".json", ".svg")
"""Kept packed beside themselves too, for browsers that take it."""
SMALL = 1024


def place() -> Path:
    """Where a user's OHIF is kept."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "clarivox" / f"ohif-{VERSION}"


def folder_of(settings: Settings) -> Path:
    """The OHIF that the settings mean.

    Raises:
        OptionError: it is not installed (code no_viewer).
    """
    found = settings.viewer_dir or place()
    if not (found / "index.html").is_file():
        raise OptionError(f"OHIF is not installed in {found}; run: clarivox viewer install", code="no_viewer")
    return found


def fetched(folder: Path) -> Path:
    """The package, by npm and from wherever npm is set up to fetch from.

    Raises:
        OptionError: there is no npm, or it cannot fetch.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise OptionError(
            f"npm is not here to fetch OHIF; fetch it elsewhere by: npm pack {PACKAGE}@{VERSION}, "
            "and name the file by --file",
            code="no_npm",
        )
    done = subprocess.run([npm, "pack", f"{PACKAGE}@{VERSION}", "--silent"], cwd=folder, capture_output=True)
    found = list(folder.glob("*.tgz"))
    if done.returncode != 0 or len(found) != 1:
        raise OptionError("npm could not fetch OHIF; is there a network? else name the file by --file", code="no_npm")
    return found[0]


def install(target: Path, file: Path | None = None, told: Callable[[float], None] = lambda share: None) -> int:
    """Put OHIF into a folder; nothing is there before it is whole. An older one is replaced.

    Args:
        target: the folder.
        file: the package, where it was fetched by other means.
        told: called with the share that is done.

    Returns:
        How many files it has.

    Raises:
        FormatError: the package is not the one that is known here (code wrong_checksum).
        OptionError: it cannot be fetched.
        OutputError: the folder holds something else, or cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="clarivox-viewer-", dir=target.parent) as scratch:
        package = file or fetched(Path(scratch))
        verify(package)
        told(0.2)
        fresh = Path(scratch) / "ohif"
        count = unpacked(package, fresh, told)
        for path in sorted(fresh.rglob("*")):
            if path.is_file():
                atomic.sync(path)
        aside = Path(scratch) / "old"
        if target.exists():
            if not (target / "index.html").is_file():
                raise OptionError(f"{target} holds something that is not OHIF; name another folder", code="not_ohif")
            target.rename(aside)
        fresh.rename(target)
    told(1.0)
    return count


def verify(package: Path) -> None:
    """Compare a package with the checksum that is known.

    Raises:
        FormatError: it is another (code wrong_checksum), or not there.
    """
    try:
        with package.open("rb") as stream:
            found = base64.b64encode(hashlib.file_digest(stream, "sha512").digest()).decode()
    except OSError as cause:
        raise FormatError(f"{package.name} is not there or may not be read", code="not_found") from cause
    if f"sha512-{found}" != CHECKSUM:
        raise FormatError(f"{package.name} is not {PACKAGE} {VERSION} as it was published", code="wrong_checksum")


def unpacked(package: Path, folder: Path, told: Callable[[float], None]) -> int:
    """The files of a package that are wanted, and packed copies of them; how many there are."""
    count = 0
    with tarfile.open(package) as archive:
        for member in archive:
            name = member.name.removeprefix(INSIDE)
            if not member.isfile() or name == member.name or name.endswith(".map") or name.startswith(LEFT_OUT):
                continue
            content = archive.extractfile(member)
            path = folder / name
            if content is None or not path.resolve().is_relative_to(folder.resolve()):
                continue
            # Not `extract(filter=…)`: Debian 12 has Python 3.11.2, where that is not yet known.
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as stream:
                shutil.copyfileobj(content, stream)
            count += 1
            if path.suffix in PACKED and path.stat().st_size > SMALL:
                path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes(), 6, mtime=0))
            told(min(0.99, 0.2 + count / 220))
    return count
