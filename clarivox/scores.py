# SPDX-License-Identifier: Apache-2.0
"""Figures of many cases by several methods: means, spreads, intervals, tables."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from clarivox.compare import Figure
from clarivox.volume import Unit

if TYPE_CHECKING:
    from clarivox.evaluation import Outcome

INPUT = "input"
"""The method that does nothing."""
RESAMPLES = 2000
_COLUMNS = ("case", "patient", "method", "figure", "value", "unit", "seconds", "peak MB")


@dataclass(frozen=True)
class Score:
    """One figure of one case by one method."""

    name: str
    value: float
    unit: str
    how: str
    better: str


@dataclass(frozen=True)
class Row:
    """One case by one method."""

    case: str
    patient: str
    method: str
    scores: tuple[Score, ...]
    seconds: float | None = None
    peak_bytes: int | None = None


@dataclass(frozen=True)
class Failure:
    """A case that could not be read, or not be enhanced."""

    case: str
    code: str
    message: str
    method: str = ""
    """The bundle that failed, or "" where the case could not be read."""


@dataclass(frozen=True)
class Summary:
    """One figure of one method over all cases."""

    method: str
    figure: str
    unit: str
    better: str
    how: str
    cases: int
    """Whose mean it is: all, or those whose figure is finite where some of them are."""
    infinite: int
    """Cases that are left out of the mean."""
    patients: int
    mean: float
    deviation: float | None
    """Standard deviation over the cases; None for one."""
    interval: tuple[float, float] | None
    """95 % of the mean, bootstrap over patients; None for one patient."""
    lead: float | None
    """How far the method in question is ahead of this one, in the same cases; None for that one itself."""
    lead_interval: tuple[float, float] | None


@dataclass(frozen=True)
class Scores:
    """What an evaluation found."""

    rows: tuple[Row, ...]
    failures: tuple[Failure, ...]
    methods: tuple[str, ...]
    """The one in question first; the input is not among them."""
    stopped: bool = False

    @property
    def cases(self) -> list[str]:
        """Names of the cases that at least one method finished."""
        return list(dict.fromkeys(row.case for row in self.rows))

    @property
    def patients(self) -> int:
        """How many patients the cases come from."""
        return len({row.patient for row in self.rows})

    def summaries(self) -> list[Summary]:
        """One for each figure and method, in the order of the figures."""
        every = [INPUT, *self.methods]
        names = dict.fromkeys(score.name for row in self.rows for score in row.scores)
        return [found for name in names for method in every if (found := self._summary(name, method)) is not None]

    def _summary(self, name: str, method: str) -> Summary | None:
        every = self._values(name, method)
        if not every:
            return None
        mine = {case: value for case, value in every.items() if math.isfinite(value)} or every
        patients = self._patients()
        scores = [score for row in self.rows if row.method == method for score in row.scores if score.name == name]
        values = np.array(list(mine.values()))
        own = self._values(name, self.methods[0]) if method != self.methods[0] else {}
        both = [case for case in own if case in mine and math.isfinite(own[case] - mine[case])]
        sign = -1 if scores[0].better == "lower" else 1
        ahead = np.array([sign * (own[case] - mine[case]) for case in both])
        return Summary(
            method,
            name,
            scores[0].unit,
            scores[0].better,
            shared_words([score.how for score in scores]),
            len(values),
            len(every) - len(mine),
            len({patients[case] for case in mine}),
            float(values.mean()),
            float(values.std(ddof=1)) if len(values) > 1 and np.isfinite(values).all() else None,
            interval(values, [patients[case] for case in mine]),
            float(ahead.mean()) if both else None,
            interval(ahead, [patients[case] for case in both]) if both else None,
        )

    def _values(self, name: str, method: str) -> dict[str, float]:
        return {
            row.case: score.value
            for row in self.rows
            if row.method == method
            for score in row.scores
            if score.name == name and not math.isnan(score.value)
        }

    def _patients(self) -> dict[str, str]:
        return {row.case: row.patient for row in self.rows}

    def cost(self, method: str) -> tuple[float, int | None] | None:
        """Mean seconds a case, and the largest peak of memory in bytes, of one method."""
        mine = [row for row in self.rows if row.method == method and row.seconds is not None]
        if not mine:
            return None
        peaks = [row.peak_bytes for row in mine if row.peak_bytes is not None]
        return float(np.mean([row.seconds for row in mine])), max(peaks, default=None)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Columns and rows: figures down, methods across, mean ± standard deviation (95 % interval)."""
        found = self.summaries()
        methods = [method for method in (INPUT, *self.methods) if any(one.method == method for one in found)]
        rows = []
        for name in dict.fromkeys(one.figure for one in found):
            mine = {one.method: one for one in found if one.figure == name}
            unit = next(iter(mine.values())).unit
            title = f"{name}, {unit}" if unit and unit != Unit.RELATIVE else name
            rows.append([title, *(cell(mine[method]) if method in mine else "" for method in methods)])
        costs = [self.cost(method) for method in methods]
        rows.append(["time a case, s", *(f"{cost[0]:.2f}" if cost else "" for cost in costs)])
        peaks = [f"{cost[1] / 1e6:.0f}" if cost and cost[1] is not None else "" for cost in costs]
        rows.append(["peak memory, MB", *peaks])
        return ["figure", *methods], rows

    def leads(self) -> tuple[list[str], list[list[str]]]:
        """Columns and rows: how far the method in question is ahead of each other one, where one is better."""
        found = [one for one in self.summaries() if one.better and one.lead is not None]
        methods = [method for method in (INPUT, *self.methods[1:]) if any(one.method == method for one in found)]
        rows = []
        for name in dict.fromkeys(one.figure for one in found):
            mine = {one.method: one for one in found if one.figure == name}
            rows.append([name, *(_lead(mine[method]) if method in mine else "" for method in methods)])
        return ["figure", *methods], rows

    def ways(self) -> dict[str, str]:
        """Of each figure how it was taken: range, window, variant."""
        found = self.summaries()
        return {
            name: shared_words([one.how for one in found if one.figure == name])
            for name in dict.fromkeys(one.figure for one in found)
        }

    def csv(self) -> str:
        """One line for each case, method and figure."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for row in self.rows:
            cost = ("" if row.seconds is None else f"{row.seconds:.3f}", "")
            if row.peak_bytes is not None:
                cost = (cost[0], f"{row.peak_bytes / 1e6:.1f}")
            for score in row.scores:
                writer.writerow(
                    (row.case, row.patient, row.method, score.name, f"{score.value:.6g}", score.unit, *cost)
                )
        return stream.getvalue()

    def as_dict(self) -> dict[str, Any]:
        """A form that JSON can carry; an infinite figure becomes None."""
        content = {
            "cases": len(self.cases),
            "patients": self.patients,
            "stopped": self.stopped,
            "methods": {
                method: {"seconds": cost[0], "peak_bytes": cost[1]}
                for method in self.methods
                if (cost := self.cost(method))
            },
            "summaries": [asdict(one) for one in self.summaries()],
            "rows": [asdict(row) for row in self.rows],
            "failures": [asdict(failure) for failure in self.failures],
        }
        finite: dict[str, Any] = _finite(content)
        return finite


def rows_of(case: str, patient: str, outcomes: Sequence[Outcome]) -> list[Row]:
    """The rows of one case: the input's, as the first outcome compared it, and one for each outcome."""
    rows = []
    if outcomes:
        start = [_score(f, f.before) for f in outcomes[0].comparison.figures if f.before is not None]
        rows.append(Row(case, patient, INPUT, tuple(start)))
    for one in outcomes:
        scores = tuple(_score(figure, figure.after) for figure in one.comparison.figures)
        rows.append(Row(case, patient, one.method, scores, one.seconds, one.peak_bytes))
    return rows


def _score(figure: Figure, value: float) -> Score:
    return Score(figure.name, value, figure.unit, figure.how, figure.better)


def interval(values: np.ndarray[Any, Any], patients: Sequence[str], seed: int = 0) -> tuple[float, float] | None:
    """The middle 95 % of the mean over resampled patients, all cases of a patient staying together.

    Args:
        values: one for each case.
        patients: whose case it is.
        seed: of the resampling.

    Returns:
        Lower and upper end; None for fewer than two patients, or values that are not finite.

    Source:
        Efron and Tibshirani, An Introduction to the Bootstrap (1993), ch. 13: the percentile interval.

    >>> interval(np.array([1.0, 2.0, 3.0, 4.0]), ["a", "a", "a", "a"]) is None
    True
    >>> low, high = interval(np.array([1.0, 2.0, 3.0, 4.0]), ["a", "b", "c", "d"])
    >>> 1 <= low < 2 and 3 < high <= 4
    True
    """
    names, place = np.unique(np.asarray(patients, dtype=object).astype(str), return_inverse=True)
    if len(names) < 2 or not np.isfinite(values).all():
        return None
    sums, counts = np.bincount(place, values), np.bincount(place)
    drawn = np.random.default_rng(seed).integers(len(names), size=(RESAMPLES, len(names)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def shared_words(ways: Sequence[str]) -> str:
    """What all of several descriptions say, part by part: places that differ from case to case are left out.

    >>> shared_words(["range 240, of each; x 1:4", "range 255, of each; x 2:5"])
    'range 240 to 255, of each'
    """
    first = ways[0].split("; ")
    others = [way.split("; ") for way in ways[1:]]
    kept = []
    for part in first:
        if all(part in other for other in others):
            kept.append(part)
        elif part.startswith("range "):
            kept.append(_ranges([next((p for p in way if p.startswith("range ")), part) for way in (first, *others)]))
    return "; ".join(kept)


def _ranges(parts: Sequence[str]) -> str:
    """Several ranges as one: the smallest to the largest."""
    _, _, rest = parts[0].removeprefix("range ").partition(",")
    values = sorted(
        (part.removeprefix("range ").partition(",")[0] for part in parts), key=lambda v: float(v.split()[0])
    )
    return f"range {values[0]} to {values[-1]}" + (f",{rest}" if rest else "")


def cell(one: Summary) -> str:
    """A summary in a table.

    >>> cell(Summary("a", "PSNR", "dB", "higher", "", 2, 1, 2, 30.0, 1.5, (29.0, 31.0), None, None))
    '30 ± 1.5 (29 to 31), 1 infinite left out'
    """
    text = number(one.mean)
    if one.deviation is not None:
        text += f" ± {number(one.deviation, 2)}"
    if one.interval is not None:
        text += f" ({number(one.interval[0])} to {number(one.interval[1])})"
    return text + (f", {one.infinite} infinite left out" if one.infinite else "")


def _lead(one: Summary) -> str:
    text = f"{one.lead:+.3g}"
    return text if one.lead_interval is None else f"{text} ({one.lead_interval[0]:+.3g} to {one.lead_interval[1]:+.3g})"


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as Markdown.

    >>> print(markdown(["a", "b"], [["1", "2"]]), end="")
    | a | b |
    | --- | --- |
    | 1 | 2 |
    """
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def number(value: float, digits: int = 4) -> str:
    """A figure as a table shows it.

    >>> number(33.19865), number(float("inf"))
    ('33.2', '∞')
    """
    if not math.isfinite(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:.{digits}g}"


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content
