# SPDX-License-Identifier: Apache-2.0
"""A DICOM viewer works on the server alone: what was sent and what was made of it, with the same pixels."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
import requests
from dicomweb_client import DICOMwebClient

from tests.dicom_objects import series_of
from tests.served import PATIENCE_S, Served, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    with serving(folder, DEVICES="cpu", DISK_WATERMARK_BYTES="0") as served:
        yield served


def enhanced(server: Served, files: list[tuple[str, bytes]]) -> str:
    """The id of a job that has succeeded."""
    answer = requests.post(
        f"http://127.0.0.1:{server.port}/v1/jobs",
        files=[("file", one) for one in files],
        data={"bundle": "identity"},
        headers={"Prefer": "wait=60"},
        timeout=PATIENCE_S,
    )
    assert answer.status_code in (200, 201, 202), answer.text
    found = server.ended(answer.json())
    assert found["state"] == "succeeded", json.dumps(found)
    return str(found["id"])


@pytest.mark.parametrize(("kind", "packed"), [("ct", False), ("mr", True), ("us-clip", True), ("enhanced-ct", False)])
def test_inputs_and_results_are_found_and_retrieved(server: Served, tmp_path: Path, kind: str, packed: bool) -> None:
    study = f"2.25.{int.from_bytes(kind.encode())}"
    files = series_of(kind, tmp_path / kind, StudyInstanceUID=study, PatientName="Sentinel^Zebra")
    if packed:
        with zipfile.ZipFile(tmp_path / "in.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for path in files:
                archive.write(path, path.name)
        sent = [("in.zip", (tmp_path / "in.zip").read_bytes())]
    else:
        sent = [(path.name, path.read_bytes()) for path in files]
    job = enhanced(server, sent)
    client = DICOMwebClient(f"http://127.0.0.1:{server.port}/dicom-web")
    [found] = client.search_for_studies(search_filters={"StudyInstanceUID": study})
    assert found["00100010"]["Value"] == [{"Alphabetic": "Sentinel^Zebra"}]
    assert found["00201206"]["Value"] == [2]
    made = requests.get(f"http://127.0.0.1:{server.port}/v1/jobs/{job}/result", timeout=PATIENCE_S).content
    with zipfile.ZipFile(io.BytesIO(made)) as archive:
        results = [pydicom.dcmread(io.BytesIO(archive.read(name))) for name in archive.namelist()]
    expected = {one.SOPInstanceUID: one for one in [*map(pydicom.dcmread, files), *results]}
    retrieved = {one.SOPInstanceUID: one for one in client.retrieve_study(study)}
    assert retrieved == expected
    for series in client.search_for_series(study):
        uid = series["0020000E"]["Value"][0]
        for header in client.retrieve_series_metadata(study, uid):
            sop = header["00080018"]["Value"][0]
            frames = client.retrieve_instance_frames(study, uid, sop, list(range(1, _frames(expected[sop]) + 1)))
            pixels = expected[sop].PixelData
            assert b"".join(frames) == pixels[: len(b"".join(frames))]
            assert len(pixels) - len(b"".join(frames)) <= 1
    log = server.log() + "".join(path.read_text() for path in (server.data / "log").rglob("*") if path.is_file())
    for word in ("Sentinel", "Zebra", study):
        assert word not in log
        assert word.encode() not in (server.data / "ledger.sqlite").read_bytes()
        assert word.encode() not in (server.data / "audit.jsonl").read_bytes()


def _frames(dataset: pydicom.Dataset) -> int:
    return int(dataset.get("NumberOfFrames", 1) or 1)
