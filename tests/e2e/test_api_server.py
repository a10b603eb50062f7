# SPDX-License-Identifier: Apache-2.0
"""API v1 of a real server with a real worker: a study in, its result out, in every way that there is."""

import gzip
import io
import json
import socket
import time
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from tests.chaos.load import image, voxels
from tests.dicom_objects import series_of
from tests.served import PATIENCE_S, Answer, Served, serving, until

RAW = {"Content-Type": "application/octet-stream"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("server"), IDLE_TIMEOUT_S="3") as made:
        yield made


def ask(
    server: Served, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> Answer:
    line = server.line()
    try:
        return line.ask(method, path, body, headers)
    finally:
        line.close()


def form(fields: dict[str, str], files: list[tuple[str, bytes]]) -> tuple[bytes, dict[str, str]]:
    """A multipart body and its header."""
    mark, out = uuid.uuid4().hex, io.BytesIO()
    for name, value in fields.items():
        out.write(f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode())
    for name, content in files:
        head = f'Content-Disposition: form-data; name="{name}"; filename="Doe^John.dcm"'
        out.write(f"--{mark}\r\n{head}\r\n\r\n".encode() + content + b"\r\n")
    out.write(f"--{mark}--\r\n".encode())
    return out.getvalue(), {"Content-Type": f"multipart/form-data; boundary={mark}"}


def test_an_image_is_enhanced_in_one_request(server: Served) -> None:
    answer = ask(server, "POST", "/v1/enhance", *form({"bundle": "identity"}, [("file", image(1))]))
    assert answer.status == 200, answer.body
    assert gzip.decompress(answer.body)[-len(voxels(1)) :] == voxels(1)
    job = json.loads(ask(server, "GET", answer.headers["content-location"].removesuffix("/result")).body)
    assert (job["state"], job["attempt"]) == ("succeeded", 1)


def test_a_series_goes_in_slice_by_slice_and_comes_out_as_a_derived_one(server: Served, tmp_path: Path) -> None:
    slices = [path.read_bytes() for path in series_of("ct", tmp_path)]
    body, headers = form({"bundle": "identity"}, [("file", one) for one in slices])
    answer = ask(server, "POST", "/v1/jobs", body, headers | {"Prefer": "wait=60"})
    assert (answer.status, answer.json()["state"]) == (200, "succeeded"), answer.body
    place = answer.headers["location"]
    result = ask(server, "GET", f"{place}/result")
    with zipfile.ZipFile(io.BytesIO(result.body)) as archive:
        made = [pydicom.dcmread(io.BytesIO(archive.read(name))) for name in archive.namelist()]
    assert len(made) == len(slices)
    assert "DERIVED" in made[0].ImageType
    same = ask(server, "GET", f"{place}/result?as=dicom")
    assert (same.status, same.headers["content-type"]) == (200, "application/zip"), same.body[:300]
    nrrd = ask(server, "GET", f"{place}/result?as=nrrd")
    assert nrrd.body[:4] == b"NRRD"
    again = ask(server, "GET", f"{place}/result?as=nrrd", None, {"If-None-Match": nrrd.headers["etag"]})
    assert again.status == 304
    refused = ask(server, "GET", f"{place}/result?as=gif")
    assert refused.problem == "bad_request"
    page = ask(server, "GET", f"{place}/evidence")
    assert page.body.startswith(b"<!doctype html>")


def test_what_is_no_image_is_415_with_the_job_that_says_so(server: Served) -> None:
    answer = ask(server, "POST", "/v1/enhance?bundle=identity", b"not an image at all", RAW)
    assert (answer.status, answer.problem) == (415, "unsupported_format"), answer.body
    job = ask(server, "GET", answer.headers["location"]).json()
    assert (job["state"], job["error"]["status"]) == ("failed", 415)
    assert ask(server, "GET", f"{answer.headers['location']}/result").problem == "no_result"


def test_a_job_is_followed_to_its_end(server: Served) -> None:
    place = ask(server, "POST", "/v1/jobs?bundle=identity", image(2), RAW).headers["location"]
    text = ask(server, "GET", f"{place}/events").body.decode()
    assert text.index("event: created") < text.index("event: started") < text.index("event: succeeded")
    last = text[text.rindex("id: ") + 4 :].split()[0]
    assert "event:" not in ask(server, "GET", f"{place}/events", None, {"Last-Event-ID": last}).body.decode()


def opened(server: Served, head: bytes) -> socket.socket:
    line = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S)
    line.sendall(head)
    return line


def everything(line: socket.socket) -> bytes:
    """What the server says until it ends the connection."""
    answer = b""
    while piece := line.recv(65536):
        answer += piece
    return answer


def test_a_body_that_stops_coming_is_ended_and_leaves_nothing(server: Served) -> None:
    head = b"POST /v1/jobs?bundle=identity HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
    with opened(server, head + b"Content-Length: 5000000\r\n\r\n" + bytes(3_000_000)) as line:
        began = time.monotonic()
        answer = everything(line)
        assert time.monotonic() - began > 2, "a sender may pause"
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"application/problem+json" in answer
    until(lambda: not list((server.data / "tmp").glob("blob-*")))


def test_a_client_that_goes_away_leaves_nothing(server: Served) -> None:
    head = b"PUT /v1/blobs/" + b"0" * 64 + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000\r\n\r\n"
    opened(server, head + bytes(3_000_000)).close()
    head = b"POST /v1/jobs?bundle=identity HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
    opened(server, head + b"Content-Length: 5000000\r\n\r\n" + bytes(3_000_000)).close()
    place = f"/v1/blobs/{'0' * 64}"
    until(lambda: ask(server, "HEAD", place).status != 404 and not list((server.data / "tmp").glob("blob-*")))
    assert 0 < int(ask(server, "HEAD", place).headers["upload-offset"]) <= 3_000_000


def test_a_stop_lets_who_waits_know_and_keeps_the_job(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        place = ask(server, "POST", "/v1/jobs?bundle=identity", image(3), RAW).headers["location"]
        assert server.stop() == 0
        server.start()
        server.answers("/readyz", PATIENCE_S)
        assert server.ended(ask(server, "GET", place).json())["state"] == "succeeded"


def test_who_waits_for_one_answer_cancels_by_going_and_hears_of_a_stop(tmp_path: Path) -> None:
    server = Served(tmp_path / "data", {"DEVICES": "cpu", "WORKERS_CPU": "0"})
    server.start()
    try:
        server.answers("/livez", PATIENCE_S)
        body = image(4)
        head = b"POST /v1/enhance?bundle=identity HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n".encode()
        line = opened(server, head + body)
        place = f"/v1/jobs/{one_job(server, 'queued')}"
        line.close()
        until(lambda: ask(server, "GET", place).json()["state"] == "cancelled")
        with opened(server, head + body) as line:
            place = f"/v1/jobs/{one_job(server, 'queued')}"
            assert server.stop() == 0
            answer = everything(line)
        assert answer.startswith(b"HTTP/1.1 503")
        assert b'"code":"draining"' in answer
        assert place.encode() in answer
    finally:
        server.kill()


def one_job(server: Served, state: str) -> str:
    """The id of the one job in a state, once there is one."""
    return str(until(lambda: ask(server, "GET", f"/v1/jobs?state={state}").json()["jobs"])[0]["id"])
