# SPDX-License-Identifier: Apache-2.0
"""Reading and writing, by what a file is.

Names are imported when first asked for, so that `import clarivox.io` costs nothing.

>>> import clarivox.io
>>> clarivox.io.Written.__name__
'Written'
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clarivox.io.data_list import Reference, volumes
    from clarivox.io.dictionary import LoadVolumed, SaveVolumed
    from clarivox.io.dispatch import Unreadable, read, read_all, scan
    from clarivox.io.dispatch_write import write
    from clarivox.io.limits import Limits
    from clarivox.io.series import SeriesInfo
    from clarivox.io.written import Written

__all__ = [
    "Limits",
    "LoadVolumed",
    "Reference",
    "SaveVolumed",
    "SeriesInfo",
    "Unreadable",
    "Written",
    "read",
    "read_all",
    "scan",
    "volumes",
    "write",
]

_HOMES = {
    "Limits": "limits",
    "LoadVolumed": "dictionary",
    "Reference": "data_list",
    "SaveVolumed": "dictionary",
    "SeriesInfo": "series",
    "Unreadable": "dispatch",
    "Written": "written",
    "read": "dispatch",
    "read_all": "dispatch",
    "scan": "dispatch",
    "volumes": "data_list",
    "write": "dispatch_write",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
