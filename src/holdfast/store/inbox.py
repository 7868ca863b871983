"""What was received: stored before WhatsApp is told so, found again by its key, marked when dealt with (G3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, select, update

from holdfast.domain.rows import InboxRow
from holdfast.store.schema import db_now, inbox
from holdfast.store.sql import dumps, now, raw

_ADD = (
    "INSERT INTO inbox (session_name, key, kind, attrs, plaintext, body, received_at) VALUES (?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (session_name, key) DO NOTHING"
)
_COLUMNS = (inbox.c.key, inbox.c.kind, inbox.c.attrs, inbox.c.plaintext, inbox.c.body, inbox.c.seq, inbox.c.received_at)


def add(c: Connection, name: str, rows: Sequence[InboxRow]) -> None:
    """Insert; a row whose key is known is kept as it was (a redelivered stanza cannot be decrypted again)."""
    if not rows:
        return
    at = now(c)
    raw(c, _ADD, [(name, row.key, row.kind, dumps(row.attrs), row.plaintext, dumps(row.body), at) for row in rows])


def _row(found: Any) -> InboxRow:
    key, kind, attrs, plaintext, body, seq, received_at = found
    return InboxRow(key, kind, attrs, bytes(plaintext), body, seq, received_at)


def find(c: Connection, name: str, key: str) -> InboxRow | None:
    """By dedupe key, processed or not."""
    found = c.execute(select(*_COLUMNS).where(inbox.c.session_name == name, inbox.c.key == key)).first()
    return None if found is None else _row(found)


def pending(c: Connection, name: str, limit: int) -> list[InboxRow]:
    """Unprocessed, oldest first."""
    rows = select(*_COLUMNS).where(inbox.c.session_name == name, inbox.c.done_at.is_(None))
    return [_row(found) for found in c.execute(rows.order_by(inbox.c.seq).limit(limit))]


def mark_done(c: Connection, name: str, seqs: Sequence[int]) -> None:
    """Dealt with; the rows stay for their keys' sake."""
    if seqs:
        c.execute(
            update(inbox)
            .where(inbox.c.session_name == name, inbox.c.seq.in_(list(seqs)), inbox.c.done_at.is_(None))
            .values(done_at=db_now())
        )
