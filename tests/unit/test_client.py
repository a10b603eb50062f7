# SPDX-License-Identifier: Apache-2.0
"""The client against a server of a page that breaks off, is busy, restarts and lies as it is told."""

import ast
import hashlib
import io
import json
import re
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from clarivox import client_wire, errors
from clarivox.client import Client, Job

ROOT = Path(__file__).parents[2]
ID = "0193-1"
PAYLOAD = bytes(range(256)) * 4000


class Stand(BaseHTTPRequestHandler):
    """One connection to the stand-in; the server object carries what it knows and what it is to do wrong."""

    def log_message(self, *_: object) -> None:
        pass

    def told(self, status: int, content: object, **headers: str) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refused(self) -> bool:
        """Give the next refusal that the test has laid out for this method."""
        plan = self.server.plan.get(self.command, [])
        if not plan:
            return False
        status, content, headers = plan.pop(0)
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.told(status, content, **headers)
        return True

    def do_HEAD(self) -> None:
        if self.refused():
            return
        held = self.server.blobs.get(self.path.rsplit("/", 1)[1])
        if held is None:
            self.told(404, {})
        else:
            total = self.server.whole.get(self.path.rsplit("/", 1)[1])
            self.told(200 if total else 204, {}, **({} if total else {"Upload_Offset": str(len(held))}))

    def do_PUT(self) -> None:
        if self.refused():
            return
        name = self.path.rsplit("/", 1)[1]
        offset = int((re.search(r"(\d+)-", self.headers.get("Content-Range", "0-")) or [0, 0])[1])
        length = int(self.headers["Content-Length"])
        wanted = min(length, self.server.breaks.pop(0)) if self.server.breaks else length
        self.server.blobs[name] = self.server.blobs.get(name, b"")[:offset] + self.rfile.read(wanted)
        if wanted < length:
            return  # the connection breaks
        self.server.whole[name] = True
        self.told(201, {})

    def do_POST(self) -> None:
        if self.refused():
            return
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.posts.append((self.path, body, self.headers.get("Idempotency-Key"), self.headers["Authorization"]))
        self.told(202, {"id": ID, "state": "queued"}, Location=f"/v1/jobs/{ID}")

    def do_DELETE(self) -> None:
        if not self.refused():
            self.told(202, {"id": ID, "state": "cancelled"})

    def do_GET(self) -> None:
        if self.refused():
            return
        if self.path.endswith("/events"):
            self.events()
        elif "/result" in self.path:
            self.result()
        else:
            states = self.server.states
            state = states.pop(0) if len(states) > 1 else states[0]
            self.told(200, {"id": ID, "state": state, "results": self.server.results}, ETag=f'"{state}"')

    def events(self) -> None:
        self.server.resumed.append(self.headers.get("Last-Event-ID"))
        if not self.server.streams:
            self.told(404, {"code": "no_such_thing"})
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.end_headers()
        for line in self.server.streams.pop(0):
            self.wfile.write(line.encode())

    def result(self) -> None:
        first = int((re.search(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-")) or [0, 0])[1])
        self.server.ranges.append(first)
        self.send_response(206 if first else 200)
        self.send_header("ETag", f'"{hashlib.sha256(PAYLOAD).hexdigest()}"')
        self.send_header("Content-Length", str(len(PAYLOAD) - first))
        self.end_headers()
        end = first + self.server.breaks.pop(0) if self.server.breaks else len(PAYLOAD)
        self.wfile.write(self.server.payload[first:end])


@pytest.fixture
def stand() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stand)
    server.plan, server.blobs, server.whole, server.posts, server.breaks = {}, {}, {}, [], []
    server.states, server.streams, server.resumed, server.ranges = ["queued"], [], [], []
    server.payload = PAYLOAD
    digest = hashlib.sha256(PAYLOAD).hexdigest()
    server.results = [{"role": "result", "sha256": digest, "bytes": len(PAYLOAD), "name": "result.nii.gz"}]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def client(stand: ThreadingHTTPServer) -> Client:
    return Client(f"http://127.0.0.1:{stand.server_port}", "secret", patience_s=5)


def refusal(status: int, code: str = "", **headers: str) -> tuple[int, dict[str, object], dict[str, str]]:
    return status, {"title": "no", "detail": "because", "status": status, "code": code}, headers


def test_a_file_is_sent_once_and_asked_for_by_its_digest(stand, client, tmp_path):
    (tmp_path / "Doe^John.nii.gz").write_bytes(PAYLOAD)
    seen = []
    job = client.submit(tmp_path / "Doe^John.nii.gz", "identity", sent=lambda *at: seen.append(at), strength=0.5)
    again = client.submit(tmp_path / "Doe^John.nii.gz", "identity", idempotency_key="mine")
    digest = hashlib.sha256(PAYLOAD).hexdigest()
    assert stand.blobs == {digest: PAYLOAD} and (job.id, job.state, again.ended) == (ID, "queued", False)
    (path, body, _, key), (_, _, mine, _) = stand.posts
    assert path == "/v1/jobs" and key == "Bearer secret" and mine == "mine" and "Doe" not in json.dumps(body)
    assert body["inputs"] == [{"role": "input", "sha256": digest}] and body["params"] == {"strength": 0.5}
    assert seen[-1] == (len(PAYLOAD), len(PAYLOAD))


def test_an_upload_that_breaks_goes_on_where_it_stopped(stand, client, tmp_path):
    (tmp_path / "a.nii").write_bytes(PAYLOAD)
    stand.breaks = [300_000, 100_000]
    seen = []
    client.upload(tmp_path / "a.nii", lambda *at: seen.append(at[0]))
    assert list(stand.blobs.values()) == [PAYLOAD]
    assert 300_000 in seen and 400_000 in seen


def test_an_upload_that_finds_more_than_it_was_told_asks_again(stand, client, tmp_path):
    (tmp_path / "a.nii").write_bytes(PAYLOAD)
    stand.plan = {"PUT": [refusal(409, "wrong_offset")]}
    client.upload(tmp_path / "a.nii")
    assert list(stand.blobs.values()) == [PAYLOAD]


def test_a_folder_goes_as_a_zip_without_names_that_is_the_same_each_time(stand, client, tmp_path):
    (tmp_path / "Doe").mkdir()
    (tmp_path / "Doe" / "IM_Doe.1").write_bytes(b"one")
    (tmp_path / "Doe" / "Doe.NII.gz").write_bytes(PAYLOAD * 3)
    (tmp_path / ".hidden").write_bytes(b"x")
    stand.breaks = [1_000_000]
    assert client.upload(tmp_path) == client.upload(str(tmp_path))
    (sent,) = stand.blobs.values()
    with zipfile.ZipFile(io.BytesIO(sent)) as archive:
        assert archive.namelist() == ["000001.nii.gz", "000002"] and archive.testzip() is None
        assert archive.read("000001.nii.gz") == PAYLOAD * 3
    assert b"Doe" not in sent


def test_a_zip_is_never_held_in_memory(tmp_path):
    (tmp_path / "a.dcm").write_bytes(bytes(20 << 20))
    largest = max(len(chunk) for chunk in client_wire.chunks([tmp_path / "a.dcm"] * 5, True))
    assert largest <= client_wire.CHUNK


def test_a_busy_server_is_asked_again_after_as_long_as_it_says(stand, client, tmp_path, monkeypatch):
    slept = []
    monkeypatch.setattr(client_wire.time, "sleep", slept.append)
    stand.plan = {"DELETE": [refusal(503, "queue_full", Retry_After="3"), refusal(429, "owner_quota", Retry_After="1")]}
    assert client.cancel(ID).state == "cancelled"
    assert slept[0] == 3 and slept[1] >= 1


def test_patience_ends(stand, tmp_path):
    stand.plan = {"DELETE": [refusal(503, "queue_full", Retry_After="60")]}
    client = Client(f"127.0.0.1:{stand.server_port}", patience_s=1)
    with pytest.raises(errors.BusyError) as caught:
        client.cancel(ID)
    assert (caught.value.code, caught.value.retry_after_s) == ("queue_full", 60)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "no_key", errors.AccessError),
        (404, "no_such_job", errors.NotFoundError),
        (409, "job_ended", errors.ConflictError),
        (413, "body_too_large", errors.LimitError),
        (415, "not_dicom", errors.FormatError),
        (422, "uneven_spacing", errors.InputError),
        (422, "bad_geometry", errors.GeometryError),
        (507, "disk_watermark", errors.CapacityError),
        (500, "clarivox_error", errors.ClarivoxError),
    ],
)
def test_a_refusal_is_an_error_of_the_tree_with_the_servers_code(stand, client, status, code, kind):
    stand.plan = {"DELETE": [refusal(status, code)]}
    with pytest.raises(kind, match="because") as caught:
        client.cancel(ID)
    assert caught.value.code == code


def test_a_refusal_without_a_body_is_said_in_words(stand, client, tmp_path):
    (tmp_path / "a.nii").write_bytes(b"a")
    stand.plan = {"HEAD": [refusal(401), refusal(403)]}
    for code, words in (("no_credentials", "who asks"), ("no_scope", "scope infer")):
        with pytest.raises(errors.AccessError, match=words) as caught:
            client.upload(tmp_path / "a.nii")
        assert caught.value.code == code


def test_what_a_proxy_says_is_an_error_too(stand, client):
    stand.plan = {"GET": [(502, "<html>", {}), (301, "", {"Location": "https://there/"})]}
    for words in ("HTTP 502", "it is at https://there/"):
        with pytest.raises(errors.ServiceError, match=words):
            client.bundles()


def test_a_server_that_is_not_there_is_said_at_once():
    with pytest.raises(errors.ServiceError, match="cannot be reached") as caught:
        Client("http://127.0.0.1:9").info()
    assert caught.value.code == "unreachable"


@pytest.mark.parametrize("url", ["ftp://there", "http://", "http://there:port"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(errors.OptionError, match="an address is like"):
        Client(url)


def event(number: int, **data: object) -> str:
    return f"id: {number}\nevent: stage\ndata: {json.dumps(data)}\n\n"


def test_progress_is_followed_over_a_stream_that_breaks(stand, client):
    stand.states = ["queued", "queued", "succeeded"]
    stand.streams = [
        [": ping\n\n", event(7, state="running", stage="read", done=0.5)],
        [event(8, state="running", stage="enhance", done=0.25), event(9, type="succeeded")],
    ]
    seen = [(job.state, job.stage, job.done) for job in client.follow(ID)]
    assert seen == [
        ("queued", "", 0.0),
        ("running", "read", 0.5),
        ("queued", "", 0.0),
        ("running", "enhance", 0.25),
        ("succeeded", "", 0.0),
    ]
    assert stand.resumed == [None, "7"]


def test_where_events_do_not_come_through_the_server_is_asked_by_turns(stand, client):
    stand.states = ["queued", "running", "succeeded"]
    assert [job.state for job in client.follow(ID)] == ["queued", "running", "succeeded"]
    assert stand.resumed == [None]


def test_a_download_that_breaks_goes_on_and_is_checked(stand, client, tmp_path):
    stand.states = ["succeeded"]
    stand.breaks = [200_000, 500_000]
    target = client.download(client.job(ID), tmp_path / "out.nii.gz")
    assert target.read_bytes() == PAYLOAD and stand.ranges == [0, 200_000, 700_000]
    assert [path.name for path in tmp_path.iterdir()] == ["out.nii.gz"]
    with pytest.raises(errors.OutputError, match="exists"):
        client.download(client.job(ID), target)


def test_a_damaged_download_never_gets_its_name(stand, client, tmp_path):
    stand.states, stand.payload = ["succeeded"], bytes(len(PAYLOAD))
    with pytest.raises(errors.ServiceError, match="not what the server has") as caught:
        client.download(client.job(ID), tmp_path / "out.nii.gz")
    assert caught.value.code == "damaged_download" and list(tmp_path.iterdir()) == []


def test_a_job_that_failed_raises_the_servers_error():
    failed = {"id": ID, "state": "failed", "error": {"code": "uneven_spacing", "detail": "gaps", "status": 422}}
    with pytest.raises(errors.InputError, match="gaps") as caught:
        Job.of(failed).checked()
    assert caught.value.code == "uneven_spacing"
    with pytest.raises(errors.CancelledError):
        Job.of({"id": ID, "state": "cancelled"}).checked()
    assert Job.of({"id": ID, "state": "succeeded"}).checked().ended


@pytest.mark.parametrize("name", ["client.py", "client_wire.py", "errors.py"])
def test_a_viewers_python_can_ship_the_client(name):
    """It parses for Python 3.9 and imports nothing but the standard library and its own three files."""
    tree = ast.parse((ROOT / "clarivox" / name).read_text(), feature_version=(3, 9))
    ours = {
        node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and "clarivox" in (node.module or "")
    }
    assert ours <= {"clarivox", "clarivox.client_wire"}
