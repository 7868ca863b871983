"""Messages and chats as users read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, and_, case, func, select, update

from holdfast.domain.rows import ChatRow, Json, MessageRow
from holdfast.store import people
from holdfast.store.schema import chat, contact, message, outbox
from holdfast.store.sql import insert

_M = message.c
_COLUMNS = (_M.id, _M.chat, _M.from_me, _M.sender, _M.timestamp, _M.kind, _M.text, _M.ack, _M.body, _M.raw)
_KEY = ["session_name", "chat", "from_me", "id"]


def _row(found: Any) -> MessageRow:
    id_, chat_, from_me, sender, timestamp, kind, text, ack, body, raw = found
    return MessageRow(id_, chat_, bool(from_me), sender, timestamp, kind, text, ack, body, bytes(raw))


def put(c: Connection, name: str, row: MessageRow) -> bool:
    """Insert unless known; count it in its chat. Whether it was new.

    A receipt may have come before its message was stored: then the outbox knows the higher ack.
    """
    values = _values(row)
    if row.from_me:
        values["ack"] = max(row.ack, _acked(c, name, row.id))
    stmt = insert(c, message).values(session_name=name, chat=row.chat, from_me=row.from_me, id=row.id, **values)
    if not c.execute(stmt.on_conflict_do_nothing(index_elements=_KEY).returning(_M.seq)).all():
        return False
    _count(c, name, row)
    return True


def _acked(c: Connection, name: str, id_: str) -> int:
    level = case((outbox.c.state == "delivered", 2), (outbox.c.state == "read", 3), else_=-1)
    found: int | None = c.execute(select(level).where(outbox.c.session_name == name, outbox.c.id == id_)).scalar()
    return -1 if found is None else found


def _values(row: MessageRow) -> dict[str, Any]:
    return {
        "sender": row.sender, "timestamp": row.timestamp, "kind": row.kind, "text": _clean(row.text),
        "ack": row.ack, "body": row.body, "raw": row.raw,
    }  # fmt: skip


def _clean(text: str) -> str:
    return text.replace("\x00", "")  # PostgreSQL's text cannot hold it


def _count(c: Connection, name: str, row: MessageRow) -> None:
    stmt = insert(c, chat).values(
        session_name=name, id=row.chat, name="", timestamp=row.timestamp, unread=0 if row.from_me else 1
    )
    newest = case((chat.c.timestamp < row.timestamp, row.timestamp), else_=chat.c.timestamp)
    unread = 0 if row.from_me else chat.c.unread + 1
    c.execute(
        stmt.on_conflict_do_update(index_elements=["session_name", "id"], set_={"timestamp": newest, "unread": unread})
    )


def edit(c: Connection, name: str, row: MessageRow) -> bool:
    """Change kind, text and body of a known message of the same author. Whether there was one.

    In a group, any member could name any message: only the author's is changed (`domain.messages` says who that is).
    """
    values = _values(row)
    theirs = _M.from_me.is_(True) if row.from_me else _M.sender == row.sender
    return (
        c.execute(
            update(message)
            .where(_M.session_name == name, _M.chat == row.chat, _M.from_me == row.from_me, _M.id == row.id, theirs)
            .values({column: values[column] for column in ("kind", "text", "body")})
        ).rowcount
        > 0
    )


def acknowledge(c: Connection, name: str, id_: str, level: int) -> bool:
    """Raise the ack of a message of our own, or mark one that nobody has as failed (-1). Whether it moved."""
    before = _M.ack == 0 if level < 0 else and_(_M.ack < level, _M.ack >= 0)
    return (
        c.execute(
            update(message).where(_M.session_name == name, _M.id == id_, _M.from_me.is_(True), before).values(ack=level)
        ).rowcount
        > 0
    )


def put_chats(c: Connection, name: str, rows: Sequence[ChatRow]) -> None:
    """What WhatsApp tells of chats: a name replaces, time moves on; `unread` counts only for a chat not yet known."""
    for row in rows:
        stmt = insert(c, chat).values(
            session_name=name, id=row.id, name=row.name, timestamp=row.timestamp, unread=max(row.unread, 0)
        )
        newest = case((chat.c.timestamp < row.timestamp, row.timestamp), else_=chat.c.timestamp)
        told: dict[str, Any] = {"timestamp": newest}
        if row.name:
            told["name"] = row.name
        c.execute(stmt.on_conflict_do_update(index_elements=["session_name", "id"], set_=told))


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
    last = {found[0]: _row(found[1:]) for found in c.execute(select(_M.seq, *_COLUMNS).where(_M.seq.in_(seqs)))}
    return [ChatRow(id_, title, at, unread, last.get(seq)) for id_, title, at, unread, seq in rows]


def listing(
    c: Connection, name: str, chat_id: str | None, *, limit: int, offset: int, filters: Json | None
) -> list[MessageRow]:
    """Newest first."""
    rows = select(*_COLUMNS).where(_M.session_name == name)
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
    ordered = rows.order_by(_M.timestamp.desc(), _M.seq.desc()).limit(limit).offset(offset)
    return [_row(found) for found in c.execute(ordered)]


def get(c: Connection, name: str, id_: str) -> MessageRow | None:
    """By WhatsApp's id; ids are unique in practice, the newest row wins if they are not."""
    rows = select(*_COLUMNS).where(_M.session_name == name, _M.id == id_).order_by(_M.seq.desc()).limit(1)
    found = c.execute(rows).first()
    return None if found is None else _row(found)
