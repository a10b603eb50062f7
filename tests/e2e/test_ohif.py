# SPDX-License-Identifier: Apache-2.0
"""OHIF itself, prebuilt and served by us over the server's own store: from a study to the derived series beside it."""

import io
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clarivox import phantoms
from clarivox.client import Client
from clarivox.errors import OptionError
from clarivox.io.dicom_new import Kind, new_series, save_series
from clarivox.server.settings import Settings
from clarivox.server.viewer_files import folder_of
from tests.e2e.browser import WEBGL, Page, browser
from tests.served import Served, serving

SHOTS = os.environ.get("CLARIVOX_SHOTS")
PANEL = "document.querySelector('clarivox-enhance')?.shadowRoot"
CANVAS = "[...document.querySelectorAll('canvas.cornerstone-canvas')]"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    try:
        folder = folder_of(Settings(viewer=True))
    except OptionError as absent:
        if os.environ.get("CLARIVOX_NO_SKIPS"):
            raise
        pytest.skip(str(absent))
    with serving(tmp_path_factory.mktemp("ohif"), VIEWER="true", VIEWER_DIR=str(folder)) as running:
        yield running


def stored(server: Served, folder: Path, kind: str) -> str:
    """Bring a phantom study to the server's own store; its StudyInstanceUID."""
    made = {
        "ct": (phantoms.ct(size=160, slices=6), Kind.CT),
        "mr": (phantoms.mr(size=160, slices=6), Kind.MR),
        "us": (phantoms.us(size=160), Kind.US_CLIP),
        "cr": (phantoms.cxr(size=192), Kind.CR),
    }
    pair, form = made[kind]
    files = save_series(new_series(pair.degraded, form, patient=f"PHANTOM^{kind.upper()}"), folder / kind)
    client = Client(f"http://127.0.0.1:{server.port}")
    *_, job = client.follow(client.submit(folder / kind, "identity", report=False))
    job.checked()
    shutil.rmtree(folder / kind)
    assert files
    line = server.line()
    studies = json.loads(line.ask("GET", f"/dicom-web/studies?PatientName=PHANTOM^{kind.upper()}").body)
    line.close()
    return str(studies[0]["0020000D"]["Value"][0])


def opened(page: Page, server: Served, study: str) -> None:
    page.open(f"http://127.0.0.1:{server.port}/viewer?StudyInstanceUIDs={study}", 1400, 860)
    page.wait(f"{CANVAS}.length > 0", 120)
    page.wait(f"!{PANEL}?.getElementById('run').disabled", 120)


def seen(page: Page, number: int) -> np.ndarray:
    """What a viewport shows, grey, shape (Y, X)."""
    page.run(f"{CANVAS}.forEach((one, n) => one.dataset.number = n)")
    shown = Image.open(io.BytesIO(page.picture(f'canvas[data-number="{number}"]')))
    return np.asarray(shown.convert("L"), np.float32)


def drawn(page: Page, count: int) -> list[np.ndarray]:
    """Wait until viewports show images, and give them."""
    for _ in range(60):
        page.run("new Promise(done => setTimeout(() => done(1), 250))")
        if page.run(f"{CANVAS}.length") >= count:
            views = [seen(page, number) for number in range(count)]
            if all(len(np.unique(view[::3, ::3])) > 20 for view in views):
                return views
    raise AssertionError("a viewport stays flat")


def changed(before: np.ndarray, after: np.ndarray) -> float:
    """How far two viewports differ on average in their middle, in grey levels of the screen."""
    high, wide = (min(sides) for sides in zip(before.shape, after.shape, strict=True))
    middle = (slice(high // 4, 3 * high // 4), slice(wide // 4, 3 * wide // 4))
    return float(np.abs(before[middle] - after[middle]).mean())


def compared(page: Page, within_s: float = 120) -> float:
    """How far the two viewports differ, once it is as it should be: not the same, and of the same place and window.

    Raises:
        AssertionError: it never was; the message says what each viewport holds, and pictures are kept if asked for.
    """
    page.wait(f"{PANEL}.host.dataset.shown", within_s)
    until = time.monotonic() + within_s
    apart = -1.0
    while time.monotonic() < until:
        apart = changed(*drawn(page, 2))
        if 0.3 < apart < 60:
            return apart
        time.sleep(0.25)
    keep(page, "ohif-failed")
    raise AssertionError(f"the two viewports differ by {apart:.2f} grey levels on average; they hold {held(page)}")


def held(page: Page) -> str:
    """What each viewport of the grid holds, as the panel's module sees it, and what the panel says."""
    found = page.run(
        f"(({{viewer}}) => JSON.stringify([...viewer.viewportGridService.getState().viewports.keys()]"
        f".map(id => [id, viewer.state(id)])))({PANEL}.host)"
    )
    return f"{found}; panel: {page.run(f'{PANEL}.textContent')[-300:]}; console: {page.complaints[-3:]}"


def keep(page: Page, name: str) -> None:
    """Keep a picture of the page, where they are wanted."""
    if SHOTS:
        Path(SHOTS, f"{name}.png").write_bytes(page.picture())


@pytest.mark.parametrize(
    ("kind", "bundle"),
    [
        ("ct", "ct_unet_denoise"),
        ("mr", "mr_unet_denoise"),
        ("us", "us_unet_enhance"),
        ("cr", "any_nlm_denoise"),
    ],
)
@pytest.mark.timeout(560)
def test_a_series_is_enhanced_from_the_panel_and_shown_beside_the_original(
    server: Served, tmp_path: Path, kind: str, bundle: str
) -> None:
    study = stored(server, tmp_path, kind)
    with browser(*WEBGL) as page:
        opened(page, server, study)
        drawn(page, 1)
        page.run(
            f"(root => {{ const box = root.getElementById('bundle'); box.value = '{bundle}'; "
            f"box.dispatchEvent(new Event('change')); root.getElementById('run').click(); }})({PANEL})"
        )
        page.wait(f"{PANEL}.querySelector('progress') || {PANEL}.textContent.includes('done in')", 60)
        page.wait(f"{PANEL}.textContent.includes('done in')", 120)
        compared(page)
        keep(page, f"ohif-{kind}")
        outside = [
            url for url in page.requests if not url.startswith((f"http://127.0.0.1:{server.port}/", "data:", "blob:"))
        ]
        described = page.run(
            "window.services.displaySetService.getActiveDisplaySets().map(one => one.SeriesDescription).join('|')"
        )
    assert outside == []
    assert bundle in described, "the derived series is in the list of the study"


def test_a_viewer_that_is_opened_again_finds_its_jobs(server: Served, tmp_path: Path) -> None:
    study = stored(server, tmp_path, "mr")
    with browser(*WEBGL) as page:
        opened(page, server, study)
        page.run(
            f"(root => {{ const box = root.getElementById('bundle'); box.value = 'mr_ddpm3d_denoise'; "
            f"box.dispatchEvent(new Event('change')); root.getElementById('run').click(); }})({PANEL})"
        )
        page.wait(f"{PANEL}.querySelectorAll('.job').length === 1", 30)
        opened(page, server, study)
        page.wait(f"{PANEL}.querySelectorAll('.job').length === 1", 30)
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
