# SPDX-License-Identifier: Apache-2.0
"""Whether the server lives, and whether it can work."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter(tags=["health"])


@router.get("/livez", operation_id="livez")
async def livez() -> dict[str, str]:
    """Whether the process answers; nothing else is asked."""
    return {"status": "live"}
