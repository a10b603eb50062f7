# SPDX-License-Identifier: Apache-2.0
"""`clarivox bundles`: which bundles there are, and what each says about itself."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clarivox.cli.screen import say, say_json, table

if TYPE_CHECKING:
    from clarivox.bundle import BundleInfo


def complete_bundle(incomplete: str) -> list[tuple[str, str]]:
    """Names of bundles that begin so, with what each does, for the shell's completion."""
    from clarivox.bundle import catalogue

    return [(info.name, info.description) for info in catalogue() if info.name.startswith(incomplete)]


def bundles(
    name: Annotated[
        str | None, typer.Argument(help="A bundle's name or folder; all without.", autocompletion=complete_bundle)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the bundles, or show one: what it is for, its options, its measured figures."""
    from clarivox.bundle import catalogue, find

    if name is None:
        found = catalogue()
        if as_json:
            say_json([_content(info) for info in found])
            return
        rows = [[i.name, i.task, _modalities(i), _size(i), i.licence, i.description] for i in found]
        table("", ["bundle", "task", "for", "weights", "licence", "what it does"], rows)
        say("clarivox bundles NAME shows options and measured figures.")
        return
    info = find(name)
    if as_json:
        say_json(_content(info))
    else:
        _show(info)


def _show(info: BundleInfo) -> None:
    say(f"{info.name} {info.version}: {info.description}")
    facts = [
        ["task", info.task],
        ["for", _modalities(info)],
        ["weights", _size(info)],
        ["licence", info.licence],
        ["works on", f"{info.spatial_dims}D {'clips' if info.clip else 'images'}, {info.tiling} windows"],
        ["grid", "kept" if info.grid == "same" else "finer than the source's"],
        ["intended use", str(info.metadata.get("intended_use", ""))],
    ]
    if info.may_invent:
        facts.append(["warning", "may invent texture: fine detail in the result need not be in the source"])
    table("", ["", ""], facts)
    options = info.options.get("properties", {})
    if options:
        rows = [
            [f"--set {key}=…", _allowed(schema), str(schema.get("description", ""))] for key, schema in options.items()
        ]
        table("Options", ["option", "allowed", "meaning"], rows)
    if info.measured:
        columns = list(dict.fromkeys(key for row in info.measured for key in row))
        table("Measured", columns, [[str(row.get(key, "")) for key in columns] for row in info.measured])


def _content(info: BundleInfo) -> dict[str, Any]:
    content = asdict(info)
    content.pop("metadata")
    content["folder"] = str(info.folder)
    return content


def _modalities(info: BundleInfo) -> str:
    return ", ".join(info.modalities) or "any"


def _size(info: BundleInfo) -> str:
    return f"{info.weights_bytes / 1e6:.1f} MB" if info.weights else "none"


def _allowed(schema: dict[str, Any]) -> str:
    from clarivox.bundle import says

    default = f", default {schema['default']}" if "default" in schema else ""
    return says(schema).removeprefix("allowed are ") + default
