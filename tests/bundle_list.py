# SPDX-License-Identifier: Apache-2.0
"""Write the list of bundles into README.md, from what each says of itself: `python -m tests.bundle_list`."""

from __future__ import annotations

import re
from pathlib import Path

from clarivox.bundle import BundleInfo, catalogue

README = Path(__file__).parents[1] / "README.md"
GROUPS = {"CT": "CT", "MR": "MR", "US": "ultrasound", "CR": "radiographs", "OT": "photographs", "": "any image"}
"""First modality that a bundle takes: the word for it; in the order of the list."""
MARKS = "<!-- printed by python -m tests.bundle_list -->", "<!-- end -->"


def group(info: BundleInfo) -> str:
    """The word for what a bundle is for."""
    if info.name.startswith("photo_"):
        return GROUPS["OT"]
    first = info.modalities[0] if info.modalities else ""
    return GROUPS.get(first, GROUPS["CR"] if first in ("DX", "MG", "RF", "XA") else GROUPS[""])


def listed() -> str:
    """The table: a row for each kind of image, a link to the card of each bundle."""
    rows: dict[str, list[str]] = {word: [] for word in GROUPS.values()}
    for info in catalogue():
        marks = ["recommended"] if info.metadata["clarivox"].get("recommended") else []
        marks += [] if info.weights else ["no weights"]
        marks += ["may invent texture"] if info.may_invent else []
        kind = f" ({', '.join(marks)})" if marks else ""
        rows[group(info)].append(f"[`{info.name}`](bundles/{info.name}/docs/README.md){kind}")
    lines = ["| for | bundles; each name leads to its card |", "| --- | --- |"]
    return "\n".join([*lines, *(f"| {word} | {', '.join(names)} |" for word, names in rows.items() if names)])


def filled(text: str) -> str:
    """A page with the list between its marks."""
    begin, end = map(re.escape, MARKS)
    return re.sub(f"({begin}\n).*?(\n{end})", lambda found: found[1] + listed() + found[2], text, flags=re.DOTALL)


if __name__ == "__main__":
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")
