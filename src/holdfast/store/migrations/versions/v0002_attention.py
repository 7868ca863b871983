"""What instances look for is in columns of its own: where a session stands, which order was carried out, labels.

Revision ID: 0002
"""

from __future__ import annotations

import json

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
    if not context.is_offline_mode():
        _fill()


def _fill() -> None:
    bind = op.get_bind()
    for name, state in bind.execute(sa.text("SELECT name, state FROM session")).all():
        facts = json.loads(state) if isinstance(state, str | bytes) else state or {}
        bind.execute(
            sa.text("UPDATE session SET phase = :phase, done_seq = :seq WHERE name = :name"),
            {"phase": str(facts.get("phase", "")), "seq": int(facts.get("command_seq", 0)), "name": name},
        )
