# SPDX-License-Identifier: Apache-2.0
"""`clarivox worker`: workers alone, as on a second machine; they take jobs from the server's ledger."""

from __future__ import annotations

from typing import Annotated

import typer

from clarivox.cli.screen import say
from clarivox.cli.settings import Config, Data, Given, prepared, settings_of


def worker(
    database: Annotated[
        str | None,
        typer.Option(
            envvar="CLARIVOX_DATABASE", metavar="URL", help="The server's: postgresql+psycopg://…", show_envvar=True
        ),
    ] = None,
    data: Data = None,
    devices: Annotated[str | None, typer.Option(help="auto, cpu, or names as cuda:0,cuda:1; one worker each.")] = None,
    config: Config = None,
    given: Given = None,
) -> None:
    """Work for a server that runs elsewhere: take its jobs, one worker process for each device here.

    Both machines need the same PostgreSQL database and the same data folder,
    as a shared disk: the ledger holds the jobs, the folder their files.
    Nothing listens here. Ctrl-C, or SIGTERM, lets running jobs end first.
    """
    settings = prepared(settings_of(config, given, database=database, data_dir=data, devices=devices))
    from clarivox.server import logs
    from clarivox.server.fleet import run_fleet
    from clarivox.server.ledger import Ledger

    Ledger(settings.ledger_url, settings=settings).close()  # refuses an address that is none
    where = "PostgreSQL" if settings.database else "SQLite in the same folder, so for a server on this machine only"
    say(f"takes jobs of the server whose data folder is {settings.data_dir.resolve()}; ledger: {where}")
    say("Stop it: Ctrl-C; running jobs end first")
    logs.configure(settings, "workers")
    run_fleet(settings)
