"""Consumers know their session and who delivers them; what is not delivered in order has rows of its own.

Revision ID: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns and the table. The session of a consumer stands in its name: `webhook:SESSION:ID`."""
    op.add_column("cursor", sa.Column("session_name", sa.String(100), server_default="", nullable=False))
    op.add_column("cursor", sa.Column("place", sa.Integer(), server_default="0", nullable=False))
    for name in ("receiver", "settings", "owner"):
        op.add_column("cursor", sa.Column(name, sa.Text(), server_default="", nullable=False))
    op.add_column("cursor", sa.Column("until", sa.Double(), server_default="0", nullable=False))
    op.create_index("cursor_of_session", "cursor", ["session_name"])
    op.create_index("cursor_owner", "cursor", ["owner"])
    op.execute(
        "UPDATE cursor SET session_name = COALESCE((SELECT s.name FROM session s "
        "WHERE cursor.consumer LIKE 'webhook:' || s.name || ':%' "
        "AND length(cursor.consumer) = length(s.name) + 25), '')"
    )
    op.execute("DELETE FROM cursor WHERE session_name = ''")  # of sessions that were deleted
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "delivery",
        sa.Column("seq", big, primary_key=True, autoincrement=True),
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("session_name", sa.String(100), nullable=False),
        sa.Column("chat", sa.Text(), server_default="", nullable=False),
        sa.Column("event_seq", big, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("part", sa.Integer(), server_default="0", nullable=False),
        sa.Column("since", sa.Double()),
        sa.Column("next_at", sa.Double()),
        sa.Column("told", sa.Integer(), server_default="1", nullable=False),
        sa.Column("status", sa.Integer(), server_default="0", nullable=False),
        sa.Column("problem", sa.Text(), server_default="", nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.UniqueConstraint("consumer", "event_seq", name="delivery_event"),
        sqlite_autoincrement=True,
    )
    op.create_index("delivery_lane", "delivery", ["consumer", "chat", "event_seq"])
    op.create_index("delivery_due", "delivery", ["consumer", "next_at"])
    op.create_index("delivery_of_session", "delivery", ["session_name"])
    op.create_index("delivery_keeps", "delivery", ["event_seq"])
