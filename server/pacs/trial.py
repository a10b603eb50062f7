# SPDX-License-Identifier: Apache-2.0
"""What would become of a study by the rules, without anything being done: for `clarivox pacs try`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom import Dataset

from clarivox.errors import FormatError, InputError, NotFoundError
from clarivox.io.archive import extracted
from clarivox.io.dicom_values import PARSE_ERRORS
from clarivox.server.pacs.facts import Facts, facts_of, instance_of
from clarivox.server.pacs.rules import Rules, Verdict
from clarivox.server.pacs.web import DicomWeb, quoted


@dataclass(frozen=True)
class Tried:
    """One series, and what the rules say to it."""

    series: str
    instances: int
    facts: Facts
    verdict: Verdict


def of_files(place: Path, rules: Rules, calling: str = "") -> list[Tried]:
    """The series of a folder, a file or a zip.

    Args:
        place: the folder, the file or the zip.
        rules: that are tried.
        calling: AE title that is to have sent it.

    Raises:
        InputError: there is no DICOM file in it.
    """
    with extracted(place) if zipped(place) else nullcontext(place) as root:
        files = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file())
        found: dict[str, list[Facts]] = {}
        for path in files:
            try:
                one = instance_of(path, calling)
            except InputError:
                continue
            found.setdefault(one.series, []).append(one.facts)
    if not found:
        raise FormatError(f"there is no DICOM file in {place.name}", code="not_dicom")
    return list(_tried(found, rules))


def zipped(place: Path) -> bool:
    """Whether a place is a zip."""
    if not place.is_file():
        return False
    with place.open("rb") as file:
        return file.read(2) == b"PK"


def of_pacs(web: DicomWeb, study: str, rules: Rules, calling: str = "") -> list[Tried]:
    """The series of a study of a PACS, by their headers alone.

    Raises:
        NotFoundError: there is no such study.
        ClarivoxError: the PACS does not answer, or does not let us in.
    """
    found: dict[str, list[Facts]] = {}
    for series, _ in web.series(study):
        said = web.search(f"studies/{quoted(study)}/series/{quoted(series)}/metadata")
        try:
            # Only the first is decoded: what rules ask is the same in all.
            first = facts_of(Dataset.from_json(said[0]), calling)
        except PARSE_ERRORS as cause:
            raise NotFoundError("the PACS does not tell the headers of a series", code="no_such_object") from cause
        found[series] = [first] * len(said)
    return list(_tried(found, rules))


def _tried(found: dict[str, list[Facts]], rules: Rules) -> Iterator[Tried]:
    for series, instances in found.items():
        facts = replace(instances[0], ours=any(one.ours for one in instances))
        yield Tried(series, len(instances), facts, rules.verdict(facts))


def said(one: Tried) -> Sequence[str]:
    """What becomes of a series, a line each."""
    facts, verdict = one.facts, one.verdict
    about = [facts.modality, facts.description, f"{one.instances} instances"]
    lines = [f"{one.series}: " + ", ".join(word for word in about if word)]
    if facts.ours:
        return [*lines, "  is a result of clarivox: left alone"]
    lines += [f"  rule {name}: {why}" for name, why in verdict.why]
    if not verdict.fired:
        return [*lines, "  left alone" + ("" if verdict.ignored else ": no rule fits")]
    return [*lines, *(f"  enhanced by {rule.bundle}, to {', '.join(rule.to or ())}" for rule in verdict.fired)]
