# SPDX-License-Identifier: Apache-2.0
"""`clarivox watch`: a folder whose studies are enhanced by a server as they come."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from clarivox.cli.enhance import parsed
from clarivox.cli.screen import say
from clarivox.cli.submit import SERVER, Authority, Key, Options, Server, Strength

LOOK_S = 1.0


def watch(
    folder: Annotated[Path, typer.Argument(help="Where studies are put: each file and each sub-folder is one.")],
    bundle: Annotated[str, typer.Option("--bundle", "-b", help="A bundle of the server.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where results go; not within the folder.")],
    server: Server = SERVER,
    key: Key = None,
    authority: Authority = None,
    options: Options = None,
    strength: Strength = 1.0,
    settle: Annotated[float, typer.Option(min=0, help="Seconds that an entry must stay the same.")] = 10.0,
    tries: Annotated[int, typer.Option(min=1, help="How often an entry is sent before it counts as failed.")] = 3,
    once: Annotated[bool, typer.Option("--once", help="End when all that is there now is worked through.")] = False,
    again: Annotated[bool, typer.Option("--again", help="First let what failed be tried anew.")] = False,
) -> None:
    """Enhance whatever is put into FOLDER, and put the results into OUTPUT.

    Nothing in FOLDER is changed. What was enhanced is not enhanced twice, after
    a kill neither: OUTPUT/.clarivox-watch.json says what became of each entry.
    """
    from clarivox.client import Client
    from clarivox.watch import Watch

    client = Client(server, key, authority=str(authority) if authority else None)
    params: dict[str, Any] = {"strength": strength, "options": parsed(options or [])}
    watched = Watch(client, folder, output, bundle, params, settle, tries)
    if again:
        say(f"{watched.again()} entries are tried anew")
    say(f"watching {folder} for {bundle}; results go to {output}; Ctrl-C ends it")
    begun = time.monotonic()
    try:
        while True:
            for entry in watched.look():
                words = f": {entry.words} [{entry.code}]" if entry.state == "failed" else ""
                say(f"{entry.name} {entry.state}{words}")
            if once and time.monotonic() - begun > settle + LOOK_S:
                return
            time.sleep(LOOK_S)
    except KeyboardInterrupt:
        say("ended; the same command goes on")
