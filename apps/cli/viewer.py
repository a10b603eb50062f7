# SPDX-License-Identifier: Apache-2.0
"""`clarivox viewer install`: OHIF, to be served beside the server's own store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clarivox.cli.screen import say

viewer = typer.Typer(no_args_is_help=True, help="OHIF, the viewer that clarivox serve --viewer shows studies in.")


@viewer.callback()
def _viewer() -> None:
    """OHIF, the viewer that clarivox serve --viewer shows studies in."""


@viewer.command()
def install(
    file: Annotated[
        Path | None, typer.Option(help="The package, where it was fetched elsewhere: npm pack @ohif/app@3.13.2")
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="Where to put it; the user's own folder by default.")] = None,
) -> None:
    """Fetch OHIF by npm, verify its checksum, and put what is needed of it (49 of 204 MB) into a folder.

    Then: clarivox serve --viewer
    """
    from clarivox.server.viewer_files import VERSION, install, place

    target = folder or place()
    count = install(target, file)
    say(f"OHIF {VERSION}: {count} files in {target}")
    say("Show studies in it: clarivox serve --viewer" + (f" --set viewer_dir={folder}" if folder else ""))
