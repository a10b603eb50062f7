# SPDX-License-Identifier: Apache-2.0
"""Every hostile input of the list against a live server: `python -m tests.ordeal` prints the answers."""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests import hostile, toys
from tests.served import Answer, Served, memory_mib, serving

LONGEST_S = 5.0
"""For any hostile input, on a machine that does other things too."""
MEMORY_MIB = 200.0
"""Most that may be held in the end beyond what was held before."""


def send(server: Served, body: bytes, query: str = "") -> Answer:
    """A job that is waited for."""
    line = server.line()
    try:
        headers = {"Content-Type": "application/octet-stream", "Prefer": "wait=60"}
        return line.ask("POST", f"/v1/jobs?bundle=identity&report=false{query}", body, headers)
    finally:
        line.close()


def outcome(server: Served, answer: Answer) -> tuple[int, str]:
    """Status and code of a refusal, or of the job's failure; (200, "") where it succeeded."""
    said = answer.json()
    if "state" not in said:
        return answer.status, answer.problem
    said = server.ended(said)
    if said["state"] == "succeeded":
        return 200, ""
    return (said["error"]["status"], said["error"]["code"]) if said["error"] else (0, said["state"])


def good(server: Served) -> float:
    """Seconds that a good request takes."""
    started = time.perf_counter()
    assert outcome(server, send(server, hostile.series(toys.ct_series()))) == (200, "")
    return time.perf_counter() - started


def processes(server: Served) -> dict[str, list[int]]:
    """Those that stay; the reader of a job comes and goes with it."""
    kept = ("api", "supervisor", "worker", "nursery")
    return {part: [one.pid for one in found] for part, found in server.tree().items() if part in kept}


def everywhere(server: Served) -> list[Path]:
    """Files where a hostile name could have led: its own folders, and those above."""
    places = [Path("/"), Path("/tmp"), Path("/etc"), Path.cwd(), Path.home(), Path(tempfile.gettempdir())]
    found = [path for place in places for path in place.glob(f"*{hostile.CANARY}*")]
    return [*found, *server.data.parent.rglob(f"*{hostile.CANARY}*")]


@dataclass(frozen=True)
class Ordeal:
    """What came of it."""

    told: dict[str, tuple[int, str]]
    """Status and code, by the input's name."""
    took_s: dict[str, float]
    usual_s: float
    """Of a good request before."""
    again_s: float
    """Of a good request after."""
    before: dict[str, list[int]]
    after: dict[str, list[int]]
    """Processes."""
    held_mib: float
    holds_mib: float
    """Memory of all processes, before and after."""

    @property
    def wrong(self) -> dict[str, tuple[int, str]]:
        """The answers that are not right."""
        right = {row.name: row.answers for row in hostile.rows()}
        return {name: found for name, found in self.told.items() if found not in right[name]}


def undergo(server: Served) -> Ordeal:
    """Send everything, once."""
    for _ in range(3):
        good(server)
    usual = statistics.median(good(server) for _ in range(5))
    before = processes(server)
    held = memory_mib([one for group in server.tree().values() for one in group])
    told, took = {}, {}
    for row in hostile.rows():
        body = row.make()
        started = time.perf_counter()
        told[row.name] = outcome(server, send(server, body))
        took[row.name] = time.perf_counter() - started
    again = good(server)
    holds = memory_mib([one for group in server.tree().values() for one in group])
    return Ordeal(told, took, usual, again, before, processes(server), held, holds)


def by_dicom(folder: Path) -> dict[str, str]:
    """What the DICOM node answers to those who mean no good, by what they did; the last is a good instance."""
    from pydicom import dcmread

    from tests.nodes import associated, flooded, listening, series, stored

    told: dict[str, str] = {}
    instance = dcmread(series(folder / "sent", 1, seed="ordeal")[0])
    with listening(folder / "data") as node:
        for name, titles in (("unknown caller", {"calling": "STRANGER"}), ("another's title", {"called": "OTHER"})):
            with associated(node, **titles) as association:
                answer = association.acceptor.primitive
                told[name] = f"rejected {answer.result}.{answer.result_source}.{answer.diagnostic}"
        with flooded(node, 200), associated(node) as association:
            told["200 connections that say nothing, or nonsense"] = "others get in" * association.is_established
            told["SOP instance is not the command's"] = f"{stored(association, instance, sop='1.2.3'):04X}"
            told["SOP class is not the command's"] = f"{stored(association, instance, sop_class='1.2.3'):04X}"
            told["no data set"] = f"{stored(association, instance, data='nothing that is DICOM'):04X}"
            told["a good instance then"] = f"{stored(association, instance):04X}"
    return told


def main() -> None:
    """Print the answers, and what it did to the server."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server:
        found, told = undergo(server), by_dicom(Path(folder) / "node")
        print("| input | answer | seconds |\n| --- | --- | --- |")
        for name, (status, code) in found.told.items():
            print(f"| {name} | {status} {code} | {found.took_s[name]:.2f} |")
        print(f"\n{len(found.told)} inputs, {len(found.wrong)} wrong answers, {len(everywhere(server))} files outside,")
        print(f"processes {'as before' if found.before == found.after else 'CHANGED'},")
        print(f"memory {found.held_mib:.0f} MiB before and {found.holds_mib:.0f} MiB after,")
        for name, answer in told.items():
            print(f"by DICOM, {name}: {answer}")
        print(f"a good request {found.usual_s:.2f} s before and {found.again_s:.2f} s after")


if __name__ == "__main__":
    main()
