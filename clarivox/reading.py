# SPDX-License-Identifier: Apache-2.0
"""A blinded reading: one HTML page of pairs of images, the key beside it, and what the answers say.

Each pair shows one image by two methods, left and right as a seed decides; the page says neither which is which nor
what the case is called. Some pairs come twice, with their sides changed, which tells how well readers agree with
themselves. The page stands alone and keeps answers in the reader's browser; the key lies in a file of its own, and
`clarivox.unblinding` puts both together.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.resources
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clarivox import pictures
from clarivox.errors import OptionError
from clarivox.io import atomic
from clarivox.matching import matched
from clarivox.orientation import view
from clarivox.policy import policy_source
from clarivox.scores import INPUT

if TYPE_CHECKING:
    from clarivox.evaluation import Case, Outcome
    from clarivox.volume import Volume

PAGE, KEY = "reading.html", "reading-key.csv"
COLUMNS = ("study", "item", "case", "left", "right", "again")
LONGEST = 640
"""Pixels along a picture's longer side."""


@dataclass(frozen=True)
class Criterion:
    """What a reader rates from 1 to 5."""

    name: str
    ends: str
    """What 1 and 5 mean."""


CRITERIA = (
    Criterion("Noise", "1 disturbing, 5 none"),
    Criterion("Sharpness", "1 blurred, 5 crisp"),
    Criterion("Artefacts", "1 severe, 5 none"),
    Criterion("Confidence", "1 none, 5 full"),
)


@dataclass(frozen=True)
class Pair:
    """One case by two methods."""

    case: str
    methods: tuple[str, str]
    images: tuple[str, str]
    """Data addresses of both pictures."""


@dataclass(frozen=True)
class Item:
    """One pair as the page shows it."""

    study: str
    item: str
    case: str
    left: str
    right: str
    again: str = ""
    """The item whose pair this is, with the sides changed."""


@dataclass
class Gathered:
    """Draws the pairs of an evaluation as its cases come, so that no volume need be kept.

    A call is what `clarivox.evaluation.scored` makes of `seen`.

    Attributes:
        most: how many pairs, at most.
        pairs: what was drawn: the input and the first bundle's result; that and each other bundle's.
    """

    most: int = 30
    pairs: list[Pair] = field(default_factory=list)

    def __call__(self, case: Case, outcomes: Sequence[Outcome]) -> None:
        """Draws the middle slice of one case."""
        first = outcomes[0]
        after, window = first.after, first.comparison.window
        others = {INPUT: case.worse} | {one.method: one.after for one in outcomes[1:]}
        for name, volume in others.items():
            if len(self.pairs) < self.most:
                images = (drawn(volume, after, window), drawn(after, after, window))
                self.pairs.append(Pair(case.name, (name, first.method), images))


def drawn(volume: Volume, like: Volume, window: tuple[float, float]) -> str:
    """The middle slice of a volume on the grid of another, in a window, as a data address."""
    lies, aspect = view(like), like.spacing_mm[1] / like.spacing_mm[0]
    levels = pictures.grey(matched(volume, like, like.shape[3] // 2), window, inverted=like.inverted)
    shown = pictures.on_screen(lies.turned(levels), 1 / aspect if lies.swapped else aspect, LONGEST)
    return pictures.data_uri(shown)


def blinded(
    pairs: Sequence[Pair], seed: int = 0, *, again: float = 0.1, criteria: Sequence[Criterion] = CRITERIA
) -> tuple[str, list[Item]]:
    """The page, and the key to it.

    Args:
        pairs: what is read.
        seed: of the order, the sides, and of which pairs come twice.
        again: share of the pairs that come twice.
        criteria: what is rated.

    Raises:
        OptionError: there is no pair, or `again` is not a share.
    """
    if not pairs or not 0 <= again <= 1:
        raise OptionError(
            f"a reading needs a pair, and a share of pairs again from 0 to 1; found {len(pairs)}, {again}"
        )
    draw = np.random.default_rng(seed)
    twice = draw.choice(len(pairs), round(again * len(pairs)), replace=False)
    order = [int(place) for place in [*draw.permutation(len(pairs)), *draw.permutation(twice)]]
    swapped = draw.random(len(pairs)) < 0.5
    digest = hashlib.sha256(json.dumps([seed, order, [asdict(pair) for pair in pairs]], default=str).encode())
    study, seen = digest.hexdigest()[:8], dict[int, str]()
    items, shown = [], []
    for number, place in enumerate(order, start=1):
        pair, name = pairs[place], f"{number:03d}"
        sides = (1, 0) if swapped[place] != (place in seen) else (0, 1)
        left, right = (pair.methods[side] for side in sides)
        items.append(Item(study, name, pair.case, left, right, seen.get(place, "")))
        shown.append({"id": name} | {side: pair.images[k] for side, k in zip(("left", "right"), sides, strict=True)})
        seen[place] = name
    data = {"id": study, "criteria": [asdict(one) for one in criteria], "items": shown}
    return document(study, json.dumps(data).replace("<", "\\u003c")), items


def document(study: str, data: str) -> str:
    """The page around its data, JSON without an opening angle."""
    template = (importlib.resources.files("clarivox") / "reading.html").read_text(encoding="utf-8")
    style = template.split("<style>", 1)[1].split("</style>", 1)[0]
    script = template.split("<script>", 1)[1].split("</script>", 1)[0]
    parts = {"style_hash": policy_source(style), "script_hash": policy_source(script), "study": study, "data": data}
    for name, text in parts.items():
        template = template.replace("{{" + name + "}}", text)
    return template


def key_text(items: Sequence[Item]) -> str:
    """The key as CSV."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(item) for item in items)
    return stream.getvalue()


def write(folder: Path, pairs: Sequence[Pair], seed: int = 0, *, overwrite: bool = False) -> tuple[Path, Path]:
    """Write the page and, beside it, the key, which readers must not see.

    Raises:
        OptionError: there is no pair.
        OutputError: a file is there already, or the folder cannot be written to.
    """
    page, items = blinded(pairs, seed)
    made = []
    for name, text in ((PAGE, page), (KEY, key_text(items))):
        with atomic.file(folder / name, overwrite=overwrite) as partial:
            partial.write_text(text, encoding="utf-8")
        made.append(folder / name)
    return made[0], made[1]
