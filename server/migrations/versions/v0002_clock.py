# SPDX-License-Identifier: Apache-2.0
"""Each job knows its own lease, told by an even clock; keys, datastore and sessions get their tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables; who worked on a job when the server was stopped to be upgraded does so no more."""
    known = sa.String(36).with_variant(sa.String(36, collation="C"), "postgresql")
    op.add_column("job", sa.Column("lease_s", sa.Double))
    op.create_index("job_kind", "job", ["kind", "id"])
    op.execute("UPDATE job SET lease_until = 0 WHERE state = 'running'")
    op.create_table(
        "clock",
        sa.Column("boot", sa.String(64), primary_key=True),
        sa.Column("offset", sa.Double, nullable=False),
    )
    op.create_table(
        "api_key",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("hash", sa.String(64), nullable=False, unique=True),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("label", sa.String(255), nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("last_used", sa.Double),
        sa.Column("revoked", sa.Double),
    )
    datastore(known)
    op.create_table(
        "dicom_series",
        sa.Column("job_id", known, primary_key=True),
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("study", sa.String(32), primary_key=True),
        sa.Column("series", sa.String(32), primary_key=True),
    )
    op.create_index("dicom_series_study", "dicom_series", ["study", "series"])


def datastore(known: sa.types.TypeEngine[str]) -> None:
    """Make the tables of MONAI Label: images, labels, sessions."""
    op.create_table(
        "image",
        sa.Column("id", known, primary_key=True),
        sa.Column("mark", sa.String(64), nullable=False, unique=True),
        sa.Column("sealed", sa.Text, nullable=False),
        sa.Column("file", sa.Text),
        sa.Column("shown", sa.Text),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("parent_id", known),
        sa.Column("job_id", known, unique=True),
        sa.Column("bundle", sa.String(255), nullable=False),
    )
    op.create_table(
        "label",
        sa.Column("image_id", known, primary_key=True),
        sa.Column("tag", sa.String(64), primary_key=True),
        sa.Column("file", sa.Text, nullable=False),
        sa.Column("sealed", sa.Text, nullable=False),
    )
    op.create_table(
        "session",
        sa.Column("id", known, primary_key=True),
        sa.Column("owner", sa.String(255), nullable=False),
        sa.Column("files", sa.Text, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("accessed", sa.Double, nullable=False),
        sa.Column("expiry_s", sa.Integer, nullable=False),
    )
