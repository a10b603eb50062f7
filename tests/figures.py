# SPDX-License-Identifier: Apache-2.0
"""Write docs/figures.md from the JSON of the last full run: `python -m tests.figures docs/long > docs/figures.md`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.results import SECTIONS

HEAD = """# Figures

Of reading, writing, tiling, engines, the server and robustness; those of image quality are in
[RESULTS.md](RESULTS.md). Written by `make figures` from the JSON under `docs/long/`, which `make long` makes. The
command above each table prints it.
Absolute times hold for the machine named; only the conditions marked pass or FAIL are claims.
"""


def cell(value: Any) -> str:
    """A value as a table shows it."""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def section(name: str, content: dict[str, Any]) -> Iterator[str]:
    """The lines of one benchmark."""
    machine = content["machine"]
    command = (
        name
        if name in ("fuzz", "image", "pacs_loop")
        else name.replace("chaos_", "chaos ").replace("_postgres", " --postgres")
        if "chaos_" in name
        else f"benchmarks.{name}"
    )
    yield f"\n## {content['name']}\n\n`python -m tests.{command}`"
    yield f"({machine['cores']} cores, {machine['cpu']}, Python {machine['python']}, {machine['date']})\n"
    if rows := content["rows"]:
        columns = list(dict.fromkeys(key for row in rows for key in row))
        yield "| " + " | ".join(columns) + " |"
        yield "|" + " --- |" * len(columns)
        for row in rows:
            yield "| " + " | ".join(cell(row.get(column, "")) for column in columns) + " |"
        yield ""
    for gate in content["gates"]:
        yield f"- {'pass' if gate['passed'] else '**FAIL**'}: {gate['text']}"


def main(folder: Path) -> int:
    """Print the page."""
    print(HEAD, end="")
    elsewhere = {name for names in SECTIONS.values() for name in names}
    for path in sorted(folder.glob("*.json")):
        if path.stem in elsewhere:
            continue
        print("\n".join(section(path.stem, json.loads(path.read_text()))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
