# SPDX-License-Identifier: Apache-2.0
"""The PACS: instances and series that came in, deliveries of results, what was sent where, positions of cursors."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    known = sa.String(36).with_variant(sa.String(36, collation="C"), "postgresql")
    counter = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    arrivals(known, counter)
    op.create_table(
        "pacs_delivery",
        sa.Column("id", known, primary_key=True),
        sa.Column("job_id", known, nullable=False),
        sa.Column("destination", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("not_before", sa.Double, nullable=False),
        sa.Column("instances", sa.Integer, nullable=False),
        sa.Column("code", sa.String(64)),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_index("pacs_delivery_once", "pacs_delivery", ["job_id", "destination"], unique=True)
    op.create_index("pacs_delivery_state", "pacs_delivery", ["state", "not_before"])
    op.create_table(
        "pacs_sent",
        sa.Column("sop", sa.String(32), primary_key=True),
        sa.Column("destination", sa.String(64), primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_table(
        "pacs_cursor",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("position", sa.BigInteger, nullable=False),
    )


def arrivals(known: sa.types.TypeEngine[str], counter: sa.types.TypeEngine[int]) -> None:
    """Make the tables of what came in."""
    op.create_table(
        "pacs_instance",
        sa.Column("series", sa.String(32), primary_key=True),
        sa.Column("sop", sa.String(32), primary_key=True),
        sa.Column("study", sa.String(32), nullable=False),
        sa.Column("calling", sa.String(16), nullable=False),
        sa.Column("called", sa.String(16), nullable=False),
        sa.Column("file", sa.String(64), nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("received", sa.Double, nullable=False),
        sa.Column("versions", sa.Integer, nullable=False),
    )
    op.create_index("pacs_instance_sop", "pacs_instance", ["sop"])
    op.create_index("pacs_instance_file", "pacs_instance", ["file"], unique=True)
    op.create_table(
        "pacs_series",
        sa.Column("id", known, primary_key=True),
        sa.Column("series", sa.String(32), nullable=False, unique=True),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("calling", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("first", sa.Double, nullable=False),
        sa.Column("last", sa.Double, nullable=False),
        sa.Column("seq", counter, nullable=False),
        sa.Column("rule", sa.String(255)),
        sa.Column("code", sa.String(64)),
        sa.Column("jobs", sa.Text, nullable=False),
    )
    op.create_index("pacs_series_state", "pacs_series", ["state", "last"])
