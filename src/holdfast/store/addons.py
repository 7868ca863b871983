"""What people add to a message: its reactions and votes, and changes that wait for the message itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection

from holdfast.domain.addons import AWAITING, with_addons
from holdfast.domain.rows import AddonRow, MessageRow
from holdfast.store import people
from holdfast.store.schema import LID_CHAT
from holdfast.store.sql import Query, dumps, listed, loads, rounded

_COLUMNS = "chat, target, kind, sender, from_me, id, timestamp, text, CAST(body AS TEXT)"
_OF = (
    f"SELECT {_COLUMNS} FROM addon WHERE session_name = ? AND kind IN ('reaction', 'vote', 'answer') "  # noqa: S608
    "AND target IN ({}) ORDER BY seq"
)
_WAITING = Query(
    f"SELECT seq, {_COLUMNS} FROM addon "  # noqa: S608
    "WHERE session_name = ? AND target = ? AND chat = ? AND kind IN ('edited', 'revoked') ORDER BY seq"
)
_WAITING_IN = Query(
    "SELECT DISTINCT target FROM addon WHERE session_name = ? AND chat = ? AND kind IN ('edited', 'revoked')"
)
_PUT = Query(
    "INSERT INTO addon (session_name, chat, target, kind, sender, from_me, id, timestamp, text, body) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_NEWER = Query(
    "SELECT 1 FROM addon WHERE session_name = ? AND target = ? AND chat = ? AND kind = ? AND sender = ? "
    "AND timestamp > ? LIMIT 1"
)
_REPLACE = Query(
    "DELETE FROM addon WHERE session_name = ? AND target = ? AND chat = ? AND kind = ? AND sender = ? RETURNING seq"
)
_AWAITING = Query(
    "DELETE FROM addon WHERE session_name = ? AND target = ? AND chat = ? AND kind = ? RETURNING CAST(body AS TEXT)"
)
_DROP = Query("DELETE FROM addon WHERE session_name = ? AND seq = ? RETURNING seq")
_MOVE = Query(
    f"UPDATE addon SET chat = ? WHERE session_name = ? AND chat = ? AND {LID_CHAT} RETURNING seq"  # noqa: S608
)
_RENAME = Query("UPDATE addon SET sender = ? WHERE session_name = ? AND sender = ? RETURNING seq")
_TWICE = Query(
    "DELETE FROM addon WHERE session_name = ? AND sender = ? AND kind IN ('reaction', 'vote', 'answer') AND EXISTS ("
    "SELECT 1 FROM addon AS newer WHERE newer.session_name = addon.session_name AND newer.target = addon.target "
    "AND newer.chat = addon.chat AND newer.kind = addon.kind AND newer.sender = addon.sender "
    "AND (newer.timestamp > addon.timestamp OR (newer.timestamp = addon.timestamp AND newer.seq > addon.seq))) "
    "RETURNING seq"
)


def put(c: Connection, name: str, row: AddonRow) -> bool:
    """Keep the newest reaction, vote or answer of each sender, and all else. Whether it is the newest."""
    if row.kind in ("reaction", "vote", "answer"):
        key = (name, row.target, row.chat, row.kind, row.sender)
        if _NEWER.all(c, *key, row.timestamp):
            return False
        _REPLACE.all(c, *key)
    values = (
        name, row.chat, row.target, row.kind, row.sender, row.from_me, row.id, row.timestamp, row.text,
        dumps(row.body),
    )  # fmt: skip
    _PUT.run(c, *values)
    return True


def _row(found: Sequence[Any]) -> AddonRow:
    chat, target, kind, sender, from_me, id_, timestamp, text, body = found
    return AddonRow(chat, target, kind, sender, bool(from_me), id_, timestamp, text, loads(body))


def shown(c: Connection, name: str, rows: Iterable[MessageRow]) -> list[MessageRow]:
    """The messages with their reactions and votes."""
    messages = people.readable(c, name, list(rows))
    if not messages:
        return messages
    wanted = rounded(sorted({row.id for row in messages}))
    found: dict[tuple[str, str], list[AddonRow]] = {}
    for addon in map(_row, listed(_OF, len(wanted)).all(c, name, *wanted)):
        found.setdefault((addon.chat, addon.target), []).append(addon)
    return [with_addons(row, found.get((row.chat, row.id), ())) for row in messages]


def take_waiting(c: Connection, name: str, chat: str, target: str) -> list[AddonRow]:
    """The changes that came before their message, oldest first; they are gone then."""
    found = _WAITING.all(c, name, target, chat)
    for seq, *_ in found:
        _DROP.all(c, name, seq)
    return [_row(rest) for _, *rest in found]


def take_awaiting(c: Connection, name: str, chat: str, target: str) -> list[int]:
    """The inbox rows that were sealed under the secret of a message that is there now; they are forgotten here."""
    return [int(loads(body)["inbox"]) for (body,) in _AWAITING.all(c, name, target, chat, AWAITING)]


def merge(c: Connection, name: str, lid: str, pn: str) -> list[str]:
    """Both addresses turned out to be one person: move. The messages of the chat for which changes wait."""
    _MOVE.all(c, pn, name, lid)
    _RENAME.all(c, pn, name, lid)
    _TWICE.all(c, name, pn)
    return [target for (target,) in _WAITING_IN.all(c, name, pn)]
