# SPDX-License-Identifier: Apache-2.0
"""The companion page in a real browser, against a live server: images of each kind go through it and are looked at."""

import base64
import gzip
import io
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import clarivox as cv
from clarivox import phantoms
from clarivox.io.dicom_new import Kind, new_series, save_series
from tests import held
from tests.e2e.browser import WEBGL, Page, browser
from tests.served import Served, serving, until

ROOT = Path(__file__).parents[2]
DIST = ROOT / "apps" / "web" / "dist"
PANES = "[...document.querySelectorAll('#panes figure')].map(one => one.dataset.pane).join()"
SHOTS = os.environ.get("CLARIVOX_SHOTS")
"""Folder to keep pictures of the page in; none by default."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    if not (DIST / "index.html").is_file():
        if os.environ.get("CLARIVOX_NO_SKIPS"):
            raise AssertionError("the page is not built; make web")
        pytest.skip("the page is not built; make web")
    with serving(tmp_path_factory.mktemp("page"), held.COMMAND) as running:
        yield running


@pytest.fixture
def page(server: Served) -> Iterator[Page]:
    with browser(*WEBGL) as opened:
        opened.open(f"http://127.0.0.1:{server.port}/", 1280, 860)
        opened.wait("document.getElementById('status').textContent.startsWith('Ready')")
        yield opened
        outside = [
            url for url in opened.requests if not url.startswith((f"http://127.0.0.1:{server.port}/", "data:", "blob:"))
        ]
        assert outside == [], "the page asks nobody but its server"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("inputs")
    cv.write(phantoms.mr(size=96, slices=3).degraded, folder / "mr.nii.gz")
    ct = folder / "ct"
    save_series(new_series(phantoms.ct(size=96, slices=4).degraded, Kind.CT), ct)
    with zipfile.ZipFile(folder / "ct.zip", "w") as archive:
        for path in ct.iterdir():
            archive.write(path, path.name)
    save_series(new_series(phantoms.us(size=96).degraded, Kind.US_CLIP), folder / "clip")
    cv.write(phantoms.cxr(size=128).degraded, folder / "chest.png")
    (folder / "broken.nii.gz").write_bytes(gzip.compress(b"no image at all"))
    return {path.name: path for path in folder.iterdir()}


def shot(page: Page, name: str) -> None:
    if SHOTS:
        Path(SHOTS, f"{name}.png").write_bytes(page.picture())


def asked(page: Page, bundle: str) -> None:
    page.wait(f"[...document.getElementById('bundle').options].some(one => one.value === '{bundle}')")
    page.run(
        f"(box => {{ box.value = '{bundle}'; box.dispatchEvent(new Event('change')); }})"
        "(document.getElementById('bundle'))"
    )
    page.wait("!document.getElementById('run').disabled")
    page.run("document.getElementById('run').click()")


def enhanced(page: Page, bundle: str) -> None:
    asked(page, bundle)
    page.wait("document.querySelector('figure[data-pane=enhanced]') !== null")


def pixels(page: Page, name: str) -> np.ndarray:
    """What a pane shows, shape (Y, X, 3)."""
    return np.asarray(Image.open(io.BytesIO(page.picture(f"figure[data-pane={name}] canvas"))).convert("RGB"))


def drawn(page: Page, name: str) -> None:
    """Wait until a pane is no longer black or flat."""
    until(lambda: len(np.unique(pixels(page, name)[::2, ::2].reshape(-1, 3), axis=0)) > 40)


def test_the_phantom_goes_through_with_progress_and_a_difference(page: Page) -> None:
    shot(page, "welcome")
    page.run("document.getElementById('example').click()")
    page.wait(PANES + " === 'original'")
    drawn(page, "original")
    enhanced(page, "mr_unet_denoise")
    page.wait(PANES + " === 'original,enhanced,difference'")
    for name in ("original", "enhanced", "difference"):
        drawn(page, name)
    page.wait("document.getElementById('runs').textContent.includes('done in')")
    shot(page, "phantom")
    page.key("2", 50)
    page.wait("document.getElementById('panes').classList.contains('over')")
    shot(page, "slider")
    assert page.complaints == []


@pytest.mark.parametrize(
    ("name", "bundle", "panes"),
    [
        ("mr.nii.gz", "mr_unet_denoise", "original,enhanced,difference"),
        ("ct.zip", "ct_unet_denoise", "original,enhanced,difference"),
        ("clip", "us_unet_enhance", "original,enhanced,difference"),
        ("chest.png", "cxr_srcnn_superres", "original,enhanced,difference"),
    ],
)
def test_an_image_of_each_kind_is_shown_enhanced_and_compared(
    page: Page, inputs: dict[str, Path], name: str, bundle: str, panes: str
) -> None:
    path = inputs[name]
    page.choose("#files", *(sorted(path.iterdir()) if path.is_dir() else [path]))
    page.wait(PANES + " === 'original'")
    drawn(page, "original")
    enhanced(page, bundle)
    page.wait(PANES + f" === '{panes}'")
    for pane in panes.split(","):
        drawn(page, pane)
    shot(page, name)
    before, after = pixels(page, "original").astype(int), pixels(page, "enhanced").astype(int)
    assert np.abs(before - after).mean() > 0.1, "the enhanced image is another than the original"
    shot(page, name)
    assert page.complaints == []


def click(page: Page, words: str) -> None:
    found = f"[...document.querySelectorAll('#tools button')].find(one => one.textContent === '{words}')"
    page.wait(f"{found} !== undefined")
    page.run(f"{found}.click()")


def dragged(page: Page, label: str, value: float) -> None:
    """Move a slider of the toolbar."""
    found = f"document.querySelector('#tools input[data-range={label}]')"
    page.wait(f"{found} !== null")
    page.run(f"(one => {{ one.value = {value}; one.dispatchEvent(new Event('input')); }})({found})")


def test_a_clip_plays_at_a_rate_stops_and_is_stepped_through_by_keys(page: Page, inputs: dict[str, Path]) -> None:
    page.choose("#files", *sorted(inputs["clip"].iterdir()))
    page.wait(PANES + " === 'original'")
    enhanced(page, "us_srad_despeckle")
    page.wait(PANES + " === 'original,enhanced,difference'")
    place = "document.querySelector('#tools [aria-label=Clip] output')?.textContent"
    page.wait(f"{place} === '1 / 12'")
    drawn(page, "difference")
    page.run(
        "(one => { one.value = '60'; one.dispatchEvent(new Event('change')); })"
        "(document.querySelector('#tools select[aria-label=\"Frames a second\"]'))"
    )
    click(page, "Play")
    page.wait(f"{place} !== '1 / 12'")
    click(page, "Pause")
    stands = page.run(place)
    page.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert page.run(place) == stands, "a clip that was stopped stands"
    page.key("p", 80)
    page.wait(f"{place} !== '{stands}'")
    page.key("p", 80)
    seen: dict[str, np.ndarray] = {}
    for wanted in ("5 / 12", "1 / 12"):
        for _ in range(12):
            if page.run(place) != wanted:
                page.key("ArrowUp", 38)
        assert page.run(place) == wanted
        seen = seen or {name: pixels(page, name).astype(int) for name in ("original", "enhanced")}
        shot(page, "clip-playing")
    until(lambda: all(np.abs(pixels(page, name).astype(int) - fifth).mean() > 0.1 for name, fifth in seen.items()))
    assert page.complaints == []


def test_a_download_has_the_strength_of_the_dial(page: Page, inputs: dict[str, Path], tmp_path: Path) -> None:
    page.choose("#files", inputs["mr.nii.gz"])
    page.wait(PANES + " === 'original'")
    enhanced(page, "mr_unet_denoise")
    page.wait(PANES + " === 'original,enhanced,difference'")
    dragged(page, "Strength", 0.4)
    page.wait("document.querySelector('figure[data-pane=enhanced] figcaption').textContent.endsWith('strength 0.40')")
    page.run(
        "(make => { URL.createObjectURL = blob => { window.saved = blob; return make.call(URL, blob); }; })"
        "(URL.createObjectURL)"
    )
    click(page, "Download at 0.40")
    page.wait("window.saved !== undefined")
    text = page.run(
        "new Promise(done => { const reader = new FileReader(); reader.onload = () => done(reader.result);"
        " reader.readAsDataURL(window.saved); })"
    ).partition(",")[2]
    (tmp_path / "saved.nii.gz").write_bytes(base64.b64decode(text))
    source = cv.read(inputs["mr.nii.gz"])
    expected = cv.enhance(source, "mr_unet_denoise", strength=0.4).values()
    assert np.abs(cv.read(tmp_path / "saved.nii.gz").values() - expected).max() <= 1.0, "rounded as it is stored"
    assert np.abs(expected - source.values()).max() > 1.0
    shot(page, "strength")


def test_two_bundles_are_laid_over_one_another_by_slider_and_blink(page: Page, inputs: dict[str, Path]) -> None:
    page.choose("#files", inputs["mr.nii.gz"])
    page.wait(PANES + " === 'original'")
    page.wait("[...document.getElementById('against').options].some(one => one.value === 'any_median_denoise')")
    page.run("document.getElementById('against').value = 'any_median_denoise'")
    enhanced(page, "mr_unet_denoise")
    page.wait(
        PANES + " === 'original,enhanced,difference,second' || " + PANES + " === 'original,enhanced,second,difference'"
    )
    shot(page, "two")
    page.key("2", 50)
    named = "one => `${one.dataset.pane}:${one.dataset.layer}`"
    layers = f"[...document.querySelectorAll('#panes figure')].map({named}).sort().join()"
    page.wait(layers + " === 'enhanced:upper,original:under,second:'")
    page.run(
        "(one => { one.value = 'enhanced,second'; one.dispatchEvent(new Event('change')); })"
        "(document.querySelector('#tools select[aria-label=Compared]'))"
    )
    page.wait(layers + " === 'enhanced:under,original:,second:upper'")
    cut = "document.getElementById('panes').style.getPropertyValue('--cut')"
    page.key(".", 190)
    page.wait(cut + " === '55%'")
    drawn(page, "second")
    shot(page, "two-slider")
    page.key("3", 51)
    page.wait("document.getElementById('panes').classList.contains('blink')")
    for visible in ("hidden", "visible"):
        page.wait(f"getComputedStyle(document.querySelector('figure[data-pane=second]')).visibility === '{visible}'")
    assert page.complaints == []


def test_a_file_that_cannot_be_read_is_named_and_the_page_goes_on(page: Page, inputs: dict[str, Path]) -> None:
    page.choose("#files", inputs["broken.nii.gz"], inputs["mr.nii.gz"])
    page.wait("document.querySelectorAll('#cases .failed').length === 1")
    assert "broken.nii.gz" in page.run("document.querySelector('#cases .failed').textContent")
    assert "[" in page.run("document.querySelector('#cases .failed small').textContent"), "with its code"
    page.wait(PANES + " === 'original'")
    enhanced(page, "any_median_denoise")
    shot(page, "broken")


def test_a_page_that_is_opened_again_in_the_middle_of_a_job_finds_it(
    server: Served, page: Page, inputs: dict[str, Path]
) -> None:
    page.choose("#files", inputs["mr.nii.gz"])
    page.wait(PANES + " === 'original'")
    with held.held(server.data):
        asked(page, "mr_unet_denoise")
        page.wait("JSON.parse(sessionStorage.getItem('clarivox-cases'))[0].runs.length === 1")
        page.open(f"http://127.0.0.1:{server.port}/", 1280, 860)
        page.wait("document.querySelectorAll('.run').length === 1")
        assert page.run("document.querySelector('figure[data-pane=enhanced]') === null")
    page.wait("document.querySelector('figure[data-pane=enhanced]') !== null")


def test_noise_is_measured_where_a_region_is_drawn_and_against_a_reference(
    page: Page, inputs: dict[str, Path], tmp_path: Path
) -> None:
    pair = phantoms.mr(size=96, slices=3)
    cv.write(pair.truth, tmp_path / "truth.nii.gz")
    page.choose("#files", inputs["mr.nii.gz"])
    page.wait(PANES + " === 'original'")
    enhanced(page, "mr_unet_denoise")
    page.wait(PANES + " === 'original,enhanced,difference'")
    page.choose("#tools input[type=file]", tmp_path / "truth.nii.gz")
    page.wait(PANES + " === 'original,enhanced,difference,error'")
    page.run("[...document.querySelectorAll('#tools button')].find(one => one.textContent === 'Region').click()")
    box = page.run(
        "(one => [one.x, one.y, one.width, one.height])"
        "(document.querySelector('figure[data-pane=original] canvas').getBoundingClientRect())"
    )
    for kind, share in (("mousePressed", 0.42), ("mouseMoved", 0.5), ("mouseReleased", 0.55)):
        page.mouse(kind, box[0] + share * box[2], box[1] + share * box[3])
    page.wait("document.querySelectorAll('#figures tr').length === 4")
    rows = page.run("[...document.querySelectorAll('#figures tr')].map(row => row.textContent)")
    psnr = [float(row.split("PSNR ")[1].split(" ")[0]) for row in rows if "PSNR" in row]
    ssim = [float(row.split("SSIM ")[1].split("range")[0]) for row in rows if "SSIM" in row]
    truth = pair.truth.values()
    peak = float(np.percentile(truth, 99))
    expected = 10 * np.log10(peak**2 / np.mean((pair.degraded.values() - truth) ** 2))
    assert abs(psnr[0] - expected) < 0.1, "the page's figure is the library's"
    assert psnr[1] > psnr[0] and ssim[1] > ssim[0]
    shot(page, "measured")


def test_the_page_is_light() -> None:
    """And quick, says `python -m tests.benchmarks.page`."""
    first = ["index.html", *(f"assets/{name}" for name in ("page.js", "page.css", "icon.svg"))]
    assert sum(len(gzip.compress((DIST / name).read_bytes())) for name in first) < 1_000_000


@pytest.mark.parametrize("width", [1280, 820, 390])
def test_the_page_is_usable_by_keyboard_and_fits(server: Served, width: int) -> None:
    with browser(*WEBGL) as page:
        page.open(f"http://127.0.0.1:{server.port}/", width, 900)
        page.wait("document.getElementById('status').textContent.startsWith('Ready')")
        assert page.run("document.documentElement.scrollWidth") <= width
        reached = set()
        for _ in range(8):
            page.key("Tab", 9)
            reached.add(page.run("document.activeElement.id || document.activeElement.textContent"))
        assert {"pick-file", "pick-folder", "example"} <= reached


def test_axe_finds_nothing_serious(page: Page, inputs: dict[str, Path]) -> None:
    script = ROOT / "apps" / "web" / "node_modules" / "axe-core" / "axe.min.js"
    page.choose("#files", inputs["mr.nii.gz"])
    page.wait(PANES + " === 'original'")
    enhanced(page, "mr_unet_denoise")
    page.run(script.read_text() + "; true")
    found = json.loads(page.run("axe.run().then(one => JSON.stringify(one.violations))"))
    serious = [(one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in ("serious", "critical")]
    assert serious == []
