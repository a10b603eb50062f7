# SPDX-License-Identifier: Apache-2.0
"""The bundles that can be asked for, each with its options as a JSON schema."""

from __future__ import annotations

from fastapi import APIRouter

from clarivox.server.auth import Reader
from clarivox.server.deps import Parts
from clarivox.server.schemas import Bundle, Bundles, bundle_of

router = APIRouter(prefix="/v1/bundles", tags=["bundles"])


@router.get("", operation_id="list_bundles")
def listed(parts: Parts, _caller: Reader) -> Bundles:
    """Every bundle, by name."""
    return Bundles(bundles=[bundle_of(one) for one in parts.catalogue.all()])


@router.get("/{name}", operation_id="get_bundle")
def get(name: str, parts: Parts, _caller: Reader) -> Bundle:
    """One bundle."""
    return bundle_of(parts.catalogue.find(name))
