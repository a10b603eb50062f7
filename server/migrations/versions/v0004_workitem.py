# SPDX-License-Identifier: Apache-2.0
"""The worklist: items that clients made, who wants to hear of them, and what happened."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    known = sa.String(36).with_variant(sa.String(36, collation="C"), "postgresql")
    counter = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "workitem",
        sa.Column("id", known, primary_key=True),
        sa.Column("mark", sa.String(64), nullable=False, unique=True),
        sa.Column("owner", sa.String(255), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("claim", sa.String(64)),
        sa.Column("sealed", sa.Text, nullable=False),
        sa.Column("job_id", known, unique=True),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("changed", sa.Double, nullable=False),
    )
    op.create_index("workitem_owner", "workitem", ["owner", "id"])
    op.create_table(
        "workitem_event",
        sa.Column("seq", counter, primary_key=True, autoincrement=True),
        sa.Column("item", known, nullable=False),
        sa.Column("only", sa.String(16)),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("workitem_event_at", "workitem_event", ["at"])
    op.create_table(
        "workitem_subscription",
        sa.Column("owner", sa.String(255), primary_key=True),
        sa.Column("aetitle", sa.String(16), primary_key=True),
        sa.Column("target", sa.String(36), primary_key=True),
        sa.Column("wanted", sa.Boolean, nullable=False),
        sa.Column("until", sa.Double),
        sa.Column("sealed", sa.Text),
        sa.Column("job_seq", counter, nullable=False),
        sa.Column("item_seq", counter, nullable=False),
    )
