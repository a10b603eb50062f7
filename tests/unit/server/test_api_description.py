# SPDX-License-Identifier: Apache-2.0
"""The description of the interface: complete, without doubles, and as the page of documentation says."""

import re
from pathlib import Path
from typing import Any

import pytest

from clarivox import errors
from clarivox.server.auth import OPEN
from clarivox.server.main import create_app
from clarivox.server.settings import Settings
from clarivox.server.statuses import STATUSES, status_of

ROOT = Path(__file__).parents[3]
VERBS = {"get", "put", "post", "delete", "patch", "head"}
PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    app = create_app(Settings(data_dir=tmp_path_factory.mktemp("data")), workers=False)
    app.state.services.audit.close()
    found: dict[str, Any] = app.openapi()
    return found


def operations(schema: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (verb.upper(), path, one)
        for path, methods in schema["paths"].items()
        for verb, one in methods.items()
        if verb in VERBS
    ]


def test_each_operation_has_a_name_of_its_own_that_a_program_can_have(schema: dict[str, Any]) -> None:
    names = [one["operationId"] for _, _, one in operations(schema)]
    assert len(names) == len(set(names)) > 60
    assert all(re.fullmatch("[a-z][a-z0-9_]*", name) for name in names)


def test_the_names_of_api_v1_are_stable(schema: dict[str, Any]) -> None:
    found = {one["operationId"] for _, path, one in operations(schema) if path.startswith("/v1/")}
    assert found == {
        *("submit_job", "list_jobs", "get_job", "follow_job", "cancel_job", "retry_job", "delete_job_files"),
        *("get_result", "head_result", "get_evidence", "head_evidence", "get_series", "enhance"),
        *("put_blob", "head_blob", "list_bundles", "get_bundle"),
        *("list_destinations", "get_deliveries"),
    }


def test_each_operation_documents_its_errors_as_problems(schema: dict[str, Any]) -> None:
    for verb, path, one in operations(schema):
        errors = {int(status): said for status, said in one["responses"].items() if int(status) >= 400}
        assert {403, 422, 500, 503} <= set(errors) <= set(STATUSES), (verb, path)
        assert path in OPEN or ("401" in one["responses"] and "security" in one), (verb, path)
        assert one["summary"]
        if path.startswith("/v1/"):
            assert all(said["content"] == PROBLEM for said in errors.values()), (verb, path)


def test_every_reference_leads_somewhere(schema: dict[str, Any]) -> None:
    named = set(re.findall(r"#/components/schemas/(\w+)", str(schema)))
    assert named <= set(schema["components"]["schemas"])
    assert "HTTPValidationError" not in str(schema)


def test_the_page_names_each_route_of_api_v1(schema: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    told = set(re.findall(r"^\| `([A-Z]+) (/v1/[^`]*)` \|", page, re.MULTILINE))
    routes = {(verb, path) for verb, path, _ in operations(schema) if path.startswith("/v1/")}
    beside = {("HEAD", "/v1/jobs/{job_id}/result"), ("HEAD", "/v1/jobs/{job_id}/evidence")}
    assert told == routes - beside


def test_the_page_says_what_each_status_means() -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    told = {int(status): says for status, says in re.findall(r"^\| (\d{3}) \| (.*?) \|$", page, re.MULTILINE)}
    assert told == STATUSES
    kinds = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.ClarivoxError)]
    assert {status_of(kind("")) for kind in kinds} <= set(STATUSES)
