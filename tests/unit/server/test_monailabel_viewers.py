# SPDX-License-Identifier: Apache-2.0
"""The requests of the 3D Slicer and OHIF plugins of MONAI Label, byte for byte and in their order, with golden answers.

Taken from what the plugins' code sends (Slicer: http.client with an unquoted boundary that ends in $, full paths for
file names, + for blanks; OHIF: axios in a browser, a form with params only).
"""

import gzip
import json
import re
import socket
from collections.abc import Iterator
from typing import Any, NamedTuple

import nibabel
import numpy as np
import pytest

from tests.label_server import LabelServer, label_server

LIMIT = "----------lImIt_of_THE_fIle_eW_$"
WEBKIT = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
NODE = "3: CT Thorax Doe^John"
NODE_QUOTED = "3%3A+CT+Thorax+Doe%5EJohn"
ZEROS = bytes(60)


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(server: LabelServer, head: str, body: bytes = b"") -> Reply:
    """Sends a request as it stands, and reads one answer with a declared length."""
    raw = head.strip().replace("\n", "\r\n").replace("{port}", str(server.port)).replace("{length}", str(len(body)))
    with socket.create_connection(("127.0.0.1", server.port), 30) as connection:
        connection.sendall(raw.encode() + b"\r\n\r\n" + body)
        stream = connection.makefile("rb")
        status = int(stream.readline().split()[1])
        headers = {}
        while line := stream.readline().strip():
            name, _, value = line.decode().partition(": ")
            headers[name.lower()] = value
        size = int(headers["content-length"])
        return Reply(status, headers, stream.read(size))


def slicer(method: str, path: str, content_type: str = "", length: bool = False) -> str:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1:{port}", "Accept-Encoding: identity"]
    if content_type:
        lines.append(f"content-type: {content_type}")
    if length:
        lines.append("content-length: {length}")
    return "\n".join(lines)


def slicer_form(fields: dict[str, str], files: dict[str, tuple[str, bytes]]) -> bytes:
    body = bytearray()
    for name, value in fields.items():
        body += f'--{LIMIT}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
    for name, (path, data) in files.items():
        body += f'--{LIMIT}\r\nContent-Disposition: form-data; name="{name}"; filename="{path}"\r\n'.encode()
        body += b"Content-Type: application/octet-stream\r\n\r\n" + data + b"\r\n"
    return bytes(body + f"--{LIMIT}--\r\n\r\n".encode())


def ohif(method: str, path: str, content_type: str = "") -> str:
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: 127.0.0.1:{port}",
        "Connection: keep-alive",
        "Accept: application/json, multipart/form-data" if method != "GET" else "Accept: application/json, text/plain",
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36",
        "Sec-Fetch-Site: same-origin",
        "Sec-Fetch-Mode: cors",
        "Referer: http://127.0.0.1:{port}/ohif/viewer?StudyInstanceUIDs=1.2.3",
        "Accept-Encoding: gzip, deflate, br, zstd",
        "Accept-Language: en-US,en;q=0.9",
    ]
    if method != "GET":
        lines.append("Origin: http://127.0.0.1:{port}")
    if content_type:
        lines += [f"Content-Type: {content_type}", "Content-Length: {length}"]
    return "\n".join(lines)


def ohif_form(params: dict[str, Any]) -> bytes:
    text = json.dumps(params, separators=(",", ":"))
    part = f'--{WEBKIT}\r\nContent-Disposition: form-data; name="params"\r\n\r\n{text}\r\n--{WEBKIT}--\r\n'
    return part.encode()


def parts(reply: Reply) -> dict[str, tuple[str, str, bytes]]:
    """The parts of a multipart answer: name to file name, type and content."""
    limit = reply.headers["content-type"].partition("boundary=")[2].encode()
    assert reply.body.endswith(b"--" + limit + b"--\r\n")
    found = {}
    for piece in reply.body.split(b"--" + limit)[1:-1]:
        head, _, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        name = re.search(rb'name="([^"]*)"', head)
        file = re.search(rb'filename="([^"]*)"', head)
        kind = re.search(rb"Content-Type: (.*)", head)
        assert name is not None
        assert kind is not None
        file_name = file[1].decode() if file else ""
        found[name[1].decode()] = (file_name, kind[1].strip().decode(), content.removesuffix(b"\r\n"))
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelServer]:
    with label_server(tmp_path_factory.mktemp("server")) as found:
        yield found


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("volume") / "x.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(5, 4, 3), np.eye(4)), path)
    return path.read_bytes()


PROBLEM = "application/problem+json"


def test_slicer_connects_runs_loads_the_result_and_submits(server: LabelServer, volume: bytes) -> None:
    # Connect
    for _ in range(2):
        auth = ask(server, slicer("GET", "/auth/"))
        assert (auth.status, auth.headers["content-type"], auth.json["code"]) == (404, PROBLEM, "auth_off")
    info = ask(server, slicer("GET", "/info/"))
    assert (info.status, info.headers["content-type"]) == (200, "application/json")
    assert list(info.json) == [
        *("name", "description", "version", "labels", "models", "trainers", "strategies", "scoring"),
        *("train_stats", "datastore"),
    ]
    assert (info.json["labels"], info.json["train_stats"]) == ([], {})
    assert info.json["datastore"] == {"total": 0, "completed": 0, "label_tags": {}}
    model = info.json["models"]["identity"]
    assert [model[key] for key in ("type", "labels", "dimension", "config")] == [
        "segmentation",
        [],
        2,
        {"strength": 1.0},
    ]
    training = ask(server, slicer("GET", "/train/?check_if_running=true"))
    assert (training.status, training.json["code"]) == (404, "no_such_task")

    # Run on a volume that the user loaded: upload by the old path, then infer
    path = "/home/doe/.slicer/slicer-monai-label/tmpk3x2_q1f.nii.gz"
    body = slicer_form({"params": '{"client_id": "user-xyz"}'}, {"file": (path, volume)})
    form = f"multipart/form-data; boundary={LIMIT}"
    upload = ask(server, slicer("PUT", f"/datastore/?image={NODE_QUOTED}", form, length=True), body)
    assert (upload.status, upload.json) == (200, {"image": NODE})
    params = {"strength": 1.0, "result_extension": ".nrrd", "result_dtype": "uint8", "client_id": "user-xyz"}
    infer = ask(
        server,
        slicer("POST", f"/infer/identity?image={NODE_QUOTED}", form, length=True),
        slicer_form({"params": json.dumps(params)}, {}),
    )
    assert infer.status == 200
    assert infer.headers["content-type"].startswith("multipart/form-data; boundary=")
    found = parts(infer)
    assert list(found) == ["params", "image"]
    told = json.loads(found["params"][2])
    job = told["job"]
    assert found["params"][:2] == ("", "application/json")
    assert found["image"][:2] == (f"{job}.nrrd", "application/octet-stream")
    head, voxels = found["image"][2].split(b"\n\n", 1)
    assert head.decode().splitlines() == [
        "NRRD0004",
        "type: unsigned char",
        "dimension: 3",
        "space: left-posterior-superior",
        "sizes: 5 4 3",
        "space directions: (-0.7,-0.0,0.0) (-0.0,-0.7,0.0) (-0.0,-0.0,2.5)",
        "kinds: domain domain domain",
        "endian: little",
        "encoding: gzip",
        "space origin: (20.0,-33.0,-7.0)",
    ]
    assert gzip.decompress(voxels) == ZEROS
    assert {key: told[key] for key in ("label_names", "centroids", "model", "image", "notes")} == {
        "label_names": {},
        "centroids": [],
        "model": "identity",
        "image": f"{NODE}__identity",
        "notes": ["nothing was done"],
    }

    # Next Sample: the enhanced volume
    sample = ask(
        server,
        slicer("POST", "/activelearning/latest_enhanced", "application/json", length=True),
        b'{"client_id": "user-xyz"}',
    )
    assert sample.status == 200
    golden = {"id": f"{NODE}__identity", "path": "", "name": "3_CT_Thorax_Doe_John_identity.nii.gz", "weight": 1}
    assert {key: sample.json[key] for key in golden} == golden
    assert sample.json["strategy"]["latest_enhanced"]["client_id"] == "user-xyz"
    download = ask(server, slicer("GET", f"/datastore/image?image={NODE_QUOTED}__identity"))
    assert (download.status, download.body) == (200, volume)
    assert download.headers["content-disposition"] == 'attachment; filename="3_CT_Thorax_Doe_John_identity.nii.gz"'
    import hashlib

    assert sample.json["checksum"] == f"SHA256:{hashlib.sha256(download.body).hexdigest()}"
    listing = ask(server, slicer("GET", "/datastore/?output=all"))
    assert listing.json["objects"][f"{NODE}__identity"]["labels"] == {}
    original = ask(server, slicer("GET", f"/datastore/label?label={NODE_QUOTED}__identity&tag=original"))
    assert (original.status, original.json["code"]) == (404, "no_such_label")

    # Submit
    body = slicer_form(
        {"params": '{"label_info": [{"name": "lesion", "idx": 1}], "model": "", "client_id": "user-xyz"}'},
        {"label": ("/home/doe/.slicer/slicer-monai-label/tmpz.nrrd", b"NRRD0004\n")},
    )
    label = ask(server, slicer("PUT", f"/datastore/label?image={NODE_QUOTED}", form, length=True), body)
    assert (label.status, label.json) == (200, {"image": NODE, "label": NODE})
    info = ask(server, slicer("GET", "/info/"))
    assert info.json["datastore"] == {"total": 2, "completed": 1, "label_tags": {"final": 1}}


def test_slicer_uses_a_session_for_its_point_tools(server: LabelServer, volume: bytes) -> None:
    gone = ask(server, slicer("GET", "/session/0193e7a0-0000-7000-8000-000000000000"))
    assert (gone.status, gone.json["code"]) == (404, "no_such_session")
    limit = "f1d2d2f924e986ac86fdf7b36c94bcdf"  # as requests writes it
    body = (
        f'--{limit}\r\nContent-Disposition: form-data; name="client_id"\r\n\r\nuser-xyz\r\n'
        f'--{limit}\r\nContent-Disposition: form-data; name="files"; filename="tmpa.nii.gz"\r\n\r\n'
    ).encode()
    body += volume + f"\r\n--{limit}--\r\n".encode()
    head = slicer("PUT", "/session/", f"multipart/form-data; boundary={limit}", length=True)
    begun = ask(
        server, head.replace("Accept-Encoding: identity", "User-Agent: python-requests/2.32.3\nAccept: */*"), body
    )
    assert begun.status == 200
    session = begun.json["session_id"]
    assert begun.json["session_info"] | {"create_ts": 0, "last_access_ts": 0} == {
        "name": session,
        "path": "",
        "image": "image.nii.gz",
        "meta": {},
        "create_ts": 0,
        "last_access_ts": 0,
        "expiry": 3600,
    }
    assert ask(server, slicer("GET", f"/session/{session}")).json == begun.json["session_info"]
    params = {"result_extension": ".nrrd", "result_dtype": "uint8", "foreground": [[1, 2, 3]], "background": []}
    infer = ask(
        server,
        slicer(
            "POST",
            f"/infer/identity?image={NODE_QUOTED}&session_id={session}",
            f"multipart/form-data; boundary={LIMIT}",
            True,
        ),
        slicer_form({"params": json.dumps(params)}, {"label": ("/tmp/scribbles.nrrd", b"NRRD0004\n")}),
    )
    assert infer.status == 200
    assert json.loads(parts(infer)["params"][2])["image"] is None
    assert ask(server, slicer("GET", f"/session/{session}?image=true")).body == volume


@pytest.mark.parametrize(
    ("output", "dtype", "size"), [("image", "uint8", 60), ("all", "uint16", 120)], ids=["release 0.8.5", "main"]
)
def test_ohif_connects_and_runs(server: LabelServer, volume: bytes, output: str, dtype: str, size: int) -> None:
    form = f"multipart/form-data; boundary={LIMIT}"
    uid = "1.2.826.0.1.3680043.8.498.7"
    ask(
        server,
        slicer("PUT", f"/datastore/image?image={uid}", form, length=True),
        slicer_form({}, {"file": ("a", volume)}),
    )

    info = ask(server, ohif("GET", "/info/"))
    assert (info.status, type(info.json["labels"])) == (200, list)
    assert all(isinstance(model["labels"], list) for model in info.json["models"].values())
    assert all(isinstance(info.json[key], dict) for key in ("trainers", "strategies", "scoring", "train_stats"))
    assert ask(server, ohif("GET", "/train/?check_if_running=true")).status == 404

    params = {
        **{"strength": 1, "result_extension": ".nrrd", "result_dtype": dtype},
        **{"result_compress": False, "restore_label_idx": False},
    }
    head = ohif("POST", f"/infer/identity?image={uid}&output={output}", f"multipart/form-data; boundary={WEBKIT}")
    infer = ask(server, head, ohif_form(params))
    assert infer.status == 200
    nrrd = infer.body if output == "image" else parts(infer)["image"][2]
    header, voxels = nrrd.split(b"\n\n", 1)
    assert b"encoding: raw" in header
    assert b"sizes: 5 4 3" in header
    assert voxels == bytes(size)

    sample = ask(server, ohif("POST", "/activelearning/random", "application/json"), b"{}")
    assert (sample.status, sample.json["id"].startswith(f"{uid}__identity")) == (200, True)


def test_ohif_asks_for_an_update_of_the_model_by_the_old_path(server: LabelServer) -> None:
    server.worker.pause()
    try:
        refused = ask(server, ohif("POST", "/train/", "application/json"), b"{}")
        assert (refused.status, refused.json["code"]) == (409, "nothing_to_train")
        assert ask(server, ohif("DELETE", "/train/")).body == b"null"
    finally:
        server.worker.go_on()


def test_ohif_says_failed_where_there_is_no_such_series(server: LabelServer) -> None:
    head = ohif("POST", "/infer/identity?image=1.2.3&output=image", f"multipart/form-data; boundary={WEBKIT}")
    failed = ask(server, head, ohif_form({"result_dtype": "uint8"}))
    assert (failed.status, failed.headers["content-type"], failed.json["code"]) == (404, PROBLEM, "no_such_image")


@pytest.mark.parametrize("path", ["/infer/wsi/identity", "/infer/wsi_v2/identity?image=x&output=asap"])
def test_slides_of_pathology_are_refused_by_name(server: LabelServer, path: str) -> None:
    refused = ask(server, slicer("POST", path, "application/json", length=True), b'{"level": 0, "size": [0, 0]}')
    assert (refused.status, refused.json["code"]) == (404, "no_wsi")
    assert "whole-slide" in refused.json["detail"]


def test_the_reviewer_plugin_tests_the_connection_lists_and_tells(server: LabelServer, volume: bytes) -> None:
    form = f"multipart/form-data; boundary={LIMIT}"
    ask(server, slicer("PUT", "/datastore/image?image=r1", form, length=True), slicer_form({}, {"file": ("a", volume)}))
    body = slicer_form({"params": "{}"}, {"label": ("b.nii.gz", volume)})
    ask(server, slicer("PUT", "/datastore/label?image=r1&tag=final", form, length=True), body)
    assert (
        ask(server, slicer("GET", "/datastore/?output=all")).json["objects"]["r1"]["labels"]["final"]["ext"]
        == ".nii.gz"
    )
    body = slicer_form({"params": '{"segmentationMeta": {"status": "approved"}}'}, {})
    told = ask(server, slicer("PUT", "/datastore/updatelabelinfo?label=r1&tag=final", form, length=True), body)
    assert (told.status, told.json) == (200, {"segmentationMeta": {"status": "approved"}})
    info = ask(server, slicer("GET", "/datastore/label/info?label=r1&tag=final"))
    assert info.json == {"segmentationMeta": {"status": "approved"}}
    assert ask(server, slicer("GET", "/datastore/image?image=r1")).body == volume


def test_no_path_of_the_viewers_redirects(server: LabelServer) -> None:
    for method, path in (
        ("GET", "/auth/"),
        ("GET", "/info/"),
        ("GET", "/train/"),
        ("GET", "/datastore/"),
        ("PUT", "/datastore/?image=a"),
        ("PUT", "/session/"),
        ("PUT", "/session"),
        ("GET", "/info"),
        ("POST", "/train"),
        ("GET", "/scoring/"),
        ("GET", "/logs/"),
    ):
        assert not 300 <= ask(server, slicer(method, path, length=method != "GET")).status < 400, path
