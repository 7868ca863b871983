"""What instances look for is in columns of its own: where a session stands, which order was carried out, labels.

Revision ID: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns, and fill them from the state that is stored."""
    op.add_column("session", sa.Column("phase", sa.Text(), server_default="", nullable=False))
    op.add_column("session", sa.Column("done_seq", sa.Integer(), server_default="0", nullable=False))
    op.add_column("instance", sa.Column("labels", sa.Text(), server_default="", nullable=False))
    op.create_index("session_lock_instance", "session_lock", ["instance_id"])
    lite = context.get_context().dialect.name == "sqlite"
    phase, seq = (f"json_extract(state, '$.{f}')" if lite else f"state->>'{f}'" for f in ("phase", "command_seq"))
    op.execute(
        f"UPDATE session SET phase = COALESCE({phase}, ''), done_seq = COALESCE(CAST({seq} AS INTEGER), 0)"  # noqa: S608
    )
