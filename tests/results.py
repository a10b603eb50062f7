# SPDX-License-Identifier: Apache-2.0
"""Print docs/RESULTS.md from stored figures: `python -m tests.results docs/long > docs/RESULTS.md`.

Words come from the modules that measure (what is compared, on what, by which range and window), figures from the JSON
that they wrote, and facts about bundles from the bundles. `make results` measures everything anew first.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from clarivox.bundle import BundleInfo, catalogue

ROOT = Path(__file__).parents[1]
SECTIONS: dict[str, tuple[str, ...]] = {
    "Computed tomography": ("ct_denoise",),
    "Magnetic resonance": ("mr_denoise",),
    "Ultrasound": ("us_despeckle", "us_real", "us_speed", "us_svd"),
    "Radiographs": ("cxr_superres",),
    "Photographs": ("photo_denoise",),
    "Harness: published methods by their published protocols": ("dncnn_harness", "superres_harness"),
    "Without constants": ("bias_free",),
    "Ablations": ("ablation_wavelet", "ablation_init", "ablation_activation", "hybrid"),
    "Diffusion": ("diffusion", "diffusion_unet"),
    "What enhancement does to diagnosis": ("diagnosis",),
    "Filters without weights": ("classical",),
    "Training": ("train_srcnn", "training_memory"),
    "Simulated physics": ("dose_law", "speckle"),
}
"""Heading: which benchmarks and experiments stand under it."""
HEAD = """# Results

Printed by `make results`, or from the figures of the last full run by `python -m tests.results docs/long`. No figure is
typed by hand: each table stands below the command that measures it, with the machine. All noise, all low dose and all
speckle here are simulated, unless a table says that its images are as the scanner gave them. Figures about engines,
reading, writing and tiling are in [figures.md](figures.md).
"""


def cell(value: Any) -> str:
    """A value as a table shows it."""
    text = f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Rows under their columns; a column in which nothing stands is left out."""
    every = dict.fromkeys(key for row in rows for key in row)
    columns = [key for key in every if any(row.get(key) not in (None, "") for row in rows)]
    yield "| " + " | ".join(map(cell, columns)) + " |"
    yield "|" + " --- |" * len(columns)
    for row in rows:
        yield "| " + " | ".join(cell(row.get(column, "")) for column in columns) + " |"


def alike(rows: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Rows in groups of one table each: a row joins those of whose columns it fills at least half.

    >>> [len(group) for group in alike([{"a": 1, "b": 2}, {"a": 1, "b": 2, "c": 3}, {"a": 1, "x": 2, "y": 3}])]
    [2, 1]
    """
    groups: list[tuple[set[str], list[Mapping[str, Any]]]] = []
    for row in rows:
        filled = {key for key, value in row.items() if value not in (None, "")}
        fitting = [one for one in groups if 2 * len(one[0] & filled) > max(len(one[0]), len(filled))]
        if fitting:
            fitting[0][0].update(filled)
            fitting[0][1].append(row)
        else:
            groups.append((filled, [row]))
    return [group for _, group in groups]


def words_of(name: str) -> tuple[str, str] | None:
    """The command of a benchmark or an experiment, and what its module says of itself; None where it is not there."""
    for folder in ("benchmarks", "experiments"):
        path = ROOT / "tests" / folder / f"{name}.py"
        if path.is_file():
            return f"python -m tests.{folder}.{name}", ast.get_docstring(ast.parse(path.read_text())) or ""
    return None


def told(text: str) -> str:
    """A docstring without its lines of commands.

    >>> told("What.\\n\\n    python -m x\\n\\nHow.")
    'What.\\n\\nHow.'
    """
    kept = [line for line in text.splitlines() if not line.strip().startswith("python -m")]
    return "\n\n".join(part for part in "\n".join(kept).split("\n\n") if part.strip())


def measured(name: str, folder: Path) -> Iterator[str]:
    """One benchmark or experiment: what it is, on which machine, its table, its conditions, its trainings."""
    found = words_of(name)
    path = folder / f"{name}.json"
    if found is None and not path.is_file():
        return
    yield f"\n### {name.replace('_', ' ')}\n"
    if found is not None:
        yield told(found[1]) + "\n"
    if not path.is_file():
        yield f"Not measured yet: `{found[0]}`." if found else ""
        return
    content = json.loads(path.read_text())
    machine = content["machine"]
    command = f"`{found[0]}` " if found else ""
    yield f"{command}({machine['cores']} cores, {machine['cpu']}, Python {machine['python']}, {machine['date']})\n"
    for group in alike(content["rows"]):
        yield from table(group)
        yield ""
    for gate in content["gates"]:
        yield f"- {'pass' if gate['passed'] else '**FAIL**'}: {gate['text']}"
    if content.get("training"):
        yield "\nTrained for this table:\n"
        yield from table([trained(one) for one in content["training"]])


def trained(one: Mapping[str, Any]) -> dict[str, Any]:
    """A training of an experiment as a row: its curve at the quarters."""
    curve = one.get("curve", [])
    chosen = [curve[round(share * (len(curve) - 1))] for share in (0, 0.25, 0.5, 0.75, 1)] if curve else []
    steps = ", ".join(f"{step}: {score:.4g}" for step, score in dict.fromkeys(map(tuple, chosen)))
    return {key: value for key, value in one.items() if key != "curve"} | {"validation by step": steps}


def bundles(every: Iterable[BundleInfo]) -> Iterator[str]:
    """The table of bundles, from what each says of itself."""
    yield from table(
        [
            {
                "bundle": f"[{info.name}](../bundles/{info.name}/docs/README.md)",
                "for": ", ".join(info.modalities) or "any",
                "task": info.task,
                "weights, MB": f"{info.weights_bytes / 1e6:.2f}" if info.weights else "none",
                "licence": info.licence,
                "what it does": info.description,
            }
            for info in every
        ]
    )


def trainings(every: Iterable[BundleInfo]) -> Iterator[str]:
    """How each bundle with weights came to them, from its own log."""
    from clarivox.training_log import read_log

    rows = []
    for info in every:
        for path in sorted((info.folder / "docs").glob("training*.csv")):
            log = read_log(path)
            best = max(log, key=lambda row: row.score)
            rows.append(
                {
                    "bundle": info.name,
                    "log": f"[{path.name}](../bundles/{info.name}/docs/{path.name})",
                    "steps": log[-1].step,
                    "minutes": log[-1].seconds / 60,
                    "best validation score": best.score,
                    "at step": best.step,
                }
            )
    if rows:
        yield from table(rows)


def page(folder: Path) -> str:
    """The whole page."""
    every = catalogue()
    size = sum(info.weights_bytes for info in every) / 1e6
    lines = [HEAD, "## Bundles\n", *bundles(every), f"\nAll weights together: {size:.1f} MB."]
    for heading, names in SECTIONS.items():
        parts = [line for name in names for line in measured(name, folder)]
        if parts:
            lines += [f"\n## {heading}", *parts]
    lines += ["\n## Training of the bundles\n", "The weights come from each bundle's `configs/train.yaml`.\n"]
    lines += trainings(every)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page(Path(sys.argv[1])))
