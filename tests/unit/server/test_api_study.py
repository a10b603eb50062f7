# SPDX-License-Identifier: Apache-2.0
"""GET /v1/jobs of one study: which jobs are of it, who sees them, and that its identifier is kept nowhere."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from clarivox import phantoms
from clarivox.io.dicom_index import Source, write_index
from clarivox.io.dicom_new import Kind, new_series, save_series
from clarivox.server.dicom_store import record
from clarivox.server.job import FileRef, NewJob, Outcome, Role, State
from clarivox.server.keys import Keys
from clarivox.server.main import create_app
from clarivox.server.settings import Settings


def ref(services, content: bytes, role: str = Role.INPUT) -> FileRef:  # type: ignore[no-untyped-def]
    with services.blobs.writer() as writer:
        writer.write(content)
        sha256, size = writer.commit()
    return FileRef(role, sha256, size, "application/dicom", "image.dcm")


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """A study of one series."""
    return list(save_series(new_series(phantoms.ct(size=32, slices=2).degraded, Kind.CT), tmp_path / "study"))


def uid_of(files: Sequence[Path], keyword: str = "StudyInstanceUID") -> str:
    from pydicom import dcmread

    return str(dcmread(files[0], stop_before_pixels=True)[keyword].value)


def uploaded(client: TestClient, files: Sequence[Path], folder: Path, owner: str = "anonymous") -> str:
    """A job whose files were sent without a word of their study, done as a worker does it."""
    services = client.app.state.services  # type: ignore[attr-defined]
    inputs = tuple(ref(services, one.read_bytes()) for one in files)
    job, _ = services.ledger.submit(NewJob(owner, inputs, bundle="identity"))
    claimed = services.ledger.claim("worker")
    index = folder / "index"
    write_index([Source(one.sha256, services.blobs.path(one.sha256)) for one in inputs], index)
    kept = ref(services, index.read_bytes(), Role.INDEX)
    record(services.ledger, job.id, kept.sha256, index, [one.sha256 for one in inputs])
    assert services.ledger.finish(claimed.id, claimed.attempt, Outcome(State.SUCCEEDED, (kept,)))
    return str(job.id)


def listed(client: TestClient, study: str, **more: object) -> list[str]:
    answer = client.get("/v1/jobs", params={"study_uid": study, **more})
    assert answer.status_code == 200, answer.text
    return [str(one["id"]) for one in answer.json()["jobs"]]


def test_a_job_whose_files_were_sent_is_of_its_study_when_it_has_ended(client, files, tmp_path) -> None:
    first = uploaded(client, files, tmp_path)
    services = client.app.state.services
    services.ledger.submit(NewJob("anonymous", (ref(services, b"another"),), bundle="identity"))
    assert listed(client, uid_of(files)) == [first]
    assert listed(client, "1.2.3") == []
    services.ledger.delete_files(first, blobs=services.blobs)
    assert listed(client, uid_of(files)) == []


def test_a_job_that_names_a_series_is_of_its_study_from_the_beginning_and_so_is_its_retry(
    client, files, tmp_path
) -> None:
    uploaded(client, files, tmp_path)
    wish = {"bundle": "identity", "series_uid": uid_of(files, "SeriesInstanceUID"), "study_uid": "1.2.3"}
    made = client.post("/v1/jobs", json=wish).json()
    assert made["state"] == "queued"
    assert listed(client, uid_of(files), state="queued") == [made["id"]]
    assert listed(client, "1.2.3") == [], "the study is that of the series, not the one that was claimed"
    assert client.delete(f"/v1/jobs/{made['id']}").status_code == 200
    again = client.post(f"/v1/jobs/{made['id']}/retry").json()
    assert listed(client, uid_of(files), state="queued") == [again["id"]]
    assert len(client.get("/dicom-web/studies").json()) == 1


def test_jobs_of_a_study_come_in_pages(client, files, tmp_path) -> None:
    made = [uploaded(client, files, tmp_path) for _ in range(3)]
    page = client.get("/v1/jobs", params={"study_uid": uid_of(files), "limit": 2})
    assert [one["id"] for one in page.json()["jobs"]] == made[:0:-1]
    [address] = [one for one in page.headers["link"].split(";") if one.startswith("<")]
    assert [one["id"] for one in client.get(address[1:-1]).json()["jobs"]] == made[:1]


def test_nobody_is_told_of_the_jobs_of_others(tmp_path, files) -> None:
    with TestClient(create_app(Settings(data_dir=tmp_path / "data", auth="on"), workers=False)) as client:
        keys = Keys(client.app.state.services.ledger.database)  # type: ignore[attr-defined]
        made = {
            name: keys.create(name, ["read", *(["admin"] if name == "admin" else [])])
            for name in ("one", "two", "admin")
        }
        job = uploaded(client, files, tmp_path, owner=f"key-{made['one'][1].id}")
        seen = {}
        for name, (key, _) in made.items():
            client.headers["Authorization"] = f"Bearer {key}"
            seen[name] = listed(client, uid_of(files))
    assert seen == {"one": [job], "two": [], "admin": [job]}


def test_the_identifier_of_the_study_is_in_no_table_of_the_ledger(client, files, tmp_path) -> None:
    uploaded(client, files, tmp_path)
    client.post("/v1/jobs", json={"bundle": "identity", "series_uid": uid_of(files, "SeriesInstanceUID")})
    assert len(listed(client, uid_of(files))) == 2
    data = Path(client.app.state.services.settings.data_dir)
    kept = b"".join(one.read_bytes() for one in data.glob("ledger.sqlite*"))
    assert kept and uid_of(files).encode() not in kept
