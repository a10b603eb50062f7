# SPDX-License-Identifier: Apache-2.0
"""What the answers of a blinded reading say, once the key is laid beside them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clarivox.errors import FormatError
from clarivox.reading import COLUMNS, Item
from clarivox.scores import INPUT, interval

PREFERENCES = ("left", "equal", "right")
_ABOUT = ("study", "item", "reader", "preference", "seconds")


@dataclass(frozen=True)
class Answer:
    """One pair as one reader answered it."""

    reader: str
    item: Item
    preference: str
    """left, equal, right, or "" where it was left open."""
    ratings: dict[tuple[str, str], int]
    """By side and criterion, 1 to 5."""

    def rated(self, method: str, criterion: str) -> int | None:
        """What a method got."""
        side = "left" if self.item.left == method else "right"
        return self.ratings.get((side, criterion))

    def preferred(self) -> str:
        """The method that was preferred, or "" for neither."""
        return {"left": self.item.left, "right": self.item.right}.get(self.preference, "")


@dataclass(frozen=True)
class Line:
    """One figure of one pair of methods."""

    methods: tuple[str, str]
    figure: str
    first: float
    second: float
    lead: float
    """How far the second is ahead."""
    interval: tuple[float, float] | None
    """95 % of the lead, bootstrap over cases; None for one case."""
    answers: int

    @property
    def verdict(self) -> str:
        """In words what the interval says."""
        if self.interval is None or self.interval[0] <= 0 <= self.interval[1]:
            return "no difference shown"
        return f"{self.methods[1] if self.lead > 0 else self.methods[0]} ahead"


@dataclass(frozen=True)
class Unblinded:
    """What all answers say together."""

    lines: tuple[Line, ...]
    readers: int
    cases: int
    answers: int
    again: tuple[int, int]
    """Of the pairs that came twice: preferred alike, and all."""
    left: tuple[int, int]
    """Of the answers with a preference: for the left side, and all."""

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Columns and rows for people."""
        columns = ["methods", "figure", "first", "second", "lead of the second", "95 % interval", "answers", ""]
        rows = []
        for one in self.lines:
            share = one.figure == "preferred"
            first, second = ((f"{100 * v:.0f} %" if share else f"{v:.2f}") for v in (one.first, one.second))
            lead = f"{100 * one.lead:+.0f} %" if share else f"{one.lead:+.2f}"
            ends = (
                "" if one.interval is None else " to ".join(f"{(100 if share else 1) * v:+.2f}" for v in one.interval)
            )
            rows.append([" / ".join(one.methods), one.figure, first, second, lead, ends, str(one.answers), one.verdict])
        return columns, rows

    def notes(self) -> list[str]:
        """What else a reader of the table should know."""
        numbers = ((self.answers, "answer"), (self.readers, "reader"), (self.cases, "case"))
        counted = [f"{count} {word}{'' if count == 1 else 's'}" for count, word in numbers]
        lines = ["{} of {} on {}".format(*counted)]
        if self.again[1]:
            lines.append(f"pairs that came twice: {self.again[0]} of {self.again[1]} preferred alike")
        if self.left[1]:
            lines.append(f"of {self.left[1]} preferences {self.left[0]} were for the left side")
        return lines

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        content = asdict(self)
        for one, line in zip(content["lines"], self.lines, strict=True):
            one["verdict"] = line.verdict
        return content


def unblinded(key: Path, answers: Sequence[Path]) -> Unblinded:
    """Put answers and key together.

    Args:
        key: as `clarivox.reading.write` wrote it.
        answers: as the page saved them, one file a reader.

    Raises:
        FormatError: a file is not of this kind, or of another study.
    """
    items = {row["item"]: Item(**{name: row[name] for name in COLUMNS}) for row in _rows(key, COLUMNS)}
    found = [answer for path in answers for answer in _answers(path, items)]
    given = [one for one in found if one.preference or one.ratings]
    once = [one for one in given if not one.item.again]
    lines = [line for methods in _pairs(once) for line in _lines(methods, once)]
    before = {(one.reader, one.item.item): one for one in once}
    twice = [
        (before[one.reader, one.item.again], one)
        for one in given
        if one.preference and (one.reader, one.item.again) in before
    ]
    alike = sum(a.preferred() == b.preferred() for a, b in twice if a.preference)
    sided = [one.preference for one in given if one.preference in ("left", "right")]
    return Unblinded(
        tuple(lines),
        len({one.reader for one in given}),
        len({one.item.case for one in once}),
        len(once),
        (alike, sum(bool(a.preference) for a, _ in twice)),
        (sided.count("left"), len(sided)),
    )


def _rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        missing = [name for name in columns if name not in (reader.fieldnames or [])]
        if missing:
            raise FormatError(f"{path.name} has no column {', '.join(missing)}; give what was saved", code="bad_table")
        return list(reader)


def _answers(path: Path, items: dict[str, Item]) -> list[Answer]:
    made = []
    for row in _rows(path, _ABOUT):
        item = items.get(row["item"])
        if item is None or item.study != row["study"]:
            raise FormatError(f"{path.name} is of study {row['study']}, not that of the key", code="bad_table")
        ratings = {}
        for name, value in row.items():
            side, _, criterion = name.partition("_")
            if side in ("left", "right") and criterion and value:
                if value not in ("1", "2", "3", "4", "5"):
                    raise FormatError(f"{path.name} rates {value} in {name}; ratings are 1 to 5", code="bad_table")
                ratings[side, criterion] = int(value)
        if row["preference"] not in ("", *PREFERENCES):
            raise FormatError(f"{path.name} prefers {row['preference']}; it is left, equal or right", code="bad_table")
        made.append(Answer(row["reader"] or path.name, item, row["preference"], ratings))
    return made


def _pairs(answers: Sequence[Answer]) -> list[tuple[str, str]]:
    """Every pair of methods, the input first."""
    found = (sorted((one.item.left, one.item.right), key=lambda name: (name != INPUT, name)) for one in answers)
    return list(dict.fromkeys((first, second) for first, second in found))


def _lines(methods: tuple[str, str], answers: Sequence[Answer]) -> list[Line]:
    mine = [one for one in answers if {one.item.left, one.item.right} == set(methods)]
    lines = []
    said = [one for one in mine if one.preference]
    if said:
        first, second = ([float(one.preferred() == method) for one in said] for method in methods)
        lines.append(_line(methods, "preferred", first, second, [one.item.case for one in said]))
    for criterion in dict.fromkeys(name for one in mine for _, name in one.ratings):
        both = [
            (low, high, one.item.case)
            for one in mine
            if (low := one.rated(methods[0], criterion)) and (high := one.rated(methods[1], criterion))
        ]
        if both:
            first, second, cases = (list(part) for part in zip(*both, strict=True))
            lines.append(_line(methods, criterion, first, second, cases))
    return lines


def _line(
    methods: tuple[str, str], figure: str, first: Sequence[float], second: Sequence[float], cases: Sequence[str]
) -> Line:
    lead = np.array(second, float) - np.array(first, float)
    return Line(
        methods,
        figure,
        float(np.mean(first)),
        float(np.mean(second)),
        float(lead.mean()),
        interval(lead, list(cases)),
        len(lead),
    )
