# SPDX-License-Identifier: Apache-2.0
"""OHIF over a real Orthanc: CT, MR, an ultrasound clip and a radiograph, from the PACS to the pixels and back.

Counts, no times: how many of the images came back, how far the viewports differ, what was asked of other addresses.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.benchmarks.measure import gate, options, report
from tests.e2e import viewer_loop
from tests.e2e.ohif_page import BUNDLES


def main() -> int:
    """Run it, print it."""
    arguments = options(__doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="clarivox-viewer-") as folder:
        found = viewer_loop.confined(Path(folder), *BUNDLES)
    rows, gates = [], []
    for kind, one in found.items():
        rows.append(
            {
                "study": kind,
                "bundle": BUNDLES[kind],
                "images": one["sent"],
                "stored in the PACS": one["instances"],
                "viewports differ by": one["apart"],
                "outside requests": len(one["outside"]),
                "s": one["s"],
            }
        )
        gates += [
            gate(f"{kind}: images stored in the PACS", one["instances"], at_least=one["sent"], unit="images"),
            gate(f"{kind}: the viewports differ", one["apart"], at_least=0.3, at_most=60, unit="grey levels"),
            gate(f"{kind}: outside requests", len(one["outside"]), at_most=0, unit="requests"),
        ]
    gates.append(
        gate("jobs found again after a reload and a kill", found["ct"]["found_again"], at_least=1, unit="jobs")
    )
    return report("viewer", rows, gates, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
