"""The first schema.

Revision ID: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

revision = "0001"
down_revision = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
PENDING = sa.text("done_at IS NULL")
OPEN = sa.text("state IN ('queued', 'sending')")


def upgrade() -> None:
    """Build everything."""
    _sessions()
    _leases()
    _received()
    _conversations()
    _outbox()
    _log()


def _sessions() -> None:
    op.create_table(
        "session",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("engine", sa.Text(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("desired", sa.Text(), nullable=False),
        sa.Column("command", sa.JSON(), nullable=False),
        sa.Column("command_seq", sa.Integer(), server_default="0", nullable=False),
        sa.Column("state", sa.JSON(), nullable=False),
        sa.Column("me", sa.JSON(), nullable=False),
        sa.Column("verified_at", sa.Double(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "alias",
        sa.Column("alias", sa.String(length=100), nullable=False),
        sa.Column("session_name", sa.String(length=100), nullable=False),
        sa.ForeignKeyConstraint(["session_name"], ["session.name"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("alias"),
    )
    op.create_index("alias_of_session", "alias", ["session_name"])
    op.create_table(
        "timeline",
        sa.Column("seq", BIG, autoincrement=True, nullable=False),
        sa.Column("session_name", sa.String(length=100), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), server_default="", nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("instance", sa.Text(), server_default="", nullable=False),
        sa.Column("epoch", BIG, nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sqlite_autoincrement=True,
    )
    op.create_index("timeline_of_session", "timeline", ["session_name", "seq"])
    op.create_table(
        "setting",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )


def _leases() -> None:
    op.create_table(
        "session_epoch",
        sa.Column("session_name", sa.String(length=100), nullable=False),
        sa.Column("epoch", BIG, nullable=False),
        sa.Column("missing_since", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("session_name"),
    )
    op.create_table(
        "instance",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), server_default="", nullable=False),
        sa.Column("version", sa.Text(), server_default="", nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("heartbeat_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    _session_lock()


def _received() -> None:
    op.create_table(
        "credential",
        sa.Column("session_name", sa.String(length=100), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("session_name", "type", "id"),
    )
    op.create_table(
        "inbox",
        sa.Column("seq", BIG, autoincrement=True, nullable=False),
        sa.Column("session_name", sa.String(length=100), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("attrs", sa.JSON(), nullable=False),
        sa.Column("plaintext", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("received_at", sa.Double(), nullable=False),
        sa.Column("done_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("session_name", "key", name="inbox_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("inbox_done", "inbox", ["done_at"])
    op.create_index("inbox_pending", "inbox", ["session_name", "seq"], sqlite_where=PENDING, postgresql_where=PENDING)


def _conversations() -> None:
    op.create_table(
        "chat",
        sa.Column("session_name", sa.String(length=100), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("timestamp", sa.Double(), nullable=False),
        sa.Column("unread", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("session_name", "id"),
    )
    op.create_index("chat_newest", "chat", ["session_name", "timestamp"])
    op.create_table(
        "contact",
        sa.Column("session_name", sa.String(length=100), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("phone", sa.Text(), server_default="", nullable=False),
        sa.Column("lid", sa.Text(), server_default="", nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("push_name", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("session_name", "id"),
    )
    op.create_table(
        "lid_map",
        sa.Column("session_name", sa.String(length=100), nullable=False),
        sa.Column("lid", sa.Text(), nullable=False),
        sa.Column("pn", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("session_name", "lid"),
    )
    op.create_index("lid_map_pn", "lid_map", ["session_name", "pn"])
    op.create_table(
        "message",
        sa.Column("seq", BIG, autoincrement=True, nullable=False),
        sa.Column("session_name", sa.String(length=100), nullable=False),
        sa.Column("chat", sa.Text(), nullable=False),
        sa.Column("from_me", sa.Boolean(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), server_default="", nullable=False),
        sa.Column("timestamp", sa.Double(), nullable=False),
        sa.Column("kind", sa.Text(), server_default="", nullable=False),
        sa.Column("text", sa.Text(), server_default="", nullable=False),
        sa.Column("ack", sa.Integer(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("session_name", "chat", "from_me", "id", name="message_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("message_id", "message", ["session_name", "id"])
    op.create_index("message_in_chat", "message", ["session_name", "chat", "timestamp", "seq"])
    op.create_index("message_newest", "message", ["session_name", "timestamp", "seq"])


def _outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("seq", BIG, autoincrement=True, nullable=False),
        sa.Column("session_name", sa.String(length=100), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("chat", sa.Text(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("send_at", sa.Double(), nullable=False),
        sa.Column("error", sa.Integer(), server_default="0", nullable=False),
        sa.Column("message", sa.Text(), server_default="", nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("fingerprint", sa.Text(), server_default="", nullable=False),
        sa.Column("claim_epoch", BIG, server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("session_name", "id", name="outbox_id"),
        sa.UniqueConstraint("session_name", "idempotency_key", name="outbox_idempotency_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("outbox_open", "outbox", ["session_name", "chat", "seq"], sqlite_where=OPEN, postgresql_where=OPEN)


def _log() -> None:
    op.create_table(
        "event",
        sa.Column("seq", BIG, autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("session_name", sa.String(length=100), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("chat", sa.Text(), server_default="", nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sqlite_autoincrement=True,
    )
    op.create_index("event_of_session", "event", ["session_name", "seq"])
    op.create_table(
        "cursor",
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("seq", BIG, nullable=False),
        sa.PrimaryKeyConstraint("consumer"),
    )


def _session_lock() -> None:
    if context.get_context().dialect.name == "postgresql":
        _adopt()
    else:
        op.create_table(
            "session_lock",
            sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
            sa.Column("session_name", sa.String(length=100), nullable=False),
            sa.Column("instance_id", sa.Text(), nullable=False),
            sa.Column("locked_at", sa.Double(), nullable=False),
            sa.Column("expires_at", sa.Double(), nullable=False),
            sa.Column("epoch", BIG, server_default="0", nullable=False),
            sa.PrimaryKeyConstraint("id"),
            sa.UniqueConstraint("session_name", name="session_lock_session_name_key"),
        )
    op.create_index("idx_session_lock_expires", "session_lock", ["expires_at"], if_not_exists=True)
    op.create_index("idx_session_lock_name", "session_lock", ["session_name"], if_not_exists=True)


def _adopt() -> None:
    """A table of locks of an earlier set-up may stand here. It keeps its rows and gets what it lacks; its times become
    Unix seconds. Where there is none it is first made in that form, so that both ways lead to the same table.
    """
    op.execute(
        "CREATE TABLE IF NOT EXISTS session_lock (id SERIAL PRIMARY KEY, session_name VARCHAR(100) NOT NULL UNIQUE, "
        "instance_id TEXT NOT NULL, locked_at TIMESTAMP DEFAULT NOW(), expires_at TIMESTAMP NOT NULL)"
    )
    op.execute("ALTER TABLE session_lock ADD COLUMN IF NOT EXISTS locked_at TIMESTAMP")
    op.execute("UPDATE session_lock SET locked_at = expires_at WHERE locked_at IS NULL")
    op.execute("ALTER TABLE session_lock ALTER COLUMN locked_at DROP DEFAULT")
    for column in ("locked_at", "expires_at"):
        op.execute(
            f"ALTER TABLE session_lock ALTER COLUMN {column} TYPE double precision "
            f"USING EXTRACT(EPOCH FROM {column}::timestamptz)::float8"
        )
        op.execute(f"ALTER TABLE session_lock ALTER COLUMN {column} SET NOT NULL")
    op.execute("ALTER TABLE session_lock ADD COLUMN IF NOT EXISTS id SERIAL PRIMARY KEY")
    op.execute("ALTER TABLE session_lock ADD COLUMN IF NOT EXISTS epoch BIGINT DEFAULT 0 NOT NULL")
    op.execute("CREATE UNIQUE INDEX IF NOT EXISTS session_lock_session_name_key ON session_lock (session_name)")
