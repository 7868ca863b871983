"""How WhatsApp spells a number, and for how long the messages of a chat are kept.

Revision ID: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "spelling",
        sa.Column("session_name", sa.String(100), nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("canonical", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("session_name", "address"),
    )
    op.create_table(
        "chat_timer",
        sa.Column("session_name", sa.String(100), nullable=False),
        sa.Column("chat", sa.Text, nullable=False),
        sa.Column("seconds", sa.Integer, nullable=False),
        sa.Column("since", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("session_name", "chat"),
    )
