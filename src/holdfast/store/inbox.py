"""What was received: stored before WhatsApp is told so, found again by its key, marked when dealt with (G3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from holdfast.domain.rows import InboxRow
from holdfast.store.sql import Query, dumps, listed, loads, now, raw, rounded
from holdfast.store.value_gate import storable_identifiers, storable_key

_ADD = (
    "INSERT INTO inbox (session_name, key, kind, attrs, plaintext, body, received_at) VALUES (?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (session_name, key) DO NOTHING"
)
_COLUMNS = "key, kind, CAST(attrs AS TEXT), plaintext, CAST(body AS TEXT), seq, received_at"
_FIND = Query(f"SELECT {_COLUMNS} FROM inbox WHERE session_name = ? AND key = ?")  # noqa: S608
_PENDING = Query(
    f"SELECT {_COLUMNS} FROM inbox WHERE session_name = ? AND done_at IS NULL ORDER BY seq LIMIT ?"  # noqa: S608
)
_UNREAD = Query(
    f"SELECT {_COLUMNS}, done_at IS NULL FROM inbox WHERE session_name = ? AND kind = 'waiting' "  # noqa: S608
    "ORDER BY seq DESC LIMIT ?"
)
_DONE = "UPDATE inbox SET done_at = holdfast_now() WHERE session_name = ? AND seq IN ({}) AND done_at IS NULL"
_AGAIN = Query("UPDATE inbox SET done_at = NULL WHERE session_name = ? AND seq = ?")
_ERASE = "UPDATE inbox SET attrs = '{{}}', body = '{{}}', plaintext = ? WHERE session_name = ? AND seq IN ({})"
_DROP = "DELETE FROM inbox WHERE session_name = ? AND kind = 'waiting' AND seq IN ({})"
_SET_ASIDE = Query("UPDATE inbox SET done_at = holdfast_now(), problem = ? WHERE session_name = ? AND seq = ?")
_AT_ONCE = 500


def add(c: Connection, name: str, rows: Sequence[InboxRow]) -> None:
    """Insert; a row whose key is known is kept as it was (a redelivered stanza cannot be decrypted again)."""
    if not rows:
        return
    at = now(c)
    raw(c, _ADD, [(name, storable_key(row.key), row.kind, *_content(row), at) for row in rows])


def _content(row: InboxRow) -> tuple[str, bytes, str]:
    """Its attributes, bytes and body. What JSON cannot hold in any way is kept as bytes: this must not fail, since the
    stanza cannot be decrypted a second time.
    """
    try:
        return dumps(storable_identifiers(row.attrs)), row.plaintext, dumps(storable_identifiers(row.body))
    except Exception:
        attrs = {str(name): str(value) for name, value in row.attrs.items()}
        return dumps(attrs), row.plaintext or repr(row.body).encode("utf-8", "replace"), "{}"


def _row(found: Any) -> InboxRow:
    key, kind, attrs, plaintext, body, seq, received_at = found
    return InboxRow(key, kind, loads(attrs), bytes(plaintext), loads(body), seq, received_at)


def find(c: Connection, name: str, key: str) -> InboxRow | None:
    """By dedupe key, processed or not."""
    found = _FIND.first(c, name, storable_key(key))
    return None if found is None else _row(found)


def pending(c: Connection, name: str, limit: int) -> list[InboxRow]:
    """Unprocessed, oldest first."""
    return [_row(found) for found in _PENDING.all(c, name, limit)]


def unread(c: Connection, name: str, limit: int) -> list[tuple[InboxRow, bool]]:
    """Stanzas that could not be read when they came, newest first, and whether each is still to be processed."""
    return [(_row(found), bool(new)) for *found, new in _UNREAD.all(c, name, limit)]


def again(c: Connection, name: str, seqs: Sequence[int]) -> None:
    """Process rows once more: what they are about has come."""
    for seq in seqs:
        _AGAIN.run(c, name, seq)


def mark_done(c: Connection, name: str, seqs: Sequence[int]) -> None:
    """Dealt with; the rows stay for their keys' sake."""
    for start in range(0, len(seqs), _AT_ONCE):
        part = rounded(seqs[start : start + _AT_ONCE])
        listed(_DONE, len(part)).run(c, name, *part)


def set_aside(c: Connection, name: str, unreadable: Sequence[tuple[int, str]]) -> None:
    """Rows of which nothing can be made: they are in nobody's way, and are not pruned."""
    for seq, problem in unreadable:
        _SET_ASIDE.run(c, problem, name, seq)


def erase(c: Connection, name: str, seqs: Sequence[int]) -> None:
    """Keep nothing of rows but their keys: a redelivered stanza cannot be decrypted again. Places of messages that
    could not be read go with them, or they would be asked for.
    """
    for start in range(0, len(seqs), _AT_ONCE):
        part = rounded(seqs[start : start + _AT_ONCE])
        listed(_DROP, len(part)).run(c, name, *part)
        listed(_ERASE, len(part)).run(c, b"", name, *part)
