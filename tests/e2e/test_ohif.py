# SPDX-License-Identifier: Apache-2.0
"""OHIF itself, prebuilt and served by us over the server's own store: from a study to the derived series beside it."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread

from clarivox.client import Client
from tests.e2e.browser import WEBGL, Page, browser
from tests.e2e.ohif_page import (
    BUNDLES,
    PANEL,
    compared,
    difference,
    drawn,
    enhance,
    installed,
    keep,
    linked,
    opened,
    outside,
    study_of,
)
from tests.served import Served, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("ohif"), VIEWER="true", VIEWER_DIR=str(installed())) as running:
        yield running


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """One browser for all: OHIF is fetched once."""
    with browser(*WEBGL) as opened_once:
        yield opened_once


def stored(server: Served, folder: Path, kind: str) -> str:
    """Bring a phantom study to the server's own store; its StudyInstanceUID."""
    files = study_of(kind, folder / kind)
    client = Client(f"http://127.0.0.1:{server.port}")
    *_, job = client.follow(client.submit(folder / kind, "identity", report=False))
    job.checked()
    shutil.rmtree(folder / kind)
    assert files
    line = server.line()
    studies = json.loads(line.ask("GET", f"/dicom-web/studies?PatientName=PHANTOM^{kind.upper()}").body)
    line.close()
    return str(studies[0]["0020000D"]["Value"][0])


def dropped(server: Served, page: Page, folder: Path) -> str:
    """Bring a phantom CT to the server as a newcomer does, by the companion page; its StudyInstanceUID."""
    files = study_of("ct", folder / "dropped")
    page.open(f"http://127.0.0.1:{server.port}/app/", 1280, 860)
    page.wait("document.getElementById('status').textContent.startsWith('Ready')", 120)
    page.choose("#files", *files)
    bundle = "any_median_denoise"
    page.wait(f"[...document.getElementById('bundle').options].some(one => one.value === '{bundle}')", 120)
    page.run(
        f"(box => {{ box.value = '{bundle}'; box.dispatchEvent(new Event('change')); }})"
        "(document.getElementById('bundle'))"
    )
    page.wait("!document.getElementById('run').disabled", 120)
    page.run("document.getElementById('run').click()")
    page.wait("document.querySelector('figure[data-pane=enhanced]') !== null", 120)
    return str(dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)


@pytest.mark.parametrize(("kind", "bundle"), BUNDLES.items())
@pytest.mark.timeout(560)
def test_a_series_is_enhanced_from_the_panel_and_shown_beside_the_original(
    server: Served, page: Page, tmp_path: Path, kind: str, bundle: str
) -> None:
    study = dropped(server, page, tmp_path) if kind == "ct" else stored(server, tmp_path, kind)
    opened(page, server.port, study)
    drawn(page, 1)
    enhance(page, bundle)
    page.wait(f"{PANEL}.querySelector('progress') || {PANEL}.textContent.includes('{bundle}: done in')", 120)
    page.wait(f"{PANEL}.textContent.includes('{bundle}: done in')", 120)
    compared(page)
    keep(page, f"ohif-{kind}")
    off, most = difference(page)
    keep(page, f"ohif-{kind}-difference")
    linked(page)
    keep(page, f"ohif-{kind}-linked")
    described = page.run(
        "window.services.displaySetService.getActiveDisplaySets().map(one => one.SeriesDescription).join('|')"
    )
    assert outside(page, server.port) == []
    assert bundle in described, "the derived series is in the list of the study"
    assert off <= 1e-3 < most, "the third viewport holds derived minus source"


def test_a_viewer_that_is_opened_again_finds_its_jobs(server: Served, page: Page, tmp_path: Path) -> None:
    study = stored(server, tmp_path, "mr")
    opened(page, server.port, study)
    bundle = "mr_ddpm3d_denoise"
    enhance(page, bundle)
    found = f"[...{PANEL}.querySelectorAll('.job')].filter(one => one.textContent.includes('{bundle}')).length === 1"
    page.wait(found, 120)
    opened(page, server.port, study)
    page.wait(found, 120)
    page.run(f"[...{PANEL}.querySelectorAll('.job button')].find(one => one.textContent === 'Cancel')?.click()")
    page.wait(f"!{PANEL}.querySelector('progress')", 60)


def test_ohif_answers_for_none_of_our_addresses(server: Served) -> None:
    line = server.line()
    for path in ("/v1/nothing", "/dicom-web/nothing", "/admin/nothing", "/infer/nothing/x", "/app/assets/nothing.js"):
        assert line.ask("GET", path).status in (404, 405), path
    for path in ("/", "/viewer", "/viewer?StudyInstanceUIDs=1.2"):
        answer = line.ask("GET", path)
        assert answer.status == 200 and b"OHIF" in answer.body, path
    assert b"clarivox" in line.ask("GET", "/app/").body
    assert line.ask("GET", "/nothing.js").status == 404
    assert line.ask("GET", "/..%2f..%2fetc/passwd").status in (200, 404)
    assert b"root:" not in line.ask("GET", "/..%2f..%2f..%2f..%2fetc%2fpasswd").body
    line.close()
