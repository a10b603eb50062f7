# SPDX-License-Identifier: Apache-2.0
"""All tables of the first release."""

from __future__ import annotations

from alembic import op

from clarivox.server.tables import metadata

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    metadata.create_all(op.get_bind())
