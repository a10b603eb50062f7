# SPDX-License-Identifier: Apache-2.0
"""The PACS from end to end, within a network namespace: `python -m tests.e2e.pacs_routing SCENARIO FOLDER SLICES`.

test_pacs_routing.py runs it. It prints what it saw as JSON.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread

from clarivox import enhance, io, phantoms
from clarivox.io.dicom_new import Kind, new_series, save_series
from tests.pacs_stack import PATIENT_S, Stack, c_store, head, running, wait_for

CT, MR = "ct_unet_denoise", "mr_unet_denoise"
RULES = [
    {"name": "no scouts", "when": {"image_type": "LOCALIZER"}, "ignore": True},
    {"name": "ct", "when": {"modality": "CT"}, "bundle": CT, "to": ["web"]},
    {"name": "mr", "when": {"modality": "MR", "calling": "CT1"}, "bundle": MR, "to": ["dimse"]},
]


def ct(folder: Path, slices: int, seed: int = 0, size: int = 96) -> list[Path]:
    """A study of CT."""
    volume = phantoms.ct(size=size, slices=slices, seed=seed).degraded
    save_series(new_series(volume, Kind.CT, patient=f"PHANTOM^CT{seed}"), folder)
    return sorted(folder.iterdir())


def mr(folder: Path, slices: int, seed: int = 0, size: int = 64) -> list[Path]:
    """A study of MR."""
    volume = phantoms.mr(size=size, slices=slices, seed=seed).degraded
    save_series(new_series(volume, Kind.MR, patient=f"PHANTOM^MR{seed}"), folder)
    return sorted(folder.iterdir())


def made_of(stack: Stack, source: list[Path], folder: Path) -> list[Path]:
    """The derived series of a source, as the PACS has it; nothing where it has none, or not one."""
    first = head(source[0])
    study = str(first.StudyInstanceUID)
    found = [uid for uid, _ in stack.orthanc.web.series(study) if uid != str(first.SeriesInstanceUID)]
    if len(found) != 1:
        return []
    folder.mkdir(parents=True)
    return stack.orthanc.web.fetch(study, found[0], folder)


def made_here(source: list[Path], bundle: str, folder: Path) -> dict[str, Any]:
    """The pixels that `enhance` makes of a source, by SOPInstanceUID."""
    folder.mkdir(parents=True)
    own = io.write(enhance(io.read(source[0].parent), bundle), folder / "own").files
    return {str(head(path).SOPInstanceUID): dcmread(path).pixel_array.astype(int) for path in own}


def compared(source: list[Path], fetched: list[Path], expected: dict[str, Any]) -> dict[str, Any]:
    """What the PACS was given beside what `made_here` gives of the same."""
    found = {str(head(path).SOPInstanceUID): dcmread(path).pixel_array.astype(int) for path in fetched}
    same = set(found) == set(expected)
    originals = [dcmread(path).pixel_array.astype(float) for path in source]
    return {
        "instances": len(fetched),
        "same_identifiers": same,
        "largest_difference": max(int(np.abs(found[sop] - expected[sop]).max()) for sop in found) if same else -1,
        "changed": float(
            np.mean([np.abs(a - b).mean() for a, b in zip(originals, map(_pixels, fetched), strict=True)])
        ),
    }


def _pixels(path: Path) -> Any:
    return dcmread(path).pixel_array.astype(float)


def deliveries(stack: Stack) -> dict[str, int]:
    """How many there are, by state."""
    return dict(stack.rows("select state, count(*) from pacs_delivery group by state"))


def counted(stack: Stack) -> dict[str, Any]:
    """How much of everything there is."""
    series = stack.orthanc.series()
    instances = [sop for sops in series.values() for sop in sops]
    return {
        "series": len(series),
        "instances": len(instances),
        "doubled": len(instances) - len(set(instances)),
        "jobs": stack.rows("select count(*) from job")[0][0],
        "ignored_own": stack.rows("select count(*) from pacs_series where code = 'own_result'")[0][0],
        "deliveries": deliveries(stack),
        "delivered": stack.rows("select coalesce(sum(instances), 0) from pacs_delivery")[0][0],
        "failed": stack.rows("select count(*) from pacs_series where state = 'failed'")[0][0],
    }


def loop(folder: Path, slices: int) -> dict[str, Any]:
    """Both ways in, both ways out, all of it sent back, and all of it sent again."""
    first, second = ct(folder / "ct", slices), mr(folder / "mr", slices)
    found: dict[str, Any] = {"slices": slices}
    with ThreadPoolExecutor(1) as beside, running(Stack(folder / "stack", RULES)) as stack:
        found["stored"] = len(stack.orthanc.web.store(first).stored)
        c_store(second)
        wait_for("both delivered", lambda: deliveries(stack) == {"done": 2})
        own = [beside.submit(made_here, *one) for one in ((first, CT, folder / "ca"), (second, MR, folder / "cb"))]
        stack.quiet()
        found["first"] = counted(stack)
        found["ct"] = compared(first, made_of(stack, first, folder / "a"), own[0].result())
        found["mr"] = compared(second, made_of_sent(stack, second, folder / "b"), own[1].result())
        found["committed"] = stack.rows("select count(*) from pacs_sent where destination = 'dimse'")[0][0]
        stack.orthanc.web.store(first)
        c_store(second)
        stack.quiet()
        found["again"] = counted(stack)
        logged = "".join(path.read_text(errors="replace") for path in stack.folder.glob("*.log"))
        names = [str(head(path).SOPInstanceUID) for path in (*first, *second)]
        found["log_has_uid"] = any(name in logged for name in names)
    return found


def made_of_sent(stack: Stack, source: list[Path], folder: Path) -> list[Path]:
    """The derived series of a source that the PACS itself has not."""
    study = str(head(source[0]).StudyInstanceUID)
    found = stack.orthanc.web.series(study)
    if len(found) != 1:
        return []
    folder.mkdir(parents=True)
    return stack.orthanc.web.fetch(study, found[0][0], folder)


def kills(folder: Path, slices: int) -> dict[str, Any]:
    """Node, server, worker and courier are killed, again and again, while series come, are enhanced and go."""
    stowed = [ct(folder / f"ct{one}", slices, one, 64) for one in range(1)]
    sent = [mr(folder / f"mr{one}", slices, one) for one in range(1)]
    killed = dict.fromkeys(("node", "courier", "server", "worker"), 0)
    with running(Stack(folder / "stack", RULES)) as stack:

        def kill(name: str) -> None:
            killed[name] += 1
            if name == "worker":
                for one in stack.server.tree()["worker"]:
                    one.kill()
            elif name == "server":
                stack.server.kill()
                stack.server.start()
            else:
                part = stack.node if name == "node" else stack.courier
                part.kill()
                part.start()

        for one, other in zip(stowed, sent, strict=True):
            planned = {slices // 3: "node", 2 * slices // 3: "node", slices - 1: "courier"}

            def during(number: int, planned: dict[int, str] = planned) -> None:
                if number in planned:
                    kill(planned.pop(number))

            stack.orthanc.web.store(one)
            c_store(other, on_each=during)
            wait_for("a job", lambda: stack.rows("select count(*) from job")[0][0])
            kill("courier")
            kill("worker")
            wait_for("a result", lambda: stack.rows("select count(*) from job where state = 'succeeded'")[0][0])
            kill("courier")
            kill("server")
            wait_for(
                "an instance that went", lambda: stack.rows("select count(*) from pacs_sent where destination != ''")
            )
            kill("courier")
        stack.quiet()
        stack.server.answers("/readyz", PATIENT_S, 0.2)
        backs = [len(made_of(stack, one, folder / f"a{number}")) for number, one in enumerate(stowed)]
        backs += [len(made_of_sent(stack, one, folder / f"b{number}")) for number, one in enumerate(sent)]
        return {"killed": killed, "slices": slices, "back": backs, "end": counted(stack)}


SCENARIOS = {"loop": loop, "kills": kills}

if __name__ == "__main__":
    print(json.dumps(SCENARIOS[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))))
