# SPDX-License-Identifier: Apache-2.0
"""Every call of the real MONAILabelClient of monailabel 0.8.5, but wsi_infer, against a real server."""

import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from clarivox.server.keys import Keys
from tests.label_server import LabelServer, label_server, until

if sys.version_info >= (3, 13):
    pytest.skip("monailabel 0.8.5 needs the module cgi, which Python 3.13 has no more", allow_module_level=True)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    client_module = pytest.importorskip("monailabel.client.client", reason="monailabel 0.8.5 is not installed")

pytestmark = [  # the client closes neither its sockets nor its files
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]

Client = client_module.MONAILabelClient
Refused = client_module.MONAILabelClientException


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelServer]:
    with label_server(tmp_path_factory.mktemp("server")) as found:
        yield found


@pytest.fixture
def client(server: LabelServer, tmp_path: Path) -> Any:
    return Client(server.url, str(tmp_path), client_id="user-xyz")


@pytest.fixture
def volume(tmp_path: Path) -> str:
    path = tmp_path / "J. Doe 1932 (CT).nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(5, 4, 3), np.eye(4)), path)
    return str(path)


def test_no_key_is_needed_and_the_client_sees_it(client: Any) -> None:
    assert client.auth_enabled() is False
    assert client.auth_valid_token() is False
    with pytest.raises(Refused):
        client.auth_token("me", "secret")


def test_info_lists_the_bundles_as_models(client: Any) -> None:
    info = client.info()
    assert info["name"] == "clarivox"
    assert info["models"]["ct_unet_denoise"]["type"] == "segmentation"
    assert "config" not in info
    assert list(info["strategies"]) == ["latest_enhanced", "random"]


def test_an_image_is_uploaded_enhanced_and_comes_back_as_the_next_sample(client: Any, volume: str) -> None:
    assert client.upload_image(volume, "3: CT Thorax") == {"image": "3: CT Thorax"}
    file, told = client.infer("identity", "3: CT Thorax", {})
    assert Path(file).read_bytes() == Path(volume).read_bytes()
    assert told["image"] == "3: CT Thorax__identity"
    assert told["label_names"] == {}
    assert told["latencies"]["total"] > 0
    sample = client.next_sample("latest_enhanced", {})
    assert sample["id"] == "3: CT Thorax__identity"
    assert sample["name"] == "3_CT_Thorax_identity.nii.gz"
    assert client.next_sample("random", {})["id"] == sample["id"]
    assert client.next_sample("random", {})["id"] == "3: CT Thorax"


def test_a_label_map_is_empty_and_on_the_grid_of_the_image(client: Any, volume: str) -> None:
    client.upload_image(volume, "grid")
    file, told = client.infer("identity", "grid", {"result_extension": ".nrrd", "result_dtype": "uint8"})
    import SimpleITK

    image = SimpleITK.ReadImage(file)
    assert (image.GetSize(), image.GetPixelIDTypeAsString()) == ((5, 4, 3), "8-bit unsigned integer")
    assert not SimpleITK.GetArrayFromImage(image).any()
    assert told["image"] == "grid__identity"


def test_a_file_and_a_session_are_enhanced_without_the_datastore(client: Any, volume: str) -> None:
    file, told = client.infer("identity", "", {}, file=volume)
    assert Path(file).read_bytes() == Path(volume).read_bytes()
    assert told["image"] is None
    session = client.create_session(volume)
    found = client.get_session(session["session_id"])
    assert found["name"] == session["session_id"]
    file, told = client.infer("identity", "", {}, session_id=session["session_id"], label_in=volume)
    assert Path(file).read_bytes() == Path(volume).read_bytes()
    assert client.remove_session(session["session_id"])["name"] == session["session_id"]
    with pytest.raises(Refused, match="no_such_session"):
        client.get_session(session["session_id"])


def test_a_label_is_saved_listed_and_downloaded(client: Any, volume: str) -> None:
    client.upload_image(volume, "case")
    for tag in ("", "original"):
        assert client.save_label("case", volume, tag, {"label_info": []}) == {"image": "case", "label": "case"}
    found = client.datastore()["objects"]["case"]
    assert found["image"]["ext"] == ".nii.gz"
    assert found["labels"]["final"]["info"] == {"label_info": [], "client_id": "user-xyz"}
    assert Path(client.download_label("case", "original")).read_bytes() == Path(volume).read_bytes()


def test_a_training_starts_is_followed_and_stopped(client: Any, volume: str, server: LabelServer) -> None:
    client.upload_image(volume, "train-me")
    assert client.train_status(check_if_running=True) is False
    server.worker.pause()
    try:
        task = client.train_start("ct_unet_denoise", {"minutes": 1})
        assert (task["status"], task["request"]["output"]) == ("SUBMITTED", "ct_unet_denoise_v2")
        assert client.train_status(check_if_running=True) is True
        assert json.loads(client.train_status()["details"][-1])["status"] == "SUBMITTED"
        with pytest.raises(Refused, match="task_running") as refused:
            client.train_start("ct_unet_denoise", {})
        assert "429" in refused.value.msg
        assert client.train_stop()["status"] == "STOPPED"
        assert client.train_status(check_if_running=True) is False
        assert client.train_stop() is None
    finally:
        server.worker.go_on()
    client.infer("ct_unet_denoise", "train-me", {})
    assert list(client.train_start(None, {})) == ["ct_unet_denoise"]
    until(lambda: not client.train_status(check_if_running=True))
    assert client.train_status()["status"] == "DONE"


def test_with_a_key_the_client_logs_in_and_goes_on(volume: str, tmp_path: Path) -> None:
    with label_server(tmp_path / "server", auth="on") as server:
        key, _ = Keys(server.parts.ledger.database).create("slicer", ["read", "infer"])
        client = Client(server.url, str(tmp_path), client_id="user-xyz")
        assert client.auth_enabled() is True
        with pytest.raises(Refused, match="no_credentials"):
            client.info()
        with pytest.raises(Refused, match="bad_credentials"):
            client.auth_token("me", "secret")
        client.update_auth(client.auth_token("me", key))
        assert client.auth_valid_token() is True
        client.upload_image(volume, "case")  # from here on the client sends the headers of this body with every request
        assert client.info()["datastore"]["total"] == 1
        assert client.infer("identity", "case", {})[1]["image"] == "case__identity"
        assert client.next_sample("random", {})["id"] == "case__identity"
        assert client.datastore()["objects"].keys() == {"case", "case__identity"}
        fresh = Client(server.url, str(tmp_path), client_id="user-xyz")  # as Slicer, which makes one for each call
        fresh.update_auth({"token_type": "bearer", "access_token": key})
        assert fresh.create_session(volume)["session_id"]
        with pytest.raises(Refused, match="no_scope"):
            client.train_start("ct_unet_denoise", {})


@pytest.mark.parametrize(
    ("call", "arguments", "code", "status"),
    [
        ("infer", ("no_model", "case", {}), "no_such_bundle", 404),
        ("infer", ("identity", "nowhere", {}), "no_such_image", 404),
        ("infer", ("identity", "../../etc/passwd", {}), "no_such_image", 404),
        ("infer", ("identity", "", {}), "no_input", 422),
        ("infer", ("any_bicubic_superres", "case", {"scale": 7}), "bad_option", 422),
        ("infer", ("identity", "", {}, None, None, "0" * 36), "no_such_session", 404),
        ("next_sample", ("best", {}), "no_such_strategy", 404),
        ("train_start", ("any_median_denoise", {}), "not_trainable", 422),
        ("download_label", ("nowhere", "final"), "no_such_image", 404),
    ],
)
def test_a_refusal_says_its_code_and_its_reason(
    client: Any, volume: str, call: str, arguments: tuple[Any, ...], code: str, status: int
) -> None:
    client.upload_image(volume, "case")
    with pytest.raises(Refused) as refused:
        getattr(client, call)(*arguments)
    assert f"Status: {status}" in refused.value.msg
    body = json.loads(refused.value.msg.split("Response: ", 1)[1])
    assert body["code"] == code
    assert len(body["detail"]) > 10


def test_a_job_that_fails_tells_its_reason(client: Any, volume: str, server: LabelServer) -> None:
    server.worker.error = {"code": "wrong_modality", "title": "x", "status": 422, "detail": "for CT; found MR"}
    try:
        client.upload_image(volume, "bad")
        with pytest.raises(Refused, match="for CT; found MR") as refused:
            client.infer("ct_unet_denoise", "bad", {})
        assert "Status: 422" in refused.value.msg
    finally:
        server.worker.error = None
    assert until(lambda: "bad__ct_unet_denoise" not in client.datastore()["objects"])


def test_every_call_of_the_client_is_tried_here() -> None:
    source = Path(__file__).read_text()
    calls = {name for name in vars(Client) if not name.startswith("_")}
    plumbing = {"get_server_url", "set_server_url", "update_auth", "wsi_infer"}
    assert {name for name in calls - plumbing if f"client.{name}(" not in source} == set()
