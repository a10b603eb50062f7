# SPDX-License-Identifier: Apache-2.0
"""What OHIF says of the images that it shows, and the jobs of a study that began elsewhere, in a real browser."""

import os
from collections.abc import Iterator

import pytest
from pydicom import dcmread

from clarivox.client import Client
from clarivox.errors import OptionError
from clarivox.server.settings import Settings
from clarivox.server.viewer_files import folder_of
from tests.e2e.browser import WEBGL, Page, browser
from tests.e2e.ohif_page import PANEL, compared, difference, drawn, keep, linked, opened, pressed, study_of
from tests.served import Served, serving

BUNDLE = "mr_unet_denoise"
LABELS = "[...document.querySelectorAll('clarivox-label')].map(one => one.dataset.says)"
TRIO = ["ORIGINAL", f"ENHANCED {BUNDLE}", f"DIFFERENCE {BUNDLE} minus original"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    try:
        folder = folder_of(Settings(viewer=True))
    except OptionError as absent:
        if os.environ.get("CLARIVOX_NO_SKIPS"):
            raise
        pytest.skip(str(absent))
    with serving(tmp_path_factory.mktemp("labels"), VIEWER="true", VIEWER_DIR=str(folder)) as running:
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
    page.wait(f"JSON.stringify({LABELS}) === {str(list(words)).replace(chr(39), chr(34))!r}")


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


def test_each_viewport_says_what_it_shows(server: Served, page: Page, study: str) -> None:
    opened(page, server.port, study)
    drawn(page, 1)
    page.wait(f"{PANEL}.textContent.includes('done in')")
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
