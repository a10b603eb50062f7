# SPDX-License-Identifier: Apache-2.0
"""What an operator sees of the PACS: dead letters with their reason, tried anew by one request, and the metrics."""

from fastapi import FastAPI
from starlette.testclient import TestClient

from clarivox.server.job import NewJob, Outcome, State
from clarivox.server.ledger import Ledger
from clarivox.server.pacs.outbox import Outbox


def dead(ledger: Ledger, state: State, code: str) -> str:
    """A delivery that was given up, of a job that ended so; its id."""
    ledger.submit(NewJob(owner="pacs", inputs=(), bundle="identity"))
    job = ledger.claim("worker-1")
    assert job is not None
    ledger.finish(job.id, job.attempt, Outcome(state, error={"code": code} if state is State.FAILED else None))
    outbox = Outbox(ledger.database)
    outbox.add(job.id, ["archive"])
    [found] = outbox.due("archive")
    outbox.dead(found, code)
    return found.id


def test_a_dead_letter_is_shown_with_its_reason_and_tried_anew(app: FastAPI, client: TestClient) -> None:
    ledger: Ledger = app.state.services.ledger
    letter = dead(ledger, State.SUCCEEDED, "refused_a700")
    [shown] = client.get("/admin/standing").json()["pacs"]["dead"]
    assert shown["destination"] == "archive" and shown["code"] == "refused_a700" and "A700" in shown["reason"]
    assert 'clarivox_pacs_deliveries{state="dead"} 1.0' in client.get("/metrics").text
    after = client.post(f"/admin/deliveries/{letter}/requeue")
    assert after.status_code == 202 and after.json()["dead"] == [] and after.json()["deliveries"] == {"waiting": 1}
    assert len(Outbox(ledger.database).due("archive")) == 1
    again = client.post(f"/admin/deliveries/{letter}/requeue")
    assert again.status_code == 409 and again.json()["code"] == "not_dead"
    assert client.post("/admin/deliveries/none/requeue").json()["code"] == "no_such_delivery"


def test_the_job_of_a_dead_letter_is_run_again_where_it_failed(app: FastAPI, client: TestClient) -> None:
    ledger: Ledger = app.state.services.ledger
    letter = dead(ledger, State.FAILED, "uneven_spacing")
    assert client.post(f"/admin/deliveries/{letter}/requeue").status_code == 202
    job = ledger.claim("worker-1")
    assert job is not None and job.parent_id is not None
    assert [one.id for one in Outbox(ledger.database).of_job(job.id)] == [letter]


def test_a_dead_letter_can_be_dismissed_and_a_waiting_one_cannot(app: FastAPI, client: TestClient) -> None:
    ledger: Ledger = app.state.services.ledger
    letter, other = dead(ledger, State.FAILED, "uneven_spacing"), dead(ledger, State.SUCCEEDED, "pacs_away")
    after = client.post(f"/admin/deliveries/{letter}/dismiss")
    assert after.status_code == 200 and [one["id"] for one in after.json()["dead"]] == [other]
    assert ledger.counts()[State.FAILED] == 1
    assert client.post(f"/admin/deliveries/{letter}/dismiss").json()["code"] == "no_such_delivery"
    assert client.post("/admin/deliveries/%00/dismiss").json()["code"] == "no_such_delivery"
    client.post(f"/admin/deliveries/{other}/requeue")
    assert client.post(f"/admin/deliveries/{other}/dismiss").json()["code"] == "not_dead"
    assert len(Outbox(ledger.database).due("archive")) == 1


def test_the_page_has_a_place_for_it(client: TestClient) -> None:
    page = client.get("/admin").text
    assert 'id="pacs-box"' in page and '"deliveries"' in page
