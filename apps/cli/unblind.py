# SPDX-License-Identifier: Apache-2.0
"""`clarivox unblind`: what readers answered, once the key is laid beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clarivox.cli.screen import say, say_json, table


def unblind(
    key: Annotated[Path, typer.Argument(metavar="KEY", help="reading-key.csv, as evaluate --reader wrote it.")],
    answers: Annotated[list[Path], typer.Argument(metavar="ANSWERS…", help="What the page saved, a file a reader.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say which method readers preferred, and how they rated each, with 95 % intervals over the cases."""
    from clarivox.unblinding import unblinded

    found = unblinded(key, answers)
    if as_json:
        say_json(found.as_dict())
        return
    table("Blinded reading", *found.table())
    for line in found.notes():
        say(line)
