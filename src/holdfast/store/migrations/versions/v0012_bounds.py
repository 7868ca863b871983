"""Whose turn it is to be sent is kept, what is looked at often is found by an index, and why a stanza was set aside.

Revision ID: 0012
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

_OPEN = "COALESCE(state, '') IN ('sending', 'queued')"
_LANE = f"{_OPEN} AND turn + 2 >= 2 AND (turn > 0 OR attempts > 0)"
_SETTLED = "state IN ('cancelled', 'delivered', 'expired', 'failed', 'read', 'sent')"
_OUTBOX = (
    ("outbox_lane", ["session_name", "chat", "seq"], _LANE),
    ("outbox_queue", ["session_name", "seq"], "COALESCE(state, '-') IN ('sending', 'queued')"),
    ("outbox_lid_chat", ["session_name", "chat"], "chat LIKE '%@lid'"),
    ("outbox_ready", ["session_name", "turn", "seq"], f"{_OPEN} AND turn + 0 > 2"),
    ("outbox_first", ["session_name", "chat", "turn"], f"{_OPEN} AND turn + 1 > 3"),
    ("outbox_waits", ["session_name", "send_at", "seq"], "COALESCE(state, '') = 'queued' AND turn = 0"),
    ("outbox_left", ["session_name", "turn", "seq"], "turn > 1 AND turn < 3"),
    ("outbox_unsent", ["session_name", "expires_at"], f"{_OPEN} AND turn + 3 >= 3"),
    ("outbox_flying", ["session_name", "chat"], "COALESCE(state, '') = 'sending'"),
    ("outbox_opened", ["session_name", "opens", "paced_at"], "opens = 1"),
    ("outbox_settled", ["updated_at"], _SETTLED),
)
_OTHERS = (
    ("message_lid_sender", "message", ["session_name", "sender"], "sender LIKE '%@lid'"),
    ("addon_lid_chat", "addon", ["session_name", "chat"], "chat LIKE '%@lid'"),
    ("addon_early", "addon", ["session_name", "chat", "target"], "kind IN ('edited', 'revoked')"),
    ("event_lid_chat", "event", ["session_name", "chat"], "chat LIKE '%@lid'"),
    ("delivery_open", "delivery", ["consumer", "chat", "event_seq"], "state IN ('retrying', 'waiting')"),
    ("delivery_untold", "delivery", ["consumer", "chat", "event_seq"], "told = 0"),
    ("inbox_unreadable", "inbox", ["session_name"], "problem <> ''"),
    ("delivery_dead", "delivery", ["updated_at"], "state = 'dead'"),
)


def upgrade() -> None:
    """Add them. The version before writes no turns: its rows are looked at as if they were new."""
    op.add_column("inbox", sa.Column("problem", sa.Text(), server_default="", nullable=False))
    op.add_column("outbox", sa.Column("turn", sa.Integer(), server_default="0", nullable=False))
    op.add_column(
        "session_epoch",
        sa.Column("arranged", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), server_default="0", nullable=False),
    )
    op.add_column("session_epoch", sa.Column("arranged_to", sa.Text(), server_default="", nullable=False))
    outbox = [(name, "outbox", columns, condition) for name, columns, condition in _OUTBOX]
    for name, table, columns, condition in [*outbox, *_OTHERS]:
        where = sa.text(condition)
        op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)
    op.create_index("addon_sender", "addon", ["session_name", "sender"])
    op.create_index("event_age", "event", ["at"])
