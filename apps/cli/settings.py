# SPDX-License-Identifier: Apache-2.0
"""How the commands of the server come by its settings, and how they show them."""

from __future__ import annotations

import difflib
import importlib.util
import json
import tempfile
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clarivox.errors import OptionError

if TYPE_CHECKING:
    from pydantic import ValidationError

    from clarivox.server.settings import Settings

NEEDED = ("fastapi", "uvicorn", "pydantic_settings", "sqlalchemy", "alembic", "structlog", "psutil")

Config = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="YAML file of settings.", rich_help_panel="Settings")
]
Given = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any setting; may be repeated. Lists are given with commas.",
        rich_help_panel="Settings",
    ),
]
Data = Annotated[
    Path | None, typer.Option("--data", metavar="DIR", help="Folder of the ledger, the files and the logs.")
]


def settings_of(config: Path | None, given: Sequence[str] | None, **flags: Any) -> Settings:
    """The settings of a start; flags win over `given`, both over the environment, that over the file.

    Raises:
        OptionError: the packages are missing, the file cannot be read, a name is unknown or a value is wrong.
    """
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise OptionError(
            f"the server's packages are not installed ({', '.join(missing)}); pip install 'clarivox[server]'",
            code="no_server",
        )
    import yaml
    from pydantic import ValidationError

    from clarivox.server.settings import settings_from

    if config is not None and not config.is_file():
        raise OptionError(f"there is no file {config}; `clarivox serve --settings` prints one to begin with")
    values = values_of(given or ())
    try:
        return settings_from(config, **{**values, **{k: v for k, v in flags.items() if v is not None}})
    except ValidationError as error:
        raise OptionError(said(error), code="bad_setting") from error
    except (yaml.YAMLError, ValueError, TypeError) as error:
        where = f"{config} is not a list of NAME: VALUE" if config else "an environment variable is not readable"
        raise OptionError(f"{where}: {error}", code="bad_setting") from error


def prepared(settings: Settings) -> Settings:
    """The same settings, with the data folder made.

    Raises:
        OptionError: a folder cannot be used.
    """
    for folder in settings.bundle_dirs:
        if not folder.is_dir():
            raise OptionError(f"there is no folder {folder} of bundles", code="bad_setting")
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=settings.data_dir):
            return settings
    except OSError as error:
        why = f"the data folder {settings.data_dir} cannot be used: {error.strerror}"
        raise OptionError(f"{why}; name another with --data", code="bad_setting") from error


def values_of(given: Sequence[str]) -> dict[str, Any]:
    """Settings from words like port=9000 or cors_origins=https://a,https://b.

    Raises:
        OptionError: there is no "=", or no such setting.

    >>> values_of(["port=9000", "preload=identity,mr_unet_denoise"])
    {'port': '9000', 'preload': ['identity', 'mr_unet_denoise']}
    """
    from clarivox.server.settings import Settings

    values: dict[str, Any] = {}
    for word in given:
        name, equals, text = word.partition("=")
        if not name or not equals:
            raise OptionError(f"a setting is given as NAME=VALUE; found {word!r}", code="bad_setting")
        field = Settings.model_fields.get(name)
        if field is None:
            raise OptionError(unknown(name), code="bad_setting")
        if text.startswith(("[", "{")):
            try:
                values[name] = json.loads(text)
            except json.JSONDecodeError as error:
                raise OptionError(f"{name}: not JSON: {error}", code="bad_setting") from error
        elif typing.get_origin(field.annotation) is tuple:
            values[name] = [one.strip() for one in text.split(",") if one.strip()]
        else:
            values[name] = text
    return values


def unknown(name: str) -> str:
    """What to say of a name that is no setting."""
    from clarivox.server.settings import Settings

    near = difflib.get_close_matches(name, Settings.model_fields, n=1)
    hint = f"; did you mean {near[0]}?" if near else "; `clarivox serve --settings` lists them"
    return f"there is no setting {name}{hint}"


def said(error: ValidationError) -> str:
    """What is wrong with the settings, a line each, with no value that could be a secret."""
    from clarivox.server.settings import Settings

    lines = []
    for one in error.errors(include_url=False, include_input=False):
        name = str(one["loc"][0]) if one["loc"] else ""
        if name not in Settings.model_fields:
            lines.append(unknown(name))
            continue
        place = ".".join(str(part) for part in one["loc"])
        allowed = str(one.get("ctx", {}).get("pattern", "")).strip("^$()")
        wrong = one["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
        lines.append(f"{place} must be {allowed.replace('|', ', ') or wrong}")
    return "\n".join(lines)


def shown(value: Any) -> str:
    """A setting's value as --set takes it; a secret is dots.

    >>> shown(None), shown(True), shown(("a", "b")), shown(2 << 30)
    ('', 'true', 'a,b', '2147483648')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, dict):
        return json.dumps(value)
    return str(value)


def changed(settings: Settings) -> list[tuple[str, str]]:
    """Name and value of each setting that is not at its default."""
    fields = type(settings).model_fields
    return [
        (name, shown(getattr(settings, name))) for name in fields if getattr(settings, name) != fields[name].default
    ]


def kind_of(annotation: Any) -> str:
    """What a setting takes, in a word.

    >>> kind_of(int), kind_of(tuple[str, ...]), kind_of(Path | None)
    ('whole number', 'list', 'path')
    """
    if isinstance(annotation, types.UnionType):
        annotation = next(one for one in typing.get_args(annotation) if one is not type(None))
    if typing.get_origin(annotation) is tuple:
        return "list"
    words = {bool: "true or false", int: "whole number", float: "number", str: "text", Path: "path"}
    return words.get(annotation, "table" if typing.get_origin(annotation) is dict else "secret")


def as_yaml(settings: Settings) -> str:
    """Every setting with its meaning, as a file for --config; what is at its default is commented out."""
    import yaml

    lines = ["# Settings of clarivox serve. Each can also stand in the environment as CLARIVOX_NAME, or as --set.\n"]
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        plain: Any = list(value) if isinstance(value, tuple) else value
        plain = str(plain) if not isinstance(plain, bool | int | float | dict | list | None) else plain
        if isinstance(plain, list):
            plain = [str(one) for one in plain]
        if isinstance(plain, dict):
            plain = {key: list(one) for key, one in plain.items()}
        text = f"{name}: " + yaml.safe_dump(plain, default_flow_style=True, width=1000).removesuffix("...\n").strip()
        mark = "# " if value == field.default else ""
        lines.append(f"# {field.description}\n{mark}{text}\n")
    return "\n".join(lines)


def as_table(settings: type[Settings]) -> str:
    """Every setting as Markdown: what it takes, its default, its meaning."""
    lines = ["| setting | takes | default | meaning |", "| --- | --- | --- | --- |"]
    for name, field in settings.model_fields.items():
        default = shown(field.default).replace("|", "\\|")
        lines.append(f"| `{name}` | {kind_of(field.annotation)} | {default or 'none'} | {field.description} |")
    return "\n".join(lines)
