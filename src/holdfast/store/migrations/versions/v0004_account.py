"""Whose a session is: company, user and phone.

Revision ID: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the table; sessions that are here belong to nobody yet."""
    op.create_table(
        "account",
        sa.Column("session_name", sa.String(100), sa.ForeignKey("session.name", ondelete="CASCADE"), primary_key=True),
        sa.Column("company_id", sa.Text()),
        sa.Column("user_id", sa.Text()),
        sa.Column("phone", sa.Text()),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.UniqueConstraint("company_id", name="account_company"),
        sa.UniqueConstraint("user_id", name="account_user"),
        sa.UniqueConstraint("phone", name="account_phone"),
    )
