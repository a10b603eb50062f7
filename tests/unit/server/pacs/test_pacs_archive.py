# SPDX-License-Identifier: Apache-2.0
"""/dicom-web over a PACS, and jobs about what is there; the PACS is another server of ours, with its own store."""

import hashlib
import http.client
import json
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pydicom
import pytest
import requests
from dicomweb_client import DICOMwebClient
from pydicom.dataset import Dataset

from clarivox.server.main import create_app
from clarivox.server.pacs.settings import OWN, read
from clarivox.server.settings import Settings
from tests.dicom_jobs import Running, running
from tests.dicom_objects import series_of
from tests.routes import unscoped, ways
from tests.served import free_port

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")

STUDY = "1.2.3.1"


@dataclass
class Pair:
    """A PACS, and a server before it."""

    pacs: Running
    server: Running
    series: dict[str, str]
    """UIDs by what they are: ct, mr, ours."""
    files: list[Path]

    def get(self, path: str, accept: str = "*/*", **query: str) -> requests.Response:
        return requests.get(self.server.url + path, headers={"Accept": accept}, params=query, timeout=20)

    def ask(self, **wish: object) -> requests.Response:
        return requests.post(self.server.url + "/v1/jobs", json={"bundle": "identity", **wish}, timeout=20)


def marked(path: Path) -> Path:
    """The same file, as one that clarivox made."""
    dataset = pydicom.dcmread(path)
    maker = Dataset()
    maker.Manufacturer = "clarivox"
    dataset.ContributingEquipmentSequence = [maker]
    dataset.save_as(path)
    return path


def settings(folder: Path, url: str) -> Path:
    path = folder / "pacs.yaml"
    path.write_text(f"dicomweb: {{url: {url}}}\n")
    return path


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("archive")
    ct = series_of("ct", folder / "ct", StudyInstanceUID=STUDY, PatientName="Doe^Jane")
    mr = series_of("mr", folder / "mr", StudyInstanceUID=STUDY, PatientName="Doe^Jane")
    own = series_of("ct", folder / "own", StudyInstanceUID=STUDY, SeriesInstanceUID="1.2.3.9", PatientName="Doe^Jane")
    for number, path in enumerate(own):
        dataset = pydicom.dcmread(marked(path))
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.9.{number + 1}"
        dataset.save_as(path)
    with running(folder / "pacs") as pacs:
        for files in (ct, mr, own):
            pacs.publish(files)
        (folder / "server").mkdir()
        yaml = settings(folder / "server", pacs.url + "/dicom-web")
        with running(folder / "server", pacs=yaml) as server:
            uids = {name: str(pydicom.dcmread(files[0]).SeriesInstanceUID) for name, files in (("ct", ct), ("mr", mr))}
            yield Pair(pacs, server, {**uids, "ours": "1.2.3.9"}, ct)


def test_a_search_finds_what_the_pacs_has_at_addresses_of_ours(pair: Pair) -> None:
    found = pair.get("/dicom-web/studies", PatientName="Doe*")
    assert [one["0020000D"]["Value"] for one in found.json()] == [[STUDY]]
    assert found.json()[0]["00081190"]["Value"] == [f"{pair.server.url}/dicom-web/studies/{STUDY}"]
    assert pair.pacs.url.encode() not in found.content
    assert found.headers["Cache-Control"] == "private, no-store"
    assert pair.get("/dicom-web/studies", PatientName="Nobody*").json() == []
    assert len(pair.get(f"/dicom-web/studies/{STUDY}/series").json()) == 3


def test_a_series_is_retrieved_as_it_is_in_the_pacs(pair: Pair) -> None:
    client = DICOMwebClient(pair.server.url + "/dicom-web", permissive_uid=True)
    found = client.retrieve_series(STUDY, pair.series["ct"])
    stored = {str(one.SOPInstanceUID): one.PixelData for one in map(pydicom.dcmread, pair.files)}
    assert {str(one.SOPInstanceUID): one.PixelData for one in found} == stored
    [frame] = client.retrieve_instance_frames(STUDY, pair.series["ct"], str(found[0].SOPInstanceUID), [1])
    assert frame == found[0].PixelData
    header = client.retrieve_series_metadata(STUDY, pair.series["ct"])
    assert len(header) == len(pair.files) and pair.pacs.url not in json.dumps(header)
    pixels = next(one["7FE00010"]["BulkDataURI"] for one in header)
    assert pixels.startswith(pair.server.url + "/dicom-web/studies/")
    assert requests.get(pixels, timeout=20).status_code == 200


def test_the_worklist_is_the_servers_own(pair: Pair) -> None:
    assert pair.get("/dicom-web/workitems", accept="application/dicom+json").status_code in (200, 204)


def test_what_the_pacs_refuses_is_an_error_without_its_words(pair: Pair) -> None:
    absent = pair.get("/dicom-web/studies/1.9/metadata")
    assert (absent.status_code, absent.json()["code"]) == (404, "no_such_object")
    assert pair.get(f"/dicom-web/studies/{STUDY}", accept="image/png").json()["code"] == "not_acceptable"
    assert pair.get("/dicom-web/studies", limit="many").json()["code"] == "bad_query"


def test_nothing_but_dicomweb_is_reached_through_it(pair: Pair) -> None:
    prefix = f"/dicom-web/studies/{STUDY}/series/1/instances/1"
    for path in ("/..%2f..%2f..%2f..%2f..%2f..%2f..%2fv1/jobs", "/%2e%2e/x", "//x"):
        session = requests.Session()
        request = requests.Request("GET", pair.server.url).prepare()
        request.url = pair.server.url + prefix + path
        assert session.send(request, timeout=20).json()["code"] == "no_such_object", path
    assert requests.delete(f"{pair.server.url}/dicom-web/studies/{STUDY}", timeout=20).status_code == 405
    assert requests.post(f"{pair.server.url}/dicom-web/studies", b"", timeout=20).status_code == 405


def test_a_job_about_a_series_gets_its_files_from_the_pacs(pair: Pair) -> None:
    answers = [pair.ask(series_uid=pair.series["ct"]).json() for _ in range(2)]
    [first], [second] = (one["inputs"] for one in answers)
    assert first["sha256"] == second["sha256"], "the same series makes the same file, in whatever order it came"
    with zipfile.ZipFile(pair.server.parts.blobs.path(first["sha256"])) as archive:
        got = {hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}
    assert got == {hashlib.sha256(path.read_bytes()).hexdigest() for path in pair.files}
    assert list(pair.server.parts.blobs.temporary.glob("pacs-*")) == []


def test_a_job_about_a_study_leaves_out_what_does_not_suit_and_what_is_ours(pair: Pair) -> None:
    for bundle, count in (("identity", 2), ("ct_unet_denoise", 1)):
        [file] = pair.ask(study_uid=STUDY, bundle=bundle).json()["inputs"]
        with zipfile.ZipFile(pair.server.parts.blobs.path(file["sha256"])) as archive:
            found = {str(pydicom.dcmread(archive.open(name)).SeriesInstanceUID) for name in archive.namelist()}
        assert found == set(list(pair.series.values())[-count - 1 : -1] if count == 2 else [pair.series["ct"]])


def test_a_job_about_a_series_of_the_pacs_is_of_its_study_before_it_runs(pair: Pair) -> None:
    made = [pair.ask(**wish).json()["id"] for wish in ({"study_uid": STUDY}, {"series_uid": pair.series["mr"]})]
    found = [one["id"] for one in pair.get(f"/v1/jobs?study_uid={STUDY}").json()["jobs"]]
    assert found[:2] == made[::-1]
    assert pair.get("/v1/jobs?study_uid=1.2.3.4").json()["jobs"] == []


def test_a_result_goes_where_the_job_says_and_where_its_retry_says(pair: Pair) -> None:
    assert pair.get("/v1/destinations").json() == {"destinations": [OWN]}
    job = pair.ask(series_uid=pair.series["mr"], deliver=[OWN]).json()["id"]
    [found] = pair.get(f"/v1/jobs/{job}/deliveries").json()["deliveries"]
    assert (found["destination"], found["state"], found["tries"]) == (OWN, "waiting", 0)
    requests.delete(f"{pair.server.url}/v1/jobs/{job}", timeout=20)
    again = requests.post(f"{pair.server.url}/v1/jobs/{job}/retry", timeout=20).json()["id"]
    assert [one["destination"] for one in pair.get(f"/v1/jobs/{again}/deliveries").json()["deliveries"]] == [OWN]
    plain = pair.ask(series_uid=pair.series["mr"]).json()["id"]
    assert pair.get(f"/v1/jobs/{plain}/deliveries").json() == {"deliveries": []}


@pytest.mark.parametrize(
    ("wish", "status", "code"),
    [
        ({"series_uid": "1.2.3.9"}, 409, "own_result"),
        ({"series_uid": "1.9"}, 404, "no_such_object"),
        ({"study_uid": "1.9"}, 404, "no_such_object"),
        ({"study_uid": "1.9", "series_uid": "1.2.3.9"}, 404, "no_such_object"),
        ({"study_uid": STUDY, "bundle": "us_unet_enhance"}, 404, "no_such_object"),
        ({"study_uid": STUDY, "deliver": ["elsewhere"]}, 422, "no_such_destination"),
        ({"study_uid": STUDY, "inputs": [{"sha256": "0" * 64}]}, 422, "two_inputs"),
        ({}, 422, "no_file"),
    ],
)
def test_a_job_that_cannot_be_is_refused(pair: Pair, wish: dict[str, object], status: int, code: str) -> None:
    answer = pair.ask(**wish)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_series_beyond_the_limit_of_an_upload_is_refused(pair: Pair, tmp_path: Path) -> None:
    yaml = settings(tmp_path, pair.pacs.url + "/dicom-web")
    with running(tmp_path, pacs=yaml, body_bytes=1000) as small:
        wish = {"bundle": "identity", "series_uid": pair.series["ct"]}
        answer = requests.post(small.url + "/v1/jobs", json=wish, timeout=20)
        assert (answer.status_code, answer.json()["code"]) == (413, "unpacked_size")


class Endless(BaseHTTPRequestHandler):
    """A PACS with one series that never ends."""

    begun, broken = threading.Event(), threading.Event()

    def do_GET(self) -> None:
        self.send_response(200)
        if "/metadata" in self.path or not self.path.endswith("/series/1.2"):
            content = json.dumps([{t: {"vr": "UI", "Value": ["1.2"]} for t in ("0020000D", "0020000E", "00080018")}])
            self.send_header("Content-Type", "application/dicom+json")
            self.end_headers()
            self.wfile.write(content.encode())
            return
        self.send_header("Content-Type", 'multipart/related; type="application/dicom"; boundary=x')
        self.end_headers()
        try:
            self.wfile.write(b"--x\r\n\r\n")
            while True:
                self.wfile.write(bytes(100_000))
                self.begun.set()
                time.sleep(0.01)  # spares the disk
        except OSError:
            self.broken.set()

    def log_message(self, *words: object) -> None:
        """Say nothing."""


def test_a_fetch_ends_with_who_asked_for_it(tmp_path: Path) -> None:
    pacs = ThreadingHTTPServer(("127.0.0.1", 0), Endless)
    threading.Thread(target=pacs.serve_forever, daemon=True).start()
    yaml = settings(tmp_path, f"http://127.0.0.1:{pacs.server_port}/dicom-web")
    with running(tmp_path, pacs=yaml, body_bytes=1 << 40, unpacked_bytes=1 << 40) as server:
        port = int(server.url.rsplit(":", 1)[1])
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        wish = json.dumps({"bundle": "identity", "series_uid": "1.2"})
        line.request("POST", "/v1/jobs", wish, {"Content-Type": "application/json"})
        assert Endless.begun.wait(60)
        line.close()
        assert Endless.broken.wait(60), "the connection to the PACS is closed"
        assert server.parts.ledger.jobs(None)[0] == []
    assert list(server.parts.blobs.temporary.glob("pacs-*")) == []
    pacs.shutdown()


def test_every_way_to_the_pacs_asks_for_a_scope(tmp_path: Path) -> None:
    yaml = settings(tmp_path, "http://127.0.0.1:1/dicom-web")
    app = create_app(Settings(data_dir=tmp_path / "data", auth="on", pacs=yaml), workers=False)
    app.state.services.audit.close()
    assert unscoped(app) == []
    assert [way.scope for way in ways(app) if way.path.endswith("/{part:path}")] == ["read"]


def test_a_pacs_that_is_away_or_lets_us_not_in_is_said_and_nobody_is_asked_for_a_key(
    pair: Pair, tmp_path: Path
) -> None:
    for name, url, code in (
        ("away", f"http://127.0.0.1:{free_port()}/dicom-web", "pacs_away"),
        ("shut", None, "no_access"),
    ):
        with running(tmp_path / "shut", auth="on") as shut:
            (tmp_path / name).mkdir(exist_ok=True)
            yaml = settings(tmp_path / name, url or shut.url + "/dicom-web")
            with running(tmp_path / f"{name}-server", pacs=yaml) as server:
                answer = requests.get(server.url + "/dicom-web/studies", timeout=20)
                assert answer.json()["code"] == code and answer.status_code in (500, 503)


def test_a_server_that_wants_keys_wants_them_before_the_pacs_is_asked(pair: Pair, tmp_path: Path) -> None:
    with running(tmp_path, pacs=settings(tmp_path, pair.pacs.url + "/dicom-web"), auth="on") as server:
        assert requests.get(server.url + "/dicom-web/studies", timeout=20).status_code == 401


def test_the_pacs_itself_is_a_destination_unless_the_file_names_another_so(tmp_path: Path) -> None:
    path = settings(tmp_path, "http://127.0.0.1:1/dicom-web")
    assert read(path).destinations[OWN].dicomweb == read(path).dicomweb
    path.write_text(path.read_text() + "destinations: {pacs: {dimse: {host: a, port: 104, called: B}}}\n")
    assert read(path).destinations[OWN].dimse is not None
