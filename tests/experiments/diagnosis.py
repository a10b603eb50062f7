# SPDX-License-Identifier: Apache-2.0
"""What enhancement does to a diagnosis, as a small classifier reads it: research only.

Chest radiographs, pneumonia or not (NIH, 108 of as many patients), and breast ultrasound, benign or malignant (BUSI,
80 pictures of each; it does not say which are of one patient, so each counts as one, which makes the intervals too
narrow). For each of five folds a classifier (MONAI's ResNet, 128 x 128) is trained on the pictures as they came of the
other patients, and reads the held-back ones as they came, made worse by simulation, and enhanced. Area under the ROC
curve with its 95 % interval (bootstrap over patients), and the difference to the pictures as they came, over the same
patients; an interval that holds 0 shows no difference. In "transfer" the classifier begins with weights of the other
task.
"""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

import clarivox.io
from clarivox import bundle
from clarivox.classifier import Recipe, write
from clarivox.degradations import parsed
from clarivox.diagnosis import Diagnosis, Labels, TaskReader, labels_of
from clarivox.enhance import enhance
from clarivox.volume import Volume
from tests.benchmarks.measure import gate
from tests.experiments.study import SMALL_STEPS, Study, TimeIsUpError, ended

Pictures = list[tuple[str, Path]]
TASKS: dict[str, tuple[str, dict[str, tuple[str, ...]]]] = {
    "chest": ("CR", {"gaussian:50/255": ("any_wavelet_denoise",), "shrink:4": ("cxr_srcnn_superres",)}),
    "breast": ("US", {"speckle": ("us_srad_despeckle", "us_unet_enhance")}),
}
"""Task: modality, and by degradation the bundles that enhance its result; bundles for US also enhance what came."""
OPTIONS: dict[str, dict[str, Any]] = {"cxr_srcnn_superres": {"scale": 4}}


def chest(folder: Path) -> tuple[Pictures, Labels]:
    """NIH ChestX-ray14 radiographs, one a patient."""
    table = folder / "cxr" / "nih_labels.csv"
    with table.open(newline="", encoding="utf-8") as stream:
        names = [row["file"] for row in csv.DictReader(stream)]
    return [(Path(name).name, folder / "cxr" / name) for name in names], labels_of(table)


def breast(folder: Path) -> tuple[Pictures, Labels]:
    """BUSI: the class stands in the file's name."""
    paths = sorted((folder / "us" / "busi_256").glob("*.png"))
    paths = [path for path in paths if "malignant" in path.name] + [p for p in paths if "benign" in p.name][::2]
    return [(path.name, path) for path in paths], Labels({path.name: path.name.split("_")[0] for path in paths})


def versions(volume: Volume, name: str, task: str, bundles: dict[str, bundle.Bundle]) -> Iterator[tuple[str, Volume]]:
    """Every kind of one picture, by its name in the table."""
    modality, degradations = TASKS[task]
    source = volume.replace(modality=modality)
    yield "original", source
    for label, names in degradations.items():
        worse = parsed(label)(source, name)
        yield label, worse
        for each in names:
            if each in bundles:
                yield f"{label}, {each}", enhance(worse, bundles[each])
                if modality == "US":
                    yield f"original, {each}", enhance(source, bundles[each])


def gathered(study: Study, task: str, pictures: Pictures, labels: Labels) -> TaskReader:
    """All kinds of all pictures, small; those of an earlier run are taken from its file.

    Raises:
        TimeIsUpError: the minutes are used; what was made is kept.
    """
    known = {info.name for info in bundle.catalogue()}
    names = {name for group in TASKS[task][1].values() for name in group}
    bundles = {name: bundle.load(name, **OPTIONS.get(name, {})) for name in sorted(names & known)}
    path = study.work / "diagnosis" / f"{task}{'_small' if study.small else ''}_pictures.pt"
    reader = TaskReader(labels)
    if path.exists():
        reader.kept = torch.load(path, weights_only=True)
    for name, source in pictures:
        if name in reader.kept:
            reader.patients[name] = labels.patients.get(name, name)
            continue
        if study.ends is not None and time.monotonic() > study.ends:
            break
        reader.add(name, dict(versions(clarivox.io.read(source), name, task, bundles)))
        if len(reader.kept) % 8 == 0 or len(reader.kept) == len(pictures):
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(reader.kept, path)
    if len(reader.kept) < len(pictures):
        raise TimeIsUpError(f"{len(reader.kept)} of {len(pictures)} pictures of {task}")
    return reader


def rows_of(task: str, found: Diagnosis) -> Iterator[dict[str, Any]]:
    """The table's rows of one task."""
    changes = {one.images: one for one in found.changes if one.than == "original"}
    for read in found.reads:
        change = changes.get(read.images)
        row = {"task": task, "pictures": read.images, "AUC": read.auc, "95 % interval": _words(read.interval)}
        row["against original"] = change.difference if change else ""
        row["95 % interval of it"] = _words(change.interval) if change else ""
        yield row | {"verdict": change.verdict if change else ""}


def _words(interval: tuple[float, float]) -> str:
    return f"{interval[0]:.3f} to {interval[1]:.3f}"


def reading(
    study: Study, name: str, reader: TaskReader, recipe: Recipe, init_from: Path | None
) -> dict[str, list[dict[str, Any]]]:
    """Rows and facts of one reading; one of an earlier run is taken from its file.

    Raises:
        TimeIsUpError: the minutes are used.
    """
    path = study.work / "diagnosis" / f"{name.replace(', ', '_')}{'_small' if study.small else ''}.json"
    if path.exists():
        return dict(json.loads(path.read_text()))
    if study.ends is not None and time.monotonic() > study.ends:
        raise TimeIsUpError(f"{name} is not read")
    began = time.monotonic()
    found = reader.read(folds=2 if study.small else 5, recipe=recipe, init_from=init_from)
    print(found.markdown())
    facts = {"name": name, "steps": recipe.steps, "folds": found.folds, "batch": recipe.batch}
    facts |= {"minutes": (time.monotonic() - began) / 60, "patients": found.patients, "images": sum(found.counts)}
    content = {"rows": list(rows_of(name, found)), "training": [facts]}
    path.write_text(json.dumps(content, indent=1) + "\n")
    return content


def main(arguments: Sequence[str] | None = None) -> int:
    """Both tasks, and the second once more with transfer."""
    study = Study.asked(__doc__, "diagnosis", arguments)
    folder = Path(os.environ.get("CLARIVOX_DATA", "data"))
    recipe = Recipe(steps=SMALL_STEPS if study.small else 120)
    rows: list[dict[str, Any]] = []
    training, gates, first = [], [], study.work / "diagnosis" / "chest.pt"
    for task, (pictures, labels) in {"chest": chest(folder), "breast": breast(folder)}.items():
        if study.small:
            pictures = pictures[:6] + pictures[-6:]
        reader = gathered(study, task, pictures, labels)
        starts = [("", None)] if task == "chest" else [("", None), (", transfer", first)]
        for suffix, weights in starts:
            content = reading(study, task + suffix, reader, recipe, weights)
            rows += content["rows"]
            training += content["training"]
            found = content["rows"][0]["AUC"]
            gates.append(gate(f"{task}{suffix}: AUC of the originals", found, at_least=0.6, unit=""))
        if task == "chest" and not first.exists():
            write(reader.classifier(recipe), first)
    return study.report(rows, gates, training)


if __name__ == "__main__":
    raise SystemExit(ended(main))
