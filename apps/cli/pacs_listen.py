# SPDX-License-Identifier: Apache-2.0
"""`clarivox pacs listen`: the DICOM node and the courier, without a server beside them."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from clarivox.cli.screen import say
from clarivox.cli.settings import Data, Given, prepared, settings_of
from clarivox.errors import OptionError


def listen(
    config: Annotated[Path, typer.Option("--config", help="The file that says who may send, and where results go.")] = (
        Path("pacs.yaml")
    ),
    data: Data = None,
    server_config: Annotated[
        Path | None,
        typer.Option(
            "--server-config", metavar="FILE", help="YAML file of the server's settings.", rich_help_panel="Settings"
        ),
    ] = None,
    given: Given = None,
) -> None:
    """Receive studies by DICOM, have them enhanced by rules, and send the results where the rules say.

    The least pacs.yaml lets one scanner send, and keeps what it sends:

    node: {ae_title: CLARIVOX, host: 0.0.0.0, port: 11112,
    allow: [{ae_title: CT1, address: 10.1.2.3}]}

    With rules: rules.yaml and destinations: {NAME: …} series become jobs and
    results go back; docs/pacs.md shows both, `clarivox pacs check` reads them.

    Jobs are done by a server of the same --data: `clarivox serve`, in another
    terminal, or `clarivox serve --pacs pacs.yaml`, which does all in one.
    Nobody may send who is not in allow. Try it:

    echoscu -aet CT1 -aec CLARIVOX HOST 11112

    storescu -aet CT1 -aec CLARIVOX +sd +r HOST 11112 STUDY

    A sender is told success when an instance is on the disk and in the ledger.
    Ctrl-C, or SIGTERM, ends; what was taken is kept.
    """
    settings = prepared(settings_of(server_config, given, data_dir=data, pacs=config))
    from clarivox.server import logs
    from clarivox.server.ledger import Ledger
    from clarivox.server.pacs.processes import Processes
    from clarivox.server.pacs.settings import read

    found = read(config)
    if found.node is None and found.orthanc is None:
        raise OptionError(f"{config.name} has neither node nor orthanc: nothing would come in", code="bad_pacs_file")
    ledger = Ledger(settings.ledger_url, settings=settings)
    ledger.open()
    ledger.close()
    logs.configure(settings, "pacs")
    ending = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ending.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    processes = Processes(settings, found, config, say)
    say(f"data {settings.data_dir.resolve()}; jobs are done by a server of the same data folder")
    processes.start()
    if found.node is not None and not found.node.allow:
        say("warning: allow is empty, so that nobody may send")
    try:
        while not ending.wait(1.0):
            pass
    finally:
        processes.stop()
