"""The story of each message that is sent, whether it is in doubt, and what a session's limits count.

Revision ID: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_OPEN = sa.text("state IN ('queued', 'sending')")
_PACED = sa.text("paced_at IS NOT NULL")


def upgrade() -> None:
    """Add the columns. Messages that are here have no story; the version before sends without telling it."""
    op.add_column("outbox", sa.Column("story", sa.Text(), server_default="", nullable=False))
    op.add_column("outbox", sa.Column("in_doubt", sa.Integer(), server_default="0", nullable=False))
    op.add_column("outbox", sa.Column("paced_at", sa.Double()))
    op.add_column("outbox", sa.Column("opens", sa.Integer(), server_default="0", nullable=False))
    op.create_index("outbox_deadline", "outbox", ["expires_at"], sqlite_where=_OPEN, postgresql_where=_OPEN)
    op.create_index(
        "outbox_paced", "outbox", ["session_name", "paced_at"], sqlite_where=_PACED, postgresql_where=_PACED
    )
