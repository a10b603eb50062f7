# SPDX-License-Identifier: Apache-2.0
"""What an operator sees: the page and its answers, the metrics, the traces."""

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from clarivox.server import metrics, telemetry
from clarivox.server.job import Event, Job, NewJob, Outcome, State, WorkerRow
from clarivox.server.ledger import Ledger
from clarivox.server.main import create_app
from clarivox.server.routes.admin import _page
from clarivox.server.settings import Settings

SENTINEL = "Sentinel^Patient"


@pytest.fixture
def ledger(app: FastAPI, client: TestClient) -> Ledger:
    return app.state.services.ledger


def put(ledger: Ledger, **wish: object) -> Job:
    return ledger.submit(NewJob(owner="ward 3", inputs=(), bundle="identity", **wish))[0]


def failed(ledger: Ledger) -> Job:
    put(ledger)
    taken = ledger.claim("worker-1")
    ledger.beat(taken.id, taken.attempt, stage="read")
    error = {"code": "uneven_spacing", "detail": "gaps of 1 to 7 mm", "status": 422}
    ledger.finish(taken.id, taken.attempt, Outcome(State.FAILED, error=error))
    return taken


def families(client: TestClient) -> dict[str, dict[tuple[str, ...], float]]:
    text = client.get("/metrics").text
    return {
        sample.name: {
            tuple(value for _, value in sorted(one.labels.items())): one.value
            for family in text_string_to_metric_families(text)
            for one in family.samples
            if one.name == sample.name
        }
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_standing_says_who_waits_in_which_order_who_runs_and_why_jobs_failed(client, ledger):
    bad = failed(ledger)
    put(ledger)
    running = ledger.claim("worker-1")
    ledger.beat(running.id, running.attempt, stage="enhance", done=0.4, eta_s=3)
    late, soon = put(ledger), put(ledger, priority=5)
    ledger.put_worker(
        WorkerRow("w", "here", 1, "cpu", "CPU", "1", "busy", 0.0, 0.0, ("identity",), running.id, {"rss": 7})
    )
    seen = client.get("/admin/standing").json()
    assert [one["id"] for one in seen["queued"]] == [soon.id, late.id]
    assert [(one["stage"], one["done"], one["eta_s"]) for one in seen["running"]] == [("enhance", 0.4, 3)]
    assert [(one["id"], one["code"], one["reason"]) for one in seen["failed"]] == [
        (bad.id, "uneven_spacing", "gaps of 1 to 7 mm")
    ]
    assert seen["workers"][0]["loaded"] == ["identity"] and seen["workers"][0]["silent_s"] < 60
    assert seen["counts"]["queued"] == 2 and seen["disk"]["free"] > 0


def test_an_operator_cancels_runs_again_and_deletes_what_is_anybodys(client, ledger):
    waiting = put(ledger)
    assert client.post(f"/admin/jobs/{waiting.id}/cancel").json()["state"] == "cancelled"
    again = client.post(f"/admin/jobs/{waiting.id}/requeue").json()
    assert (again["parent_id"], again["owner"], again["state"]) == (waiting.id, "ward 3", "queued")
    assert client.post(f"/admin/jobs/{waiting.id}/purge").json()["state"] == "purged"
    refused = client.post(f"/admin/jobs/{waiting.id}/cancel")
    assert (refused.status_code, refused.json()["code"]) == (409, "job_ended")
    assert client.post("/admin/jobs/none/cancel").status_code == 404
    assert client.post("/admin/purge").status_code == 204


def test_without_the_scope_admin_only_the_empty_page_is_shown(tmp_path):
    with TestClient(create_app(Settings(data_dir=tmp_path, auth="on"), workers=False)) as client:
        assert client.get("/admin").status_code == 200
        for method, path in (
            ("GET", "standing"),
            ("POST", "purge"),
            ("POST", "jobs/1/cancel"),
            ("POST", "jobs/1/requeue"),
        ):
            assert client.request(method, f"/admin/{path}").status_code == 401


def test_the_page_asks_nobody_else_and_runs_only_what_is_in_it():
    text, policy = _page()
    assert "default-src 'none'" in policy and "unsafe" not in policy and policy.count("sha256-") == 2
    assert not re.search(r"https?://|//[a-z]|innerHTML|\sstyle=|\son\w+=|eval\(", text)


def test_metrics_tell_states_ages_stages_and_ends(client, ledger):
    assert families(client)["clarivox_jobs_ended_total"]["failed",] == 0
    failed(ledger)
    put(ledger)
    ledger.put_worker(WorkerRow("w", "here", 1, "cpu", "CPU", "1", "ready", 0.0, 0.0, (), None, {"rss": 7}))
    told = families(client)
    assert told["clarivox_jobs"]["queued",] == 1 and told["clarivox_jobs"]["failed",] == 1
    assert told["clarivox_jobs_ended_total"]["failed",] == 1
    assert told["clarivox_jobs_failed_total"] == {("uneven_spacing",): 1}
    assert told["clarivox_queue_age_seconds"][()] >= 0
    assert {labels[0] for labels in told["clarivox_stage_seconds_count"]} == {"wait", "read"}
    assert told["clarivox_workers"] == {("cpu", "here", "ready"): 1}
    assert told["clarivox_worker_memory_bytes"] == {("cpu", "here", "rss"): 7}
    assert told["clarivox_disk_bytes"]["free",] > 0 and told["process_resident_memory_bytes"][()] > 0


def test_no_label_holds_a_clients_words(client):
    for path in (f"/v1/jobs/{SENTINEL}", f"/{SENTINEL}", f"/livez?name={SENTINEL}"):
        client.get(path)
    client.request(SENTINEL.replace("^", ""), "/livez")
    text = client.get("/metrics").text
    assert "Sentinel" not in text and 'route="none"' in text and 'method="other"' in text


def test_a_request_that_waits_on_purpose_is_not_measured(client):
    client.get("/livez?wait=1")
    client.get("/livez", headers={"Prefer": "wait=1"})
    assert 'route="/livez"' not in client.get("/metrics").text


def test_a_requeued_job_is_timed_from_its_return_to_the_queue():
    stages = metrics.Stages()
    rows = [("created", {}), ("started", {}), ("stage", {"stage": "read"}), ("requeued", {"reason": "crash"})]
    rows += [("started", {}), ("stage", {"stage": "read"}), ("succeeded", {})]
    stages.take([Event(number, "a", 1, 10.0 * number, name, data) for number, (name, data) in enumerate(rows)])
    counts = {labels[0]: (buckets[-1][1], total) for labels, buckets, total in stages.seconds.rows()}
    assert counts == {"wait": (2, 20.0), "read": (2, 20.0)}
    assert (stages.requeued, stages.ended["succeeded"], stages.seen) == (1, 1, 6)


def test_without_telemetry_nothing_of_its_sdk_is_imported(tmp_path):
    code = (
        "import sys; from pathlib import Path; from clarivox.server.settings import Settings;"
        "from clarivox.server.main import create_app; create_app(Settings(data_dir=Path(sys.argv[1])), workers=False);"
        "print([m for m in sys.modules if m.startswith(('opentelemetry.sdk', 'opentelemetry.exporter', 'torch'))])"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
    assert telemetry.traceparent() is None


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from clarivox.server.telemetry_spans import Blanks

    provider, kept = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(Blanks())
    provider.add_span_processor(SimpleSpanProcessor(kept))
    monkeypatch.setattr(telemetry, "_provider", provider)
    yield kept
    provider.shutdown()


def test_a_trace_goes_from_the_request_to_the_work_and_names_no_patient(spans, tmp_path):
    app = create_app(Settings(data_dir=tmp_path), workers=False)
    asked = []

    @app.get("/traced/{name}")
    def traced(name: str) -> None:
        asked.append(telemetry.traceparent())

    with TestClient(app, base_url="http://127.0.0.1") as client:
        client.get(f"/traced/{SENTINEL}?image={SENTINEL}")
        with pytest.raises(ValueError), telemetry.span("enhance", asked[0], bundle="identity"):
            raise ValueError(SENTINEL)
        request, work = spans.get_finished_spans()
    assert work.context.trace_id == request.context.trace_id and work.parent.span_id == request.context.span_id
    assert work.attributes == {"bundle": "identity", "error.type": "ValueError"}
    assert "Sentinel" not in request.to_json() + work.to_json()
