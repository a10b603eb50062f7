# SPDX-License-Identifier: Apache-2.0
"""`clarivox serve`: the server, and what to do next."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clarivox.cli.screen import say
from clarivox.cli.settings import Config, Data, Given, as_yaml, changed, prepared, settings_of
from clarivox.errors import OptionError

if TYPE_CHECKING:
    from clarivox.server.settings import Settings


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; 0.0.0.0 for all, and then keys are needed.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    data: Data = None,
    bundles: Annotated[
        list[Path] | None, typer.Option("--bundles", metavar="DIR", help="A folder of own bundles; may be repeated.")
    ] = None,
    allow_open: Annotated[
        bool | None, typer.Option("--allow-open", help="Start without keys on a public address; for closed networks.")
    ] = None,
    viewer: Annotated[
        bool | None, typer.Option("--viewer", help="Show studies in OHIF at /; clarivox viewer install fetches it.")
    ] = None,
    pacs: Annotated[
        Path | None,
        typer.Option("--pacs", metavar="FILE", help="pacs.yaml: the DICOM node, rules and destinations run beside."),
    ] = None,
    config: Config = None,
    given: Given = None,
    settings: Annotated[
        bool,
        typer.Option(
            "--settings", help="Print every setting as a file for --config, and end.", rich_help_panel="Settings"
        ),
    ] = False,
) -> None:
    """Serve over HTTP: take studies, enhance them one after the other, keep every job through a restart.

    Nothing else need run. Without flags only this machine can connect, and no
    key is needed. On any other address callers need one, from `clarivox keys`.
    Ctrl-C, or SIGTERM, lets running jobs end first.

    A setting comes from a flag, else from the environment as CLARIVOX_NAME,
    else from the file of --config, else it is the default.
    """
    flags = {"host": host, "port": port, "data_dir": data, "bundle_dirs": bundles, "allow_open": allow_open}
    wanted = settings_of(config, given, **flags, viewer=viewer, pacs=pacs)
    if settings:
        typer.echo(as_yaml(wanted), nl=False)
        return
    from clarivox.server.auth import check_start
    from clarivox.server.main import serve as start

    warnings = check_start(prepared(wanted))
    try:
        start(wanted, ready=lambda url: greet(wanted, url, warnings))
    except OSError as error:
        raise OptionError(refused(wanted, error), code="no_address") from error


def greet(settings: Settings, url: str, warnings: list[str]) -> None:
    """Say where the server is, how it is set up, and what one can do now."""
    from clarivox import __version__

    say(f"clarivox {__version__} serves {url}")
    where = "PostgreSQL" if settings.database else "SQLite, in the same folder"
    say(f"  data      {settings.data_dir.resolve()}; ledger: {where}")
    say("  keys      " + ("needed" if settings.needs_key else "not needed: only this machine can connect"))
    differing = changed(settings)
    for number, (name, value) in enumerate(differing):
        say(f"  {'' if number else 'set':9} {name} = {value}")
    for warning in warnings:
        say(f"  warning   {warning}")
    say()
    if settings.needs_key:
        say("Make a key:     clarivox keys create NAME" + (f" --data {settings.data_dir}"))
    say(f"Send a study:   clarivox submit STUDY -b BUNDLE -o OUT --server {url}")
    head = ' -H "Authorization: Bearer $CLARIVOX_KEY"' if settings.needs_key else ""
    say(f"or by curl:     curl{head} -F file=@scan.nii.gz -F bundle=mr_unet_denoise {url}/v1/enhance -o out.nii.gz")
    say(f"In a browser:   {url}/" + (f" is OHIF, {url}/app/ the page" if settings.viewer else ""))
    say(f"Look after it:  {url}/admin    Interface: {url}/docs")
    say("Stop it:        Ctrl-C; running jobs end first, and those that wait stay in the queue")


def refused(settings: Settings, error: OSError) -> str:
    """Why the server cannot listen there."""
    place = f"{settings.host} port {settings.port}"
    if error.errno == errno.EADDRINUSE:
        return f"{place} is taken by another program; choose another with --port, or --port 0 for a free one"
    if error.errno == errno.EACCES:
        return f"{place} may only be listened on by root; choose a port above 1023 with --port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{settings.host} is no address of this machine; use 127.0.0.1, or 0.0.0.0 for all"
    return f"{place}: {error.strerror or error}"
