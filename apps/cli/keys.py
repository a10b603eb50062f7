# SPDX-License-Identifier: Apache-2.0
"""`clarivox keys`: who may use the server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from clarivox.cli.screen import say, say_json, table
from clarivox.cli.settings import Config, Data, Given, prepared, settings_of

if TYPE_CHECKING:
    from clarivox.server.keys import Keys

keys = typer.Typer(
    name="keys",
    help="Who may use the server: make, list and revoke API keys.",
    no_args_is_help=True,
    add_completion=False,
)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@contextmanager
def _kept(config: Config, data: Data, given: Given) -> Iterator[Keys]:
    settings = prepared(settings_of(config, given, data_dir=data))
    from clarivox.server.audit import Audit
    from clarivox.server.keys import Keys
    from clarivox.server.ledger import Ledger

    ledger, audit = Ledger(settings.ledger_url, settings=settings), Audit(settings.data_dir)
    ledger.open(check=False)
    try:
        yield Keys(ledger.database, audit)
    finally:
        ledger.close()
        audit.close()


@keys.command()
def create(
    label: Annotated[str, typer.Argument(help="What it is for, as: ward 3 workstation.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(help="read, infer or admin; may be repeated, as none holds another. Without: read and infer."),
    ] = None,
    data: Data = None,
    config: Config = None,
    given: Given = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it; it is shown this once and kept nowhere."""
    with _kept(config, data, given) as kept:
        key, row = kept.create(label, scope or ("read", "infer"))
    if as_json:
        say_json({"key": key, "id": row.id, "scopes": sorted(row.scopes)})
        return
    say(key)
    typer.echo(
        f"Key {row.id} may {', '.join(sorted(row.scopes))}. It is not shown again. A caller gives it as\n"
        f"    Authorization: Bearer KEY\nand clarivox submit takes it from the environment as CLARIVOX_KEY.",
        err=True,
    )


@keys.command("list")
def list_keys(data: Data = None, config: Config = None, given: Given = None, as_json: AsJson = False) -> None:
    """List the keys, without the keys themselves."""
    with _kept(config, data, given) as kept:
        rows = kept.list()
    if as_json:
        say_json([{"id": r.id, "label": r.label, "scopes": sorted(r.scopes), "created": r.created,
                   "last_used": r.last_used, "revoked": r.revoked} for r in rows])  # fmt: skip
        return
    columns = ["key", "for", "may", "made", "last used", "revoked"]
    told = [
        [one.id, one.label, ", ".join(sorted(one.scopes)), *map(_day, (one.created, one.last_used, one.revoked))]
        for one in rows
    ]
    table("", columns, told)


@keys.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `clarivox keys list` shows it.")],
    data: Data = None,
    config: Config = None,
    given: Given = None,
) -> None:
    """Make a key useless at once, in a running server too."""
    with _kept(config, data, given) as kept:
        row = kept.revoke(key_id)
    say(f"key {row.id} ({row.label}) is revoked")


def _day(at: float | None) -> str:
    return "" if at is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
