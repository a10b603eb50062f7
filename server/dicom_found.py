# SPDX-License-Identifier: Apache-2.0
"""What a search finds: the attributes of studies, series and instances (PS3.18 tables 10.6.3-3 to -5)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from clarivox.server.dicom_objects import Element, Instance, Series
from clarivox.server.dicom_query import Lookup, Query

STUDY_TAGS = (
    "00080005",
    "00080020",
    "00080030",
    "00080050",
    "00080090",
    "00080201",
    "00081030",
    "00100010",
    "00100020",
    "00100030",
    "00100040",
    "0020000D",
    "00200010",
)
"""Of a study, beside what is counted."""

SERIES_TAGS = (
    "00080005",
    "00080060",
    "00080201",
    "0008103E",
    "00180015",
    "0020000D",
    "0020000E",
    "00200011",
    "00400244",
    "00400245",
    "00400275",
)
"""Of a series, beside what is counted."""

_FEW = frozenset(STUDY_TAGS + SERIES_TAGS)
_INSTANCE_FEW = frozenset({"00080016", "00080018", "00200013", "00280008", "00280010", "00280011", "00280100"})
_STUDY_LEVEL = frozenset(STUDY_TAGS) | {"00080061", "00080062", "00081190", "00201206", "00201208", "00080056"}

Answer = dict[str, Element]


class Study:
    """The series of one study."""

    def __init__(self, series: list[Series]) -> None:
        self.series = series
        self.uid = series[0].study

    def counted(self, address: str) -> Answer:
        """What is counted, and where the study is."""
        modalities = {str(value) for one in self.series for value in _values(one.few.get("00080060"))}
        classes = {name for one in self.series for name in one.classes()}
        return {
            "00080056": _element("CS", "ONLINE"),
            "00080061": _element("CS", *sorted(modalities)),
            "00080062": _element("UI", *sorted(classes)),
            "00081190": _element("UR", address),
            "0020000D": _element("UI", self.uid),
            "00201206": _element("IS", len(self.series)),
            "00201208": _element("IS", sum(one.count() for one in self.series)),
        }


def studies_of(series: Iterable[Series]) -> list[Study]:
    """Series by study, the newest first."""
    found: dict[str, list[Series]] = {}
    for one in series:
        found.setdefault(one.study, []).append(one)
    return [Study(members) for members in found.values()]


def found_studies(query: Query, studies: Iterable[Study], root: str) -> Iterator[Answer]:
    """Studies that fit a search; a key of a series fits where one of its series does."""
    for study in studies:
        counted = study.counted(f"{root}/studies/{study.uid}")
        lookups = [_lookup(counted, one) for one in study.series]
        if all(any(match.fits(one) for one in lookups) for match in query.matches):
            asked = set(study.series[0].shared()) if query.everything else query.tags
            wanted = {tag for tag in asked if tag in _STUDY_LEVEL or _same(tag, study.series)}
            yield _answer(lookups[0], {*STUDY_TAGS, *counted, *wanted})


def found_series(query: Query, studies: Iterable[Study], root: str, *, with_study: bool) -> Iterator[Answer]:
    """Series that fit a search.

    Args:
        query: the search.
        studies: to look into.
        root: where addresses begin.
        with_study: give the attributes of the study too.
    """
    for study in studies:
        counted = study.counted(f"{root}/studies/{study.uid}") if with_study or _counts(query) else {}
        for one in study.series:
            own = {**counted, **_series_counted(one, root)}
            lookup = _lookup(own, one)
            if query.fits(lookup):
                extra = one.shared() if query.everything else query.tags
                kept = {*SERIES_TAGS, "00081190", "00201209", *(_STUDY_LEVEL if with_study else ()), *extra}
                yield _answer(lookup, kept)


def found_instances(
    query: Query, studies: Iterable[Study], root: str, *, with_study: bool, with_series: bool
) -> Iterator[Answer]:
    """Instances that fit a search.

    Args:
        query: the search.
        studies: to look into.
        root: where addresses begin.
        with_study: give the attributes of the study too.
        with_series: give those of the series too.
    """
    for study in studies:
        counted = study.counted(f"{root}/studies/{study.uid}") if with_study or _counts(query) else {}
        for one in study.series:
            above = {**counted, **_series_counted(one, root)}
            for instance in one.instances():
                address = f"{root}/studies/{one.study}/series/{one.uid}/instances/{instance.uid}"
                own = {**above, **_instance_counted(instance, address)}
                lookup = _instance_lookup(own, one, instance, address)
                if query.fits(lookup):
                    kept = {*_INSTANCE_FEW, "00080005", "00080056", "00080201", "00081190", "00083002", "0020000D"}
                    kept |= {"0020000E", *query.tags}
                    kept |= {*_STUDY_LEVEL} if with_study else set()
                    kept |= {*SERIES_TAGS, "00201209"} if with_series else set()
                    kept |= set(_header(instance, address)) if query.everything else set()
                    yield _answer(lookup, kept)


def _counts(query: Query) -> bool:
    return bool(query.tags & {"00080061", "00080062", "00201206", "00201208"})


def _series_counted(series: Series, root: str) -> Answer:
    return {
        "00081190": _element("UR", f"{root}/studies/{series.study}/series/{series.uid}"),
        "0020000D": _element("UI", series.study),
        "0020000E": _element("UI", series.uid),
        "00201209": _element("IS", series.count()),
    }


def _instance_counted(instance: Instance, address: str) -> Answer:
    return {
        "00080056": _element("CS", "ONLINE"),
        "00081190": _element("UR", address),
        "00083002": _element("UI", instance.syntax),
        **instance.few,
    }


def _lookup(counted: Answer, series: Series) -> Lookup:
    def element(tag: str) -> Element | None:
        if tag in counted:
            return counted[tag]
        return series.few.get(tag) if tag in _FEW else series.shared().get(tag)

    return element


def _instance_lookup(own: Answer, series: Series, instance: Instance, address: str) -> Lookup:
    header: list[Answer] = []

    def element(tag: str) -> Element | None:
        if tag in own or tag in _INSTANCE_FEW:
            return own.get(tag)
        if tag in series.few:
            return series.few[tag]
        if not header:
            header.append(_header(instance, address))
        return header[0].get(tag)

    return element


def _header(instance: Instance, address: str) -> Answer:
    found: Answer = json.loads(instance.line(address))
    return found


def _same(tag: str, series: list[Series]) -> bool:
    """Whether all series have the same element, so that it can be said of the study."""
    first = series[0].shared().get(tag)
    return all(one.shared().get(tag) == first for one in series[1:])


def _answer(element: Lookup, tags: Iterable[str]) -> Answer:
    pairs = ((tag, element(tag)) for tag in sorted(set(tags)))
    return {tag: found for tag, found in pairs if found is not None}


def _element(vr: str, *values: Any) -> Element:
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}


def _values(element: Element | None) -> list[Any]:
    return [] if element is None else [one for one in element.get("Value", ()) if one is not None]
