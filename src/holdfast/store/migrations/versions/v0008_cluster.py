"""What instances tell of their settings, and for how long the last claim of a session was.

Revision ID: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the columns; the version before leaves them empty."""
    op.add_column("instance", sa.Column("facts", sa.Text(), server_default="", nullable=False))
    op.add_column("session_epoch", sa.Column("ttl", sa.Double(), server_default="0", nullable=False))
