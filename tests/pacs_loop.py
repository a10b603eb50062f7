# SPDX-License-Identifier: Apache-2.0
"""The loop of the PACS, for long: `python -m tests.pacs_loop --minutes 10 --instances 500 --json FILE`.

Half of the instances are stored in an Orthanc, half are sent to the node; all results go back to the Orthanc, which
sends everything to the node, again and again until the time is over. It makes a network namespace for itself.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.measure import gate, report
from tests.e2e.pacs_routing import CT, MR, RULES, compared, counted, ct, made_here, made_of, made_of_sent, mr
from tests.pacs_stack import Stack, apart, c_store, running

EACH = 50
"""Instances of a series."""
APART = "CLARIVOX_TEST_APART"


def run(folder: Path, instances: int, minutes: float) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """All of it: a row for each round, and what the results were beside `enhance` of the same."""
    count = instances // (2 * EACH)
    stowed = [ct(folder / f"ct{one}", EACH, one, 64) for one in range(count)]
    sent = [mr(folder / f"mr{one}", EACH, one) for one in range(count)]
    rows: list[dict[str, Any]] = []
    began = time.monotonic()
    with running(Stack(folder / "stack", RULES)) as stack:

        def note(what: str) -> None:
            stack.quiet(rounds=3)
            found = counted(stack)
            done = found.pop("deliveries")
            row = {"round": what, "minutes": round((time.monotonic() - began) / 60, 2), **found}
            rows.append(row | {"waiting or dead": sum(number for state, number in done.items() if state != "done")})
            print(rows[-1], file=sys.stderr, flush=True)

        for one, other in zip(stowed, sent, strict=True):
            stack.orthanc.web.store(one)
            c_store(other)
        note("all sent")
        committed = stack.rows("select count(*) from pacs_sent where destination = 'dimse'")[0][0]
        for one, other in zip(stowed, sent, strict=True):
            stack.orthanc.web.store(one)
            c_store(other)
        note("all sent again")
        number = 0
        while time.monotonic() - began < 60 * minutes:
            number += 1
            stack.orthanc.send_all()
            note(f"sent back, {number}")
        backs = [
            compared(one, made_of(stack, one, folder / f"a{n}"), made_here(one, CT, folder / f"ca{n}"))
            for n, one in enumerate(stowed)
        ]
        backs += [
            compared(one, made_of_sent(stack, one, folder / f"b{n}"), made_here(one, MR, folder / f"cb{n}"))
            for n, one in enumerate(sent)
        ]
    back = {
        "instances": sum(one["instances"] for one in backs),
        "identifiers": all(one["same_identifiers"] for one in backs),
        "difference": max(one["largest_difference"] for one in backs),
        "committed": committed,
    }
    return rows, back


def main() -> int:
    """Run, print, and 1 where a figure is not what it must be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--instances", type=int, default=500, help="a multiple of 100")
    parser.add_argument("--json")
    asked = parser.parse_args()
    if APART not in os.environ:
        words = [*apart(), sys.executable, "-m", "tests.pacs_loop", *sys.argv[1:]]
        return subprocess.run(words, env={**os.environ, APART: "1"}, check=False).returncode
    with tempfile.TemporaryDirectory(prefix="pacs-loop-") as folder:
        rows, back = run(Path(folder), asked.instances, asked.minutes)
    first, last = rows[0], rows[-1]
    series = asked.instances // EACH
    expected = asked.instances + asked.instances // 2  # the sent sources are not in the PACS
    gates = [
        gate("instances back", back["instances"], at_least=asked.instances, unit=f"of {asked.instances}"),
        gate("pixels beside enhance(), largest difference", back["difference"], at_most=0, unit="grey values"),
        gate("series with other identifiers than enhance() gives", float(not back["identifiers"]), at_most=0, unit=""),
        gate("committed", back["committed"], at_least=asked.instances / 2, unit=f"of {asked.instances // 2}"),
        gate("instances in the PACS at the end", last["instances"], at_least=expected, at_most=expected, unit=""),
        gate("doubled", max(row["doubled"] for row in rows), at_most=0, unit="instances"),
        gate("series of a second generation", last["series"] - series - series // 2, at_most=0, unit="series"),
        gate("jobs after the first round", last["jobs"] - first["jobs"], at_most=0, unit="jobs"),
        gate("deliveries that wait or are dead", last["waiting or dead"], at_most=0, unit=""),
        gate("minutes in which all was sent back", last["minutes"], at_least=asked.minutes, unit="min"),
    ]
    return report("pacs_loop", rows, gates, asked.json)


if __name__ == "__main__":
    raise SystemExit(main())
