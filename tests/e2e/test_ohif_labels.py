# SPDX-License-Identifier: Apache-2.0
"""What OHIF says of the images that it shows, and the jobs of a study that began elsewhere, in a real browser."""

import json
from collections.abc import Iterator

import pytest
from pydicom import dcmread

from clarivox.client import Client
from tests.e2e.browser import WEBGL, Page, browser
from tests.e2e.ohif_page import PANEL, compared, difference, drawn, installed, keep, linked, opened, pressed, study_of
from tests.held import COMMAND, held
from tests.served import Served, serving

BUNDLE = "mr_unet_denoise"
LABELS = "[...document.querySelectorAll('clarivox-label')].map(one => one.dataset.says).join('|')"
ROWS = f"[...{PANEL}.querySelectorAll('.job')].map(one => one.querySelector('p').textContent).join('|')"
TRIO = ["ORIGINAL", f"ENHANCED {BUNDLE}", f"DIFFERENCE {BUNDLE} minus original"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("labels"), COMMAND, VIEWER="true", VIEWER_DIR=str(installed())) as running:
        yield running


@pytest.fixture(scope="module")
def study(server: Served, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An MR phantom that was enhanced by `clarivox submit`, not from the panel; its StudyInstanceUID."""
    folder = tmp_path_factory.mktemp("mr")
    files = study_of("mr", folder)
    client = Client(f"http://127.0.0.1:{server.port}")
    *_, job = client.follow(client.submit(folder, BUNDLE))
    job.checked()
    return str(dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser(*WEBGL) as opened_once:
        yield opened_once


def says(page: Page, *words: str) -> None:
    """Wait until the viewports say so, from left to right."""
    page.wait(f"{LABELS} === '{'|'.join(words)}'")


def apart(page: Page, width: int, height: int) -> None:
    """Each label is whole, inside its viewport and away from the middle, in a window of a size."""
    page.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
    page.wait(f"innerWidth === {width}")
    inside = """[...document.querySelectorAll('clarivox-label')].every(one => {
        const box = one.shadowRoot.querySelector('div'), label = box.getBoundingClientRect();
        const view = one.closest('[data-viewportid], .viewport-wrapper').getBoundingClientRect();
        return !box.hidden && label.width > 60 && label.left >= view.left && label.right <= view.right
            && label.bottom < view.top + view.height / 3 && box.scrollWidth <= box.clientWidth + 1;
    })"""
    page.wait(inside)


def put(page: Page, *series: int) -> None:
    """Put series into the viewports, from left to right, as one drags them there: 0 the source, 1 the result."""
    page.run(
        f"(({{viewer, dataset}}) => {{ const uids = dataset.shown.split('|');"
        "const {viewportGridService: grid, displaySetService: sets} = viewer;"
        "const ids = [...grid.getState().viewports.keys()];"
        f"grid.setDisplaySetsForViewports({list(series)}.map((which, place) => ({{viewportId: ids[place],"
        "displaySetInstanceUIDs: [sets.getDisplaySetsForSeries(uids[which])[0].displaySetInstanceUID]}))); })"
        f"({PANEL}.host)"
    )


def test_a_job_that_began_elsewhere_is_listed_and_shown_and_each_viewport_says_what_it_shows(
    server: Served, page: Page, study: str
) -> None:
    opened(page, server.port, study)
    drawn(page, 1)
    page.wait(f"{ROWS}.startsWith('{BUNDLE}: done in')")
    says(page, TRIO[0])
    pressed(page, "Beside the original")
    compared(page)
    says(page, *TRIO[:2])
    difference(page)
    says(page, *TRIO)
    linked(page)
    says(page, *TRIO)
    for width, height in ((1600, 1000), (1024, 768)):
        apart(page, width, height)
        keep(page, f"ohif-labels-{width}")


def test_the_label_follows_what_is_put_into_a_viewport(server: Served, page: Page, study: str) -> None:
    opened(page, server.port, study)
    page.wait(f"{ROWS}.startsWith('{BUNDLE}: done in')")
    pressed(page, "Beside the original")
    compared(page)
    put(page, 1, 0)
    says(page, TRIO[1], TRIO[0])
    put(page, 1, 1)
    says(page, TRIO[1], TRIO[1])
    page.run("window.commandsManager.runCommand('setViewportGridLayout', {numRows: 1, numCols: 1})")
    says(page, TRIO[1])


def test_a_job_of_another_tab_appears_in_the_panel_and_takes_no_viewport(
    server: Served, page: Page, study: str
) -> None:
    opened(page, server.port, study)
    page.wait(f"{ROWS}.split('|').length === 1 && {ROWS}.includes('done in')")
    says(page, TRIO[0])
    line = server.line()
    series = json.loads(line.ask("GET", f"/dicom-web/studies/{study}/series?SeriesNumber=1").body)
    wish = {"bundle": "any_median_denoise", "series_uid": series[0]["0020000E"]["Value"][0], "deliver": []}
    with held(server.data) as release:
        asked = line.ask("POST", "/v1/jobs", json.dumps(wish).encode(), {"Content-Type": "application/json"})
        assert asked.status == 202, asked.body
        page.wait(f"{PANEL}.querySelector('.job progress') && {ROWS}.startsWith('any_median_denoise: ')")
        release()
    line.close()
    page.wait(f"{ROWS}.startsWith('any_median_denoise: done in')")
    says(page, TRIO[0])
    pressed(page, "Beside the original")
    compared(page)
    says(page, TRIO[0], "ENHANCED any_median_denoise")


def clicked(page: Page, selector: str, words: str) -> None:
    """Click with the mouse on what says these words and nothing else, as soon as it is there."""
    found = f"[...document.querySelectorAll('{selector}')].find(one => one.textContent.trim() === '{words}')"
    page.wait(f"{found} !== undefined")
    x, y = page.run(f"(box => [box.x + box.width / 2, box.y + box.height / 2])({found}.getBoundingClientRect())")
    for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
        page.mouse(kind, x, y)


def test_the_list_of_studies_leads_to_the_images_and_the_jobs(server: Served, page: Page, study: str) -> None:
    page.open(f"http://127.0.0.1:{server.port}/", 1600, 1000)
    clicked(page, "td, td *", "PHANTOM, MR")
    clicked(page, "button, a", "Viewer")
    page.wait(f"location.pathname === '/viewer' && location.search.includes('{study}')")
    drawn(page, 1)
    page.wait(f"{ROWS}.includes('{BUNDLE}: done in')")
