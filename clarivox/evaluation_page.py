# SPDX-License-Identifier: Apache-2.0
"""What an evaluation leaves in a folder: tables as Markdown, CSV and JSON, error maps as pictures, one HTML page."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from clarivox import __version__, page, pictures, reading
from clarivox.disc import DiscFigures
from clarivox.evaluation import Case, Outcome
from clarivox.io import atomic
from clarivox.matching import matched
from clarivox.orientation import view
from clarivox.reading import Pair
from clarivox.scores import INPUT, Failure, Scores, markdown, number
from clarivox.volume import Unit, Volume

if TYPE_CHECKING:
    from clarivox.diagnosis import Diagnosis

TASK = "What a small classifier reads"
CLASSIFIER = "classifier.pt"
FILES = ("summary.md", "cases.csv", "results.json", "index.html")


@dataclass(frozen=True)
class Shown:
    """One case as pictures: name and caption of each."""

    case: str
    images: tuple[tuple[str, str, Any], ...]


@dataclass
class Pictures:
    """Draws the first cases of an evaluation as they are finished, so that no volume need be kept.

    Attributes:
        most: how many cases.
        shown: what was drawn.
        like: the first case's truth, or the case itself: what the disc is stored as.
    """

    most: int = 6
    shown: list[Shown] = field(default_factory=list)
    like: Volume | None = None

    def __call__(self, case: Case, outcomes: Sequence[Outcome]) -> None:
        """Draws the middle slice: the truth, the input, each result, and the error of each."""
        self.like = self.like or case.truth or case.worse
        if len(self.shown) >= self.most:
            return
        after, found = outcomes[0].after, outcomes[0].comparison
        z = after.shape[3] // 2
        lies, aspect = view(after), after.spacing_mm[1] / after.spacing_mm[0]
        aspect = 1 / aspect if lies.swapped else aspect

        def drawn(levels: NDArray[np.uint8]) -> Any:
            return pictures.on_screen(lies.turned(levels), aspect, longest=400)

        values = {INPUT: matched(case.worse, after, z)} | {one.method: matched(one.after, after, z) for one in outcomes}
        standard = values[INPUT] if case.truth is None else matched(case.truth, after, z)
        changes = {name: one - standard for name, one in values.items() if case.truth is not None or name != INPUT}
        limit = pictures.difference_limit([change for name, change in changes.items() if name != INPUT])
        unit = "" if after.unit is Unit.RELATIVE else f" {after.unit}"
        low, high = found.window
        images = [] if case.truth is None else [("truth", f"{low:.4g} to {high:.4g}{unit}", standard)]
        images += [(name, "", one) for name, one in values.items()]
        made = [
            (name, more, drawn(pictures.grey(one, found.window, inverted=after.inverted))) for name, more, one in images
        ]
        word = "change by" if case.truth is None else "error of"
        made += [
            (
                f"{word} {name}",
                f"blue -{limit:.3g}, orange +{limit:.3g}{unit}",
                drawn(pictures.difference(change, limit)),
            )
            for name, change in changes.items()
        ]
        self.shown.append(Shown(case.name, tuple(made)))


@dataclass(frozen=True)
class Report:
    """Everything about one evaluation that is written."""

    title: str
    about: tuple[str, ...]
    """Data, degradation, device: what a reader must know to judge or to repeat it."""
    scores: Scores
    disc: Sequence[DiscFigures] = ()
    shown: Sequence[Shown] = ()
    notes: tuple[str, ...] = ()
    diagnosis: Diagnosis | None = None
    classifier: torch.nn.Module | None = None
    """Trained on all images as they were, to begin with in another task."""
    pairs: Sequence[Pair] = ()
    """Of a blinded reading."""
    seed: int = 0
    """Of the blinding."""

    def markdown(self) -> str:
        """The tables, and how each figure was taken."""
        lines = [f"# {self.title}\n", *(f"- {line}" for line in self.about), f"- {machine_words()}\n"]
        lines += [f"{INTERVAL_WORDS}\n", markdown(*self.scores.table())]
        if self.scores.leads()[1]:
            lines += [f"## {self.scores.methods[0]} against each\n\n{LEAD_WORDS}\n", markdown(*self.scores.leads())]
        if self.disc:
            lines += [f"## A disc of known value\n\n{DISC_WORDS}\n", markdown(*disc_table(self.disc))]
        if self.diagnosis is not None:
            lines += [f"## {TASK}\n", self.diagnosis.markdown()]
        lines += ["## How each figure was taken\n"]
        lines += [f"- {name}: {way}" for name, way in self.scores.ways().items()]
        if told := [*self.notes, *failure_words(self.scores.failures)]:
            lines += ["\n## To know\n", *(f"- {line}" for line in told)]
        return "\n".join(lines) + "\n"

    def html(self) -> str:
        """The page."""
        scores = self.scores
        parts = [
            page.told("To know", [*self.notes, *failure_words(scores.failures)]),
            page.box("Figures", page.table(*scores.table()), page.note(INTERVAL_WORDS)),
        ]
        if scores.leads()[1]:
            title = f"{scores.methods[0]} against each"
            parts.append(page.box(title, page.table(*scores.leads()), page.note(LEAD_WORDS)))
        if self.disc:
            parts.append(page.box("A disc of known value", page.table(*disc_table(self.disc)), page.note(DISC_WORDS)))
            spectra = {one.method: one.noise.power for one in self.disc if one.noise.power.any()}
            if spectra:
                drawn = page.curves(
                    self.disc[0].noise.frequency_per_mm,
                    {name: power for name, power in spectra.items() if len(power) == len(self.disc[0].noise.power)},
                    x_label="spatial frequency (1/mm)",
                    y_label="noise power (unit² mm²)",
                )
                parts.append(page.box("Noise power spectrum around the disc", drawn))
        if self.diagnosis is not None:
            tables = [page.table(*one) for one in self.diagnosis.tables() if one[1]]
            parts.append(page.box(TASK, *tables, page.note(self.diagnosis.words())))
        for shown in self.shown:
            figures = [page.figure(image, name, more) for name, more, image in shown.images]
            parts.append(page.box(shown.case, page.panels(figures)))
        ways = [[name, way] for name, way in scores.ways().items()]
        parts.append(page.box("How each figure was taken", page.table(["figure", "how"], ways)))
        return page.document(self.title, self.about, parts, f"clarivox {__version__} · {machine_words()}")

    def as_dict(self) -> dict[str, Any]:
        """A form that JSON can carry."""
        disc = {
            one.method: {
                "figures": {
                    name: {"value": _finite(value), "unit": unit} for name, (value, unit) in one.figures.items()
                },
                "noise_power": {
                    "frequency_per_mm": one.noise.frequency_per_mm.tolist(),
                    "power": one.noise.power.tolist(),
                },
            }
            for one in self.disc
        }
        about = {"title": self.title, "about": self.about, "machine": machine_words(), "notes": self.notes}
        task = {} if self.diagnosis is None else {"diagnosis": self.diagnosis.as_dict()}
        return about | self.scores.as_dict() | {"ways": self.scores.ways(), "disc": disc} | task

    def write(self, folder: Path, overwrite: bool = False) -> list[Path]:
        """Write the page, the tables and the pictures.

        Raises:
            OutputError: something is there already, or the folder cannot be written.
        """
        content = (self.markdown(), self.scores.csv(), json.dumps(self.as_dict(), indent=1) + "\n", self.html())
        written = []
        for name, text in zip(FILES, content, strict=True):
            with atomic.file(folder / name, overwrite) as temporary:
                temporary.write_text(text, encoding="utf-8")
            written.append(folder / name)
        for place, shown in enumerate(self.shown, start=1):
            for name, _, image in shown.images:
                target = folder / "pictures" / f"{place:03d}-{name.replace(' ', '-')}.png"
                with atomic.file(target, overwrite) as temporary:
                    image.save(temporary, "PNG")
                written.append(target)
        if self.classifier is not None:
            with atomic.file(folder / CLASSIFIER, overwrite) as temporary:
                torch.save(self.classifier.state_dict(), temporary)
            written.append(folder / CLASSIFIER)
        if self.pairs:
            written += reading.write(folder, self.pairs, self.seed, overwrite=overwrite)
        return written


INTERVAL_WORDS = (
    "Mean over the cases ± standard deviation (95 % interval of the mean: percentile bootstrap over patients, "
    "2,000 draws)."
)
LEAD_WORDS = (
    "How far the first bundle is ahead of each in the same cases, with the 95 % interval; below 0 it is behind."
)
DISC_WORDS = (
    "A digital disc, made worse like the cases and enhanced by the same bundles. MTF50 is where the modulation "
    "transfer of its edge falls to a half; bias is the mean's distance from the truth's; noise, its spectrum and CNR "
    "come from repeats."
)


def disc_table(disc: Sequence[DiscFigures]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the disc's figures."""
    names = dict.fromkeys(name for one in disc for name in one.figures)
    rows = []
    for name in names:
        unit = next(one.figures[name][1] for one in disc if name in one.figures)
        cells = [number(one.figures[name][0]) if name in one.figures else "" for one in disc]
        rows.append([f"{name}, {unit}" if unit else name, *cells])
    return ["figure", *(one.method for one in disc)], rows


def failure_words(failures: Sequence[Failure]) -> list[str]:
    """Each failure in a line, and how many there are."""
    if not failures:
        return []
    lines = [
        f"{failure.case}{f' by {failure.method}' if failure.method else ''} [{failure.code}]: {failure.message}"
        for failure in failures
    ]
    cases = len({failure.case for failure in failures})
    return [f"{cases} {'case was' if cases == 1 else 'cases were'} left out, or left out of a column:", *lines]


def machine_words() -> str:
    """Where the times hold."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else _processor()
    return f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__.split('+')[0]}"


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
