# SPDX-License-Identifier: Apache-2.0
"""Each job knows its own lease, told by an even clock; keys, datastore and sessions get their tables.

Before the first release the tables that this step makes may still change; a test compares it with `tables`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from clarivox.server.tables import metadata

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make what is not there; who worked on a job when the server was stopped to be upgraded does so no more."""
    op.add_column("job", sa.Column("lease_s", sa.Double))
    op.create_index("job_kind", "job", ["kind", "id"])
    op.execute("UPDATE job SET lease_until = 0 WHERE state = 'running'")
    metadata.create_all(op.get_bind())
