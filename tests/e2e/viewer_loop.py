# SPDX-License-Identifier: Apache-2.0
"""A real Orthanc, a real server, a real OHIF in a browser, within a network namespace; prints what it saw as JSON.

`python -m tests.e2e.viewer_loop FOLDER KIND...` with kinds as ct, mr, us, cr. The first study is opened by signing in;
while its job is held, the page is loaded anew and the server is killed. test_viewer_pacs.py runs it.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pydicom

from clarivox.errors import OptionError
from clarivox.server.pacs.web import DicomWeb
from clarivox.server.settings import Settings
from clarivox.server.viewer_files import folder_of
from tests import held
from tests.e2e.browser import WEBGL, Page, browser
from tests.e2e.ohif_page import BUNDLES, PANEL, compared, drawn, enhance, keep, opened, outside, study_of
from tests.e2e.pacs_loop import orthanc
from tests.served import Served

PATIENCE_S = 180
CLARIVOX = (sys.executable, "-c", "from clarivox.cli.main import run; run()")


def key_of(data: Path) -> str:
    """A key of somebody who looks at images and has them enhanced."""
    words = [*CLARIVOX, "keys", "create", "viewer", "--data", str(data)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    return next(word for word in done.stdout.split() if word.startswith("cvx_"))


def rows(page: Page) -> str:
    """What the panel says of its jobs."""
    return str(page.run(f"[...{PANEL}.querySelectorAll('.job')].map(one => one.textContent).join('|')"))


def held_through_everything(page: Page, server: Served, study: str, bundle: str) -> dict[str, Any]:
    """Run a job, load the page anew and kill the server while it runs; let it go on with the next server."""
    running = f"/ \\d+ %/.test({PANEL}?.querySelector('.job')?.textContent) && !!{PANEL}.querySelector('progress')"
    with held.held(server.data) as release:
        enhance(page, bundle)
        page.wait(running, PATIENCE_S)
        keep(page, "pacs-running")
        opened(page, server.port, study)
        page.wait(running, PATIENCE_S)
        found = {"found_again": page.run(f"{PANEL}.querySelectorAll('.job').length")}
        server.kill()
        page.wait("fetch('/livez').then(() => false, () => true)", PATIENCE_S)
        server.start()
        server.answers("/readyz", PATIENCE_S)
        release()
    page.wait(f"{PANEL}.textContent.includes('done in')", PATIENCE_S)
    return found


def looked_at(page: Page, web: DicomWeb, server: Served, folder: Path, kind: str, key: str) -> dict[str, Any]:
    """One study, from the PACS to the pixels of both viewports; with a key, through everything that can happen."""
    files = study_of(kind, folder / kind)
    assert len(web.store(files).stored) == len(files)
    header = pydicom.dcmread(files[0], stop_before_pixels=True)
    study, bundle = str(header.StudyInstanceUID), BUNDLES[kind]
    opened(page, server.port, study, key)
    drawn(page, 1, PATIENCE_S)
    found: dict[str, Any] = {}
    if key:
        found = {"signed_in": True, **held_through_everything(page, server, study, bundle)}
    else:
        enhance(page, bundle)
    found["apart"] = compared(page, PATIENCE_S)
    keep(page, f"pacs-{kind}")
    source, derived = str(page.run(f"{PANEL}.host.dataset.shown")).split("|")
    series = dict(web.series(study))
    found["in_pacs"] = sorted(series) == sorted([source, derived]) and source == str(header.SeriesInstanceUID)
    found["instances"] = len(web.search(f"studies/{study}/series/{derived}/instances"))
    found["sent"] = len(files)
    found["said"] = rows(page)
    found["outside"] = outside(page, server.port)
    return found


def missing() -> str:
    """What the loop needs and is not here; "" where all is."""
    absent = [name for name in ("Orthanc", "unshare", "ip") if shutil.which(name) is None]
    try:
        folder_of(Settings(viewer=True))
    except OptionError:
        absent.append("OHIF, by clarivox viewer install")
    return f"needs {', '.join(absent)}" if absent else ""


def confined(folder: Path, *kinds: str) -> dict[str, Any]:
    """What the loop saw; in a network namespace of its own, where one may be made: there is nothing outside.

    Raises:
        AssertionError: it failed.
    """
    words = [sys.executable, "-m", "tests.e2e.viewer_loop", str(folder), *kinds]
    if subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode == 0:
        words = ["unshare", "-n", "sh", "-c", f"ip link set lo up && exec {shlex.join(words)}"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-6000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def run(folder: Path, kinds: list[str]) -> dict[str, Any]:
    """Everything, in one go."""
    os.environ["PACS_PASSWORD"] = "secret"
    found: dict[str, Any] = {}
    with orthanc(folder / "orthanc") as url:
        pacs = folder / "pacs.yaml"
        pacs.write_text(f"dicomweb: {{url: {url}, user: clarivox, password_from: PACS_PASSWORD}}\n")
        web = DicomWeb(url, user="clarivox", password="secret")
        given = {"VIEWER": "true", "VIEWER_DIR": str(folder_of(Settings(viewer=True))), "PACS": str(pacs)}
        given |= {"AUTH": "on", "LEASE_S": "10", "MAX_ATTEMPTS": "20", "RETRY_BACKOFF_S": "0"}
        server = Served(folder / "data", given, command=held.COMMAND)
        server.start()
        try:
            server.answers("/readyz", PATIENCE_S)
            key = key_of(server.data)
            with browser(*WEBGL) as page:
                for number, kind in enumerate(kinds):
                    began = time.monotonic()
                    found[kind] = looked_at(page, web, server, folder, kind, "" if number else key)
                    found[kind]["s"] = round(time.monotonic() - began, 1)
        finally:
            server.kill()
    return found


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(json.dumps(run(Path(sys.argv[1]), sys.argv[2:])))
