# SPDX-License-Identifier: Apache-2.0
"""The command `clarivox`. Nothing heavy is imported before the chosen command runs."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from clarivox.cli.backup import backup, restore
from clarivox.cli.bundles import bundles
from clarivox.cli.compare import compare
from clarivox.cli.demo import demo
from clarivox.cli.doctor import doctor
from clarivox.cli.enhance import enhance
from clarivox.cli.evaluate import evaluate
from clarivox.cli.info import info
from clarivox.cli.interpret import interpret
from clarivox.cli.keys import keys
from clarivox.cli.pacs import pacs
from clarivox.cli.sample import sample
from clarivox.cli.screen import EXIT_CODES, Reporting
from clarivox.cli.serve import serve
from clarivox.cli.submit import submit
from clarivox.cli.train import preprocess, train
from clarivox.cli.unblind import unblind
from clarivox.cli.viewer import viewer
from clarivox.cli.watch import watch
from clarivox.cli.worker import worker

_EPILOG = "Exit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items()) + "."

app = typer.Typer(
    name="clarivox",
    cls=Reporting,
    help="Medical image enhancement: the geometry kept, every change shown. Research software, not a medical device.",
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (enhance, info, bundles, compare, evaluate, interpret, sample, doctor, demo, train, preprocess, unblind):
    app.command()(command)
app.command(rich_help_panel="Server")(serve)
app.command(rich_help_panel="Server")(submit)
app.command(rich_help_panel="Server")(watch)
app.command(rich_help_panel="Server")(worker)
app.command(rich_help_panel="Server")(backup)
app.command(rich_help_panel="Server")(restore)
app.add_typer(keys, rich_help_panel="Server")
app.add_typer(pacs, name="pacs", rich_help_panel="Server")
app.add_typer(viewer, name="viewer", rich_help_panel="Server")


def _version(wanted: bool) -> None:
    if wanted:
        from clarivox import __version__

        typer.echo(f"clarivox {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Medical image enhancement: the geometry kept, every change shown. Research software, not a medical device."""


def run() -> None:
    """Run the command line and end the process with its exit code."""
    # On cores that others use too, threads of torch that wait in a spin made small networks a hundred times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    app()
