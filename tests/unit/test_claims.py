# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from tests.claims import page

ROOT = Path(__file__).parents[2]


def test_the_page_of_claims_is_what_the_stored_figures_print() -> None:
    assert (ROOT / "docs" / "claims.md").read_text() == page(ROOT / "docs" / "long")
