# SPDX-License-Identifier: Apache-2.0
"""The reading page in a real browser: by keys and by hand, what it keeps, what it saves, and that it asks nobody."""

import csv
from pathlib import Path

import pytest

from clarivox import phantoms
from clarivox.bundle import load
from clarivox.evaluation import Case, outcome
from clarivox.reading import CRITERIA, Gathered, write
from tests.e2e.browser import Page, browser
from tests.served import until

PLACE = "document.getElementById('place').textContent"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    gathered, bundle = Gathered(), load("any_median_denoise")
    for seed in range(3):
        pair = phantoms.mr(size=96, slices=1, seed=seed)
        case = Case({"case": f"secret {seed}"}, pair.degraded, pair.truth, None)
        gathered(case, [outcome(case, bundle, device="cpu")])
    return write(tmp_path_factory.mktemp("reading"), gathered.pairs)[0].as_uri()


def opened(page: Page, address: str, width: int = 1280, height: int = 800) -> Page:
    """The page once it has read what it kept."""
    page.open(address, width, height)
    page.wait("!document.body.inert")
    return page


def stored(page: Page) -> None:
    """Wait until the answers are on disk: this transaction starts after the ones that write them."""
    page.run('new Promise(done => { store.transaction("states").oncomplete = () => done(1); })')


def pressed(page: Page, *keys: str) -> None:
    for key in keys:
        page.key(key, ord(key.upper()) if len(key) == 1 else 13)


def chosen(page: Page) -> int:
    return int(page.run("document.querySelectorAll('[aria-checked=true]').length"))


def saved(page: Page, folder: Path) -> list[dict[str, str]]:
    page.ask("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    page.run("document.getElementById('export').click()")
    (found, *_) = until(lambda: [path for path in folder.glob("*.csv") if path.stat().st_size])
    with found.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844), (320, 640)])
def test_the_page_fits_the_screen_and_asks_nobody(address: str, width: int, height: int) -> None:
    with browser() as page:
        opened(page, address, width, height)
        assert page.run("document.documentElement.scrollWidth") <= width, "the page must not scroll sideways"
        assert page.run("[...document.images].every(one => one.complete && one.naturalWidth > 0)")
        assert "secret" not in page.run("document.documentElement.outerHTML")
        assert page.complaints == []
        assert [url for url in page.requests if not url.startswith(("file:", "data:"))] == []


def test_a_pair_is_answered_by_keys_alone_and_kept_when_the_page_is_opened_again(address: str, tmp_path: Path) -> None:
    with browser() as page:
        opened(page, address)
        pressed(page, *"12345543", "r")
        assert chosen(page) == len(CRITERIA) * 2 + 1 and "complete" in page.run(PLACE)
        pressed(page, "Enter", "4")
        assert "Pair 2 of 3" in page.run(PLACE) and chosen(page) == 1
        stored(page)
        opened(page, address)
        assert "Pair 2 of 3" in page.run(PLACE) and chosen(page) == 1
        page.run("document.getElementById('back').click()")
        assert chosen(page) == len(CRITERIA) * 2 + 1
        rows = saved(page, tmp_path)
        assert page.complaints == []
    assert [row["item"] for row in rows] == ["001", "002", "003"]
    assert (rows[0]["left_Noise"], rows[0]["right_Noise"], rows[0]["right_Confidence"]) == ("1", "2", "3")
    assert (rows[0]["preference"], rows[1]["left_Noise"], rows[1]["preference"]) == ("right", "4", "")


def test_answers_are_given_and_changed_by_hand(address: str, tmp_path: Path) -> None:
    with browser() as page:
        opened(page, address)
        for value in (2, 5):
            page.run(f"document.querySelector('[data-field=right_Sharpness][data-value=\"{value}\"]').click()")
        page.run("document.querySelector('[data-field=preference][data-value=equal]').click()")
        page.run(
            "const reader = document.getElementById('reader'); reader.value = 'A, \"B\"';"
            "reader.dispatchEvent(new Event('input'))"
        )
        for _ in range(3):
            page.run("document.getElementById('next').click()")
        assert "3 of 3 still open" in page.run("document.getElementById('done-title').textContent")
        rows = saved(page, tmp_path)
    assert (rows[0]["right_Sharpness"], rows[0]["preference"], rows[0]["reader"]) == ("5", "equal", 'A, "B"')


def test_both_images_are_zoomed_and_moved_together(address: str) -> None:
    with browser() as page:
        opened(page, address)
        pressed(page, "+")
        shapes = page.run("[...document.querySelectorAll('figure img')].map(one => one.style.transform)")
        assert shapes[0] == shapes[1] and "scale(1.25)" in shapes[0]
        pressed(page, "0")
        assert "scale(1)" in page.run("document.querySelector('figure img').style.transform")


def test_the_policy_stops_a_script_that_was_slipped_in(address: str) -> None:
    with browser() as page:
        opened(page, address, 800, 600)
        page.run("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.caught=1\">')")
        page.complained("Content Security Policy")
        assert page.run("window.caught") is None
