"""Rows as the tests need them, with everything that does not matter filled in."""

from __future__ import annotations

from typing import Any

from holdfast.domain.rows import InboxRow, MessageRow, NewEvent, OutboxRow, TimelineRow

PN = "40712345678@s.whatsapp.net"
LID = "777@lid"


def message(id: str = "m1", chat: str = PN, *, from_me: bool = False, at: float = 100.0, **more: Any) -> MessageRow:
    facts = {"sender": chat, "kind": "text", "text": "hello", "ack": 0, "body": {}, **more}
    return MessageRow(id=id, chat=chat, from_me=from_me, timestamp=at, **facts)


def told(row: MessageRow) -> NewEvent:
    return NewEvent("message", {"message": {"id": row.id, "chat": row.chat, "from_me": row.from_me}}, row.chat)


def acked(id: str, level: int, chat: str = PN) -> NewEvent:
    return NewEvent("message.ack", {"id": id, "chat": chat, "from_me": True, "ack": level}, chat)


def received(key: str = "k1") -> InboxRow:
    return InboxRow(key, "message", {"id": key, "from": PN}, b"\x00plain", {"conversation": "nul \x00 inside"})


def outgoing(id: str = "o1", chat: str = PN, **more: Any) -> OutboxRow:
    facts = {
        "state": "queued", "attempts": 0, "created_at": 0.0, "updated_at": 0.0, "expires_at": 4e9, "send_at": 0.0,
        "error": 0, "message": "", **more,
    }  # fmt: skip
    return OutboxRow(id=id, session="a", chat=chat, content={"text": "x"}, **facts)


def entry(code: str = "connected", at: float = 50.0) -> TimelineRow:
    return TimelineRow(0, "a", at, "WORKING", code, "Connected.", 0, "one", 1, {"x": 1})
