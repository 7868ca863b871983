"""Sessions of the dashboard, which can be ended.

Revision ID: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "dashboard_session",
        sa.Column("id_hash", sa.Text(), primary_key=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
    )
    op.create_index("dashboard_session_expires", "dashboard_session", ["expires_at"])
