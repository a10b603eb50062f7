# SPDX-License-Identifier: Apache-2.0
"""The worklist as a client of UPS-RS uses it, with the session of dicomweb-client."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
import requests
from dicomweb_client import DICOMwebClient
from pydicom.dataset import Dataset
from sqlalchemy import update

from clarivox.server.job import NewJob, Outcome, State
from clarivox.server.pacs.outbox import Outbox
from clarivox.server.tables import job as job_table
from clarivox.server.workitem_words import uid_of
from tests.dicom_jobs import Running, running
from tests.dicom_objects import series_of

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")

UID, PERFORMER, OTHER = "1.2.840.99.7", "1.2.840.99.8", "1.2.840.99.9"
HERE = "1.2.3.999"
JSON = "application/dicom+json"


class Worklist:
    """UPS-RS over the session of a DICOMwebClient, which itself has no methods for it."""

    def __init__(self, url: str) -> None:
        self.client = DICOMwebClient(url + "/dicom-web")
        self.root = url + "/dicom-web/workitems"

    def send(self, verb: str, path: str, body: Any = None, **query: str) -> requests.Response:
        if isinstance(body, Dataset):
            body = body.to_json_dict()
        session = self.client._session
        headers = {"Content-Type": JSON, "Accept": JSON}
        return session.request(verb, self.root + path, json=body, params=query, headers=headers, timeout=20)

    def create(self, item: Dataset, uid: str = "", **query: str) -> requests.Response:
        return self.send("POST", "", item, **({"workitem": uid} if uid else {}), **query)

    def get(self, uid: str) -> Dataset:
        answer = self.send("GET", f"/{uid}")
        assert answer.status_code == 200, answer.text
        [found] = answer.json()
        return Dataset.from_json(found)

    def state(self, uid: str) -> str:
        return str(self.get(uid).ProcedureStepState)

    def search(self, **query: str) -> list[Dataset]:
        answer = self.send("GET", "", **query)
        assert answer.status_code == 200, answer.text
        return [Dataset.from_json(one) for one in answer.json()]

    def change(self, uid: str, state: str, transaction: str | None) -> requests.Response:
        wanted = Dataset()
        wanted.ProcedureStepState = state
        if transaction is not None:
            wanted.TransactionUID = transaction
        return self.send("PUT", f"/{uid}/state", wanted)


def code(value: str, scheme: str = "99CLARIVOX") -> Dataset:
    made = Dataset()
    if len(value) > 16:
        made.LongCodeValue = value
    else:
        made.CodeValue = value
    made.CodingSchemeDesignator, made.CodeMeaning = scheme, value
    return made


def plain(**more: Any) -> Dataset:
    item = Dataset()
    item.ProcedureStepState, item.ScheduledProcedureStepPriority = "SCHEDULED", "MEDIUM"
    item.ProcedureStepLabel, item.InputReadinessState = "read it twice", "READY"
    item.ScheduledProcedureStepStartDateTime = "20260101120000"
    item.PatientName, item.PatientID = "Doe^Jane", "CLX77"
    for name, value in more.items():
        setattr(item, name, value)
    return item


def performed() -> Dataset:
    done, changes = Dataset(), Dataset()
    done.PerformedProcedureStepStartDateTime = "20260101120000"
    done.PerformedProcedureStepEndDateTime = "20260101120100"
    done.PerformedStationNameCodeSequence = [code("desk", "99WARD")]
    done.PerformedWorkitemCodeSequence = [code("reading", "99WARD")]
    done.OutputInformationSequence = []
    changes.UnifiedProcedureStepPerformedProcedureSequence = [done]
    return changes


def for_bundle(bundle: str, *series: str, **parameters: Any) -> Dataset:
    given = []
    for name, value in parameters.items():
        one = Dataset()
        one.ValueType, one.ConceptNameCodeSequence, one.TextValue = "TEXT", [code(name)], str(value)
        given.append(one)
    inputs = []
    for uid in series:
        one = Dataset()
        one.TypeOfInstances, one.StudyInstanceUID, one.SeriesInstanceUID = "DICOM", "1.2.3.1", uid
        inputs.append(one)
    return plain(
        ScheduledWorkitemCodeSequence=[code(bundle)],
        ScheduledProcessingParametersSequence=given,
        InputInformationSequence=inputs,
    )


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path) as server:
        yield server


@pytest.fixture
def worklist(served: Running) -> Worklist:
    return Worklist(served.url)


@pytest.fixture
def series(served: Running) -> str:
    """A CT that the server holds, with an enhanced one made of it."""
    given = series_of("ct", served.folder / "in", StudyInstanceUID="1.2.3.1", PatientName="Roe^R", PatientID="P1")
    made = series_of("mr", served.folder / "out", StudyInstanceUID="1.2.3.1", PatientName="Roe^R", PatientID="P1")
    served.publish(given, made)
    return str(pydicom.dcmread(given[0]).SeriesInstanceUID)


def test_every_job_is_a_work_item_with_its_series_and_patient(served: Running, worklist: Worklist, series: str) -> None:
    [job], _ = served.parts.ledger.jobs()
    item = worklist.get(uid_of(job.id))
    assert (item.ProcedureStepState, item.PatientID, item.SOPInstanceUID) == ("COMPLETED", "P1", uid_of(job.id))
    assert item.InputInformationSequence[0].SeriesInstanceUID == series
    [made] = item.UnifiedProcedureStepPerformedProcedureSequence
    [output] = made.OutputInformationSequence
    assert worklist.client.search_for_series(output.StudyInstanceUID, search_filters={"Modality": "MR"})
    assert output.WADORSRetrievalSequence[0].RetrieveURL.endswith(f"/series/{output.SeriesInstanceUID}")
    assert "TransactionUID" not in item
    assert [one.SOPInstanceUID for one in worklist.search(PatientID="P1")] == [item.SOPInstanceUID]
    assert worklist.search(PatientID="P2") == []


def test_a_job_goes_through_the_states_of_the_standard(served: Running, worklist: Worklist) -> None:
    ledger = served.parts.ledger
    job, _ = ledger.submit(NewJob(owner="local", inputs=(), bundle="identity", priority=5))
    uid = uid_of(job.id)
    assert (worklist.state(uid), worklist.get(uid).ScheduledProcedureStepPriority) == ("SCHEDULED", "HIGH")
    claimed = ledger.claim("w")
    assert claimed is not None
    ledger.beat(job.id, 1, stage="enhance", done=0.25)
    [progress] = worklist.get(uid).ProcedureStepProgressInformationSequence
    assert (worklist.state(uid), float(progress.ProcedureStepProgress)) == ("IN PROGRESS", 25)
    ledger.release(job.id, 1, reason="drain", counted=False)
    assert worklist.state(uid) == "IN PROGRESS"  # no item becomes SCHEDULED again
    ledger.claim("w")
    error = {"code": "no_pixels", "title": "t", "detail": "the series has no pixels", "status": 422, "retryable": False}
    ledger.finish(job.id, 2, Outcome(State.FAILED, error=error))
    [progress] = worklist.get(uid).ProcedureStepProgressInformationSequence
    assert (worklist.state(uid), progress.ReasonForCancellation) == ("CANCELED", "the series has no pixels")
    assert [str(one.SOPInstanceUID) for one in worklist.search(ProcedureStepState="CANCELED")] == [uid]
    assert worklist.search(ProcedureStepState="COMPLETED") == worklist.search(ProcedureStepState="SCHEDULED") == []


def test_an_item_for_a_bundle_and_a_series_becomes_a_job(served: Running, worklist: Worklist, series: str) -> None:
    item = for_bundle("any_wavelet_denoise", series, strength="0.5")
    item.ScheduledProcedureStepPriority = "HIGH"
    answer = worklist.create(item, UID)
    assert answer.status_code == 201, answer.text
    assert answer.headers["Location"] == answer.headers["Content-Location"] == f"{worklist.root}/{UID}"
    assert "Warning" not in answer.headers
    job = served.parts.ledger.jobs(states=[State.QUEUED])[0][0]
    assert (job.bundle, job.params["strength"], job.priority) == ("any_wavelet_denoise", 0.5, 50)
    assert len(job.inputs) == 3
    assert [str(one.SOPInstanceUID) for one in worklist.search(ProcedureStepState="SCHEDULED")] == [UID]
    assert worklist.change(UID, "IN PROGRESS", PERFORMER).status_code == 409  # this server performs it
    claimed = served.parts.ledger.claim("w")
    assert claimed is not None and worklist.state(UID) == "IN PROGRESS"
    served.parts.ledger.finish(claimed.id, 1, Outcome(State.SUCCEEDED))
    found = worklist.get(UID)
    assert (found.ProcedureStepState, found.PatientID) == ("COMPLETED", "CLX77")
    assert found.UnifiedProcedureStepPerformedProcedureSequence[0].PerformedProcedureStepEndDateTime
    assert len(worklist.search()) == 2  # and not once more for its job


@pytest.mark.parametrize(
    "wrong",
    [
        for_bundle("no_such_bundle", HERE),
        for_bundle("any_wavelet_denoise"),
        for_bundle("any_wavelet_denoise", "1.2.3.4.5"),
        for_bundle("any_wavelet_denoise", HERE, strength="2"),
        for_bundle("any_wavelet_denoise", HERE, nonsense="2"),
        plain(ProcedureStepState="IN PROGRESS"),
        plain(ScheduledProcedureStepPriority="URGENT"),
        plain(TransactionUID=PERFORMER),
        {"nonsense": 1},
        [1],
        "no data set",
    ],
)
def test_an_item_that_cannot_be_is_refused_and_makes_no_job(
    served: Running, worklist: Worklist, series: str, wrong: Any
) -> None:
    body = wrong.to_json_dict() if isinstance(wrong, Dataset) else wrong
    if isinstance(body, dict) and "00404021" in body:
        for one in body["00404021"].get("Value", []):
            one["0020000E"]["Value"] = [v.replace(HERE, series) for v in one["0020000E"]["Value"]]
    answer = worklist.send("POST", "", body, workitem=UID)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_workitem"), answer.text
    assert worklist.send("GET", f"/{UID}").status_code == 404
    assert served.parts.ledger.counts()[State.QUEUED] == 0


def test_a_uid_is_taken_once_and_an_item_with_less_is_completed(worklist: Worklist) -> None:
    sparse = Dataset()
    sparse.ProcedureStepLabel = "call the ward"
    answer = worklist.create(sparse, UID)
    assert answer.status_code == 201
    assert answer.headers["Warning"].endswith("/dicom-web: The Workitem was created with modifications.")
    assert worklist.get(UID).InputReadinessState == "READY"
    assert worklist.create(plain(), UID).json()["code"] == "workitem_exists"
    unnamed = worklist.create(plain())
    assert unnamed.status_code == 201
    assert worklist.state(unnamed.headers["Location"].rsplit("/", 1)[1]) == "SCHEDULED"
    assert worklist.send("POST", "", plain(SOPInstanceUID=OTHER), workitem=UID).status_code == 400


def test_another_performer_claims_updates_and_completes(worklist: Worklist) -> None:
    worklist.create(plain(), UID)
    changes = Dataset()
    changes.ProcedureStepLabel = "read it once"
    assert worklist.send("POST", f"/{UID}", changes).status_code == 200
    assert (
        worklist.change(UID, "COMPLETED", PERFORMER)
        .headers["Warning"]
        .endswith("did not reference a claimed Workitem.")
    )
    assert worklist.change(UID, "IN PROGRESS", None).headers["Warning"].endswith("The Transaction UID is missing.")
    assert worklist.change(UID, "IN PROGRESS", PERFORMER).status_code == 200
    second = worklist.change(UID, "IN PROGRESS", OTHER)
    assert (second.status_code, second.json()["code"]) == (409, "workitem_state")
    refused = worklist.send("POST", f"/{UID}", performed(), **{"transaction-uid": OTHER})
    assert (refused.status_code, refused.headers["Warning"].endswith("UID is incorrect.")) == (409, True)
    assert worklist.send("POST", f"/{UID}", performed()).status_code == 409
    assert worklist.change(UID, "COMPLETED", PERFORMER).status_code == 409  # what was performed is not told
    assert worklist.send("POST", f"/{UID}", performed(), **{"transaction-uid": PERFORMER}).status_code == 200
    assert worklist.change(UID, "COMPLETED", OTHER).status_code == 409
    assert worklist.change(UID, "COMPLETED", PERFORMER).status_code == 200
    item = worklist.get(UID)
    assert (item.ProcedureStepState, item.ProcedureStepLabel) == ("COMPLETED", "read it once")
    assert "TransactionUID" not in item
    again = worklist.change(UID, "COMPLETED", PERFORMER)
    assert again.status_code == 200
    assert again.headers["Warning"].endswith("already in the requested state of COMPLETED.")
    assert worklist.send("POST", f"/{UID}", changes, **{"transaction-uid": PERFORMER}).status_code == 409


def test_the_state_and_the_uid_are_not_updated(worklist: Worklist) -> None:
    worklist.create(plain(), UID)
    answer = worklist.send("POST", f"/{UID}", plain(ProcedureStepState="COMPLETED", SOPInstanceUID=OTHER))
    assert answer.headers["Warning"].endswith("The Workitem was updated with modifications.")
    assert worklist.state(UID) == "SCHEDULED"
    assert worklist.change(UID, "DONE", PERFORMER).status_code == 400


def test_what_is_scheduled_is_cancelled_and_what_is_claimed_is_asked_about(served: Running, worklist: Worklist) -> None:
    job, _ = served.parts.ledger.submit(NewJob(owner="local", inputs=(), bundle="identity"))
    wish = Dataset()
    wish.ReasonForCancellation = "wrong patient"
    assert worklist.send("POST", f"/{uid_of(job.id)}/cancelrequest", wish).status_code == 202
    assert (served.parts.ledger.get(job.id).state, worklist.state(uid_of(job.id))) == (State.CANCELLED, "CANCELED")
    again = worklist.send("POST", f"/{uid_of(job.id)}/cancelrequest")
    assert (again.status_code, again.headers["Warning"].rsplit(" ", 1)[1]) == (202, "CANCELED.")
    worklist.create(plain(), UID)
    assert worklist.send("POST", f"/{UID}/cancelrequest", wish).status_code == 202
    [progress] = worklist.get(UID).ProcedureStepProgressInformationSequence
    assert (worklist.state(UID), progress.ReasonForCancellation) == ("CANCELED", "wrong patient")
    worklist.create(plain(), OTHER)
    worklist.change(OTHER, "IN PROGRESS", PERFORMER)
    assert worklist.send("POST", f"/{OTHER}/cancelrequest", wish).status_code == 202
    assert worklist.state(OTHER) == "IN PROGRESS"
    assert worklist.change(OTHER, "CANCELED", PERFORMER).status_code == 200
    assert worklist.get(OTHER).ProcedureStepProgressInformationSequence[0].ProcedureStepCancellationDateTime
    running_job, _ = served.parts.ledger.submit(NewJob(owner="local", inputs=(), bundle="identity"))
    served.parts.ledger.claim("w")
    assert worklist.send("POST", f"/{uid_of(running_job.id)}/cancelrequest").status_code == 202
    assert served.parts.ledger.get(running_job.id).cancel_requested
    served.parts.ledger.finish(running_job.id, 1, Outcome(State.SUCCEEDED))
    late = worklist.send("POST", f"/{uid_of(running_job.id)}/cancelrequest")
    assert (late.status_code, late.headers["Warning"].endswith("The UPS is already COMPLETED.")) == (409, True)


def test_a_search_takes_any_attribute_and_pages(worklist: Worklist) -> None:
    for number in range(5):
        worklist.create(plain(PatientID=f"N{number}", ProcedureStepLabel=f"step {number % 2}"), f"1.2.3.{number}")
    assert [one.PatientID for one in worklist.search(ProcedureStepLabel="step 1")] == ["N3", "N1"]
    assert [one.PatientID for one in worklist.search(PatientName="doe*", limit="2", offset="1")] == ["N3", "N2"]
    assert len(worklist.search(ScheduledProcedureStepStartDateTime="20260101-20260102")) == 5
    assert worklist.search(ScheduledProcedureStepStartDateTime="-20251231") == []
    assert worklist.send("GET", "", nonsense="1").status_code == 400
    assert worklist.send("GET", "/1.2.3.99").json()["code"] == "no_such_workitem"


def test_nothing_that_a_client_wrote_stands_in_the_database(served: Running, worklist: Worklist) -> None:
    worklist.create(plain(), UID)
    worklist.change(UID, "IN PROGRESS", PERFORMER)
    wish = Dataset()
    wish.ReasonForCancellation = "Jane left"
    worklist.send("POST", f"/{UID}/cancelrequest", wish)
    files = b"".join(path.read_bytes() for path in (served.folder / "data").glob("*.sqlite*"))
    assert b"workitem" in files
    for word in (UID, PERFORMER, "Doe", "CLX77", "read it twice", "Jane"):
        assert word.encode() not in files


def test_work_items_of_long_ago_are_forgotten_with_their_jobs(served: Running, worklist: Worklist, series: str) -> None:
    worklist.create(for_bundle("any_wavelet_denoise", series), UID)
    worklist.create(plain(), OTHER)
    worklist.create(plain(), "1.2.3")
    worklist.send("POST", f"/{UID}/cancelrequest")
    worklist.send("POST", f"/{OTHER}/cancelrequest")
    ledger = served.parts.ledger
    ledger.settings = ledger.settings.model_copy(update={"keep_results_h": 0, "keep_events_days": 0})
    with ledger.database.write() as connection:
        connection.execute(update(job_table).values(expires_at=0))
    ledger.purge()
    assert [str(one.SOPInstanceUID) for one in worklist.search()] == ["1.2.3"]


def test_before_a_pacs_the_series_is_fetched_and_the_result_goes_back(tmp_path: Path) -> None:
    with running(tmp_path / "pacs") as pacs:
        files = series_of("ct", tmp_path / "ct", StudyInstanceUID="1.2.3.1", PatientName="Roe^R")
        pacs.publish(files)
        yaml = tmp_path / "pacs.yaml"
        yaml.write_text(f"dicomweb: {{url: {pacs.url}/dicom-web}}\n")
        with running(tmp_path / "server", pacs=yaml) as served:
            worklist = Worklist(served.url)
            series = str(pydicom.dcmread(files[0]).SeriesInstanceUID)
            assert worklist.create(for_bundle("any_wavelet_denoise", "1.2.3.999"), OTHER).status_code == 400
            answer = worklist.create(for_bundle("any_wavelet_denoise", series), UID)
            assert answer.status_code == 201, answer.text
            [job] = served.parts.ledger.jobs()[0]
            assert [one.media for one in job.inputs] == ["application/zip"]
            assert [one.destination for one in Outbox(served.parts.ledger.database).of_job(job.id)] == ["pacs"]
            assert worklist.state(UID) == "SCHEDULED"
            assert len(worklist.client.search_for_studies()) == 1  # of the PACS
