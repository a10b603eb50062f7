# SPDX-License-Identifier: Apache-2.0
"""rules.yaml: which series is enhanced, by what, and where the result goes.

    all: false                      # true: every rule that fits works; else the first
    rules:
      - name: thin chest
        when: {modality: CT, description: "chest|thorax", thickness_mm: {to: 1.5}, calling: [CT1, CT2]}
        bundle: ct_unet_denoise
        params: {strength: 0.8}
        to: [archive]
      - name: what a scout is
        when: {image_type: LOCALIZER}
        ignore: true

A rule fits where all that stands under `when` holds. A series that no rule fits is left alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from clarivox.bundle import BundleInfo
from clarivox.errors import ClarivoxError, OptionError
from clarivox.server.pacs.facts import Facts
from clarivox.server.pacs.patterns import compiled
from clarivox.server.schemas import Params, check_params

MOST = 200
"""Rules of a file."""
OURS = "a result of clarivox; it is never enhanced again"
SET_BY_RULES = ("series", "form")
"""Parameters that make no sense for a whole series that goes back to a PACS."""


def _several(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], BeforeValidator(_several), Field(min_length=1, max_length=64)]


class Closed(BaseModel):
    """A part of the file: a name that is not known is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Range(Closed):
    """From and to, both included."""

    least: float | None = Field(default=None, alias="from", ge=0, allow_inf_nan=False)
    most: float | None = Field(default=None, alias="to", ge=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _rises(self) -> Range:
        if self.least is None and self.most is None:
            raise ValueError("give from, to, or both")
        if self.least is not None and self.most is not None and self.least > self.most:
            raise ValueError("from is above to")
        return self

    def holds(self, value: float) -> bool:
        """Whether a number lies within."""
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)


class When(Closed):
    """What a series must be. What is not named may be anything."""

    modality: Words | None = Field(default=None, description="One of these, as CT.")
    sop_class: Words | None = Field(default=None, description="One of these, by UID or name, as CT Image Storage.")
    image_type: Words | None = Field(default=None, description="All of these are among the values of ImageType.")
    description: str | None = Field(default=None, description="A regular expression found in SeriesDescription.")
    body_part: Words | None = Field(default=None, description="One of these, as CHEST.")
    kernel: Words | None = Field(default=None, description="ConvolutionKernel is one of these.")
    thickness_mm: Range | None = Field(default=None, description="SliceThickness, from and to included.")
    calling: Words | None = Field(default=None, description="One of these AE titles sent it.")

    @field_validator("description")
    @classmethod
    def _harmless(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                compiled(value)
            except OptionError as error:
                raise ValueError(str(error)) from None
        return value

    def misfits(self, found: Facts) -> Iterator[str]:
        """What does not hold, in words."""
        one_of = {
            "modality": (self.modality, (found.modality,)),
            "sop_class": (self.sop_class, (found.sop_class, found.sop_class_name)),
            "body_part": (self.body_part, (found.body_part,)),
            "kernel": (self.kernel, tuple(found.kernel.split("\\"))),
            "calling": (self.calling, (found.calling,)),
        }
        for name, (wanted, values) in one_of.items():
            if wanted is not None and not {same(one) for one in wanted} & {same(one) for one in values}:
                yield f"{name} is {shown(values[-1])}, not {' or '.join(wanted)}"
        if self.image_type is not None:
            lacking = [one for one in self.image_type if same(one) not in {same(value) for value in found.image_type}]
            if lacking:
                yield f"image_type {shown(chr(92).join(found.image_type))} lacks {', '.join(lacking)}"
        if self.description is not None and not compiled(self.description).search(found.description):
            yield f"description does not match {self.description}"
        if self.thickness_mm is not None:
            if found.thickness_mm is None:
                yield "thickness_mm is not given"
            elif not self.thickness_mm.holds(found.thickness_mm):
                yield f"thickness_mm is {found.thickness_mm:g}, outside the range"


class Rule(Closed):
    """What is done with a series that fits."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    when: When = When()
    ignore: bool = Field(default=False, description="Leave such a series alone, whatever later rules say.")
    bundle: str = ""
    params: Params = Params.model_construct()
    priority: int = Field(default=0, ge=-100, le=100)
    to: Words | None = Field(default=None, description="Names of destinations of pacs.yaml.")

    @model_validator(mode="after")
    def _whole(self) -> Rule:
        if self.ignore and (self.bundle or self.to):
            raise ValueError("a rule that ignores has neither bundle nor to")
        if not self.ignore and not (self.bundle and self.to):
            raise ValueError("a rule has bundle and to, or ignore: true")
        for name in SET_BY_RULES:
            if name in self.params.model_fields_set:
                raise ValueError(f"params: {name} is not for rules")
        return self


class Rules(Closed):
    """The whole file."""

    every: bool = Field(default=False, alias="all", description="Every rule that fits works, not only the first.")
    rules: Annotated[tuple[Rule, ...], Field(max_length=MOST)]

    @model_validator(mode="after")
    def _named_once(self) -> Rules:
        names = [one.name for one in self.rules]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two rules are named {twice[0]}")
        return self

    def verdict(self, found: Facts) -> Verdict:
        """What becomes of a series, and why."""
        if found.ours:
            return Verdict((), True, (("", OURS),))
        fired: list[Rule] = []
        why: list[tuple[str, str]] = []
        for rule in self.rules:
            misfits = list(rule.when.misfits(found))
            if misfits:
                why.append((rule.name, "; ".join(misfits)))
                continue
            if rule.ignore:
                return Verdict(tuple(fired), not fired, (*why, (rule.name, "fits, and says ignore")))
            why.append((rule.name, "fits"))
            fired.append(rule)
            if not self.every:
                break
        return Verdict(tuple(fired), False, tuple(why))


@dataclass(frozen=True)
class Verdict:
    """What becomes of a series."""

    fired: tuple[Rule, ...]
    ignored: bool
    """By a rule, or because it is ours."""
    why: tuple[tuple[str, str], ...]
    """Rule, and whether it fits or why not, in their order."""


@dataclass(frozen=True)
class Loaded:
    """Rules that were read and checked."""

    rules: Rules
    sha256: str
    bundles: Mapping[str, BundleInfo]

    @cached_property
    def params(self) -> dict[str, dict[str, Any]]:
        """What the ledger keeps of the parameters of each rule."""
        return {
            one.name: check_params(self.bundles[one.bundle], one.params) for one in self.rules.rules if not one.ignore
        }


def load(path: Path, bundles: Sequence[BundleInfo], destinations: Sequence[str]) -> Loaded:
    """Read a file of rules and check all of it.

    Args:
        path: the file.
        bundles: that a rule may name.
        destinations: that a rule may name.

    Raises:
        OptionError: it is not as it should be, code bad_rules; the message names line and field.
    """
    try:
        content = path.read_bytes()
        text = content.decode("utf-8")
        tree = yaml.compose(text, yaml.SafeLoader)
        found = Rules.model_validate(yaml.safe_load(text) or {})
    except (OSError, UnicodeDecodeError) as cause:
        raise OptionError(f"{path.name} cannot be read", code="bad_rules") from cause
    except yaml.YAMLError as cause:
        mark = getattr(cause, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark is not None else ""
        raise OptionError(f"{path.name}: {where}this is no YAML", code="bad_rules") from cause
    except ValidationError as cause:
        first = cause.errors(include_url=False, include_input=False)[0]
        raise _wrong(path, tree, first["loc"], first["msg"].removeprefix("Value error, ")) from cause
    known = {one.name: one for one in bundles}
    for number, rule in enumerate(found.rules):
        if rule.ignore:
            continue
        if rule.bundle not in known:
            raise _wrong(path, tree, ("rules", number, "bundle"), f"there is no bundle {rule.bundle}")
        for name in rule.to or ():
            if name not in destinations:
                listed = ", ".join(sorted(destinations)) or "none"
                said = f"there is no destination {name}; pacs.yaml has {listed}"
                raise _wrong(path, tree, ("rules", number, "to"), said)
        try:
            check_params(known[rule.bundle], rule.params)
        except ClarivoxError as error:
            raise _wrong(path, tree, ("rules", number, "params"), str(error)) from error
    return Loaded(found, hashlib.sha256(content).hexdigest(), known)


def _wrong(path: Path, tree: yaml.Node | None, place: Sequence[int | str], says: str) -> OptionError:
    field = ".".join(str(one) for one in place) or "the file"
    return OptionError(f"{path.name}, line {line_of(tree, place)}, {field}: {says}", code="bad_rules")


def line_of(tree: yaml.Node | None, place: Sequence[int | str]) -> int:
    """The line of a place in a file of YAML, or of what is nearest around it.

    >>> line_of(yaml.compose("a: 1\\nb:\\n  - c: 2"), ("b", 0, "c"))
    3
    """
    line = tree.start_mark.line if tree is not None else 0
    for step in place:
        if isinstance(tree, yaml.MappingNode):
            found = next(((key, value) for key, value in tree.value if key.value == str(step)), None)
            if found is None:
                break
            line, tree = found[0].start_mark.line, found[1]
        elif isinstance(tree, yaml.SequenceNode) and isinstance(step, int) and step < len(tree.value):
            tree = tree.value[step]
            line = tree.start_mark.line
        else:
            break
    return line + 1


def same(value: str) -> str:
    """Words are compared without regard to capitals and blanks at their ends."""
    return value.strip().casefold()


def shown(value: str) -> str:
    """A value in a sentence; it may be empty."""
    return value or "not given"


class Watched:
    """A file of rules that may change: a good one takes effect, a bad one changes nothing and is said.

    Args:
        path: the file; None for no rules at all.
        bundles: gives the bundles that a rule may name, asked anew for each reading.
        destinations: that a rule may name.
    """

    def __init__(
        self, path: Path | None, bundles: Callable[[], Sequence[BundleInfo]], destinations: Sequence[str]
    ) -> None:
        self.path, self._bundles, self._destinations = path, bundles, tuple(destinations)
        self.now: Loaded | None = None
        self.error = ""
        """What is wrong with the file as it is; "" where it is in effect."""
        self._seen: tuple[int, int, int] | None = None

    def look(self) -> bool:
        """Read the file if it changed; whether it did."""
        if self.path is None:
            self.now = self.now or Loaded(Rules(rules=()), "", {})
            return False
        try:
            found = self.path.stat()
            mark = (found.st_mtime_ns, found.st_size, found.st_ino)
        except OSError:
            mark = (0, 0, 0)
        if mark == self._seen:
            return False
        self._seen = mark
        try:
            self.now, self.error = load(self.path, self._bundles(), self._destinations), ""
        except OptionError as error:
            self.error = str(error)
        return True


def digest_of(rule: Rule, params: Mapping[str, Any], version: str) -> str:
    """What identifies the work that a rule asks for."""
    said = json.dumps([rule.name, rule.bundle, version, dict(params), sorted(rule.to or ())], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()
