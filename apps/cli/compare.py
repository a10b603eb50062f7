# SPDX-License-Identifier: Apache-2.0
"""`clarivox compare`: figures, and a page, of what changed between two volumes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clarivox.cli.screen import say, say_json, table
from clarivox.errors import OptionError

if TYPE_CHECKING:
    from clarivox.compare import Comparison


def compare(
    before: Annotated[Path, typer.Argument(help="The original: a file, a folder or a zip with one volume.")],
    after: Annotated[Path, typer.Argument(help="The enhanced one.")],
    reference: Annotated[Path | None, typer.Option(help="The truth, where it is known.")] = None,
    signal: Annotated[str | None, typer.Option(metavar="X0:X1,Y0:Y1,Z", help="Region for SNR and CNR.")] = None,
    background: Annotated[str | None, typer.Option(metavar="X0:X1,Y0:Y1,Z", help="Region for the noise.")] = None,
    report: Annotated[Path | None, typer.Option(help="HTML page to write.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the page if it is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure what changed: PSNR, SSIM, MAE with their range, SNR and CNR in regions, noise, sharpness."""
    from clarivox.compare import compare as compared
    from clarivox.io import read
    from clarivox.regions import Region

    if (signal is None) != (background is None):
        raise OptionError("SNR and CNR need two regions; give both --signal and --background, or none")
    old, new = read(before, allow_uneven=True), read(after, allow_uneven=True)
    truth = None if reference is None else read(reference, allow_uneven=True)
    regions = [Region.parse(n, text) if text else None for n, text in (("signal", signal), ("background", background))]
    found = compared(old, new, truth, signal=regions[0], background=regions[1])
    if report is not None:
        from clarivox.evidence import write_page

        write_page(report, old, new, truth, comparison=found, overwrite=overwrite)
    if as_json:
        say_json(found.as_dict())
        return
    show(found)
    if report is not None:
        say(f"page: {report}")


def show(found: Comparison) -> None:
    """Print the figures as a table."""
    rows = []
    for figure in found.figures:
        unit = "" if figure.unit == "relative" else figure.unit
        was = "" if figure.before is None else f"{figure.before:.4g}"
        rows.append([figure.name, was, f"{figure.after:.4g}", unit, figure.how])
    table("", ["figure", "before", "after", "unit", "how it was taken"], rows)
    for note in found.notes:
        say(f"note: {note}")
