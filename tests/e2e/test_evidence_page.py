# SPDX-License-Identifier: Apache-2.0
"""The evidence page in a real browser: the slider, the slices, and that nothing is asked of anybody."""

from pathlib import Path

import pytest

from clarivox import phantoms
from clarivox.evidence import write_page
from tests.e2e.browser import browser

CUT = "getComputedStyle(document.getElementById('viewer')).getPropertyValue('--cut')"
BOX = "JSON.parse(JSON.stringify(document.getElementById('viewer').getBoundingClientRect()))"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    pair = phantoms.mr(size=96, slices=6)
    target: Path = tmp_path_factory.mktemp("page") / "page.html"
    return write_page(target, pair.degraded, pair.truth, pair.truth).as_uri()


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844), (320, 640)])
def test_the_slider_moves_by_hand_and_by_keys_and_slices_change(address: str, width: int, height: int) -> None:
    with browser() as page:
        page.open(address, width, height)
        assert page.run(CUT) == "50%"
        box = page.run(BOX)
        middle = box["y"] + min(box["height"], height - box["y"]) / 2
        page.mouse("mousePressed", box["x"] + box["width"] * 0.5, middle)
        page.mouse("mouseMoved", box["x"] + box["width"] * 0.25, middle)
        page.mouse("mouseReleased", box["x"] + box["width"] * 0.25, middle)
        assert float(page.run(CUT).rstrip("%")) == pytest.approx(25, abs=1.5)
        page.key("ArrowRight", 39)
        assert float(page.run(CUT).rstrip("%")) == pytest.approx(26, abs=1.5)
        shown = page.run("document.querySelector('.under').src")
        page.run("document.querySelector('.slices button').click()")
        assert page.run("document.querySelector('.under').src") != shown
        assert page.run("document.querySelectorAll('.panel img:not([hidden])').length") == 4
        assert page.run("document.documentElement.scrollWidth") <= width, "the page must not scroll sideways"
        assert page.complaints == []
        assert [url for url in page.requests if not url.startswith(("file:", "data:"))] == []


def test_the_policy_stops_a_script_that_was_slipped_in(address: str) -> None:
    with browser() as page:
        page.open(address, 800, 600)
        page.run("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.caught=1\">')")
        page.complained("Content Security Policy")
        assert page.run("window.caught") is None
