# SPDX-License-Identifier: Apache-2.0
"""`clarivox info`: what a file, a folder or a zip holds, and what can be done with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clarivox.cli.screen import say, say_json, table

if TYPE_CHECKING:
    from clarivox.bundle import BundleInfo
    from clarivox.io.series import SeriesInfo


def info(
    path: Annotated[Path, typer.Argument(help="A file, a folder at any depth, or a zip.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List what is there, from headers alone, and which bundles fit."""
    from clarivox.bundle import catalogue
    from clarivox.io import scan

    found = scan(path)
    bundles = [bundle for bundle in catalogue() if bundle.task != "identity"]
    if as_json:
        say_json([{**one.as_dict(), "bundles": fitting(one, bundles)} for one in found])
        return
    every = [bundle.name for bundle in bundles]
    rows = [[str(number), *_cells(one, fitting(one, bundles), every)] for number, one in enumerate(found, start=1)]
    table("", ["#", "what", "size", "spacing mm", "stored", "bundles", "to know"], rows)
    usable = sum(one.usable for one in found)
    say(f"{len(found)} found, {usable} readable.")
    if any(one.usable and not one.modality for one in found):
        say(f"Any bundle: the file does not say its modality, so choose among {', '.join(every)} by what it shows.")
    if any(fitting(one, bundles) for one in found):
        say("clarivox enhance IN -b BUNDLE -o OUT enhances those that a bundle is for.")


def fitting(series: SeriesInfo, bundles: list[BundleInfo]) -> list[str]:
    """Names of the bundles that take a series as it lies."""
    if not series.usable:
        return []
    clip = series.third_axis == "time"
    return [
        bundle.name
        for bundle in bundles
        if bundle.accepts(series.modality)
        and (series.channels != "palette" or (bundle.accepts_palette and not bundle.weights))
        and (bundle.spatial_dims == 2 or bundle.clip or not clip)
        and (bundle.spatial_dims == 2 or series.irregular in ("", "gantry_tilt"))
    ]


def _cells(one: SeriesInfo, bundles: list[str], every: list[str]) -> list[str]:
    kind = one.kind or one.format
    # "CT CT image" and "CT enhanced CT image" would say it twice.
    what = " ".join(part for part in ("" if one.modality in kind.split() else one.modality, kind, one.part) if part)
    size = "x".join(str(side) for side in one.shape[1:]) if one.shape else ""
    if one.shape and one.shape[0] > 1:
        size += f" {one.shape[0]} {one.channels}"
    spacing = " x ".join(f"{mm:.3g}" for mm in one.spacing_mm) if one.spacing_mm else ""
    stored = ", ".join(part for part in (one.dtype, one.encoding, "lossy" if one.lossy else "") if part)
    problem = f"[{one.error_code}] {one.error_message}" if not one.usable else one.irregular_message
    name = one.description or (Path(one.files[0]).name if len(one.files) == 1 else f"{len(one.files)} files")
    to_know = "\n".join(part for part in (problem, *one.notes) if part)
    fits = "any" if bundles and not one.modality and bundles == every else "\n".join(bundles)
    return [f"{what}\n{name}", size, spacing, stored, fits or ("none" if one.usable else ""), to_know]
