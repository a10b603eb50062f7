# SPDX-License-Identifier: Apache-2.0
"""A live server and everything hostile that can be sent to it: the named answer, and no harm done.

How long each takes is for `python -m tests.benchmarks.server_limits`.
"""

import hashlib
import io
import json
import select
import socket
import zipfile
from collections.abc import Iterator

import pytest

from tests import hostile
from tests.ordeal import MEMORY_MIB, Ordeal, everywhere, good, send, undergo
from tests.served import PATIENCE_S, Served, memory_mib, serving, until

IDLE_S = 3.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("hostile")
    with serving(folder, IDLE_TIMEOUT_S=str(IDLE_S)) as running:
        yield running


@pytest.fixture(scope="module")
def ordeal(server: Served) -> Ordeal:
    """Everything hostile, once; what came of it."""
    return undergo(server)


def test_every_hostile_input_gets_its_named_answer(ordeal: Ordeal):
    assert len(ordeal.told) >= 60
    assert ordeal.wrong == {}


def test_no_process_ends(ordeal: Ordeal):
    assert ordeal.after == ordeal.before


def test_memory_comes_back(ordeal: Ordeal):
    assert ordeal.holds_mib - ordeal.held_mib < MEMORY_MIB


def test_nothing_lies_outside_the_folders_of_the_jobs(server: Served, ordeal: Ordeal):
    assert everywhere(server) == []
    assert {path.name for path in server.data.parent.iterdir()} == {"data", "server.log"}
    until(lambda: not list((server.data / "work").iterdir()))
    until(lambda: not [path for path in (server.data / "tmp").rglob("*") if path.is_file()])
    blobs = [path for path in (server.data / "blobs").rglob("*") if path.is_file() and not path.name.startswith(".")]
    assert all(len(path.name) == 64 and path.parent.name == path.name[:2] for path in blobs)


def test_an_executable_preamble_and_a_path_as_uid_do_not_come_out_again(server: Served):
    rows = {row.name: row for row in hostile.rows()}
    for name in ("MZ in the preamble", "ELF in the preamble", "a path as UID"):
        job = server.ended(send(server, rows[name].make()).json())
        line = server.line()
        result = line.ask("GET", f"/v1/jobs/{job['id']}/result").body
        line.close()
        with zipfile.ZipFile(io.BytesIO(result)) as archive:
            for entry in archive.namelist():
                assert ".." not in entry and not entry.startswith("/")
                assert archive.read(entry)[:132] == bytes(128) + b"DICM"


@pytest.mark.parametrize("name", ["text", "zip bomb that lies", "no rows", "deflate bomb, 3 GB", "zip with a link"])
def test_whoever_waits_for_the_result_gets_the_same_answer(server: Served, name: str):
    row = next(row for row in hostile.rows() if row.name == name)
    line = server.line()
    raw = line.ask("POST", "/v1/enhance?bundle=identity", row.make(), {"Content-Type": "application/octet-stream"})
    head = '--x\r\nContent-Disposition: form-data; name="file"; filename="a.dcm"\r\n\r\n'
    body = head.encode() + row.make() + b"\r\n--x--\r\n"
    form = line.ask("POST", "/v1/enhance?bundle=identity", body, {"Content-Type": "multipart/form-data; boundary=x"})
    line.close()
    assert (raw.status, raw.problem) in row.answers
    assert (form.status, form.problem) in row.answers


NAMES = ["text", "no rows", "slope NaN", "sequences 5000 deep", "zip in zip", "NIfTI, gz bomb", "MHA with data in LIST"]


@pytest.mark.parametrize("name", NAMES)
def test_a_client_of_monai_label_gets_it_too(server: Served, name: str):
    row = next(row for row in hostile.rows() if row.name == name)
    put = f'--x\r\nContent-Disposition: form-data; name="file"; filename="../../{hostile.CANARY}.nii"\r\n\r\n'.encode()
    line = server.line()
    body = put + row.make() + b"\r\n--x--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    assert line.ask("PUT", "/datastore/image?image=hostile", body, kind).status == 200
    answer = line.ask("POST", "/infer/identity?image=hostile&output=image")
    line.close()
    assert (answer.status, answer.problem) in row.answers


def test_what_a_client_stored_never_becomes_a_page_of_the_server(server: Served):
    page = b"<!DOCTYPE html><script>alert(1)</script>"
    line = server.line()
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.html"\r\n\r\n' + page + b"\r\n--x--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    assert line.ask("PUT", "/datastore/image?image=page.html", body, kind).status == 200
    answer = line.ask("GET", "/datastore/image?image=page.html")
    line.close()
    assert answer.body == page
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"].startswith("attachment")


@pytest.mark.parametrize(
    ("content", "codes"),
    [
        (b"", {400, 422}),
        (b"{", {400, 422}),
        (b"[]", {422}),
        (b'{"bundle": "identity"}', {422}),
        (b'{"bundle": "identity", "inputs": [], "extra": 1}', {422}),
        (b'{"bundle": "identity", "inputs": [{"sha256": "../../etc/passwd"}]}', {422}),
        (b'{"bundle": "identity", "inputs": [{"sha256": "%s"}]}' % (b"0" * 64), {404, 422}),
        (b'{"bundle": "identity", "inputs": [{"sha256": "HERE"}], "params": {"unknown": 1}}', {422}),
        (b'{"bundle": "identity", "inputs": [{"sha256": "HERE"}], "params": {"options": {"unknown": 1}}}', {422}),
        (b'{"bundle": "identity", "inputs": [{"sha256": "HERE"}], "params": {"strength": NaN}}', {422}),
        (b'{"bundle": "identity", "inputs": [{"sha256": "HERE"}], "params": {"strength": Infinity}}', {422}),
        (b'{"bundle": "identity", "inputs": [{"sha256": "HERE"}], "params": {"strength": 1e308}}', {422}),
        (b'{"bundle": "identity", "inputs": [{"sha256": "HERE"}], "params": {"strength": "1"}}', {422}),
        (b'{"bundle": "identity", "inputs": [{"sha256": "HERE"}], "priority": %s}' % (b"9" * 5000), {422}),
        (b'{"bundle": "identity", "inputs": [{"sha256": "HERE"}], "deadline": 1e400}', {422}),
        (b'{"bundle": "../../etc/passwd", "inputs": [{"sha256": "HERE"}]}', {404, 422}),
        (b'{"bundle": "/etc", "inputs": [{"sha256": "HERE"}]}', {404, 422}),
        (b'{"bundle": "identity/../identity", "inputs": [{"sha256": "HERE"}]}', {404, 422}),
        (b'{"bundle": "identity\\u0000", "inputs": [{"sha256": "HERE"}]}', {404, 422}),
        (b'{"bundle": "identity", "inputs": [{"sha256": "HERE"}], "params": {"as": "exe"}}', {422}),
        (b'{"bundle": "identity", "inputs": [{"sha256": "HERE"}], "params": {"engine": "../x"}}', {422}),
        (b'{"bundle": "identity", "inputs": ' + b"[" * 100_000, {422}),
        (b'{"bundle": "' + b"a" * (2 << 20) + b'"}', {413, 422}),
    ],
)
def test_parameters_that_cannot_be_are_refused_by_name(server: Served, content: bytes, codes: set[int]):
    line = server.line()
    body = hostile.nifti()
    digest = hashlib.sha256(body).hexdigest()
    assert line.ask("PUT", f"/v1/blobs/{digest}", body).status in (200, 201, 204)
    content = content.replace(b"HERE", digest.encode())
    answer = line.ask("POST", "/v1/jobs", content, {"Content-Type": "application/json"})
    line.close()
    assert answer.status in codes
    assert " without " not in answer.problem


@pytest.mark.parametrize(
    "path",
    [
        "/v1/bundles/..%2f..%2fetc%2fpasswd",
        "/v1/bundles/%2e%2e",
        "/v1/jobs/../../etc/passwd",
        "/v1/jobs/..%2f..%2fledger.sqlite/result",
        "/v1/blobs/..%2fledger.sqlite",
        "/info/../../etc/passwd",
        "/datastore/image?image=../../ledger.sqlite",
        "/datastore/image?image=/etc/passwd",
        "/dicom-web/studies/..%2f..%2f/series",
        "/%00",
        "/v1/jobs/%ff",
    ],
)
def test_a_path_leads_nowhere(server: Served, path: str):
    line = server.line()
    answer = line.ask("GET", path)
    line.close()
    assert answer.status in (400, 404, 405, 422)
    assert b"root:" not in answer.body and b"SQLite" not in answer.body


def talk(server: Served, *parts: bytes, pause_s: float = 0.0) -> tuple[int, int]:
    """Send parts on a bare socket until the server says something; its status, and how many parts it let come."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as line:
        sent = 0
        try:
            for part in parts:
                if select.select([line], [], [], pause_s)[0]:
                    break
                line.sendall(part)
                sent += 1
        except OSError:
            pass
        said = b""
        try:
            while b"\r\n" not in said and (more := line.recv(4096)):
                said += more
        except ConnectionError:
            pass
    return int(said.split()[1]) if said else 0, sent


POST = b"POST /v1/jobs?bundle=identity HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"


def test_a_connection_without_a_request_is_ended(server: Served):
    assert talk(server, b"GET /v1/jobs HT")[0] == 408


def test_a_body_that_stops_is_ended(server: Served):
    assert talk(server, POST + b"Content-Length: 1000000\r\n\r\n" + bytes(100_000))[0] == 408


def test_a_body_that_trickles_is_ended(server: Served):
    parts = int(PATIENCE_S / 0.5)
    status, sent = talk(server, POST + b"Content-Length: 1000000\r\n\r\n", *[b"x"] * parts, pause_s=0.5)
    assert status == 408 and sent < parts


def test_a_body_that_is_too_large_is_refused_before_it_comes(server: Served):
    assert talk(server, POST + b"Content-Length: 99999999999999\r\n\r\n" + bytes(10_000))[0] in (413, 507)


def test_a_head_of_a_gigabyte_is_refused(server: Served):
    held = memory_mib(server.tree()["api"])
    status, sent = talk(server, b"GET / HTTP/1.1\r\nA: ", *[b"a" * 1_000_000] * 1000)
    assert status == 431 and sent < 100
    assert memory_mib(server.tree()["api"]) - held < 20


def test_a_form_of_a_hundred_thousand_parts_is_refused(server: Served):
    held = memory_mib(server.tree()["api"])
    part = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n'
    body = part * 100_000 + b"--x--\r\n"
    line = server.line()
    answer = line.ask("POST", "/v1/jobs", body, {"Content-Type": "multipart/form-data; boundary=x"})
    line.close()
    assert answer.status in (400, 413, 422) and " without " not in answer.problem
    assert memory_mib(server.tree()["api"]) - held < 50


@pytest.mark.parametrize(
    "body",
    [
        b"--x\r\nContent-Disposition: form-data; name=" + b"a" * 500_000,
        b"--x\r\n" + b"A: b\r\n" * 50_000,
        b"--x\r\n\r\n",
        b"no boundary",
        b'--x\r\nContent-Disposition: form-data; name="f"; filename="../../clarivox-escaped"\r\n\r\nhello\r\n--x--\r\n',
        b'--x\r\nContent-Disposition: form-data; name="bundle"\r\n\r\n\xff\xfe\r\n--x--\r\n',
    ],
)
def test_a_form_that_is_none_is_refused(server: Served, body: bytes):
    line = server.line()
    answer = line.ask("POST", "/v1/jobs", body, {"Content-Type": "multipart/form-data; boundary=x"})
    line.close()
    assert answer.status in (400, 413, 415, 422) and " without " not in answer.problem
    assert everywhere(server) == []


def test_after_all_that_the_server_is_well(server: Served):
    line = server.line()
    assert line.ask("GET", "/readyz").status == 200
    line.close()
    good(server)
    text = server.log()
    assert "Traceback" not in text and hostile.CANARY not in text
    assert json.loads((server.data / "audit.jsonl").read_text().splitlines()[-1])["status"] == 200
