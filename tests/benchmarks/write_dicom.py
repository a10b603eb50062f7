# SPDX-License-Identifier: Apache-2.0
"""Writing a derived CT series, beside copying each data set and saving it through pydicom.

    python -m tests.benchmarks.write_dicom [--slices 200] [--json out.json]

The peer does the least that such a writer can: deepcopy of the source's data set, new identifiers and image type, the
new pixels, save_as. It does not reach the disk's platter (no fsync), which costs wall time and hardly any CPU time.
The source has the elements of a real CT of the shared images where CLARIVOX_DATA names them, else of a phantom.
"""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from clarivox.io.dicom_new import new_series
from clarivox.io.dicom_source import DicomSource
from clarivox.io.dicom_write import write_series
from clarivox.volume import Provenance, Volume, blank_like
from tests.benchmarks.measure import gate, interleaved, least, options, report

SIDE = 512
RUN = Provenance(bundle="identity", version="1", digest="0" * 64, task="identity")


def make(folder: str, slices: int) -> None:
    """The source series, written by pydicom."""
    array = blank_like((1, SIDE, SIDE, slices), np.dtype(np.int16))
    array[...] = np.random.default_rng(0).integers(-1000, 1000, array.shape, np.int16)
    phantom = Volume(array, np.diag([-0.7, -0.7, 1.0, 1.0]), intercept=np.array([-1024.0]))
    for z, ds in enumerate(new_series(phantom, "ct")):
        _as_rich_as_real(ds)
        ds.save_as(Path(folder) / f"{z:04d}.dcm", enforce_file_format=True)


def _as_rich_as_real(ds: pydicom.Dataset) -> None:
    example = Path(os.environ.get("CLARIVOX_DATA", "")) / "ct" / "dcmqi_chest_3slice_dicom"
    for file in sorted(example.glob("*"))[:1]:
        for element in pydicom.dcmread(file, stop_before_pixels=True):
            if element.tag not in ds:
                ds.add(element)


def _source(folder: str) -> tuple[list[pydicom.Dataset], Volume]:
    files = sorted(Path(folder).glob("*.dcm"))
    whole = [pydicom.dcmread(file) for file in files]
    array = blank_like((1, SIDE, SIDE, len(files)), np.dtype(np.int16))
    for z, ds in enumerate(whole):
        array.transpose(0, 3, 2, 1)[0, z] = ds.pixel_array
    headers = tuple(pydicom.dcmread(file, stop_before_pixels=True) for file in files)
    placement = np.array([[(z, 0) for z in range(len(files))]])
    source = DicomSource(tuple(files), headers, placement)
    return whole, Volume(array, np.diag([-0.7, -0.7, 1.0, 1.0]), source=source, provenance=RUN)


def ours(folder: str, out: str) -> Iterator[Any]:
    """clarivox: headers encoded once and patched."""
    _, volume = _source(folder)
    shutil.rmtree(out, ignore_errors=True)
    yield
    yield len(write_series(volume, out).files)


def peer(folder: str, out: str) -> Iterator[Any]:
    """pydicom: each data set copied and saved."""
    whole, volume = _source(folder)
    shutil.rmtree(out, ignore_errors=True)
    Path(out).mkdir()
    yield
    series = generate_uid()
    for z, ds in enumerate(whole):
        new = copy.deepcopy(ds)
        new.SOPInstanceUID = new.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        new.SeriesInstanceUID = series
        new.ImageType = ["DERIVED", "SECONDARY", *list(ds.ImageType)[2:]]
        new.PixelData = volume.frames[0, z].tobytes()
        new.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        new.save_as(Path(out) / f"{z:04d}.dcm", enforce_file_format=True)
    yield len(whole)


def main() -> int:
    """Print both, and the ratio with its limit."""
    parser = options(__doc__)
    parser.add_argument("--slices", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        source.mkdir()
        make(str(source), asked.slices)
        here = "tests.benchmarks.write_dicom"
        targets = {"clarivox": f"{here}:ours", "pydicom, copy and save": f"{here}:peer"}
        runs = interleaved(targets, repeats=asked.repeats, folder=str(source), out=str(Path(folder) / "out"))
    best = {name: least(found) for name, found in runs.items()}
    rows = [
        {
            "writer": name,
            "CPU s": round(run.cpu_s, 3),
            "CPU ms a slice": round(1000 * run.cpu_s / asked.slices, 2),
            "wall s": round(run.wall_s, 2),
            "peak MB above input": round(run.peak_rss_growth_mb, 1),
        }
        for name, run in best.items()
    ]
    ours_s, peer_s = (run.cpu_s for run in best.values())
    limit = gate(f"CPU time, {asked.slices} slices of 512 x 512, ratio", ours_s / peer_s, at_most=0.4, unit="x")
    return report("write_dicom", rows, [limit], asked.json)


if __name__ == "__main__":
    raise SystemExit(main())
