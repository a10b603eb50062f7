# SPDX-License-Identifier: Apache-2.0
"""Who may import whom: read from the syntax tree, so that lazy imports count too."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLACES = {"clarivox": "clarivox", "server": "clarivox.server", "transforms": "clarivox.transforms"}
PLACES |= {"apps/cli": "clarivox.cli", "bundles": "clarivox.bundles"}

ONLY_IN = {
    "pydicom": ("clarivox.io.dicom_", "clarivox.server.pacs"),
    "pynetdicom": ("clarivox.server.pacs",),
    "fastapi": ("clarivox.server",),
    "starlette": ("clarivox.server",),
    "uvicorn": ("clarivox.server", "clarivox.cli"),
    "SimpleITK": ("clarivox.io.nrrd", "clarivox.io.nrrd_", "clarivox.classical"),
    "itk": ("clarivox.io.nrrd", "clarivox.classical"),
    "nibabel": ("clarivox.io.nifti", "clarivox.io.nifti_"),
    "typer": ("clarivox.cli",),
    "rich": ("clarivox.cli",),
}
"""Package: prefixes of the modules that may import it."""

MAY_USE = {
    "clarivox.errors": (),
    "clarivox.volume": ("numpy", "clarivox.errors", "clarivox.shown"),  # shown only when a notebook asks
    "clarivox.transforms": ("torch", "numpy", "monai", "clarivox.errors", "clarivox.transforms"),
    "clarivox.networks": ("torch", "numpy", "monai", "clarivox.errors", "clarivox.networks", "clarivox.transforms"),
}
"""Prefix of a module: all that it may import beside the standard library."""

NEVER = {
    "clarivox.server": ("clarivox.cli",),
    "clarivox.bundles": ("clarivox",),
    "clarivox": ("clarivox.server", "clarivox.cli"),
}
"""Prefix of a module: what it must not import. The first prefix that fits counts."""


def modules() -> Iterator[tuple[str, Path]]:
    """Name and file of every module of the tree."""
    for folder, package in PLACES.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            if folder == "clarivox" and parts[0] in ("server", "transforms", "cli"):
                continue  # links to the folders listed beside it
            yield ".".join((package, *(part for part in parts if part != "__init__"))), path


def imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names that a module imports, at any depth, except those for type checkers only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{name.name}" for name in node.names)
        else:
            yield from imports(node)


def within(name: str, prefixes: tuple[str, ...]) -> bool:
    """True where a dotted name is one of the prefixes or lies below it; "x.y_" also fits "x.y_z"."""
    return any(name == p or name.startswith((p + ".", p if p.endswith("_") else p + ".")) for p in prefixes)


def faults(module: str, source: str) -> list[str]:
    """The rules that a module breaks."""
    found = []
    for name in imports(ast.parse(source)):
        top = name.split(".")[0]
        if top in ONLY_IN and not within(module, ONLY_IN[top]):
            found.append(f"{module} imports {name}; only {ONLY_IN[top]} may")
        allowed = next((value for prefix, value in MAY_USE.items() if within(module, (prefix,))), None)
        if allowed is not None and top not in sys.stdlib_module_names and not within(name, allowed):
            found.append(f"{module} imports {name}; it may use {allowed}")
        if not within(module, ("clarivox.cli",)):
            never = next(value for prefix, value in NEVER.items() if within(module, (prefix,)))
            if within(name, never):
                found.append(f"{module} imports {name} upward")
    return found


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=lambda value: value if isinstance(value, str) else "")
def test_a_module_imports_only_what_its_layer_may(module: str, path: Path) -> None:
    assert faults(module, path.read_text()) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("clarivox.enhance", "def f():\n    import pydicom"),
        ("clarivox.volume", "import torch"),
        ("clarivox.networks.unet", "from clarivox.volume import Volume"),
        ("clarivox.windows", "from clarivox.server import main"),
        ("clarivox.server.main", "import clarivox.cli.main"),
    ],
)
def test_an_import_against_the_layers_is_found(module: str, source: str) -> None:
    assert faults(module, source)
