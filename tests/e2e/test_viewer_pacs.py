# SPDX-License-Identifier: Apache-2.0
"""OHIF over a PACS: a real Orthanc, a real browser, one origin, nothing from outside."""

import os
from typing import Any

import pytest

from tests.e2e import viewer_loop


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    if missing := viewer_loop.missing():
        if os.environ.get("CLARIVOX_NO_SKIPS"):
            raise AssertionError(missing)
        pytest.skip(missing)
    return dict(viewer_loop.confined(tmp_path_factory.mktemp("viewer"), "ct")["ct"])


def test_a_study_of_the_pacs_is_enhanced_stored_there_and_shown_beside_the_original(ct: dict[str, Any]) -> None:
    assert ct["in_pacs"] and ct["instances"] == ct["sent"]
    assert 0.3 < ct["apart"] < 60
    assert f"{ct['sent']} images stored in the PACS" in ct["said"]


def test_a_job_is_found_again_by_a_page_loaded_anew_and_completes_though_the_server_was_killed(
    ct: dict[str, Any],
) -> None:
    assert ct["found_again"] == 1 and "done in" in ct["said"]


def test_a_key_is_asked_for_and_nothing_from_outside(ct: dict[str, Any]) -> None:
    assert ct["signed_in"] and ct["outside"] == []
