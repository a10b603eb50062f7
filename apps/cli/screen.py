# SPDX-License-Identifier: Apache-2.0
"""What the commands share towards the user: exit codes, errors on one line, tables, the live bar."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from clarivox import errors

if TYPE_CHECKING:
    from rich.console import Console

    from clarivox.progress import Step

EXIT_CODES: dict[int, str] = {
    0: "all was done",
    1: "some series of several failed, doctor found something amiss, or a defect of clarivox itself",
    2: "the command line or an option is wrong",
    3: "the input cannot be used",
    4: "the bundle cannot be used",
    5: "too large for this device or disk",
    6: "the result cannot be written there",
    7: "a training stopped; its last good weights are kept",
    8: "the server refused, or cannot be reached",
    130: "cancelled",
}
"""What a program can rely on; the same table stands in docs/cli.md."""

_BY_CLASS: tuple[tuple[type[errors.ClarivoxError], int], ...] = (
    (errors.CancelledError, 130),
    (errors.TrainingError, 7),
    (errors.ServiceError, 8),
    (errors.OutputError, 6),
    (errors.CapacityError, 5),
    (errors.BundleError, 4),
    (errors.OptionError, 2),
    (errors.InputError, 3),
)


def exit_code(error: errors.ClarivoxError) -> int:
    """The exit code of an error.

    >>> exit_code(errors.DigestError("differs")), exit_code(errors.GeometryError("uneven"))
    (4, 3)
    """
    return next((code for kind, code in _BY_CLASS if isinstance(error, kind)), 1)


def console(*, error: bool = False) -> Console:
    """Where words go: to the standard output, or to the standard error; colours only on a terminal."""
    from rich.console import Console

    # A file or a pipe has no width of its own.
    piped = not (sys.stderr if error else sys.stdout).isatty()
    return Console(stderr=error, highlight=False, width=160 if piped else None)


def complain(error: errors.ClarivoxError, about: str = "") -> None:
    """Print an error as one line with its stable code, or several where the message lists what there is.

    Args:
        error: what went wrong.
        about: which of several volumes it went wrong with.
    """
    from rich.text import Text

    subject = f"{plain(about)}: " if about else ""
    line = Text.assemble(("error ", "bold red"), (f"[{error.code}] ", "red"), subject, plain(str(error), keep="\n"))
    console(error=True).print(line, soft_wrap=True)


def plain(text: str, keep: str = "") -> str:
    """Text without control characters, which a file's words could smuggle into a terminal.

    >>> plain("abdomen\\x1b[31m")
    'abdomen[31m'
    """
    return "".join(letter for letter in text if letter.isprintable() or letter in keep)


def say(text: str = "") -> None:
    """Print one line."""
    typer.echo(plain(text))


def say_json(content: Any) -> None:
    """Print what a program reads."""
    typer.echo(json.dumps(content, indent=2, ensure_ascii=False, default=str))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under headings; on a narrow terminal, cells fold."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    grid = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, heading in enumerate(columns):
        grid.add_column(heading, overflow="fold", no_wrap=number == 0, style="bold" if number == 0 else "")
    for row in rows:
        grid.add_row(*(Text(plain(cell, keep="\n")) for cell in row))
    console().print(grid)


class Reporting(TyperGroup):
    """A group of commands in which an error of clarivox is one line and an exit code, never a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except errors.ClarivoxError as error:
            complain(error)
            raise typer.Exit(exit_code(error)) from error
        except KeyboardInterrupt:
            complain(errors.CancelledError("stopped on request"))
            raise typer.Exit(130) from None


def in_words(seconds: float) -> str:
    """A time to wait.

    >>> in_words(89.6), in_words(700), in_words(9000)
    ('90 s', '12 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


@contextmanager
def watched(title: str = "") -> Iterator[Callable[[Step], bool]]:
    """A live bar, and a progress function that moves it; the first Ctrl-C cancels at the next step.

    A second Ctrl-C stops at once.
    """
    from rich import progress as bars

    error = console(error=True)
    stopped = False

    def stop(_number: int, _frame: Any) -> None:
        nonlocal stopped
        if stopped:
            raise KeyboardInterrupt
        stopped = True

    columns = (
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(),
        bars.TaskProgressColumn(),
        bars.TextColumn("{task.fields[left]}"),
    )
    with bars.Progress(*columns, console=error, transient=True, disable=not error.is_terminal) as bar:
        task = bar.add_task(plain(title), total=1.0, left="")

        def advance(step: Step) -> bool:
            left = "" if step.eta_s is None else f"{in_words(step.eta_s)} left"
            bar.update(task, description=plain(f"{title} {step.stage}".strip()), completed=step.fraction, left=left)
            return not stopped

        try:
            before = signal.signal(signal.SIGINT, stop)
        except ValueError:
            # Only the main thread may watch for Ctrl-C; elsewhere the caller stops us.
            yield advance
            return
        try:
            yield advance
        finally:
            signal.signal(signal.SIGINT, before)
