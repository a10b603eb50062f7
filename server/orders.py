# SPDX-License-Identifier: Apache-2.0
"""Settings on their way to a process of ours: over its standard input, never where other users can see them."""

from __future__ import annotations

from typing import Any

from clarivox.server.settings import Settings


def closed(settings: Settings) -> dict[str, Any]:
    """Settings as JSON carries them, secrets in full.

    >>> opened(closed(Settings(port=9000))).port
    9000
    """
    found = settings.model_dump(mode="json")
    if settings.database is not None:
        found["database"] = settings.database.get_secret_value()
    found["data_dir"] = str(settings.data_dir.resolve())
    return found


def opened(found: dict[str, Any]) -> Settings:
    """The settings that `closed` gave; neither file nor environment is looked at, for nothing is left out."""
    return Settings(**found)
