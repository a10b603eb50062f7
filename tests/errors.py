# SPDX-License-Identifier: Apache-2.0
"""Print every error code of the source with what it says, as Markdown: `python -m tests.errors > docs/errors.md`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clarivox import errors
from clarivox.cli.screen import EXIT_CODES, exit_code
from clarivox.volume import Fault

ROOT = Path(__file__).parents[1]
FOLDERS = ("clarivox", "server", "transforms", "apps/cli", "bundles")
LINKS = {ROOT / "clarivox" / name for name in ("server", "transforms", "cli")}

HEAD = """# Error codes

Every error that clarivox raises on purpose carries one of these codes; programs may rely on them, and on the exit code
of the command line. The message says what was asked, what was found, and what to do; `…` stands for what it found.
This page is printed by `python -m tests.errors` from the source, and a test compares the two.

| code | error | exit code | says |
| --- | --- | --- | --- |"""


@dataclass(frozen=True)
class Raised:
    """One place that raises an error with a code."""

    code: str
    error: str
    says: str


def classes() -> dict[str, type[errors.ClarivoxError]]:
    """The error tree by name."""
    return {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.ClarivoxError)
    }


def sources() -> Iterator[Path]:
    """Every Python file of the product, once."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not LINKS & {path, *path.parents}:
                yield path


def collected() -> list[Raised]:
    """Every code in the source: the classes' own, those given as `code=`, and the faults of a series' geometry."""
    found = [Raised(kind.code, name, (kind.__doc__ or "").splitlines()[0]) for name, kind in classes().items()]
    found += [Raised(str(fault), "GeometryError", "the slices do not lie on one regular grid: …") for fault in Fault]
    for path in sources():
        found += raised(ast.parse(path.read_text(encoding="utf-8")))
    return found


def raised(tree: ast.AST) -> list[Raised]:
    """The errors of one module that are given a code.

    >>> raised(ast.parse("raise FormatError(f'not {x}', code='not_it')"))
    [Raised(code='not_it', error='FormatError', says='not …')]
    """
    known, found = classes(), []
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        given = next((key.value for key in call.keywords if key.arg == "code"), None)
        name = ast.unparse(call.func).split(".")[-1]
        if given is None or (name not in known and "Error" not in ast.unparse(call.func)):
            continue
        says = wording(call.args[0]) if call.args else ""
        found += [Raised(code, name if name in known else "", says) for code in constants(given, tree)]
    return found


def constants(given: ast.expr, tree: ast.AST) -> Iterator[str]:
    """The strings that a code can be; a name is followed to where the module assigns it."""
    for node in ast.walk(given):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.Name):
            for other in ast.walk(tree):
                if isinstance(other, ast.Assign) and ast.unparse(other.targets[0]) == node.id:
                    value = other.value
                    choices = [value.body, value.orelse] if isinstance(value, ast.IfExp) else [value]
                    yield from (c.value for c in choices if isinstance(c, ast.Constant) and isinstance(c.value, str))


def wording(message: ast.expr) -> str:
    """A message with … for what only the run knows."""
    if isinstance(message, ast.Constant):
        return str(message.value)
    if isinstance(message, ast.JoinedStr):
        return "".join(wording(part) for part in message.values)
    return "…"


def rows() -> dict[str, list[Raised]]:
    """The places of each code, the ones with a message first."""
    by_code: dict[str, list[Raised]] = {}
    for one in collected():
        by_code.setdefault(one.code, []).append(one)
    return {code: sorted(places, key=lambda one: one.says in ("", "…")) for code, places in sorted(by_code.items())}


def page() -> str:
    """The whole of docs/errors.md."""
    lines = [HEAD]
    known = classes()
    for code, places in rows().items():
        names = list(dict.fromkeys(one.error for one in places if one.error)) or ["InputError"]
        exits = sorted({exit_code(known[name]("")) for name in names})
        says = " ".join(places[0].says.split()).replace("|", "\\|")
        lines.append(f"| `{code}` | {', '.join(names)} | {', '.join(map(str, exits))} | {says} |")
    lines += ["", "| exit code | means |", "| --- | --- |", *(f"| {n} | {text} |" for n, text in EXIT_CODES.items())]
    return "\n".join(lines)


if __name__ == "__main__":
    print(page())
