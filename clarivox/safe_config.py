# SPDX-License-Identifier: Apache-2.0
"""Reading a bundle's configuration without running what is in it.

MONAI's parser imports any `_target_` and evaluates any `$` string. A configuration is data from elsewhere, so it is
read and checked here first: only classes of known packages, only arithmetic, no macros, no special modes.
"""

from __future__ import annotations

import ast
import json
import pydoc
import re
from pathlib import Path
from typing import Any

import yaml

from clarivox.errors import BundleError

ALLOWED = (
    r"clarivox\.(?:prepare|windows|evaluator|classical|diffusion)\.[A-Z]\w*",
    r"clarivox\.(?:networks|transforms|io)(?:\.[a-z]\w*)?\.[A-Z]\w*",
    r"monai\.networks\.(?:nets|blocks|schedulers)\.[A-Z]\w*",
    r"monai\.inferers\.[A-Z]\w*",
    r"monai\.data\.Dataset",
    r"torch\.nn\.[A-Z]\w*",
)
"""What `_target_` may name: classes only, each by its full name."""

CALLS = frozenset({"$from clarivox.io import volumes", "$volumes(@dataset_dir)", "$@evaluator.run()"})
"""The calls that a configuration may make, word for word: list a folder's volumes, and enhance them."""

SPECIAL = {"_target_", "_desc_"}
"""Keys with underscores that may stand in a configuration. `_mode_` would start a debugger, for one."""

ARITHMETIC = (
    ast.Expression,
    ast.Constant,
    ast.Name,
    ast.Load,
    ast.BinOp,
    ast.UnaryOp,
    ast.Compare,
    ast.BoolOp,
    ast.IfExp,
    ast.List,
    ast.Tuple,
    ast.operator,
    ast.unaryop,
    ast.cmpop,
    ast.boolop,
)


def read_config(path: Path) -> dict[str, Any]:
    """A YAML or JSON file whose content may be given to MONAI's parser.

    Raises:
        BundleError: the file cannot be read, is not a mapping, or holds something that is not allowed.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as cause:
        raise BundleError(f"{path.name} of the bundle cannot be read: {type(cause).__name__}") from cause
    if not isinstance(content, dict):
        raise BundleError(f"{path.name} of the bundle must be a mapping")
    try:
        check(content, path.name)
    except RecursionError as cause:
        raise BundleError(f"{path.name} of the bundle is nested too deeply") from cause
    return content


def check(content: Any, where: str) -> None:
    """Refuse a configuration that could run more than it should.

    >>> check({"network_def": {"_target_": "torch.nn.Identity"}}, "inference.yaml")
    >>> check({"network_def": {"_target_": "os.system", "command": "ls"}}, "inference.yaml")
    Traceback (most recent call last):
        ...
    clarivox.errors.BundleError: inference.yaml::network_def::_target_: os.system is not an allowed class

    Raises:
        BundleError: naming the place and what was found there.
    """
    if isinstance(content, dict):
        for key, value in content.items():
            place = f"{where}::{key}"
            if not isinstance(key, str) or not (key in SPECIAL or re.fullmatch(r"[A-Za-z]\w*", key)):
                raise BundleError(f"{place}: the key {key!r} is not allowed")
            if key == "_target_":
                _check_target(value, place)
            else:
                check(value, place)
    elif isinstance(content, list):
        for number, value in enumerate(content):
            check(value, f"{where}::{number}")
    elif isinstance(content, str):
        _check_text(content, where)


def _check_target(target: Any, where: str) -> None:
    """Refuse any `_target_` but the full name of a class from `ALLOWED` that is defined in that package."""
    if not isinstance(target, str) or not any(re.fullmatch(pattern, target) for pattern in ALLOWED):
        raise BundleError(f"{where}: {target} is not an allowed class")


def check_defined(content: Any) -> None:
    """Refuse a `_target_` that is not a class made by clarivox, monai or torch; imports the modules.

    Raises:
        BundleError: naming the target.
    """
    if isinstance(content, dict):
        target = content.get("_target_")
        if target is not None:
            found = pydoc.locate(target)
            home = str(getattr(found, "__module__", "")).split(".")[0]
            if not isinstance(found, type) or home != target.split(".")[0]:
                raise BundleError(f"{target} is not a class of {target.split('.')[0]}")
    for value in content.values() if isinstance(content, dict) else content if isinstance(content, list) else ():
        check_defined(value)


def _check_text(text: str, where: str) -> None:
    """Refuse macros, and every expression but arithmetic on references."""
    if text.lstrip().startswith("%"):
        raise BundleError(f"{where}: references to other files are not allowed")
    if not text.startswith("$") or text in CALLS:
        return
    try:
        tree = ast.parse(re.sub(r"@[\w:#]+", "reference", text[1:]).strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as cause:
        raise BundleError(f"{where}: {text[:80]} is not an expression") from cause
    for node in ast.walk(tree):
        power = isinstance(node, ast.Pow | ast.LShift)
        stranger = isinstance(node, ast.Name) and node.id != "reference"
        if power or stranger or not isinstance(node, ARITHMETIC):
            raise BundleError(f"{where}: {text[:80]} may only hold arithmetic on references")
