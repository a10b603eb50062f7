# SPDX-License-Identifier: Apache-2.0
"""What enhancement does to a diagnosis, as a small classifier reads it: research only.

Images with a known label are read as they were, made worse, and enhanced. For each fold of the patients a classifier is
trained on the images as they were of the other patients; it never sees a worse or an enhanced one before it reads. The
area under the ROC curve of each kind of image comes with its interval, and so does each difference, over the same
patients: that nothing was shown is an answer.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clarivox.classifier import SIDE, Recipe, picture_of, scores_of, trained
from clarivox.errors import FormatError, OptionError
from clarivox.progress import Progress, Step
from clarivox.scores import markdown

if TYPE_CHECKING:
    import torch

    from clarivox.evaluation import Case, Outcome
    from clarivox.volume import Volume

Table = tuple[list[str], list[list[str]]]
"""Columns and rows."""
RESAMPLES = 2000
ORIGINAL, WORSE = "original", "degraded"
_FILE, _LABEL = ("file", "filename", "name", "image", "image_id"), ("label", "class", "diagnosis", "finding")
_PATIENT = ("patient", "patient_id", "patientid", "subject")


@dataclass(frozen=True)
class Labels:
    """The labels of a table: exactly two classes.

    Attributes:
        of: label of each file, by name.
        patients: patient of each file, by name; a file that is not in it counts as a patient of its own.
    """

    of: Mapping[str, str]
    patients: Mapping[str, str] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, str]:
        """Both labels; the second is the positive one."""
        first, second = sorted(set(self.of.values()))
        return first, second

    def key(self, name: str) -> str | None:
        """How the table names a case: by the name itself, by its last part, or by that without its suffix."""
        last = Path(name).name
        return next((key for key in (name, last, last.split(".")[0]) if key in self.of), None)


def labels_of(path: Path) -> Labels:
    """Labels from a CSV file with a column of files, one of labels, and perhaps one of patients.

    Raises:
        FormatError: it has no such columns, or not two classes.
    """
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        headings = {heading.strip().lower(): heading for heading in reader.fieldnames or []}
        file, label, patient = (
            next((headings[name] for name in names if name in headings), None) for names in (_FILE, _LABEL, _PATIENT)
        )
        if file is None or label is None:
            raise FormatError(
                f"{path.name} needs a column file and a column label; found {', '.join(headings) or 'none'}",
                code="bad_table",
            )
        rows = list(reader)
    found = {Path(row[file]).name: row[label].strip() for row in rows}
    if len(set(found.values())) != 2:
        raise FormatError(
            f"{path.name} must hold two labels; found {', '.join(sorted(set(found.values()))[:5]) or 'none'}",
            code="bad_table",
        )
    return Labels(found, {Path(row[file]).name: row[patient] for row in rows} if patient else {})


@dataclass(frozen=True)
class Read:
    """How well one kind of image is read."""

    images: str
    """original, degraded, or the bundle that made them."""
    auc: float
    interval: tuple[float, float]
    """95 %, bootstrap over patients."""


@dataclass(frozen=True)
class Change:
    """How much better one kind of image is read than another, by the same classifiers, of the same patients."""

    images: str
    than: str
    difference: float
    interval: tuple[float, float]

    @property
    def verdict(self) -> str:
        """In words what the interval says."""
        if self.interval[0] > 0:
            return "read better"
        return "read worse" if self.interval[1] < 0 else "no difference shown"


@dataclass(frozen=True)
class Diagnosis:
    """What a classifier made of all kinds of images."""

    classes: tuple[str, str]
    counts: tuple[int, int]
    """Images of each class."""
    patients: int
    folds: int
    recipe: Recipe
    reads: tuple[Read, ...]
    changes: tuple[Change, ...]

    def words(self) -> str:
        """What the figures were taken with."""
        first, second = self.classes
        return (
            f"{self.counts[0]} images {first}, {self.counts[1]} images {second}, {self.patients} patients; "
            f"{self.folds} folds by patient; {self.recipe.words()}. Research only."
        )

    def tables(self) -> tuple[Table, Table]:
        """Columns and rows of the areas, and of their differences."""
        reads = [[one.images, f"{one.auc:.3f}", _words(one.interval)] for one in self.reads]
        changes = [
            [one.images, one.than, f"{one.difference:+.3f}", _words(one.interval, "+"), one.verdict]
            for one in self.changes
        ]
        return (["images", "AUC", "95 % interval"], reads), (
            ["images", "against", "difference of AUC", "95 % interval", ""],
            changes,
        )

    def markdown(self) -> str:
        """Both tables, and what they were taken with."""
        parts = [self.words(), *(markdown(columns, rows) for columns, rows in self.tables() if rows)]
        return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        content = asdict(self)
        for one, change in zip(content["changes"], self.changes, strict=True):
            one["verdict"] = change.verdict
        return content


def _words(interval: tuple[float, float], sign: str = "") -> str:
    return f"{interval[0]:{sign}.3f} to {interval[1]:{sign}.3f}"


class TaskReader:
    """Gathers the images of an evaluation as they come, then reads them.

    `collect` is what `clarivox.evaluation.scored` calls as `seen`: it keeps a small picture of each, nothing more.

    Args:
        labels: what the images show.
        side: sides of the pictures that the classifier reads, in pixels.
    """

    def __init__(self, labels: Labels, side: int = SIDE) -> None:
        self.labels, self.side = labels, side
        self.kept: dict[str, dict[str, torch.Tensor]] = {}
        self.patients: dict[str, str] = {}
        self.unlabelled: list[str] = []

    def collect(self, case: Case, outcomes: Sequence[Outcome]) -> None:
        """Keep one case; one that the table does not name is listed in `unlabelled`."""
        versions: dict[str, Volume] = {ORIGINAL: case.worse}
        if case.truth is not None:
            versions = {ORIGINAL: case.truth, WORSE: case.worse}
        self.add(case.name, versions | {one.method: one.after for one in outcomes}, case.patient)

    def add(self, name: str, versions: Mapping[str, Volume], patient: str = "") -> None:
        """Keep the versions of one image; a case that lacks one that others have is left out when reading."""
        key = self.labels.key(name)
        if key is None:
            self.unlabelled.append(name)
            return
        self.kept[key] = {kind: picture_of(volume, self.side) for kind, volume in versions.items()}
        self.patients[key] = self.labels.patients.get(key, patient) or key

    def read(
        self,
        *,
        folds: int = 5,
        recipe: Recipe | None = None,
        init_from: Path | None = None,
        progress: Progress | None = None,
    ) -> Diagnosis:
        """Train and read fold by fold.

        Args:
            folds: in how many parts the patients are divided.
            recipe: how the classifier is trained.
            init_from: weights of a classifier, as `clarivox.classifier.write` wrote them, to begin with in each fold.
            progress: called after each fold; returning False cancels.

        Raises:
            OptionError: there are too few patients of a class for so many folds.
            BundleError: `init_from` is not of this classifier.
            CancelledError: `progress` returned False.
        """
        recipe = recipe or Recipe()
        most = max((len(versions) for versions in self.kept.values()), default=0)
        names = sorted(name for name, versions in self.kept.items() if len(versions) == most)
        classes = self.labels.classes
        positive = np.array([self.labels.of[name] == classes[1] for name in names], bool)
        patients = [self.patients[name] for name in names]
        parts = folds_of(patients, positive, folds, recipe.seed)
        kinds = list(self.kept[names[0]])
        scores = {kind: np.zeros(len(names)) for kind in kinds}
        for number in range(folds):
            held = parts == number
            chosen = [self.kept[name][ORIGINAL] for name, out in zip(names, held, strict=True) if not out]
            network = trained(chosen, positive[~held], recipe, init_from=init_from, number=number)
            # Classifiers of different folds count alike: each score in deviations of the scores that it was trained on.
            like = scores_of(network, chosen)
            for kind in kinds:
                pictures = [self.kept[name][kind] for name, out in zip(names, held, strict=True) if out]
                scores[kind][held] = (scores_of(network, pictures) - like.mean()) / max(float(like.std()), 1e-6)
            tell(progress, f"fold {number + 1} of {folds}", (number + 1) / folds)
        reads, changes = compared(scores, positive, patients)
        counts = (int((~positive).sum()), int(positive.sum()))
        return Diagnosis(classes, counts, len(set(patients)), folds, recipe, reads, changes)

    def classifier(self, recipe: Recipe | None = None, init_from: Path | None = None) -> torch.nn.Module:
        """A classifier trained on all images as they were, for `init_from` of another task."""
        names = sorted(self.kept)
        positive = np.array([self.labels.of[name] == self.labels.classes[1] for name in names], bool)
        return trained([self.kept[name][ORIGINAL] for name in names], positive, recipe or Recipe(), init_from=init_from)


def tell(progress: Progress | None, words: str, fraction: float) -> None:
    """Report a step.

    Raises:
        CancelledError: `progress` returned False.
    """
    from clarivox.errors import CancelledError

    if progress is not None and progress(Step(words, fraction)) is False:
        raise CancelledError("reading was cancelled")


def folds_of(patients: Sequence[str], positive: NDArray[np.bool_], folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of each image: all of a patient in one, and of each class as many as can be.

    Raises:
        OptionError: fewer patients of a class than folds, or fewer than two folds.

    >>> found = folds_of(["a", "a", "b", "c", "d"], np.array([True, True, True, False, False]), 2, seed=0)
    >>> bool(found[0] == found[1]), sorted(found[[0, 2]].tolist()), sorted(found[3:].tolist())
    (True, [0, 1], [0, 1])
    """
    sick = dict.fromkeys(patients, False)
    for patient, one in zip(patients, positive, strict=True):
        sick[patient] |= bool(one)
    groups = [[patient for patient, one in sick.items() if one is wanted] for wanted in (False, True)]
    if folds < 2 or min(map(len, groups)) < folds:
        raise OptionError(
            f"{folds} folds need 2 or more, and as many patients of each class; found {len(groups[0])} and "
            f"{len(groups[1])}",
            code="too_few_patients",
        )
    draw, fold = np.random.default_rng(seed), dict[str, int]()
    for group in groups:
        for place, index in enumerate(draw.permutation(len(group))):
            fold[group[index]] = place % folds
    return np.array([fold[patient] for patient in patients])


def compared(
    scores: Mapping[str, NDArray[np.float64]], positive: NDArray[np.bool_], patients: Sequence[str], seed: int = 0
) -> tuple[tuple[Read, ...], tuple[Change, ...]]:
    """Areas, and differences against the original and the degraded images, with intervals over patients."""
    weights = resampled(patients, seed)
    once = np.ones((1, len(positive)))
    areas = {kind: area(values, positive, once) for kind, values in scores.items()}
    drawn = {kind: area(values, positive, weights) for kind, values in scores.items()}
    reads = tuple(Read(kind, float(areas[kind][0]), _interval(drawn[kind])) for kind in scores)
    changes = tuple(
        Change(kind, than, float(areas[kind][0] - areas[than][0]), _interval(drawn[kind] - drawn[than]))
        for than in (ORIGINAL, WORSE)
        for kind in scores
        if than in scores and kind not in (ORIGINAL, than)
    )
    return reads, changes


def resampled(patients: Sequence[str], seed: int) -> NDArray[np.float64]:
    """How often each image stands in each resample of the patients: shape (RESAMPLES, images)."""
    names = sorted(set(patients))
    place = np.array([names.index(patient) for patient in patients])
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
    return drawn[:, place].astype(np.float64)


def area(scores: NDArray[np.float64], positive: NDArray[np.bool_], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area under the ROC curve: the share of pairs of a positive and a negative that are in order, equal ones half.

    Args:
        scores: of each image.
        positive: which are.
        weights: how often each counts, shape (resamples, images).

    Returns:
        One for each resample; NaN where a class is empty.

    Source:
        Hanley and McNeil, The meaning and use of the area under a ROC curve, Radiology 143 (1982).

    >>> area(np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, False, True, True]), np.ones((1, 4)))
    array([0.875])
    """
    first, second = scores[positive][:, None], scores[~positive][None]
    order = (first > second) + 0.5 * (first == second)
    up, down = weights[:, positive], weights[:, ~positive]
    pairs = up.sum(1) * down.sum(1)
    found: NDArray[np.float64] = np.einsum("ri,ij,rj->r", up, order, down, optimize=True)
    return np.where(pairs > 0, found / np.maximum(pairs, 1), np.nan)


def _interval(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.nanpercentile(values, (2.5, 97.5))
    return float(low), float(high)
