# SPDX-License-Identifier: Apache-2.0
"""Unique identifiers that come out the same whenever the same thing is made again.

Source:
    DICOM PS3.5 annex B.2: a UUID as one decimal component under the root 2.25. RFC 9562, version 5.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import Any

IMPLEMENTATION_UID = "2.25.120565947161436844727926186626069093873"
"""ImplementationClassUID of every file that clarivox writes; drawn once, at random."""

IMPLEMENTATION_NAME = "CLARIVOX"
"""ImplementationVersionName of every file that clarivox writes."""

_SPACE = uuid.UUID("3f0c4a52-7d8e-4b36-9a1f-6c2d5e8b9041")
_LONGEST = 64
_OWN_DIGITS = 26


def uid(*parts: Any) -> str:
    """The identifier that belongs to these parts, always the same one.

    >>> uid("phantom", 7)
    '2.25.119176346597780888923921743073304478457'
    >>> uid("phantom", 7) == uid("phantom", 8)
    False
    """
    return f"2.25.{uuid.uuid5(_SPACE, _text(parts)).int}"


def uid_under(source_uid: str, *parts: Any) -> str:
    """Like `uid`, but under the root of `source_uid`: for sources whose identifiers a de-identification chose.

    The root is everything before the last component, shortened from the right until 26 digits of our own fit.

    >>> uid_under("1.3.6.1.4.1.14519.5.2.1.6279.6001.100621383016233746780170740405", "x")
    '1.3.6.1.4.1.14519.5.2.1.6279.6001.73446154692925067460335274'
    """
    root = source_uid.split(".")[:-1]
    while root and len(".".join(root)) + 1 + _OWN_DIGITS > _LONGEST:
        root.pop()
    if len(root) < 2:
        return uid(*parts)
    number = int.from_bytes(hashlib.sha256(_text(parts).encode()).digest(), "big") % 10**_OWN_DIGITS
    return f"{'.'.join(root)}.{number}"


def _text(parts: tuple[Any, ...]) -> str:
    return json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
