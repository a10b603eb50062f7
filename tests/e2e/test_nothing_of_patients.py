# SPDX-License-Identifier: Apache-2.0
"""A patient's name goes through jobs that end well and jobs that fail; nobody but the volumes knows it afterwards."""

import hashlib
import json
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests import hostile, sentinels, toys
from tests.served import Answer, Served, serving, until

ADMIN, WARD, OTHER = "admin", "ward", "other"


@dataclass
class Clinic:
    """A server with keys, and everything that it ever said but the volumes."""

    server: Served
    keys: dict[str, str]
    said: list[tuple[str, Answer]] = field(default_factory=list)

    def ask(
        self, method: str, path: str, body: bytes | None = None, *, who: str = WARD, volume: bool = False, **more: str
    ) -> Answer:
        """One request; `volume`: the answer is one, and may name the patient."""
        line = self.server.line()
        headers = {"Authorization": f"Bearer {self.keys[who]}"} | {k.replace("_", "-"): v for k, v in more.items()}
        answer = line.ask(method, path, body, headers)
        line.close()
        if not volume:
            self.said.append((f"{method} {path.split('?')[0]}", answer))
        return answer

    def job(self, body: bytes, *, bundle: str = "identity", path: str = "", **more: str) -> dict[str, object]:
        """A job that is waited for, sent as a raw stream or as a form to a path."""
        more = {"Content_Type": "application/octet-stream", "Prefer": "wait=60"} | more
        answer = self.ask("POST", path or f"/v1/jobs?bundle={bundle}", body, **more)
        found: dict[str, object] = answer.json()
        return self.server.ended(found, {"Authorization": f"Bearer {self.keys[WARD]}"}) if "state" in found else found

    @property
    def kept(self) -> list[Path]:
        """Every file of the server but the store of volumes."""
        blobs = self.server.data / "blobs"
        return [path for path in self.server.data.rglob("*") if blobs not in path.parents]


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    folder = tmp_path_factory.mktemp("clinic")
    with serving(folder, AUTH="on", LOG_LEVEL="debug") as server:
        keys = {name: made(server, name, scopes) for name, scopes in (
            (ADMIN, ["read", "infer", "admin"]), (WARD, ["read", "infer"]), (OTHER, ["read", "infer"]),
        )}  # fmt: skip
        yield Clinic(server, keys)


def made(server: Served, label: str, scopes: list[str]) -> str:
    """A key by the command line."""
    flags = [word for scope in scopes for word in ("--scope", scope)]
    command = [sys.executable, "-c", "from clarivox.cli.main import run; run()", "keys", "create", label, *flags]
    done = subprocess.run([*command, "--data", str(server.data), "--json"], capture_output=True, check=True)
    key: str = json.loads(done.stdout)["key"]
    return key


def form(name: str, content: bytes, filename: str, **fields: str) -> tuple[bytes, str]:
    """A multipart form."""
    parts = [
        f'--edge\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{text}\r\n'.encode()
        for key, text in fields.items()
    ]
    head = f'--edge\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n\r\n'
    return b"".join((*parts, head.encode(), content, b"\r\n--edge--\r\n")), "multipart/form-data; boundary=edge"


@pytest.fixture(scope="module")
def treated(clinic: Clinic) -> Clinic:
    """The patient came: by every way in, with files that are good and files that are not."""
    study = hostile.series(sentinels.series())
    good = clinic.job(study)
    assert good["state"] == "succeeded", good
    ident = good["id"]
    body, kind = form("file", study, "ZQXSENTINEL^19010203.zip", bundle="identity")
    assert clinic.job(body, path="/v1/jobs", Content_Type=kind)["state"] == "succeeded"
    nifti = hostile.nifti(descrip=b"ZQXSENTINEL", aux_file=b"ZQXHOSPITAL")
    assert clinic.job(nifti)["state"] == "succeeded"
    enhanced = clinic.ask("POST", "/v1/enhance?bundle=identity", study, volume=True, Content_Type="application/zip")
    assert enhanced.status == 200 and not sentinels.hits(repr(enhanced.headers).encode())
    for name, content in sentinels.spoilt().items():
        ended = clinic.job(content)
        assert ended.get("state") != "succeeded" or name in ("a date that is none", "a UID that names"), name
        clinic.ask("POST", "/v1/enhance?bundle=identity", content, volume=ended.get("state") == "succeeded")
    assert clinic.job(study, bundle="us_cbdnet_despeckle")["state"] == "failed"
    clinic.ask("GET", f"/v1/jobs/{ident}/result?as=nifti", volume=True)
    clinic.ask("GET", f"/v1/jobs/{ident}/result?as=png")
    _around(clinic, str(ident))
    return clinic


def _around(clinic: Clinic, ident: str) -> None:
    """Requests that name the patient themselves."""
    name = urllib.parse.quote("ZQXSENTINEL^JOHN 19010203")
    dicom = hostile.saved(sentinels.named(toys.ct_slice(0)))
    for path in (
        f"/v1/jobs/{name}",
        f"/v1/bundles/{name}",
        f"/{name}",
        f"/v1/jobs?bundle={name}",
        f"/v1/jobs?x={name}",
    ):
        clinic.ask("GET", path, volume=True)  # an answer may say back what was asked for
    clinic.ask("GET", f"/dicom-web/studies?PatientName={name}", volume=True)
    clinic.ask("GET", "/dicom-web/studies?PatientBirthDate=19010203", volume=True)
    found = clinic.ask("GET", "/dicom-web/studies?includefield=all", volume=True, Accept="application/dicom+json")
    assert sentinels.hits(found.body), "the store of DICOM knows its patients"
    clinic.ask("GET", f"/dicom-web/studies/{toys.ROOT}.100", volume=True)
    for content in (hostile.nifti(), dicom, b"ZQXSENTINEL"):
        body, kind = form("file", content, "ZQXSENTINEL.nii", params="{}")
        clinic.ask("PUT", f"/datastore/image?image={name}", body, volume=True, Content_Type=kind)
    clinic.ask("POST", f"/infer/identity?image={name}", b"", volume=True)
    clinic.ask("GET", f"/datastore/image?image={name}", volume=True)
    clinic.ask("GET", "/datastore/?output=all", volume=True)
    body, kind = form("files", hostile.nifti(), "ZQXSENTINEL.nii")
    clinic.ask("PUT", "/session/?uncompress=false", body, volume=True, Content_Type=kind)
    for path in (f"/v1/jobs/{ident}", f"/v1/jobs/{ident}/evidence", f"/v1/jobs/{ident}/events", "/v1/jobs", "/info/"):
        clinic.ask("GET", path)
    for path in ("/metrics", "/admin/standing", "/admin", "/logs/", "/openapi.json", "/readyz"):
        assert clinic.ask("GET", path, who=ADMIN).status == 200, path
    line = clinic.server.line()
    line.ask("GET", f"/v1/jobs?image={name}")  # without a key
    line.ask("GET", f"/{name}")
    line.close()


def test_no_answer_but_a_volume_names_the_patient(treated: Clinic):
    found = {
        path: told for path, one in treated.said if (told := sentinels.hits(one.body + repr(one.headers).encode()))
    }
    assert found == {}
    assert sum(one.status >= 400 for _, one in treated.said) >= 10


def test_no_log_names_the_patient(treated: Clinic):
    log = treated.server.data / "log" / "clarivox.jsonl"
    until(lambda: sum('"failed' in one or "failed [" in one for one in log.read_text().splitlines()) >= 10)
    assert sentinels.hits_in([log, treated.server.data.parent / "server.log"]) == {}


def test_the_audit_has_every_access_and_no_patient(treated: Clinic):
    path = treated.server.data / "audit.jsonl"
    imports = 2 * len(sentinels.spoilt())
    until(lambda: path.read_text().count('"import"') >= imports)
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert sum(one["event"] == "import" for one in records) >= imports
    assert {"export", "query", "access", "admin", "login"} <= {one["event"] for one in records}
    assert sentinels.hits_in([path]) == {}


def test_nothing_but_the_store_of_volumes_holds_the_patient(treated: Clinic):
    """The database, temporary and work folders, logs, sessions, whatever is there."""
    assert any(path.name.startswith("ledger.sqlite") for path in treated.kept)
    assert sentinels.hits_in(treated.kept) == {}
    until(lambda: not list((treated.server.data / "work").iterdir()))


def test_a_job_is_nobody_else_s(treated: Clinic):
    jobs = treated.ask("GET", "/v1/jobs?limit=500").json()["jobs"]
    assert len(jobs) > 10
    assert treated.ask("GET", "/v1/jobs", who=OTHER).json()["jobs"] == []
    ident = next(one["id"] for one in jobs if one["state"] == "succeeded")
    for method, path in (
        ("GET", ""), ("GET", "/events"), ("GET", "/result"), ("HEAD", "/result"), ("GET", "/evidence"),
        ("POST", "/retry"), ("DELETE", ""), ("DELETE", "/files"),
    ):  # fmt: skip
        assert treated.ask(method, f"/v1/jobs/{ident}{path}", who=OTHER).status == 404, (method, path)
    assert treated.ask("GET", "/dicom-web/studies", who=OTHER).status in (200, 204)
    assert treated.ask("GET", f"/dicom-web/studies/{toys.ROOT}.100", who=OTHER).status == 404
    assert treated.ask("GET", f"/v1/jobs/{ident}", who=ADMIN).status == 200


def test_what_is_deleted_is_gone(treated: Clinic):
    """The last test: after it the only volumes left are those of the datastore of MONAI Label and its sessions.

    How soon, says `python -m tests.benchmarks.server_limits`.
    """
    jobs = treated.ask("GET", "/v1/jobs?limit=500", who=ADMIN).json()["jobs"]
    kept = {one["sha256"] for job in jobs if job["tags"].get("via") == "monailabel" for one in job["inputs"]}
    kept |= {hashlib.sha256(hostile.nifti()).hexdigest()}
    for number, job in enumerate(jobs):
        later = {one["sha256"] for other in jobs[number + 1 :] for one in [*other["inputs"], *other["results"]]}
        gone = [blob(treated, one["sha256"]) for one in [*job["inputs"], *job["results"]] if one["sha256"] not in later]
        gone = [path for path in gone if path.name not in kept]
        assert treated.ask("DELETE", f"/v1/jobs/{job['id']}/files", who=ADMIN).status == 200
        until(lambda gone=gone: not any(path.exists() for path in gone))
        assert treated.ask("GET", f"/v1/jobs/{job['id']}/result", who=ADMIN).status in (404, 409, 410)
    left = {path.name for path in (treated.server.data / "blobs").rglob("*") if path.is_file() and len(path.name) == 64}
    assert not left & {hashlib.sha256(body).hexdigest() for body in [hostile.series(sentinels.series())]}


def blob(clinic: Clinic, sha256: str) -> Path:
    return clinic.server.data / "blobs" / sha256[:2] / sha256
