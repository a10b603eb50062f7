# SPDX-License-Identifier: Apache-2.0
"""A search of QIDO-RS: what was asked, and whether an object fits it (PS3.18 8.3.4 and 10.6, PS3.4 C.2.2.2)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from clarivox.errors import InputError
from clarivox.server.dicom_words import tags_of

MOST_RESULTS = 1000
"""Answers to one search; more are had with `offset`."""

MOST_KEYS = 50
"""Keys of one search."""

Lookup = Callable[[str], dict[str, Any] | None]
"""Gives an element by its tag."""

_RANGED = frozenset({"DA", "TM", "DT"})
_LISTED = frozenset({"UI", "CS"})
_NUMBERS = frozenset({"IS", "DS", "US", "SS", "UL", "SL", "FL", "FD", "UV", "SV"})
_WHOLE = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True)
class Match:
    """One attribute and what it must be."""

    tags: tuple[str, ...]
    value: str

    def fits(self, element: Lookup) -> bool:
        """Whether an object has such a value; an empty one asks for nothing."""
        if self.value.strip() in ("", "*"):
            return True
        return any(self._fits(str(found["vr"]), value) for found in self._elements(element) for value in _values(found))

    def _elements(self, element: Lookup) -> Iterator[dict[str, Any]]:
        found = [one for one in (element(self.tags[0]),) if one is not None]
        for tag in self.tags[1:]:
            items = [item for one in found for item in one.get("Value", ()) if isinstance(item, dict)]
            found = [item[tag] for item in items if tag in item]
        yield from found

    def _fits(self, vr: str, value: str) -> bool:
        if vr in _RANGED:
            return _in_range(vr, value, self.value.strip())
        if vr in _LISTED:
            return any(self._like(vr, value, one.strip()) for one in re.split(r"[,\\]", self.value))
        return self._like(vr, value, self.value.strip())

    @staticmethod
    def _like(vr: str, value: str, wanted: str) -> bool:
        if vr in _NUMBERS:
            return _number(value) == _number(wanted)
        if vr == "UI":
            return value == wanted
        return _pattern(wanted, vr == "PN").fullmatch(value.rstrip("^ ") if vr == "PN" else value.strip()) is not None


@dataclass(frozen=True)
class Query:
    """A whole search."""

    matches: tuple[Match, ...]
    include: frozenset[str]
    """Tags to add to each answer."""
    everything: bool
    """Add all that there is."""
    limit: int
    offset: int
    fuzzy: bool
    """Fuzzy matching was asked for; names are compared without it."""

    def fits(self, element: Lookup) -> bool:
        """Whether an object fits all that was asked."""
        return all(match.fits(element) for match in self.matches)

    @cached_property
    def tags(self) -> frozenset[str]:
        """Every tag that an answer must give: what was asked for, and what was compared."""
        return self.include | {match.tags[0] for match in self.matches}


def query_of(pairs: Sequence[tuple[str, str]]) -> Query:
    """The search that the parameters of an address make.

    >>> query_of([("PatientName", "doe*"), ("limit", "5")]).limit
    5

    Raises:
        InputError: a parameter is unknown, or has no usable value; code bad_query.
    """
    matches, include, everything = list[Match](), set[str](), False
    numbers, fuzzy = {"limit": MOST_RESULTS, "offset": 0}, False
    if len(pairs) > MOST_KEYS:
        raise _bad(f"a search has at most {MOST_KEYS} parameters")
    for name, value in pairs:
        if name in numbers:
            if not _WHOLE.fullmatch(value):
                raise _bad(f"{name} is a whole number")
            numbers[name] = int(value)
        elif name == "fuzzymatching":
            if value not in ("true", "false"):
                raise _bad("fuzzymatching is true or false")
            fuzzy = value == "true"
        elif name == "includefield":
            for word in filter(None, value.split(",")):
                everything = everything or word == "all"
                include |= set((tags_of(word) or ())[:1])
        elif name != "accept":
            matches.append(_match(name, value))
    limit = min(numbers["limit"], MOST_RESULTS)
    return Query(tuple(matches), frozenset(include), everything, limit, numbers["offset"], fuzzy)


def _match(name: str, value: str) -> Match:
    tags = tags_of(name)
    if tags is None:
        raise _bad("a parameter is neither a known keyword nor a tag of eight hexadecimal digits")
    if len(value) > 4096:
        raise _bad("a value has over 4096 characters")
    return Match(tags, value)


def _bad(message: str) -> InputError:
    return InputError(f"the search cannot be understood: {message}", code="bad_query")


def _values(element: dict[str, Any]) -> Iterator[str]:
    for value in element.get("Value", ()):
        if isinstance(value, dict):
            yield from (str(one) for one in value.values() if not isinstance(one, dict))
        elif value is not None:
            yield str(value)


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _pattern(wanted: str, name: bool) -> re.Pattern[str]:
    """What a value must look like; * stands for any text, ? for one character. Names are alike in any case.

    >>> bool(_pattern("d?e*", True).fullmatch("Doe^Jane"))
    True
    """
    parts = [re.escape(one).replace(r"\?", ".") for one in re.split(r"\*+", wanted.rstrip("^ ") if name else wanted)]
    first, *middle = parts
    last = f".*{middle.pop()}" if middle else ""
    # Atomic groups: what a star swallowed is not tried again, so that many stars cost no more than a few.
    text = first + "".join(f"(?>.*?{one})" for one in middle) + last
    return re.compile(text, re.IGNORECASE | re.DOTALL if name else re.DOTALL)


def _in_range(vr: str, value: str, wanted: str) -> bool:
    """Whether a date or time is the one wanted, or lies between two.

    >>> _in_range("DA", "20200229", "20200101-20201231"), _in_range("TM", "1130", "-1100")
    (True, False)
    """
    first, dash, last = _halves(vr, wanted)
    value = value.replace(":", "") if vr == "TM" else value
    if not dash:
        return value.startswith(first) if vr != "DA" else value == first
    return (not first or value >= first) and (not last or value[: len(last)] <= last)


def _halves(vr: str, wanted: str) -> tuple[str, str, str]:
    """Both ends of a range; the dash of a time zone, as in 20200101120000-0500, is none of a range."""
    if vr == "TM":
        wanted = wanted.replace(":", "")
    if vr == "DT" and (found := re.fullmatch(r"(.*?[0-9]{8,}(?:\.[0-9]+)?[+-][0-9]{4})(?:(-)(.*))?", wanted)):
        return found[1], found[2] or "", found[3] or ""
    return wanted.partition("-")
