# SPDX-License-Identifier: Apache-2.0
"""MONAI Label's clients against the whole server: its own processes, workers that enhance, a restart in the middle."""

import http.client
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from clarivox import io as clarivox_io
from clarivox import manifest
from clarivox.bundle import find
from clarivox.phantoms import cxr, mr
from tests import held
from tests.dicom_objects import series_of
from tests.served import PATIENCE_S, Served, serving, until

MODEL = "any_median_denoise"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("server"), held.COMMAND) as found:
        yield found


@pytest.fixture(scope="module")
def nifti(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("nifti") / "brain.nii.gz"
    clarivox_io.write(mr(size=48, slices=6)[0], path)
    return path


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dicom")
    packed = folder / "series.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for number, path in enumerate(series_of("ct", folder / "files")):
            archive.write(path, f"{number}.dcm")
    return packed


def ask(server: Served, method: str, path: str, body: bytes | None = None, kind: str = "") -> tuple[int, Any, bytes]:
    """One request, as JSON where it is."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    try:
        connection.request(method, path, body, {"content-type": kind} if kind else {})
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    is_json = "json" in (answer.headers["content-type"] or "")
    return answer.status, json.loads(content) if is_json else answer.headers, content


def form(fields: dict[str, str], files: dict[str, bytes]) -> tuple[bytes, str]:
    """A form as MONAI Label's client writes it."""
    limit = "----------lImIt_of_THE_fIle_eW_$"
    body = b"".join(
        f'--{limit}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    )
    for name, data in files.items():
        head = f'--{limit}\r\nContent-Disposition: form-data; name="{name}"; filename="/home/doe/x.nii.gz"\r\n\r\n'
        body += head.encode() + data + b"\r\n"
    return body + f"--{limit}--\r\n".encode(), f"multipart/form-data; boundary={limit}"


def upload(server: Served, name: str, path: Path) -> None:
    assert ask(server, "PUT", f"/datastore/?image={name}", *form({}, {"file": path.read_bytes()}))[0] == 200


def infer(server: Served, name: str, output: str, model: str = MODEL, **params: Any) -> tuple[int, Any, bytes]:
    return ask(
        server, "POST", f"/infer/{model}?image={name}&output={output}", *form({"params": json.dumps(params)}, {})
    )


def test_slicer_gets_the_enhanced_volume_with_its_type_and_geometry(
    server: Served, nifti: Path, tmp_path: Path
) -> None:
    upload(server, "brain", nifti)
    status, _, nrrd = infer(server, "brain", "image", result_dtype="uint8", result_extension=".nrrd")
    assert status == 200
    head = nrrd.partition(b"\n\n")[0]
    before = nibabel.load(nifti)
    assert ("sizes: " + " ".join(map(str, before.shape))).encode() in head
    sample = ask(server, "POST", "/activelearning/latest_enhanced", b"{}", "application/json")[1]
    assert sample["id"] == f"brain__{MODEL}"
    _, _, content = ask(server, "GET", f"/datastore/image?image={sample['id']}")
    path = tmp_path / sample["name"]
    path.write_bytes(content)
    after = nibabel.load(path)
    assert (after.shape, after.get_data_dtype()) == (before.shape, before.get_data_dtype())
    np.testing.assert_array_equal(after.affine, before.affine)
    assert np.abs(np.asarray(after.dataobj) - np.asarray(before.dataobj)).max() > 0


def test_the_four_outputs_of_infer(server: Served, nifti: Path, series: Path) -> None:
    upload(server, "four", nifti)
    status, told, _ = infer(server, "four", "json")
    assert (status, told["image"]) == (200, f"four__{MODEL}")
    status, headers, image = infer(server, "four", "image")
    assert (status, image[:2]) == (200, b"\x1f\x8b")
    status, headers, _ = infer(server, "four", "all")
    assert (status, headers["content-type"].split(";")[0]) == (200, "multipart/form-data")
    status, problem, _ = infer(server, "four", "dicom_seg")
    assert (status, problem["code"]) == (422, "needs_like")
    upload(server, "four-dicom", series)
    status, headers, _ = infer(server, "four-dicom", "dicom_seg")
    assert (status, headers["content-type"]) in ((200, "application/zip"), (200, "application/dicom"))


def test_ohif_finds_the_new_series_in_the_same_study(server: Served, series: Path, tmp_path: Path) -> None:
    upload(server, "ward", series)
    status, told, _ = infer(server, "ward", "json", model="identity")
    assert status == 200
    before = clarivox_io.scan(series)[0]
    sample = ask(server, "POST", "/activelearning/random", b"{}", "application/json")[1]
    assert sample["SeriesInstanceUID"] == told["SeriesInstanceUID"] != before.series_uid
    assert sample["Modality"] == "CT"
    study = told["StudyInstanceUID"]
    status, found, _ = ask(server, "GET", f"/proxy/dicom/qido/studies/{study}/series")
    assert status == 200
    listed = {one["0020000E"]["Value"][0] for one in found}
    assert {told["SeriesInstanceUID"], before.series_uid} <= listed
    # OHIF then runs a model on what it shows
    status, _, nrrd = infer(
        server,
        told["SeriesInstanceUID"],
        "image",
        result_dtype="uint8",
        result_extension=".nrrd",
        result_compress=False,
    )
    assert status == 200
    voxels = nrrd.partition(b"\n\n")[2]
    assert voxels == bytes(int(np.prod(clarivox_io.read(series).shape)))
    # Slicer loads it as NIfTI
    _, _, content = ask(server, "GET", f"/datastore/image?image={sample['id']}")
    path = tmp_path / "shown.nii.gz"
    path.write_bytes(content)
    assert sample["name"].endswith(".nii.gz")
    assert nibabel.load(path).shape == clarivox_io.read(series).shape[1:]


def test_one_series_of_a_study_in_one_zip_is_enhanced_alone(server: Served, tmp_path: Path) -> None:
    study = tmp_path / "study.zip"
    with zipfile.ZipFile(study, "w") as archive:
        for kind in ("ct", "pet"):
            for number, path in enumerate(series_of(kind, tmp_path / kind)):
                archive.write(path, f"{kind}{number}.dcm")
    upload(server, "study", study)
    assert infer(server, "study", "json", model="identity")[0] == 200
    wanted = next(one for one in clarivox_io.scan(study) if one.modality == "PT")
    status, told, _ = infer(server, wanted.series_uid, "json", model="identity")
    assert (status, told["metrics"]["volumes"], told["Modality"]) == (200, 1, "PT")


def test_the_server_answers_while_it_enhances(server: Served, nifti: Path) -> None:
    """How soon, says `python -m tests.benchmarks.server_latency`."""
    upload(server, "busy", nifti)
    body, kind = form({"params": '{"report": false}'}, {})
    connections = []
    with held.held(server.data):
        for _ in range(4):
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
            connection.request("POST", "/infer/any_nlm_denoise?image=busy&output=json", body, {"content-type": kind})
            connections.append(connection)
        until(lambda: ask(server, "GET", "/v1/jobs?state=running")[1]["jobs"])
        for _ in range(20):
            assert ask(server, "GET", "/info/")[0] == 200
    for connection in connections:
        assert connection.getresponse().status == 200
        connection.close()


def test_a_batch_goes_on_after_a_restart(tmp_path: Path, nifti: Path) -> None:
    with serving(tmp_path, held.COMMAND) as server:
        for number in range(6):
            upload(server, f"case_{number}", nifti)
        with held.held(server.data, but=2):
            status, task, _ = ask(server, "POST", f"/batch/infer/{MODEL}", b'{"report": false}', "application/json")
            assert (status, task["status"]) == (200, "SUBMITTED")
            assert ask(server, "POST", f"/batch/infer/{MODEL}", b"{}", "application/json")[0] == 429
            until(lambda: ask(server, "GET", "/datastore/")[1]["total"] == 8)
            server.kill()
        server.start()
        server.answers("/readyz", PATIENCE_S)
        until(lambda: ask(server, "GET", "/batch/infer?check_if_running=true")[0] == 404)
        _, task, _ = ask(server, "GET", "/batch/infer")
        assert (task["status"], task["result"]) == ("DONE", {"images": 6, "enhanced": 6, "failed": 0})
        objects = ask(server, "GET", "/datastore/?output=all")[1]["objects"]
        assert sorted(objects) == sorted(f"case_{n}{end}" for n in range(6) for end in ("", f"__{MODEL}"))
        assert ask(server, "POST", "/scoring/changes?run_sync=true", b"{}", "application/json")[1]["status"] == "DONE"


def test_a_training_goes_on_after_a_restart_into_a_new_version(tmp_path: Path) -> None:
    model = "cxr_vdsr_superres"  # of the small networks the one whose steps take longest
    before = manifest.verify(find(model).folder)
    with serving(tmp_path, LEASE_S="5") as server:
        for number in range(5):
            picture = tmp_path / f"{number}.png"
            values = cxr(size=128, seed=number)[0].array[0, :, :, 0].T / 16
            Image.fromarray(values.astype(np.uint8)).save(picture)
            upload(server, f"chest_{number}", picture)
        begun = ask(server, "POST", f"/train/{model}", b'{"steps": 24}', "application/json")[1]
        assert (begun["status"], begun["request"]["output"]) == ("SUBMITTED", f"{model}_v2")

        def progress() -> float:
            status, running, _ = ask(server, "GET", "/train/?check_if_running=true")
            assert status == 200, f"the training ended before it could be looked at: {ask(server, 'GET', '/train/')[1]}"
            return running["progress"] if running["details"][-1].count('"train"') else 0.0

        until(lambda: progress() > 0)
        (trains,) = [one for one in server.tree()["other"] if "clarivox.server.child_train" in one.cmdline()]
        trains.suspend()
        assert progress() < 1
        server.kill()
        server.start()
        server.answers("/readyz", PATIENCE_S)
        until(lambda: ask(server, "GET", "/train/?check_if_running=true")[0] == 404)
        task = ask(server, "GET", "/train/")[1]
        assert (task["status"], task["id"]) == ("DONE", begun["id"])
        assert task["result"]["steps"] == 24
        assert task["result"]["best"] > 25
        until(lambda: f"{model}_v2" in ask(server, "GET", "/info/")[1]["models"])
        assert infer(server, "chest_0", "json", model=f"{model}_v2")[0] == 200
    assert manifest.verify(find(model).folder) == before
