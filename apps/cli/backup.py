# SPDX-License-Identifier: Apache-2.0
"""`clarivox backup` and `clarivox restore`: a server's data, copied while it works, and put back."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from clarivox.cli.screen import say
from clarivox.cli.settings import Config, Data, Given, settings_of
from clarivox.errors import OptionError


def backup(
    target: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder for the backup.")],
    data: Data = None,
    config: Config = None,
    given: Given = None,
) -> None:
    """Copy all that a server knows into FOLDER, while it works.

    Jobs, the files that they use, keys, the audit log and trained bundles go
    along. On the same disk files are linked and take no room of their own; copy
    FOLDER to another disk then, as with `cp -r`.
    """
    settings = settings_of(config, given, data_dir=data)
    from clarivox.server.backup import backup as copy

    if not settings.data_dir.is_dir():
        raise OptionError(f"there is no folder {settings.data_dir}; name the server's with --data")
    made = copy(settings, target)
    say(f"{target}: {made.rows.get('job', 0)} jobs and {made.files} files, as they were {_time(made.taken)}")
    if made.missing:
        say(f"{len(made.missing)} files were deleted meanwhile; their jobs will come back as purged")


def restore(
    source: Annotated[Path, typer.Argument(metavar="FOLDER", help="A backup.")],
    data: Data = None,
    config: Config = None,
    given: Given = None,
) -> None:
    """Put a backup into an empty data folder, and an empty database, of a server that does not run.

    Jobs that ran when it was taken go back to the queue.
    """
    settings = settings_of(config, given, data_dir=data)
    from clarivox.server.backup import restore as put_back

    found = put_back(source, settings)
    jobs = found.rows.get("job", 0)
    say(f"{settings.data_dir}: {jobs} jobs and {found.files} files, as they were {_time(found.taken)}")
    if found.missing:
        say(f"{len(found.missing)} files are missing; their jobs are purged")


def _time(at: float) -> str:
    return time.strftime("on %Y-%m-%d at %H:%M:%S", time.localtime(at))
