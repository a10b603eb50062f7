# SPDX-License-Identifier: Apache-2.0
"""Every awkward file is read right or refused by a named error: no traceback, none over 10 s.

The files are those of $CLARIVOX_DATA/awkward, where that is set, and pydicom's own samples. Pixels are compared with
pydicom's decoding, or nibabel's, wherever those decode.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import numpy as np

from clarivox.errors import ClarivoxError
from clarivox.io import read, scan
from clarivox.io.dicom_source import DicomSource
from clarivox.volume import Channels, Volume
from tests.benchmarks.measure import Gate, options, report

LIMIT_S = 10
"""A file that takes longer counts as a hang."""

SKIPPED = {".json", ".md", ".txt", ".py"}


def shared_files() -> list[Path]:
    """The files of $CLARIVOX_DATA/awkward; none where that is not set."""
    folder = os.environ.get("CLARIVOX_DATA")
    if not folder:
        return []
    return sorted(path for path in Path(folder, "awkward").rglob("*") if path.is_file() and path.suffix not in SKIPPED)


def pydicom_files() -> list[Path]:
    """The samples that pydicom brings along."""
    from pydicom.data import get_testdata_files

    return sorted(path for path in map(Path, get_testdata_files()) if path.is_file() and path.suffix not in SKIPPED)


def outcomes(path: Path) -> Iterator[tuple[str, str]]:
    """What became of each volume of a file: ("right" | "read" | "refused" | "WRONG", details).

    "read" is a volume that no other reader could check.
    """
    for index, info in enumerate(scan(path)):
        try:
            volume = read(path, series=index, allow_uneven=True)
        except ClarivoxError as error:
            yield "refused", error.code
            continue
        theirs = oracle(path, volume)
        if theirs is None:
            yield "read", info.kind
        else:
            yield (
                ("right" if np.array_equal(volume.array, theirs, equal_nan=theirs.dtype.kind == "f") else "WRONG"),
                info.kind,
            )


def oracle(path: Path, volume: Volume) -> np.ndarray | None:
    """The stored numbers as pydicom or nibabel give them, shape (C, X, Y, Z); None where they do not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if isinstance(volume.source, DicomSource):
            return _by_pydicom(path, volume, volume.source)
        return _by_nibabel(path) if ".nii" in path.name else None


def _by_nibabel(path: Path) -> np.ndarray | None:
    import nibabel

    theirs = np.asarray(nibabel.load(path).dataobj.get_unscaled())
    while theirs.ndim < 4:
        theirs = theirs[..., None]
    return theirs.transpose(3, 0, 1, 2)


def _by_pydicom(path: Path, volume: Volume, source: DicomSource) -> np.ndarray | None:
    from pydicom import dcmread
    from pydicom.pixels import pixel_array

    try:
        theirs = pixel_array(dcmread(path, force=True), raw=True)
    except (ValueError, RuntimeError, AttributeError, NotImplementedError):
        return None
    grey = volume.channels in (Channels.GREY, Channels.PALETTE, Channels.VOLUMES)
    if theirs.ndim == (2 if grey else 3):
        theirs = theirs[None]
    frames = theirs[source.placement[..., 1]]
    return frames.transpose(0, 3, 2, 1) if grey else frames[0].transpose(3, 2, 1, 0)


@contextmanager
def _limited(seconds: int) -> Iterator[None]:
    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def verdict(path: Path) -> tuple[str, str, float]:
    """One file's outcome, details, and seconds; a traceback or a hang is an outcome too."""
    started = time.perf_counter()
    try:
        with _limited(LIMIT_S):
            found = list(outcomes(path))
    except ClarivoxError as error:
        found = [("refused", error.code)]
    except TimeoutError:
        found = [("HANG", "")]
    except Exception as error:  # noqa: BLE001  counting these is the purpose
        found = [("TRACEBACK", f"{type(error).__name__}: {error}"[:80])]
    found = found or [("TRACEBACK", "nothing listed")]
    worst = min(found, key=lambda one: ("HANG", "TRACEBACK", "WRONG", "refused", "read", "right").index(one[0]))
    return worst[0], worst[1], time.perf_counter() - started


def main() -> int:
    """Print what became of each file; exit code 1 where one is wrong, unnamed or slow."""
    arguments = options(__doc__).parse_args()
    rows, gates = [], []
    for name, paths in (("$CLARIVOX_DATA/awkward", shared_files()), ("pydicom's samples", pydicom_files())):
        found = [(path, *verdict(path)) for path in paths]
        rows += [
            {"file": path.name[:56], "outcome": outcome, "details": details, "s": round(seconds, 2)}
            for path, outcome, details, seconds in found
        ]
        count = Counter(outcome for _, outcome, _, _ in found)
        slowest = max((seconds for *_, seconds in found), default=0.0)
        text = (
            f"{name}: {len(found)} files, {count['right'] + count['read']} read ({count['right']} compared with "
            f"another reader, {count['WRONG']} wrong), {count['refused']} refused by name, "
            f"{count['TRACEBACK']} tracebacks, {count['HANG']} over {LIMIT_S} s, slowest {slowest:.2f} s"
        )
        gates.append(Gate(text, not count["WRONG"] + count["TRACEBACK"] + count["HANG"]))
    return report("awkward", rows, gates, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
