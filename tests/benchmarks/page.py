# SPDX-License-Identifier: Apache-2.0
"""The companion page: what it weighs, packed as it is sent, and how soon it can be used on loopback."""

from __future__ import annotations

import gzip
import statistics
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.measure import gate, options, report
from tests.e2e.browser import WEBGL, browser
from tests.served import serving

DIST = Path(__file__).parents[2] / "apps" / "web" / "dist"
FIRST = ("index.html", "assets/page.js", "assets/page.css", "assets/icon.svg")
"""What comes before an image is there; chunks that these import are added."""
LIMIT_BYTES, LIMIT_S = 1_000_000, 3.0
USABLE = """new Promise(done => {
  const ready = () => document.getElementById("status").textContent.startsWith("Ready")
    && done([performance.now(), performance.getEntriesByType("navigation")[0].loadEventEnd]);
  new MutationObserver(ready).observe(document.getElementById("status"), { childList: true, subtree: true });
  ready();
})"""


def packed(name: str) -> int:
    """Bytes of a file as gzip packs it."""
    return len(gzip.compress((DIST / name).read_bytes()))


def loads(repeats: int) -> tuple[list[float], list[str]]:
    """Seconds until the page can be used, each in a fresh browser; and what a first load asks for."""
    took, asked = [], list[str]()
    with tempfile.TemporaryDirectory(prefix="clarivox-page-") as folder, serving(Path(folder)) as server:
        for _ in range(repeats):
            with browser(*WEBGL) as page:
                page.open(f"http://127.0.0.1:{server.port}/", 1280, 860)
                took.append(max(page.run(USABLE)) / 1000)
                asked = [one.partition("/app/")[2] for one in page.requests if "/app/assets/" in one]
    return took, asked


def main() -> int:
    """Measure, print."""
    parser = options(__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--untimed", action="store_true", help="print times, judge none")
    arguments = parser.parse_args()
    took, asked = loads(arguments.repeats)
    first = sorted({*FIRST, *asked})
    later = sorted(str(path.relative_to(DIST)) for path in (DIST / "assets").glob("*.js"))
    rows = [{"file": name, "packed_bytes": packed(name), "when": "first"} for name in first]
    rows += [
        {"file": name, "packed_bytes": packed(name), "when": "with an image"} for name in later if name not in first
    ]
    rows.append({"file": "usable, median s", "packed_bytes": round(statistics.median(took), 2), "when": "first"})
    gates = [gate("before the viewer's chunk", sum(map(packed, first)), at_most=LIMIT_BYTES, unit="bytes")]
    if not arguments.untimed:
        gates.append(gate("usable on loopback, the slowest", max(took), at_most=LIMIT_S, unit="s"))
    return report("page", rows, gates, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
