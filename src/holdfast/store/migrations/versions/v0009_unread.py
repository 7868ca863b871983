"""Messages that could not be read are found at once, to ask for them again.

Revision ID: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_UNREAD = sa.text("kind = 'waiting'")


def upgrade() -> None:
    """Add the index."""
    op.create_index("inbox_unread", "inbox", ["session_name", "seq"], sqlite_where=_UNREAD, postgresql_where=_UNREAD)
