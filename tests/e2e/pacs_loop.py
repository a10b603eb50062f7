# SPDX-License-Identifier: Apache-2.0
"""A real Orthanc, a real server and the commands between them, within a network namespace; prints what it saw as JSON.

`python -m tests.e2e.pacs_loop FOLDER SLICES`. test_pacs.py runs it, and makes the namespace: Debian's Orthanc listens
on every address.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from clarivox import phantoms
from clarivox.io import read
from clarivox.io.dicom_new import Kind, new_series, save_series
from clarivox.server.pacs.web import DicomWeb
from tests.served import PATIENCE_S, Served, serving, until

PORT = 18042
PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
CLARIVOX = (sys.executable, "-c", "from clarivox.cli.main import run; run()")


@contextlib.contextmanager
def orthanc(folder: Path) -> Iterator[str]:
    """An Orthanc that is ready; its DICOMweb root."""
    for name in ("db", "tmp"):
        (folder / name).mkdir(parents=True)
    settings = {
        "Name": "PACS",
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "TemporaryDirectory": str(folder / "tmp"),
        "Plugins": [PLUGIN],
        "HttpPort": PORT,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {"clarivox": "secret"},
        "DicomServerEnabled": False,
        "OverwriteInstances": True,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "Host": f"127.0.0.1:{PORT}", "Ssl": False},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["Orthanc", str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        until(lambda: _answers(process, folder))
        yield f"http://127.0.0.1:{PORT}/dicom-web"
    finally:
        process.terminate()
        process.wait(60)


def _answers(process: subprocess.Popen[bytes], folder: Path) -> bool:
    if process.poll() is not None:
        raise RuntimeError((folder / "log").read_text()[-2000:])
    with contextlib.suppress(OSError):
        line = http.client.HTTPConnection("127.0.0.1", PORT, timeout=5)
        line.request("GET", "/system")
        return line.getresponse().status in (200, 401)
    return False


def command(server: Served, *words: str) -> tuple[int, str]:
    """Exit code and words of a command."""
    environment = {"PACS_PASSWORD": "secret", "PATH": "/usr/bin:/bin", "HOME": str(server.data.parent)}
    place = ("--server", f"http://127.0.0.1:{server.port}") if words[1] == "enhance" else ()
    done = subprocess.run(
        [*CLARIVOX, *words, *place], env=environment, capture_output=True, text=True, timeout=PATIENCE_S
    )
    return done.returncode, done.stdout + done.stderr


def run(folder: Path, slices: int) -> dict[str, Any]:
    """Everything, in one go."""
    source = folder / "source"
    save_series(new_series(phantoms.ct(size=128, slices=slices).degraded, Kind.CT), source)
    save_series(new_series(phantoms.mr(size=64, slices=2).degraded, Kind.MR, patient="PHANTOM^CT"), folder / "mr")
    settings = folder / "pacs.yaml"
    found: dict[str, Any] = {}
    with orthanc(folder / "orthanc") as url, serving(folder) as server:
        settings.write_text(f"dicomweb: {{url: {url}, user: clarivox, password_from: PACS_PASSWORD}}\n")
        web = DicomWeb(url, user="clarivox", password="secret")
        found["check"] = command(server, "pacs", "check", "--config", str(settings))
        stored = web.store(sorted(source.iterdir()))
        found["stored"] = len(stored.stored)
        header = pydicom.dcmread(next(source.iterdir()), stop_before_pixels=True)
        study, series = str(header.StudyInstanceUID), str(header.SeriesInstanceUID)
        words = ("pacs", "enhance", study, "-b", "ct_unet_denoise", "--config", str(settings))
        for turn in ("first", "again"):
            found[turn] = command(server, *words)
            found[f"series_{turn}"] = sorted(uid for uid, _ in web.series(study))
        derived = next(uid for uid in found["series_first"] if uid != series)
        back = folder / "back"
        back.mkdir()
        files = web.fetch(study, derived, back)
        found["instances"] = len(files)
        found["own"] = command(server, *words, "--series", derived)
        found["absent"] = command(
            server, "pacs", "enhance", "1.2.3", "-b", "ct_unet_denoise", "--config", str(settings)
        )
        before, after = read(source), read(back)
        found["grid_mm"] = float(np.abs(before.affine - after.affine).max())
        found["changed"] = float(np.abs(before.values() - after.values()).mean())
        found["same_study"] = str(pydicom.dcmread(files[0], stop_before_pixels=True).StudyInstanceUID) == study
        found["log_has_uid"] = study in server.log()
    with serving(folder / "late") as server:
        found["away"] = command(server, *words)
    return found


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), int(sys.argv[2]))))
