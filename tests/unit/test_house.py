# SPDX-License-Identifier: Apache-2.0
"""The tree's own rules: sizes, names, packages, examples that run."""

import ast
import doctest
import importlib
import json
import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = PROJECT["tool"]["setuptools"]
LINKS = {ROOT / "clarivox" / name for name in ("server", "transforms", "cli")}
SOURCES = [
    path
    for folder in ("clarivox", "server", "transforms", "apps/cli", "apps/ohif", "apps/web", "bundles")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if not LINKS & {path, *path.parents} and "node_modules" not in path.parts
]


def folder_of(package: str) -> Path:
    """Where a package of the list lies in the tree."""
    parts = package.split(".")
    for length in range(len(parts), 0, -1):
        mapped = SETUPTOOLS["package-dir"].get(".".join(parts[:length]))
        if mapped:
            return ROOT.joinpath(mapped, *parts[length:])
    raise LookupError(package)


def public_modules() -> list[str]:
    names = set(SETUPTOOLS["packages"])
    for package in SETUPTOOLS["packages"]:
        for found in pkgutil.iter_modules([str(folder_of(package))]):
            names.add(f"{package}.{found.name}")
    return sorted(name for name in names if not name.endswith("__main__"))


def test_the_list_of_packages_is_the_tree() -> None:
    listed = {folder_of(package) for package in SETUPTOOLS["packages"]}
    present = {path.parent for path in SOURCES if path.name == "__init__.py"}
    assert listed == present


def test_no_two_test_files_share_a_name() -> None:
    """pytest imports them by it, and stops at the second."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_has_at_most_400_lines_and_a_function_60(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    assert path.stem not in {"utils", "helpers", "common", "manager", "base", "core"}
    assert text.startswith("# SPDX-License-Identifier: Apache-2.0\n")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
            assert lines <= 60, f"{node.name} has {lines} lines"


@pytest.mark.parametrize("name", public_modules())
def test_the_examples_of_a_module_run(name: str) -> None:
    module = importlib.import_module(name)
    results = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert results.failed == 0


def test_importing_clarivox_brings_in_nothing_heavy() -> None:
    code = "import clarivox, clarivox.io, sys, json; print(json.dumps(sorted(sys.modules)))"
    loaded = set(json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout))
    assert not loaded & {"torch", "monai", "SimpleITK", "itk", "pydicom", "nibabel", "matplotlib", "skimage"}


def test_every_range_has_its_exact_version_in_the_constraints() -> None:
    def plain(requirement: str) -> str:
        name = requirement.split(">")[0].split("<")[0].split("=")[0].split("[")[0]
        return name.strip().lower().replace("_", "-")

    pinned = {plain(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    project = PROJECT["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    assert {plain(one) for one in wanted} - {"clarivox"} <= pinned
