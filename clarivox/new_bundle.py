# SPDX-License-Identifier: Apache-2.0
"""The files of a bundle that was trained from another: copied, told the new settings, with a card of its own."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clarivox import manifest
from clarivox.bundle import BundleInfo

if TYPE_CHECKING:
    from clarivox.training import Trainer

_LEFT_OUT = shutil.ignore_patterns("__pycache__", "training*.csv")


def copied(info: BundleInfo, folder: Path) -> None:
    """Copies a bundle to a new place, where its weights wait to be replaced."""
    shutil.copytree(info.folder, folder, ignore=_LEFT_OUT, dirs_exist_ok=True)
    manifest.seal(folder)


def set_values(config: Path, values: Mapping[str, Any]) -> None:
    """Sets names at the top level of a YAML file, every other line as it was.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "train.yaml"
    ...     _ = path.write_text("steps: 3000  # in all\\nloss:\\n  steps: 1\\n")
    ...     set_values(path, {"steps": 5})
    ...     path.read_text()
    'steps: 5\\nloss:\\n  steps: 1\\n'
    """
    text = config.read_text(encoding="utf-8")
    for name, value in values.items():
        line = f"{name}: {json.dumps(value)}"
        text = re.sub(rf"^{re.escape(name)}:.*$", lambda _, line=line: line, text, flags=re.MULTILINE)  # type: ignore[misc]
    config.write_text(text, encoding="utf-8")


def set_runs(config: Path, runs: Sequence[Mapping[str, Any]]) -> None:
    """Sets the list `runs` of a recipe that has one, one line each."""
    text = config.read_text(encoding="utf-8")
    lines = "".join(f"  - {json.dumps(dict(run))}\n" for run in runs)
    config.write_text(re.sub(r"^runs:\n(?:  .*\n)+", lambda _: f"runs:\n{lines}", text, flags=re.M), encoding="utf-8")


def about_training(
    folder: Path, source: BundleInfo, trainer: Trainer, patients: Mapping[str, int], *, own: bool
) -> None:
    """Says in the new bundle's metadata and card where its weights come from; the source's figures go, as they are
    another model's.
    """
    path = folder / "configs" / "metadata.json"
    metadata = json.loads(path.read_text(encoding="utf-8"))
    metadata["clarivox"].pop("measured", None)
    if own:
        metadata["data_source"] = "data of its user"
        metadata["license"] = "weights: as the data they were trained on allow; configuration: Apache-2.0"
    note = f"{trainer.weights} trained anew by clarivox train"
    metadata["changelog"][metadata["version"]] = note
    path.write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")
    (folder / "docs" / "README.md").write_text(card(folder, source, trainer, patients), encoding="utf-8")
    manifest.seal(folder)


def card(folder: Path, source: BundleInfo, trainer: Trainer, patients: Mapping[str, int]) -> str:
    """The model card of a bundle that `clarivox train` made."""
    rows = trainer.log.rows
    curve = rows[:: max(1, len(rows) // 8)]
    if rows and curve[-1] != rows[-1]:
        curve = [*curve, rows[-1]]
    told = ", ".join(f"{number} {part}" for part, number in patients.items()) or "as the recipe says"
    table = "\n".join(f"| {row.step} | {row.loss:.5g} | {row.score:.4g} | {row.seconds:.0f} |" for row in curve)
    others = sorted(p.name for p in (folder / "models").glob("*.pt") if p.name != Path(trainer.weights).name)
    kept = f"\nThe other weights ({', '.join(others)}) are those of {source.name}.\n" if others else ""
    return f"""# {folder.name}

Trained by `clarivox train` with the recipe of `{source.name}` {source.version}: {source.description}

| | |
| --- | --- |
| weights trained | {trainer.weights} |
| patients | {told} (`configs/split.json`) |
| steps | {trainer.step} |
| time | {rows[-1].seconds / 60 if rows else 0:.1f} minutes on {trainer.device} |
| best validation score | {trainer.best:.4g} |
{kept}
## Training log

`docs/training.csv` or its like holds every line. The score is that of the validation patients; larger is better.

| step | loss | score | seconds |
| --- | --- | --- | --- |
{table}

## Limits

- Nothing was measured on the test patients yet: `python -m monai.bundle run` with `configs/evaluate.yaml` does.
- Research software; not a medical device.
"""
