"""Messages and chats as users read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, func, select, update

from holdfast.domain.addons import change_of, changed, kept
from holdfast.domain.rows import ChatRow, Json, MessageRow
from holdfast.store import addons, inbox, people
from holdfast.store.schema import chat, contact, message
from holdfast.store.sql import Query, dumps, listed, rounded

_M = message.c
COLUMNS = (_M.id, _M.chat, _M.from_me, _M.sender, _M.timestamp, _M.kind, _M.text, _M.ack, _M.body, _M.raw)


def row_of(found: Any) -> MessageRow:
    """From these columns."""
    id_, chat_, from_me, sender, timestamp, kind, text, ack, body, raw = found
    return MessageRow(id_, chat_, bool(from_me), sender, timestamp, kind, text, ack, body, bytes(raw))


_INSERT = (
    "INSERT INTO message (session_name, chat, from_me, id, sender, timestamp, kind, text, body, raw, ack) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, {}) ON CONFLICT (session_name, chat, from_me, id) DO NOTHING RETURNING seq"
)
_PUT_THEIRS = Query(_INSERT.format("?"))
_PUT_OURS = Query(
    _INSERT.format(
        "GREATEST(?, COALESCE((SELECT CASE state WHEN 'read' THEN 3 WHEN 'delivered' THEN 2 ELSE -1 END "
        "FROM outbox WHERE session_name = ? AND id = ?), -1))"
    )
)
_COUNT = Query(
    "INSERT INTO chat (session_name, id, name, timestamp, unread) VALUES (?, ?, '', ?, ?) "
    "ON CONFLICT (session_name, id) DO UPDATE SET timestamp = GREATEST(chat.timestamp, excluded.timestamp), "
    "unread = CASE excluded.unread WHEN 0 THEN 0 ELSE chat.unread + 1 END"
)
_ACKNOWLEDGE = Query(
    "UPDATE message SET ack = ? WHERE session_name = ? AND id = ? AND from_me IS TRUE AND ack >= 0 AND ack < ? "
    "RETURNING seq"
)
_FAIL = Query(
    "UPDATE message SET ack = -1 WHERE session_name = ? AND id = ? AND from_me IS TRUE AND ack = 0 RETURNING seq"
)
_PUT_CHAT = Query(
    "INSERT INTO chat (session_name, id, name, timestamp, unread) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT (session_name, id) DO UPDATE SET timestamp = GREATEST(chat.timestamp, excluded.timestamp), "
    "name = COALESCE(NULLIF(excluded.name, ''), chat.name)"
)


_FILL_RAW = Query(
    "UPDATE message SET raw = ? WHERE session_name = ? AND chat = ? AND from_me IS TRUE AND id = ? AND length(raw) = 0"
)
_FILL = Query(
    "UPDATE message SET sender = ?, timestamp = ?, kind = ?, text = ?, body = ?, raw = ? "
    "WHERE session_name = ? AND chat = ? AND from_me = ? AND id = ? AND kind = 'waiting' RETURNING seq"
)


def put(c: Connection, name: str, row: MessageRow) -> bool:
    """Insert unless known; count it in its chat. Whether it was new.

    One that could not be read keeps its place as `waiting` until it comes. A receipt may have come before its message
    was stored: then the outbox knows the higher ack.
    """
    values = (
        name, row.chat, row.from_me, row.id, row.sender, row.timestamp, row.kind, row.text, dumps(row.body),
        row.raw, row.ack,
    )  # fmt: skip
    new = _PUT_OURS.all(c, *values, name, row.id) if row.from_me else _PUT_THEIRS.all(c, *values)
    if new and row.kind == "waiting":
        _PUT_CHAT.run(c, name, row.chat, "", row.timestamp, 0)
        return True
    if not new and row.kind != "waiting":
        facts = (row.sender, row.timestamp, row.kind, row.text, dumps(row.body), row.raw)
        new = _FILL.all(c, *facts, name, row.chat, row.from_me, row.id)
        if new:
            catch_up(c, name, row.chat, row.id)
        elif row.from_me and row.raw:  # stored by a receipt that overtook the server's ack
            _FILL_RAW.run(c, row.raw, name, row.chat, row.id)
    if new:
        inbox.again(c, name, addons.take_awaiting(c, name, row.chat, row.id))
        _COUNT.run(c, name, row.chat, row.timestamp, 0 if row.from_me else 1)
    return bool(new)


_KEEP_RAW = Query(
    "UPDATE message SET raw = ? WHERE session_name = ? AND id = ? AND from_me IS TRUE AND length(raw) = 0 RETURNING seq"
)


def keep_raw(c: Connection, name: str, row: MessageRow) -> None:
    """What was sent, for a message of our own that was stored without it, because its receipt came first."""
    if row.raw:
        _KEEP_RAW.all(c, row.raw, name, row.id)


_LAST = (
    "SELECT timestamp, seq FROM message WHERE session_name = ? AND id IN ({}) AND chat = ? ORDER BY seq DESC LIMIT 1"
)
_NEWER = Query(
    "SELECT COUNT(*) FROM (SELECT 1 FROM message WHERE session_name = ? AND chat = ? AND timestamp >= ? AND seq > ? "
    "AND from_me IS FALSE LIMIT 1000) AS newer"
)
_SEEN = Query("UPDATE chat SET unread = ? WHERE session_name = ? AND id = ? AND unread > ?")


def seen(c: Connection, name: str, chat_id: str, ids: Sequence[str]) -> None:
    """Messages were marked as seen, and so were those before them: what came after the newest of them is unread."""
    known = rounded(list(ids))
    last = listed(_LAST, len(known)).first(c, name, *known, chat_id)
    if last is not None:
        left = int(_NEWER.first(c, name, chat_id, *last)[0])
        _SEEN.run(c, left, name, chat_id, left)


@dataclass(frozen=True, slots=True)
class Edited:
    """What an edit or a deletion found: the message as it was, or None where it is not there (yet)."""

    before: MessageRow | None


def edit(c: Connection, name: str, row: MessageRow) -> Edited | None:
    """Change a known message of the same author, or keep the change until the message comes. None: refused.

    In a group, any member could name any message: only the author's is changed (`domain.messages` says who that is).
    """
    named = select(*COLUMNS).where(_M.session_name == name, _M.chat == row.chat, _M.id == row.id)
    found = [row_of(one) for one in c.execute(named)]
    before = next(
        (one for one in found if one.from_me == row.from_me and (one.from_me or one.sender == row.sender)), None
    )
    if before is None and found:
        return None
    if before is None or before.kind == "waiting":
        addons.put(c, name, kept(row))
        return Edited(None)
    after = changed(before, row)
    if after == before:
        return None
    c.execute(
        update(message)
        .where(_M.session_name == name, _M.chat == row.chat, _M.from_me == row.from_me, _M.id == row.id)
        .values(kind=after.kind, text=after.text, body=after.body)
    )
    return Edited(before)


_CAME = Query("DELETE FROM message WHERE session_name = ? AND id = ? AND kind = 'waiting' RETURNING seq")


def came(c: Connection, name: str, id_: str) -> None:
    """What could not be read turned out to be about another message: it has no place of its own."""
    _CAME.all(c, name, id_)


def catch_up(c: Connection, name: str, chat_id: str, target: str) -> None:
    """Make the changes that came before their message."""
    for addon in addons.take_waiting(c, name, chat_id, target):
        edit(c, name, change_of(addon))


def acknowledge(c: Connection, name: str, id_: str, level: int) -> bool:
    """Raise the ack of a message of our own, or mark one that nobody has as failed (-1). Whether it moved."""
    moved = _FAIL.all(c, name, id_) if level < 0 else _ACKNOWLEDGE.all(c, level, name, id_, level)
    return bool(moved)


def put_chats(c: Connection, name: str, rows: Sequence[ChatRow]) -> None:
    """What WhatsApp tells of chats: a name replaces, time moves on; `unread` counts only for a chat not yet known."""
    for row in rows:
        _PUT_CHAT.run(c, name, row.id, row.name, row.timestamp, max(row.unread, 0))


def chats(c: Connection, name: str, limit: int, offset: int) -> list[ChatRow]:
    """Newest first, each with its newest message."""
    shown = func.coalesce(func.nullif(chat.c.name, ""), func.nullif(contact.c.name, ""), contact.c.push_name, "")
    newest = (
        select(_M.seq)
        .where(_M.session_name == chat.c.session_name, _M.chat == chat.c.id)
        .order_by(_M.timestamp.desc(), _M.seq.desc())
        .limit(1)
        .correlate(chat)
        .scalar_subquery()
    )
    rows = c.execute(
        select(chat.c.id, shown, chat.c.timestamp, chat.c.unread, newest)
        .outerjoin(contact, and_(contact.c.session_name == chat.c.session_name, contact.c.id == chat.c.id))
        .where(chat.c.session_name == name)
        .order_by(chat.c.timestamp.desc(), chat.c.id)
        .limit(limit)
        .offset(offset)
    ).all()
    seqs = [found[4] for found in rows if found[4] is not None]
    newest_rows = c.execute(select(_M.seq, *COLUMNS).where(_M.seq.in_(seqs))).all()
    shown_rows = addons.shown(c, name, [row_of(found[1:]) for found in newest_rows])
    last = {found[0]: row for found, row in zip(newest_rows, shown_rows, strict=True)}
    return [ChatRow(id_, title, at, unread, last.get(seq)) for id_, title, at, unread, seq in rows]


def listing(
    c: Connection, name: str, chat_id: str | None, *, limit: int, offset: int, filters: Json | None
) -> list[MessageRow]:
    """Newest first, or as the filters say."""
    rows = select(*COLUMNS).where(_M.session_name == name)
    if chat_id is not None:
        rows = rows.where(_M.chat == people.resolve(c, name, [chat_id])[chat_id])
    wanted = filters or {}
    if wanted.get("from_me") is not None:
        rows = rows.where(_M.from_me.is_(bool(wanted["from_me"])))
    if wanted.get("since") is not None:
        rows = rows.where(_M.timestamp >= float(wanted["since"]))
    if wanted.get("until") is not None:
        rows = rows.where(_M.timestamp <= float(wanted["until"]))
    if wanted.get("ack") is not None:
        rows = rows.where(_M.ack == int(wanted["ack"]))
    order = (_M.timestamp, _M.seq) if wanted.get("oldest_first") else (_M.timestamp.desc(), _M.seq.desc())
    return addons.shown(
        c, name, [row_of(found) for found in c.execute(rows.order_by(*order).limit(limit).offset(offset))]
    )


def get(c: Connection, name: str, id_: str, chat_id: str | None = None) -> MessageRow | None:
    """By WhatsApp's id; ids are unique in practice, the newest row wins if they are not."""
    rows = select(*COLUMNS).where(_M.session_name == name, _M.id == id_).order_by(_M.seq.desc()).limit(1)
    if chat_id is not None:
        rows = rows.where(_M.chat == people.resolve(c, name, [chat_id])[chat_id])
    found = c.execute(rows).first()
    return None if found is None else addons.shown(c, name, [row_of(found)])[0]
