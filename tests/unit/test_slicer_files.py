# SPDX-License-Identifier: Apache-2.0
"""The files of the 3D Slicer extension: what Slicer and its Extensions Index want of them. Slicer itself is not run."""

import ast
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import jsonschema
import pytest

ROOT = Path(__file__).parents[2]
EXTENSION = ROOT / "apps" / "slicer"
MODULE = EXTENSION / "Clarivox"
SHIPPED = ("client.py", "client_wire.py", "errors.py")

ENTRY = {
    "type": "object",
    "additionalProperties": False,
    "required": ["$schema", "category", "scm_url"],
    "properties": {
        "$schema": {"type": "string", "pattern": r"v1\.0\.1\.json#$"},
        "build_dependencies": {"type": "array", "items": {"type": "string"}},
        "build_subdirectory": {"type": "string"},
        "category": {"type": "string"},
        "enabled": {"type": "boolean"},
        "scm_revision": {"type": "string"},
        "scm_type": {"enum": ["git", "local"]},
        "scm_url": {"type": "string", "pattern": r"^https://.+\.git$"},
        "tier": {"enum": [1, 3, 5]},
    },
}
"""What the index takes, schema 1.0.1, in our words."""


@pytest.mark.parametrize("name", SHIPPED)
def test_the_client_in_the_extension_is_the_library_s_own(name: str) -> None:
    shipped = MODULE / "ClarivoxLib" / "clarivox" / name
    assert shipped.read_bytes() == (ROOT / "clarivox" / name).read_bytes(), "run: make slicer"


def test_the_index_entry_is_what_the_index_takes() -> None:
    jsonschema.validate(json.loads((EXTENSION / "Clarivox.json").read_text()), ENTRY)


def test_every_file_that_cmake_lists_is_there_and_no_script_is_left_out() -> None:
    listed = set(re.findall(r"^  (\S+\.(?:py|png|ui))$", (MODULE / "CMakeLists.txt").read_text(), re.MULTILINE))
    listed = {name.replace("${MODULE_NAME}", "Clarivox") for name in listed}
    assert all((MODULE / name).is_file() for name in listed)
    assert {str(path.relative_to(MODULE)) for path in (MODULE / "ClarivoxLib").rglob("*.py")} <= listed


def test_every_widget_that_the_code_names_is_in_the_form() -> None:
    form = ElementTree.parse(MODULE / "Resources" / "UI" / "Clarivox.ui")
    names = {one.get("name") for one in form.iter() if one.tag in ("widget", "layout")}
    used = set(re.findall(r"self\.ui\.(\w+)", (MODULE / "Clarivox.py").read_text()))
    assert used and used <= names
    own = {"ctkCollapsibleButton", "ctkSliderWidget", "qMRMLNodeComboBox", "qMRMLWidget"}
    kinds = {one.get("class") for one in form.iter("widget")}
    assert all(kind.startswith("Q") or kind in own for kind in kinds)


@pytest.mark.parametrize("path", sorted(MODULE.rglob("*.py")), ids=lambda path: path.name)
def test_the_module_is_python_3_9(path: Path) -> None:
    ast.parse(path.read_text(), feature_version=(3, 9))


def fits(program: str) -> bool:
    """Whether a name runs a Python of at least 3.9; a version manager has names that run nothing."""
    asked = subprocess.run([program, "-c", "import sys; sys.exit(sys.version_info < (3, 9))"], capture_output=True)
    return asked.returncode == 0


def test_the_client_is_imported_by_every_python_at_hand_without_a_package() -> None:
    found = {str(path) for path in Path.home().glob(".pyenv/versions/3.*/bin/python3")}
    found |= {program for minor in range(9, 15) if (program := shutil.which(f"python3.{minor}"))}
    found = {program for program in found if fits(program)}
    assert found
    code = f"import sys; sys.path.insert(0, {str(MODULE / 'ClarivoxLib')!r}); import clarivox.client as c; c.Client"
    for program in sorted(found):
        subprocess.run([program, "-I", "-S", "-c", code], check=True)


def test_the_logic_touches_no_application() -> None:
    for path in (MODULE / "ClarivoxLib").glob("*.py"):
        assert not re.search(r"slicer\.app\b|import qt|import ctk", path.read_text()), path.name
