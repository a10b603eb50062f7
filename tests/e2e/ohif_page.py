# SPDX-License-Identifier: Apache-2.0
"""OHIF in a browser of a test: a study opened, the panel used, and what the viewports show."""

import io
import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clarivox import phantoms
from clarivox.errors import OptionError
from clarivox.io.dicom_new import Kind, new_series, save_series
from clarivox.server.settings import Settings
from clarivox.server.viewer_files import folder_of
from tests.e2e.browser import Page

SHOTS = os.environ.get("CLARIVOX_SHOTS")
PANEL = "document.querySelector('clarivox-enhance')?.shadowRoot"
CANVAS = "[...document.querySelectorAll('canvas.cornerstone-canvas')]"
BUNDLES = {"ct": "ct_unet_denoise", "mr": "mr_unet_denoise", "us": "us_unet_enhance", "cr": "any_nlm_denoise"}


def installed() -> Path:
    """The folder of OHIF; where it is not installed the test is skipped, or fails where nothing may be."""
    try:
        return folder_of(Settings(viewer=True))
    except OptionError as absent:
        if os.environ.get("CLARIVOX_NO_SKIPS"):
            raise
        pytest.skip(str(absent))


def study_of(kind: str, folder: Path) -> list[Path]:
    """A phantom study of one series, as DICOM files."""
    made = {
        "ct": (lambda: phantoms.ct(size=160, slices=6), Kind.CT),
        "mr": (lambda: phantoms.mr(size=160, slices=6), Kind.MR),
        "us": (lambda: phantoms.us(size=160), Kind.US_CLIP),
        "cr": (lambda: phantoms.cxr(size=192), Kind.CR),
    }
    phantom, form = made[kind]
    return list(save_series(new_series(phantom().degraded, form, patient=f"PHANTOM^{kind.upper()}"), folder))


def signed_in(page: Page, key: str) -> None:
    """Show a key at the dialog that asks for one, a wrong one first."""
    for shown in ("not a key", key):
        page.wait("document.querySelector('dialog[open] input[type=password]')?.value === ''", 120)
        page.run(
            f"(box => {{ box.value = '{shown}'; box.form.requestSubmit(); }})"
            "(document.querySelector('dialog input[type=password]'))"
        )
        page.wait(f"document.querySelector('dialog input[type=password]')?.value !== '{shown}'", 60)


def enhance(page: Page, bundle: str) -> None:
    """Choose a bundle in the panel, and run it."""
    page.run(
        f"(root => {{ const box = root.getElementById('bundle'); box.value = '{bundle}'; "
        f"box.dispatchEvent(new Event('change')); root.getElementById('run').click(); }})({PANEL})"
    )


def pressed(page: Page, words: str) -> None:
    """Press a button of the newest job that has it."""
    page.run(f"[...{PANEL}.querySelectorAll('.job button')].find(one => one.textContent === '{words}').click()")


def outside(page: Page, port: int) -> list[str]:
    """What the page asked others for than its own server."""
    return [url for url in page.requests if not url.startswith((f"http://127.0.0.1:{port}/", "data:", "blob:"))]


def opened(page: Page, port: int, study: str, key: str = "") -> None:
    """Open a study in OHIF, sign in where a key is given, and wait until the panel can be used."""
    page.open(f"http://127.0.0.1:{port}/viewer?StudyInstanceUIDs={study}", 1400, 860)
    if key:
        signed_in(page, key)
    page.wait(f"{CANVAS}.length > 0", 120)
    page.wait(f"!{PANEL}?.getElementById('run').disabled", 120)


def seen(page: Page) -> list[np.ndarray]:
    """What each viewport shows, grey, shape (Y, X); OHIF may replace any of them at any time."""
    boxes = page.run(
        f"{CANVAS}.map(one => one.getBoundingClientRect()).filter(one => one.width && one.height)"
        ".map(one => ({x: one.x + scrollX, y: one.y + scrollY, width: one.width, height: one.height}))"
    )
    pictures = [Image.open(io.BytesIO(page.clipped(box))) for box in boxes]
    return [np.asarray(picture.convert("L"), np.float32) for picture in pictures]


def drawn(page: Page, count: int, within_s: float = 120) -> list[np.ndarray]:
    """Wait until viewports show images, and give them.

    Raises:
        AssertionError: one stays flat, or is not there.
    """
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        views = seen(page)
        if len(views) >= count and all(len(np.unique(view[::3, ::3])) > 20 for view in views):
            return views[:count]
        time.sleep(0.25)
    raise AssertionError(f"a viewport stays flat; they hold {held(page)}")


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
        apart = changed(*drawn(page, 2, within_s))
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


def difference(page: Page, within_s: float = 120) -> tuple[float, float]:
    """Have the difference shown as a third viewport: how far it is from derived minus source, and its largest value."""
    pressed(page, "Difference")
    page.wait(f"({PANEL}.host.dataset.shown ?? '').endsWith('|difference')", within_s)
    drawn(page, 3, within_s)
    off, most = page.run(
        f"(({{viewer}}) => {{ const [a, b, c] = [...viewer.viewportGridService.getState().viewports.keys()]"
        ".map(id => viewer.cornerstoneViewportService.getCornerstoneViewport(id).getCornerstoneImage()"
        ".voxelManager.getScalarData());"
        "return [c.reduce((most, one, n) => Math.max(most, Math.abs(one - (b[n] - a[n]))), 0),"
        f"c.reduce((most, one) => Math.max(most, Math.abs(one)), 0)]; }})({PANEL}.host)"
    )
    return float(off), float(most)


def linked(page: Page, within_s: float = 120) -> None:
    """Scroll, window and zoom the first viewport, and wait until the others show the same.

    Raises:
        AssertionError: they do not.
    """
    ids = "viewer.viewportGridService.getState().viewports.keys()"
    get = f"(({{viewer}}) => [...{ids}].map(id => viewer.state(id)))({PANEL}.host)"
    [before, *_] = page.run(get)
    lower, upper = (value + 7 for value in before["view"][:2])
    slice_ = before["slices"] // 2
    page.run(
        f"(async ({{viewer}}) => {{ const [id] = {ids};"
        "const view = viewer.cornerstoneViewportService.getCornerstoneViewport(id);"
        f"await view.setImageIdIndex({slice_}); view.setProperties({{voiRange: {{lower: {lower}, upper: {upper}}}}});"
        f"view.setZoom(1.5); view.render(); }})({PANEL}.host)"
    )
    page.wait(
        f"(views => views.every((one, n) => one.drawn && one.slice === {slice_} && Math.abs(one.view[2] - 1.5) < 1e-3"
        f" && (n > 1 || Math.abs(one.view[0] - {lower}) < 1e-3 && Math.abs(one.view[1] - {upper}) < 1e-3)))({get})",
        within_s,
    )
