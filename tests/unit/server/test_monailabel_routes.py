# SPDX-License-Identifier: Apache-2.0
"""What the viewers do not ask for: archives, logs, weights, digests, keys; and that nothing of a name gets out."""

import hashlib
import http.client
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from clarivox.server.keys import Keys
from tests.label_server import LabelServer, label_server, until

SENTINEL = "Zz9^Sentinel"
IMAGE = b"\x1f\x8bnot really an image"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelServer]:
    with label_server(tmp_path_factory.mktemp("server")) as found:
        yield found


def ask(server: LabelServer, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body or None, sent)
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    is_json = "json" in (answer.headers["content-type"] or "") and content
    return answer.status, json.loads(content) if is_json else answer.headers, content


def form(fields: dict[str, str], files: dict[str, bytes] | None = None) -> dict[str, Any]:
    body = b""
    for name, value in fields.items():
        body += f'--xx\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
    for name, data in (files or {}).items():
        body += f'--xx\r\nContent-Disposition: form-data; name="{name}"; filename="{SENTINEL}.nii.gz"\r\n\r\n'.encode()
        body += data + b"\r\n"
    return {"body": body + b"--xx--\r\n", "content_type": "multipart/form-data; boundary=xx"}


def put(server: LabelServer, name: str, data: bytes = IMAGE) -> None:
    assert ask(server, "PUT", f"/datastore/image?image={quote(name)}", **form({}, {"file": data}))[0] == 200


def test_an_image_without_a_name_takes_that_of_its_file(server: LabelServer) -> None:
    assert ask(server, "PUT", "/datastore/image", **form({}, {"file": IMAGE}))[1] == {"image": SENTINEL}


@pytest.mark.parametrize("algorithm", ["", "SHA256:", "SHA512:", "MD5:", "md5:"])
def test_a_digest_is_compared_whichever_it_is(server: LabelServer, algorithm: str) -> None:
    put(server, "digest")
    digest = hashlib.new(algorithm.rstrip(":") or "SHA256", IMAGE, usedforsecurity=False).hexdigest()
    there = f"/datastore/image?image=digest&check_sum={algorithm}"
    assert ask(server, "HEAD", there + digest)[0] == 200
    assert ask(server, "HEAD", there + "0" * len(digest))[0] == 404


def test_another_algorithm_is_refused(server: LabelServer) -> None:
    put(server, "digest")
    assert ask(server, "HEAD", "/datastore/image?image=digest&check_sum=CRC:00")[0] == 422


def test_images_and_labels_come_in_one_archive(server: LabelServer) -> None:
    put(server, "../a b")
    assert ask(server, "PUT", "/datastore/label?image=../a%20b&tag=final", **form({}, {"label": b"NRRD"}))[0] == 200
    status, _, content = ask(server, "GET", "/datastore/dataset")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert {"a_b.nii.gz", "labels/final/a_b.nrrd"} <= set(archive.namelist())
        assert archive.read("a_b.nii.gz") == IMAGE
        assert not any(".." in name or name.startswith("/") for name in archive.namelist())
    assert status == 200


def test_pairs_for_a_training_are_listed(server: LabelServer) -> None:
    put(server, "pair")
    ask(server, "PUT", "/datastore/label?image=pair&tag=final", **form({}, {"label": b"NRRD"}))
    assert {"image": "pair.nii.gz", "label": "pair.nrrd"} in ask(server, "GET", "/datastore/?output=train")[1]


def test_what_is_told_of_an_image_comes_back(server: LabelServer) -> None:
    put(server, "told")
    ask(server, "PUT", "/datastore/image/info?image=told", **form({"info": '{"site": "A"}'}))
    assert ask(server, "GET", "/datastore/image/info?image=told")[1]["site"] == "A"


@pytest.mark.parametrize("path", ["/datastore/?id=old", "/datastore/image?id=old"])
def test_an_image_is_removed_by_either_path(server: LabelServer, path: str) -> None:
    put(server, "old")
    assert ask(server, "DELETE", path)[:2] == (200, {})
    assert ask(server, "DELETE", path)[0] == 404


def test_a_label_is_looked_for_and_removed(server: LabelServer) -> None:
    put(server, "l")
    ask(server, "PUT", "/datastore/label?image=l", **form({}, {"label": b"NRRD"}))
    assert ask(server, "HEAD", "/datastore/label?image=l&tag=final")[0] == 200
    assert ask(server, "DELETE", "/datastore/label?id=l&tag=final")[:2] == (200, {})
    assert ask(server, "HEAD", "/datastore/label?image=l&tag=final")[0] == 404


def test_the_log_is_a_page_that_asks_nobody_for_anything(server: LabelServer) -> None:
    put(server, SENTINEL)
    assert (
        ask(server, "POST", f"/infer/identity?image={quote(SENTINEL)}&output=json", **form({"params": "{}"}))[0] == 200
    )
    status, headers, content = ask(server, "GET", "/logs/?lines=100&refresh=1")
    page = content.decode()
    assert status == 200
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["refresh"] == "3"
    assert "<script" not in page
    assert "http" not in page.replace("<html", "")
    assert "succeeded" in page
    assert SENTINEL not in page
    text = ask(server, "GET", "/logs/?text=true&lines=2")[2].decode()
    assert len(text.strip().splitlines()) == 2


def test_devices_are_told_without_asking_a_program(server: LabelServer) -> None:
    status, _, content = ask(server, "GET", "/logs/gpu")
    assert (status, content.decode()) == (200, "no worker has come yet\n")


def test_weights_are_shown_and_never_changed(server: LabelServer) -> None:
    _, info, _ = ask(server, "GET", "/model/info/ct_unet_denoise")
    weights = ask(server, "GET", "/model/ct_unet_denoise")[2]
    assert info["checksum"] == f"SHA256:{hashlib.sha256(weights).hexdigest()}"
    assert ask(server, "PUT", "/model/ct_unet_denoise", **form({}, {"file": b"x"}))[1]["code"] == "sealed_bundle"
    assert ask(server, "DELETE", "/model/ct_unet_denoise")[1]["code"] == "sealed_bundle"
    assert ask(server, "GET", "/model/info/ct_unet_denoise")[1] == info
    assert ask(server, "GET", "/model/any_median_denoise")[1]["code"] == "no_weights"
    assert ask(server, "GET", "/model/..%2f..%2fetc")[0] == 404


@pytest.mark.parametrize("path", ["/proxy/dicom/qido/studies", "/proxy/dicom/wado/studies", "/proxy/dicom/studies"])
def test_ohif_finds_the_servers_own_dicomweb(server: LabelServer, path: str) -> None:
    assert ask(server, "GET", path)[:2] == (200, [])
    assert ask(server, "GET", path + "/1.2.3/metadata")[0] == 404


@pytest.mark.slow
def test_a_scoring_and_a_batch_run_to_their_end_when_waited_for(server: LabelServer) -> None:
    assert ask(server, "GET", "/scoring/")[1]["code"] == "no_such_task"
    done = ask(server, "POST", "/batch/infer/identity?run_sync=true", b"{}", content_type="application/json")[1]
    assert (done["status"], done["result"]["failed"], done["progress"]) == ("DONE", 0, 1.0)
    done = ask(server, "POST", "/scoring/changes?run_sync=true", b"{}", content_type="application/json")[1]
    assert (done["status"], done["result"]["bundles"]["identity"]["noise after"]) == ("DONE", 1.0)
    assert [one["status"] for one in ask(server, "GET", "/batch/infer?all=true")[1]] == ["DONE"]
    assert ask(server, "POST", "/scoring/dice", b"{}", content_type="application/json")[0] == 404
    assert list(ask(server, "POST", "/scoring/", b"{}", content_type="application/json")[1]) == ["changes"]
    until(lambda: ask(server, "GET", "/scoring/?check_if_running=true")[0] == 404)
    assert ask(server, "DELETE", "/scoring/")[2] == b"null"
    assert ask(server, "DELETE", "/batch/infer")[2] == b"null"


@pytest.mark.slow
def test_nobody_waits_for_who_waits(server: LabelServer) -> None:
    put(server, "wait")
    server.worker.pause()
    waiting = [
        threading.Thread(
            target=ask, args=(server, "POST", "/infer/identity?image=wait&output=json"), kwargs=form({"params": "{}"})
        )
        for _ in range(45)
    ]
    try:
        for thread in waiting:
            thread.start()
        until(lambda: len(server.parts.ledger.jobs(bundle="identity", limit=200)[0]) >= 45)
        for _ in range(10):
            assert ask(server, "GET", "/info/")[0] == 200
    finally:
        server.worker.go_on()
        for thread in waiting:
            thread.join(60)


def test_nothing_of_a_name_gets_out_of_the_answers(server: LabelServer, tmp_path: Path) -> None:
    put(server, SENTINEL)
    body = form({"params": json.dumps({"PatientName": SENTINEL})})
    ask(server, "POST", f"/infer/identity?image={quote(SENTINEL)}&output=json", **body)
    ask(
        server,
        "PUT",
        f"/datastore/label?image={quote(SENTINEL)}",
        **form({"params": f'{{"a": "{SENTINEL}"}}'}, {"label": b"N"}),
    )
    folder = server.parts.settings.data_dir
    for path in folder.rglob("*"):
        assert SENTINEL not in path.name
        if path.is_file():
            assert SENTINEL.encode() not in path.read_bytes(), path.relative_to(folder)


def test_a_key_is_the_password_and_the_token(tmp_path: Path) -> None:
    with label_server(tmp_path, auth="on") as server:
        key, _ = Keys(server.parts.ledger.database).create("slicer")
        assert ask(server, "GET", "/auth/")[1] == {"enabled": True, "client_id": "clarivox", "realm": ""}
        login = {"content_type": "application/x-www-form-urlencoded"}
        status, token, _ = ask(
            server, "POST", "/auth/token", f"username=me&password={key}&grant_type=password".encode(), **login
        )
        assert (status, token) == (200, {"access_token": key, "token_type": "bearer"})
        wrong = ask(server, "POST", "/auth/token", b"username=me&password=cvx_a_b&grant_type=password", **login)
        assert (wrong[0], wrong[1]["code"]) == (401, "bad_credentials")
        mine = {"Authorization": f"bearer {key}"}
        valid = ask(server, "GET", "/auth/token/valid", **mine)
        assert (valid[0], valid[1]["roles"]) == (200, ["annotator", "reviewer", "user"])
        assert ask(server, "GET", "/auth/token/valid")[0] == 401
        assert ask(server, "GET", "/info/")[0] == 401
        assert ask(server, "GET", "/info/", **mine)[0] == 200
        assert ask(server, "POST", "/train/ct_unet_denoise", b"{}", content_type="application/json", **mine)[0] == 403
        assert ask(server, "GET", "/logs/", **mine)[0] == 403
        assert ask(server, "GET", "/proxy/dicom/qido/studies")[0] == 401
        assert ask(server, "GET", "/proxy/dicom/qido/studies", **mine)[0] == 200


def test_a_session_takes_the_files_of_a_series(server: LabelServer) -> None:
    body = b"".join(
        f'--xx\r\nContent-Disposition: form-data; name="files"; filename="{n}.dcm"\r\n\r\n'.encode()
        + bytes(128)
        + f"DICM{n}\r\n".encode()
        for n in range(1100)
    )
    multipart = "multipart/form-data; boundary=xx"
    status, session, _ = ask(server, "PUT", "/session/?expiry=60", body + b"--xx--\r\n", content_type=multipart)
    assert (status, session["session_info"]["expiry"]) == (200, 60)
    assert ask(server, "GET", f"/session/{session['session_id']}?image=true")[1]["code"] == "no_such_image"
    path = f"/infer/identity?session_id={session['session_id']}&output=json"
    assert ask(server, "POST", path, **form({"params": "{}"}))[0] == 200
    assert len(server.worker.done[-1].inputs) == 1100


def test_who_waits_when_the_server_stops_is_told_so(tmp_path: Path) -> None:
    with label_server(tmp_path) as server:
        server.worker.pause()
        put(server, "case")
        answers = []
        thread = threading.Thread(
            target=lambda: answers.append(ask(server, "POST", "/infer/identity?image=case", **form({"params": "{}"})))
        )
        thread.start()
        until(lambda: server.parts.ledger.jobs()[0])
        server.parts.draining.set()
        refused = ask(server, "POST", "/infer/identity?image=case", **form({"params": "{}"}))
        server.parts.stopping.set()
        thread.join(60)
        assert [one[:2][1]["code"] for one in (refused, *answers)] == ["draining", "draining"]
        assert (refused[0], answers[0][0]) == (503, 503)


def test_a_browser_and_the_reviewer_plugin_find_a_page(server: LabelServer) -> None:
    status, headers, content = ask(server, "GET", "/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"http" not in content.replace(b"<html", b"")
