# SPDX-License-Identifier: Apache-2.0
"""Medical image enhancement: the geometry kept, every change shown.

>>> import clarivox as cv
>>> study = cv.phantoms.mr(size=64, slices=2).degraded
>>> cv.enhance(study, "mr_unet_denoise", device="cpu").shape
(1, 64, 64, 2)
"""

from importlib import import_module
from importlib.metadata import version
from typing import Any

__version__ = version("clarivox")

_HOMES = {
    "Beside": ("clarivox.shown", "Beside"),
    "Volume": ("clarivox.volume", "Volume"),
    "bundles": ("clarivox.bundle", "catalogue"),
    "enhance": ("clarivox.enhance", None),
    "load": ("clarivox.bundle", "load"),
    "phantoms": ("clarivox.phantoms", None),
    "read": ("clarivox.io", "read"),
    "read_all": ("clarivox.io", "read_all"),
    "write": ("clarivox.io", "write"),
}
"""Name: the module it is from, and its name there; imported when it is first asked for."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, inner = _HOMES[name]
    found = import_module(module)
    return found if inner is None else getattr(found, inner)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
