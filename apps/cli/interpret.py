# SPDX-License-Identifier: Apache-2.0
"""`clarivox interpret`: what a network does to a picture, as filters, kernels and activations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clarivox.cli.bundles import complete_bundle
from clarivox.cli.enhance import parsed
from clarivox.cli.screen import say, say_json, table
from clarivox.errors import OptionError


def interpret(
    bundle: Annotated[str, typer.Argument(help="A bundle's name or folder.", autocompletion=complete_bundle)],
    image: Annotated[Path, typer.Argument(help="A file, a folder or a zip with one volume.")],
    at: Annotated[
        list[str] | None, typer.Option(metavar="X,Y", help="Voxel whose filter to show; may be repeated.")
    ] = None,
    slice_index: Annotated[int | None, typer.Option("--slice", help="Along Z; the middle one by default.")] = None,
    options: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="An option of the bundle; may be repeated.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for the page and the pictures.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Run on a modality that the bundle is not for.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is in the folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the filter of BUNDLE's network at voxels of IMAGE, the kernels it predicts, and its activations."""
    from clarivox import __version__
    from clarivox.bundle import find, load
    from clarivox.interpret import interpret as looked
    from clarivox.interpret_page import as_dict, layer_table, verdict, write
    from clarivox.io import read

    places = [place_of(text) for text in at or ()]
    loaded = load(find(bundle).folder, **parsed(options or []))
    volume = read(image, allow_uneven=True)
    found = looked(volume, loaded, places, slice_index=slice_index, force=force)
    corner = ", ".join(f"{axis} {part.start}:{part.stop}" for axis, part in zip("xyz", found.part, strict=False))
    about = (f"{loaded.info.name} {loaded.info.version}", f"part {corner}", f"clarivox {__version__}")
    if output is not None:
        write(found, about, output, overwrite)
    if as_json:
        say_json(as_dict(found, about))
        return
    rows = [
        [
            one.what,
            ", ".join(map(str, one.at)),
            f"{one.output:.5g}",
            f"{one.product:.5g}",
            f"{one.remainder:.1e}",
            f"{one.width_px:.2f}",
        ]
        for one in found.filters
    ]
    table("", ["voxel", "at", "output", "filter x input", "remainder", "width, px"], rows)
    say(verdict(found))
    table("", *layer_table(found))
    if output is not None:
        say(f"page: {output / 'index.html'}")


def place_of(text: str) -> tuple[int, int]:
    """A voxel from words like 120,80.

    Raises:
        OptionError: the words are not two whole numbers.

    >>> place_of("120,80")
    (120, 80)
    """
    try:
        x, y = (int(part) for part in text.split(","))
    except ValueError:
        raise OptionError(f"a voxel is X,Y in whole numbers; found {text!r}; write for example 120,80") from None
    return x, y
