# SPDX-License-Identifier: Apache-2.0
"""The ledger: jobs, their history, workers, profiles, and which files are in use."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

QUEUED, RUNNING = sa.text("state = 'queued'"), sa.text("state = 'running'")


def upgrade() -> None:
    """Make the tables."""
    known = sa.String(36).with_variant(sa.String(36, collation="C"), "postgresql")
    counter = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    jobs(known, counter)
    op.create_table(
        "job_event",
        sa.Column("seq", counter, primary_key=True, autoincrement=True),
        sa.Column("job_id", known, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("job_event_job", "job_event", ["job_id", "seq"])
    op.create_index("job_event_at", "job_event", ["at"])
    op.create_table(
        "worker",
        sa.Column("id", sa.String(255), primary_key=True),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("device", sa.String(64), nullable=False),
        sa.Column("device_name", sa.String(255), nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("started", sa.Double, nullable=False),
        sa.Column("heartbeat", sa.Double, nullable=False),
        sa.Column("loaded", sa.Text, nullable=False),
        sa.Column("job_id", known),
        sa.Column("memory", sa.Text, nullable=False),
    )
    op.create_table(
        "profile",
        sa.Column("bundle", sa.String(255), primary_key=True),
        sa.Column("device", sa.String(255), primary_key=True),
        sa.Column("s_per_megavoxel", sa.Double, nullable=False),
        sa.Column("load_s", sa.Double, nullable=False),
        sa.Column("peak_bytes", sa.BigInteger, nullable=False),
        sa.Column("runs", sa.Integer, nullable=False),
    )
    op.create_table(
        "blob_use",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("user", sa.String(255), primary_key=True),
        sa.Column("role", sa.String(32), primary_key=True),
    )
    op.create_index("blob_use_user", "blob_use", ["user"])
    op.create_table(
        "blob_loose",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("since", sa.Double, nullable=False),
    )


def jobs(known: sa.types.TypeEngine[str], counter: sa.types.TypeEngine[int]) -> None:
    """Make the table of jobs."""
    op.create_table(
        "job",
        sa.Column("id", known, primary_key=True),
        sa.Column("owner", sa.String(255), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("bundle", sa.String(255), nullable=False),
        sa.Column("bundle_version", sa.String(64), nullable=False),
        sa.Column("params", sa.Text, nullable=False),
        sa.Column("inputs", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("not_before", sa.Double, nullable=False),
        sa.Column("deadline", sa.Double),
        sa.Column("started", sa.Double),
        sa.Column("finished", sa.Double),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("uncounted", sa.Integer, nullable=False, server_default="0"),
        sa.Column("max_attempts", sa.Integer, nullable=False),
        sa.Column("crash_count", sa.Integer, nullable=False),
        sa.Column("worker_id", sa.String(255)),
        sa.Column("lease_until", sa.Double),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.Column("stage", sa.String(64), nullable=False),
        sa.Column("done", sa.Double, nullable=False),
        sa.Column("eta_s", sa.Double),
        sa.Column("progress_at", sa.Double),
        sa.Column("error", sa.Text),
        sa.Column("results", sa.Text, nullable=False),
        sa.Column("notes", sa.Text, nullable=False),
        sa.Column("degradations", sa.Text, nullable=False),
        sa.Column("metrics", sa.Text, nullable=False),
        sa.Column("parent_id", known),
        sa.Column("idem_key", sa.String(255)),
        sa.Column("request_hash", sa.String(64)),
        sa.Column("trace", sa.String(255)),
        sa.Column("expires_at", sa.Double),
        sa.Column("seq", counter, nullable=False),
    )
    order = [sa.text(name) for name in ("priority DESC", "created", "id")]
    op.create_index("job_ready", "job", order, sqlite_where=QUEUED, postgresql_where=QUEUED)
    op.create_index("job_lease", "job", ["lease_until"], sqlite_where=RUNNING, postgresql_where=RUNNING)
    op.create_index("job_idempotency", "job", ["owner", "idem_key"], unique=True)
    op.create_index("job_owner", "job", ["owner", "id"])
    for name, column in (("state", "state"), ("parent", "parent_id"), ("expires", "expires_at")):
        op.create_index(f"job_{name}", "job", [column])
