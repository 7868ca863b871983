"""Files of messages, and the words of messages to be searched.

Revision ID: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

LITE = (
    """CREATE VIRTUAL TABLE message_words USING fts5(text, content='message', content_rowid='seq',
    tokenize='unicode61 remove_diacritics 0')""",
    """CREATE TRIGGER message_words_in AFTER INSERT ON message WHEN new.text <> '' BEGIN
    INSERT INTO message_words (rowid, text) VALUES (new.seq, new.text); END""",
    """CREATE TRIGGER message_words_out AFTER DELETE ON message WHEN old.text <> '' BEGIN
    INSERT INTO message_words (message_words, rowid, text) VALUES ('delete', old.seq, old.text); END""",
    """CREATE TRIGGER message_words_before AFTER UPDATE OF text ON message WHEN old.text <> '' BEGIN
    INSERT INTO message_words (message_words, rowid, text) VALUES ('delete', old.seq, old.text); END""",
    """CREATE TRIGGER message_words_after AFTER UPDATE OF text ON message WHEN new.text <> '' BEGIN
    INSERT INTO message_words (rowid, text) VALUES (new.seq, new.text); END""",
    "INSERT INTO message_words (message_words) VALUES ('rebuild')",
)
POSTGRES = (
    """CREATE INDEX message_words ON message USING gin (to_tsvector('simple'::regconfig,
    translate("left"(text, 50000), '!"#$&''()*+,-./:;<=>?@[\\]^_`{|}~', '                               ')))""",
)


def upgrade() -> None:
    """Add the table and the index of words. PostgreSQL reads all messages once for it, and holds new ones back then."""
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "media",
        sa.Column("seq", big, primary_key=True, autoincrement=True),
        sa.Column("session_name", sa.String(100), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("chat", sa.Text(), server_default="", nullable=False),
        sa.Column("sender", sa.Text(), server_default="", nullable=False),
        sa.Column("from_me", sa.Boolean(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("source", sa.LargeBinary(), nullable=False),
        sa.Column("mimetype", sa.Text(), server_default="", nullable=False),
        sa.Column("filename", sa.Text(), server_default="", nullable=False),
        sa.Column("size", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_at", sa.Double(), server_default="0", nullable=False),
        sa.Column("problem", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.UniqueConstraint("name", name="media_name"),
        sqlite_autoincrement=True,
    )
    op.create_index("media_due", "media", ["session_name", "state", "next_at"])
    op.create_index("media_age", "media", ["state", "updated_at"])
    for statement in LITE if op.get_context().dialect.name == "sqlite" else POSTGRES:
        op.execute(statement)
