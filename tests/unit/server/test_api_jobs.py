# SPDX-License-Identifier: Apache-2.0
"""API v1 without workers: what is taken, what is refused, how a job is shown."""

import json
import threading
import time
import zipfile
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from clarivox.server.job import FileRef, Outcome, Role, State
from clarivox.server.main import create_app
from clarivox.server.settings import Settings

SHA = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
"""Of abc."""


def parts(client: TestClient):  # type: ignore[no-untyped-def]
    return client.app.state.services


def referred(client: TestClient, **more: object) -> dict[str, object]:
    client.put(f"/v1/blobs/{SHA}", content=b"abc")
    return {"bundle": "identity", "inputs": [{"sha256": SHA}], **more}


def done(client: TestClient, job_id: str, content: bytes = b"result", name: str = "result.nii.gz") -> None:
    """What a worker does."""
    services = parts(client)
    job = services.ledger.claim("worker")
    assert job.id == job_id
    with services.blobs.writer() as writer:
        writer.write(content)
        sha256, size = writer.commit()
    files = (
        FileRef(Role.RESULT, sha256, size, "application/gzip", name),
        FileRef(Role.EVIDENCE, sha256, size, "text/html; charset=utf-8", "evidence.html"),
    )
    assert services.ledger.finish(job.id, job.attempt, Outcome(State.SUCCEEDED, files))


def problem(answer, status: int, code: str) -> dict[str, object]:  # type: ignore[no-untyped-def]
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (answer.status_code, body["status"], body["code"]) == (status, status, code), body
    return body


def test_a_job_by_reference_is_queued_and_says_where_it_is(client: TestClient) -> None:
    answer = client.post("/v1/jobs", json=referred(client))
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}" == job["links"]["self"]
    assert (job["state"], job["position"], job["inputs"][0]["sha256"]) == ("queued", 0, SHA)
    assert client.get(answer.headers["location"]).json() == job


def test_a_form_with_one_file_is_stored_as_it_is(client: TestClient) -> None:
    answer = client.post("/v1/jobs", data={"bundle": "identity"}, files={"anything": ("Müller^Hans.dcm", b"abc")})
    assert answer.status_code == 202
    assert answer.json()["inputs"][0]["sha256"] == SHA
    assert "ller" not in json.dumps(parts(client).ledger.get(answer.json()["id"]).__dict__, default=str)


def test_a_form_with_several_files_becomes_one_zip_without_their_names(client: TestClient) -> None:
    slices = [("file", (f"secret{n}.dcm", bytes([n]) * 100_000)) for n in range(5)]
    job = client.post("/v1/jobs", data={"bundle": "identity"}, files=[*slices, ("like", ("a", b"abc"))]).json()
    roles = {one["role"]: one for one in job["inputs"]}
    assert roles["like"]["sha256"] == SHA
    assert roles["input"]["media"] == "application/zip"
    with zipfile.ZipFile(parts(client).blobs.path(roles["input"]["sha256"])) as archive:
        assert archive.testzip() is None
        assert [archive.read(one) for one in archive.namelist()] == [content for _, (_, content) in slices]
        assert not any("secret" in name for name in archive.namelist())


def test_a_raw_body_takes_its_wishes_from_the_query(client: TestClient) -> None:
    query = {"bundle": "any_bicubic_superres", "options": '{"scale": 3}', "tags": '{"ward": "3"}', "priority": "-1"}
    answer = client.post("/v1/jobs", params=query, content=b"abc", headers={"Content-Type": "application/octet-stream"})
    job = answer.json()
    assert answer.status_code == 202, job
    assert (job["params"], job["tags"], job["priority"]) == ({"options": {"scale": 3}}, {"ward": "3"}, -1)


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"bundle": "none_such"}, 422, "unknown_bundle"),
        ({"params": {"strength": 2}}, 422, "bad_request"),
        ({"params": {"strength": "1"}}, 422, "bad_request"),
        ({"params": {"options": {"nothing": 1}}}, 422, "bad_option"),
        ({"bundle": "any_bicubic_superres", "params": {"strength": 0.5}}, 422, "bad_option"),
        ({"inputs": [{"sha256": "0" * 64}]}, 404, "no_such_blob"),
        ({"inputs": [{"sha256": SHA, "role": "like"}]}, 422, "no_file"),
        ({"inputs": []}, 422, "no_file"),
        ({"unknown": 1}, 422, "bad_request"),
        ({"priority": 101}, 422, "bad_request"),
    ],
)
def test_a_wrong_request_is_named(client: TestClient, change: dict[str, object], status: int, code: str) -> None:
    problem(client.post("/v1/jobs", json={**referred(client), **change}), status, code)


def test_bodies_that_are_no_request_are_refused(client: TestClient) -> None:
    post = client.post
    plain = {"Content-Type": "text/plain"}
    problem(post("/v1/jobs?bundle=identity", content=b"x", headers=plain), 415, "unsupported_media")
    raw = {"Content-Type": "application/octet-stream"}
    problem(post("/v1/jobs?bundle=identity", content=b"", headers=raw), 415, "empty_file")
    problem(post("/v1/jobs?bundle=identity&options=[]", content=b"x", headers=raw), 422, "bad_request")
    problem(post("/v1/jobs", content=b"{", headers={"Content-Type": "application/json"}), 422, "bad_request")
    form = {"Content-Type": "multipart/form-data; boundary=b"}
    problem(post("/v1/jobs", content=b"--b\r\n", headers=form), 422, "bad_request")
    problem(post("/v1/jobs", content=b"nonsense", headers=form), 422, "bad_request")
    problem(post("/v1/jobs", data={"bundle": "identity"}, files={"file": ("x", b"")}), 415, "empty_file")
    assert not list(parts(client).blobs.temporary.iterdir())


def test_the_same_key_gives_the_same_job(client: TestClient) -> None:
    body, key = referred(client), {"Idempotency-Key": "one"}
    first = client.post("/v1/jobs", json=body, headers=key).json()
    assert client.post("/v1/jobs", json=body, headers=key).json()["id"] == first["id"]
    problem(client.post("/v1/jobs", json={**body, "priority": 1}, headers=key), 422, "idempotency_mismatch")
    problem(client.post("/v1/jobs", json=body, headers={"Idempotency-Key": "x" * 256}), 422, "bad_request")


def test_full_queues_say_when_to_ask_again(tmp_path: Path) -> None:
    app = create_app(Settings(data_dir=tmp_path, owner_jobs=1, queue_jobs=2), workers=False)
    with TestClient(app, base_url="http://localhost") as client:
        body = referred(client)
        assert client.post("/v1/jobs", json=body).status_code == 202
        answer = client.post("/v1/jobs", json=body)
        problem(answer, 429, "owner_quota")
        assert int(answer.headers["retry-after"]) > 0


def test_no_disk_is_507_and_a_large_body_413(tmp_path: Path) -> None:
    app = create_app(Settings(data_dir=tmp_path, disk_watermark_bytes=1 << 60), workers=False)
    with TestClient(app, base_url="http://localhost") as client:
        problem(client.put(f"/v1/blobs/{SHA}", content=b"abc"), 507, "disk_low")
    app = create_app(Settings(data_dir=tmp_path, body_bytes=1000), workers=False)
    with TestClient(app, base_url="http://localhost") as client:
        raw = {"Content-Type": "application/octet-stream"}
        answer = client.post("/v1/jobs?bundle=identity", content=b"x" * 1001, headers=raw)
        problem(answer, 413, "body_too_large")
        chunked = iter([b"x" * 600, b"x" * 600])
        problem(client.post("/v1/jobs?bundle=identity", content=chunked, headers=raw), 413, "body_too_large")
        assert not list(app.state.services.blobs.temporary.glob("blob-*"))


def test_prefer_wait_answers_with_the_ended_job(client: TestClient) -> None:
    body = referred(client)
    answer = client.post("/v1/jobs", json=body, headers={"Prefer": "wait=0"})
    assert (answer.status_code, answer.headers["preference-applied"]) == (202, "wait=0")

    def work() -> None:
        while (job := parts(client).ledger.claim("worker")) is None:
            time.sleep(0.01)
        parts(client).ledger.finish(job.id, job.attempt, Outcome(State.SUCCEEDED))

    client.delete(answer.headers["location"])
    threading.Timer(0.1, work).start()
    answer = client.post("/v1/jobs", json=body, headers={"Prefer": "respond-async, wait=60"})
    assert (answer.status_code, answer.json()["state"]) == (200, "succeeded")


def test_pages_of_jobs_are_linked(client: TestClient) -> None:
    body = referred(client)
    made = [client.post("/v1/jobs", json=body).json()["id"] for _ in range(5)]
    first = client.get("/v1/jobs?limit=2&state=queued")
    assert [one["id"] for one in first.json()["jobs"]] == made[:2:-1]
    following = first.headers["link"].partition(">")[0][1:]
    rest = client.get(following).json()
    assert [one["id"] for one in rest["jobs"]] == made[2:0:-1]
    assert client.get("/v1/jobs?bundle=other").json() == {"jobs": [], "next": None}
    problem(client.get("/v1/jobs?after=nonsense"), 422, "bad_cursor")
    problem(client.get("/v1/jobs?limit=0"), 422, "bad_request")


def test_a_job_that_has_not_changed_is_not_sent_again(client: TestClient) -> None:
    place = client.post("/v1/jobs", json=referred(client)).headers["location"]
    etag = client.get(place).headers["etag"]
    assert client.get(place, headers={"If-None-Match": etag}).status_code == 304
    threading.Timer(0.1, lambda: client.delete(place)).start()
    answer = client.get(f"{place}?wait=20", headers={"If-None-Match": etag})
    assert answer.json()["state"] == "cancelled"
    began = time.monotonic()
    assert client.get(f"{place}?wait=20").status_code == 200
    assert time.monotonic() - began < 19, "an ended job is not waited for"
    problem(client.get(f"{place}?wait=nan"), 422, "bad_request")


def test_events_are_streamed_and_gone_on_with(client: TestClient) -> None:
    job = client.post("/v1/jobs", json=referred(client)).json()
    ledger = parts(client).ledger

    def work() -> None:
        running = ledger.claim("worker")
        ledger.beat(running.id, running.attempt, stage="enhance", done=0.5)
        time.sleep(0.2)
        ledger.finish(running.id, running.attempt, Outcome(State.SUCCEEDED))

    threading.Timer(0.1, work).start()
    text = client.get(job["links"]["events"]).text
    events = [dict(line.split(": ", 1) for line in block.split("\n")) for block in text.strip().split("\n\n")]
    assert [one["event"] for one in events if "id" in one] == ["created", "started", "stage", "succeeded"]
    again = client.get(job["links"]["events"], headers={"Last-Event-ID": events[0]["id"]}).text
    assert "event: created" not in again
    assert "event: succeeded" in again
    problem(client.get("/v1/jobs/00000000-0000-7000-8000-000000000000/events"), 404, "no_such_job")


def test_cancel_and_retry(client: TestClient) -> None:
    place = client.post("/v1/jobs", json=referred(client)).headers["location"]
    problem(client.post(f"{place}/retry"), 409, "not_ended")
    answer = client.delete(place)
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    problem(client.delete(place), 409, "job_ended")
    again = client.post(f"{place}/retry")
    assert (again.status_code, again.json()["parent_id"]) == (202, place.rsplit("/")[-1])
    parts(client).ledger.claim("worker")
    running = client.delete(again.headers["location"])
    assert (running.status_code, running.json()["cancel_requested"]) == (202, True)
    assert client.delete(again.headers["location"]).status_code == 202


def test_the_result_comes_whole_in_ranges_or_not_at_all(client: TestClient) -> None:
    place = client.post("/v1/jobs", json=referred(client)).headers["location"]
    problem(client.get(f"{place}/result"), 409, "not_ended")
    done(client, place.rsplit("/")[-1], b"0123456789")
    whole = client.get(f"{place}/result")
    assert (whole.status_code, whole.content) == (200, b"0123456789")
    assert 'filename="result.nii.gz"' in whole.headers["content-disposition"]
    etag = whole.headers["etag"]
    part = client.get(f"{place}/result", headers={"Range": "bytes=4-", "If-Range": etag})
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"456789", "bytes 4-9/10")
    assert client.get(f"{place}/result", headers={"Range": "lines=1"}).status_code == 200
    outside = client.get(f"{place}/result", headers={"Range": "bytes=10-"})
    problem(outside, 416, "empty_range")
    assert outside.headers["content-range"] == "bytes */10"
    assert client.get(f"{place}/result", headers={"If-None-Match": etag}).status_code == 304
    head = client.head(f"{place}/result")
    assert (head.headers["content-length"], head.content) == ("10", b"")
    assert client.get(f"{place}/result?as=nifti").content == whole.content
    page = client.get(f"{place}/evidence")
    assert "sandbox" in page.headers["content-security-policy"]
    problem(client.get(f"{place}/evidence?page=2"), 404, "no_such_file")
    assert client.delete(f"{place}/files").json()["state"] == "purged"
    problem(client.get(f"{place}/result"), 410, "purged")


def test_one_request_enhances(client: TestClient) -> None:
    def work() -> None:
        while not (found := parts(client).ledger.jobs()[0]):
            time.sleep(0.01)
        done(client, found[0].id)

    threading.Timer(0.05, work).start()
    answer = client.post("/v1/enhance", data={"bundle": "identity"}, files={"file": ("ct.nii.gz", b"abc")})
    assert (answer.status_code, answer.content) == (200, b"result")


def test_a_failed_enhancement_is_the_problem_of_its_job(client: TestClient) -> None:
    error = {"code": "unsupported_format", "title": "Unsupported Media Type", "status": 415, "detail": "not an image"}

    def work() -> None:
        while (job := parts(client).ledger.claim("worker")) is None:
            time.sleep(0.01)
        parts(client).ledger.finish(job.id, job.attempt, Outcome(State.FAILED, error=error))

    threading.Timer(0.05, work).start()
    body = problem(client.post("/v1/enhance", json=referred(client)), 415, "unsupported_format")
    assert body["job"]


def test_a_file_is_sent_in_parts_and_kept_once(client: TestClient) -> None:
    place = f"/v1/blobs/{SHA}"
    assert client.head(place).status_code == 404
    answer = client.put(place, content=b"a", headers={"Content-Range": "bytes 0-0/3"})
    assert (answer.status_code, answer.headers["upload-offset"]) == (202, "1")
    assert client.head(place).headers["upload-offset"] == "1"
    wrong = client.put(place, content=b"c", headers={"Content-Range": "bytes 2-2/3"})
    problem(wrong, 409, "wrong_offset")
    assert wrong.headers["upload-offset"] == "1"
    answer = client.put(place, content=b"bc", headers={"Content-Range": "bytes 1-2/3"})
    assert (answer.status_code, answer.json()["complete"]) == (201, True)
    assert client.put(place, content=b"abc").status_code == 200
    head = client.head(place)
    assert (head.status_code, head.headers["content-length"], "upload-offset" in head.headers) == (200, "3", False)
    problem(client.put(f"/v1/blobs/{'0' * 64}", content=b"abc"), 422, "wrong_digest")
    problem(client.put(f"/v1/blobs/{'0' * 64}", content=b"abc", headers={"Content-Range": "3"}), 422, "bad_request")


def test_bundles_say_what_they_take(client: TestClient) -> None:
    every = client.get("/v1/bundles").json()["bundles"]
    one = client.get("/v1/bundles/any_bicubic_superres").json()
    assert one in every
    assert one["options"]["properties"]["scale"]["enum"] == [2, 3, 4]
    problem(client.get("/v1/bundles/nothing"), 404, "no_such_bundle")


def test_ready_only_with_a_worker_and_not_while_stopping(client: TestClient) -> None:
    assert client.get("/livez").json() == {"status": "live"}
    answer = client.get("/readyz")
    problem(answer, 503, "no_worker")
    assert answer.headers["retry-after"]
    parts(client).draining.set()
    problem(client.get("/readyz"), 503, "draining")
    problem(client.post("/v1/jobs", json=referred(client)), 503, "draining")


def test_405_lists_every_method_of_the_path(client: TestClient) -> None:
    answer = client.patch("/v1/jobs")
    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, POST"
    problem(client.get("/nowhere"), 404, "no_such_path")


def test_an_unexpected_fault_says_nothing_of_itself_but_is_audited(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("PatientName Secret^Agent")

    monkeypatch.setattr(parts(client).ledger, "jobs", broken)
    assert "Secret" not in json.dumps(problem(client.get("/v1/jobs"), 500, "server_fault"))
    lines = (parts(client).settings.data_dir / "audit.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["status"] == 500
    assert "Secret" not in capsys.readouterr().out
