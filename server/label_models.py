# SPDX-License-Identifier: Apache-2.0
"""Bundles as MONAI Label's viewers know models, and what their option tables send as options of a bundle.

The viewers list only models of the types that they draw for, so an enhancement calls itself a segmentation without
labels; what it really does stands in keys that the viewers do not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clarivox.bundle import BundleInfo
from clarivox.errors import OptionError

TYPE = "segmentation"

TRAIN_MINUTES = 10
"""Of a training that says nothing else."""

STRATEGIES = {
    "latest_enhanced": "The newest enhanced image; {} where there is none.",
    "random": "The newest enhanced image that was not given yet; after them an image without a final label.",
}
"""Of active learning; Slicer offers the first, OHIF always asks for random."""

SCORING = {"changes": "What each enhancement changed, over the datastore: the figures of its evidence page."}


def model(info: BundleInfo) -> dict[str, Any]:
    """A bundle as an entry of `models` in /info/."""
    return {
        "type": TYPE,
        "labels": [],
        "dimension": info.spatial_dims,
        "description": info.description,
        "version": info.version,
        "config": config(info),
        "task": info.task,
        "output": "image",
        "modalities": list(info.modalities),
        "may_invent": info.may_invent,
    }


def trainable(info: BundleInfo) -> bool:
    """Whether a bundle can be trained on."""
    return info.weights and (info.folder / "configs" / "train.yaml").is_file()


def trainer(info: BundleInfo) -> dict[str, Any]:
    """A bundle as an entry of `trainers`."""
    about = f"Fine-tunes {info.name} on the datastore's own images into a new bundle; the old one stays."
    return {"description": about, "config": {"minutes": TRAIN_MINUTES, "steps": 0}}


def config(info: BundleInfo) -> dict[str, Any]:
    """The option table: flat; numbers, booleans, texts, and lists of texts with the default first.

    >>> from clarivox.bundle import find
    >>> config(find("any_bicubic_superres"))
    {'scale': ['2', '3', '4']}
    >>> config(find("us_svd_enhance"))
    {'strength': 1.0, 'level': 1.0, 'rule': ['optimal', 'soft', 'hard'], 'frames': 5}
    """
    table: dict[str, Any] = {"strength": 1.0} if info.grid == "same" else {}
    for name, schema in info.options.get("properties", {}).items():
        default = schema.get("default")
        if "enum" in schema:
            first = schema["enum"][0] if default is None else default
            table[name] = [str(one) for one in sorted(schema["enum"], key=lambda one: one != first)]
        elif default is not None:
            table[name] = default
        else:
            table[name] = ""
    return table


def options(info: BundleInfo, params: Mapping[str, Any]) -> tuple[dict[str, Any], float]:
    """A bundle's options and the strength among what a viewer sent; everything else is the viewer's own.

    Raises:
        OptionError: a value is not allowed.

    >>> from clarivox.bundle import find
    >>> options(find("any_bicubic_superres"), {"scale": "3", "result_dtype": "uint8", "client_id": "x"})
    ({'scale': 3}, 1.0)
    """
    chosen = {}
    for name, schema in info.options.get("properties", {}).items():
        value = params.get(name)
        if isinstance(value, list):  # a combo box that was not touched is sent whole
            value = value[0] if value else None
        if value is not None and value != "":
            chosen[name] = _typed(value, schema)
    strength = params.get("strength", 1.0)
    try:
        share = float(strength)
    except (TypeError, ValueError):
        raise OptionError("strength is a number between 0 and 1") from None
    if not 0 <= share <= 1:
        raise OptionError(f"strength must be between 0 and 1; found {share:g}")
    return info.checked(chosen), share


def _typed(value: Any, schema: Mapping[str, Any]) -> Any:
    """A text of a form as what the schema asks for; a value that fits nothing stays, for the schema to refuse."""
    if "anyOf" in schema:
        for one in schema["anyOf"]:
            found = _typed(value, one)
            if found is not value or value in one.get("enum", ()):
                return found
        return value
    for one in schema.get("enum", ()):
        if value == one or str(value) == str(one):
            return one
    kind = schema.get("type")
    if isinstance(value, float) and kind == "integer" and value.is_integer():
        return int(value)
    if not isinstance(value, str):
        return value
    if kind == "boolean" and value.lower() in ("true", "false"):
        return value.lower() == "true"
    try:
        return int(value) if kind == "integer" else float(value) if kind == "number" else value
    except ValueError:
        return value
