"""What came of inbox rows, in one transaction: nothing is told twice, nothing is marked that was not stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from holdfast.domain.rows import ChatRow, EventRow, Json, NewEvent, Processed
from holdfast.store import events as log
from holdfast.store import inbox, messages, outbox, people
from holdfast.store.sql import check_epoch


def is_brief(processed: Processed) -> bool:
    """Whether it is what one stanza brings, not a history."""
    p = processed
    return all(len(part) <= 4 for part in (p.messages, p.acks, p.edits, p.chats, p.contacts, p.mappings, p.events))


def apply_inbox(
    c: Connection, name: str, epoch: int, processed: Processed, new_id: Callable[[], str]
) -> list[EventRow]:
    """See `ports.store.Store.apply_inbox`."""
    check_epoch(c, name, epoch)
    people.learn(c, name, processed.mappings)
    people.put_contacts(c, name, processed.contacts)
    news = _News()
    for row in people.canonical(c, name, processed.messages):
        if messages.put(c, name, row):
            news.messages.add((row.id, row.from_me))
    for row in people.canonical(c, name, processed.edits):
        if messages.edit(c, name, row):
            news.messages.add((row.id, row.from_me))
            news.edited.add(row.id)
    for _, id_, level in processed.acks:
        queued, shown = outbox.acknowledge(c, name, id_, level), messages.acknowledge(c, name, id_, level)
        if queued or shown:
            news.acks.add((id_, level))
    messages.put_chats(c, name, _canonical_chats(c, name, processed.chats))
    told = _canonical_events(c, name, [event for event in processed.events if news.has(event)])
    appended = log.append(c, name, told, new_id)
    inbox.mark_done(c, name, processed.done)
    return appended


class _News:
    """What really changed, to drop the events of what did not. Payloads as `domain.messages` makes them: an edit or a
    revoke has an id of its own, and names the message that it changes as `target`. A reaction changes no row.
    """

    def __init__(self) -> None:
        self.messages: set[tuple[str, bool]] = set()
        self.edited: set[str] = set()
        self.acks: set[tuple[str, int]] = set()

    def has(self, event: NewEvent) -> bool:
        payload = event.payload
        if event.kind == "message.ack":
            return (payload.get("id"), payload.get("ack")) in self.acks
        if event.kind in ("message.edited", "message.revoked"):
            return payload.get("target") in self.edited
        message = payload.get("message")
        if event.kind == "message" and isinstance(message, dict):
            return (message["id"], bool(message.get("from_me"))) in self.messages
        return True


def _canonical_chats(c: Connection, name: str, rows: Iterable[ChatRow]) -> list[ChatRow]:
    listed = list(rows)
    known = people.resolve(c, name, [row.id for row in listed])
    return [replace(row, id=known[row.id]) for row in listed]


_ADDRESSES = ("chat", "sender", "participant")


def _canonical_events(c: Connection, name: str, events: list[NewEvent]) -> list[NewEvent]:
    """Users see the same address for a person, whichever the stanza carried."""
    found = [event.chat for event in events]
    for event in events:
        found += [part[field] for part in _parts(event.payload) for field in _ADDRESSES if _is_text(part.get(field))]
    known = people.resolve(c, name, found)
    return [replace(event, chat=known[event.chat], payload=_readdressed(event.payload, known)) for event in events]


def _parts(payload: Json) -> list[Json]:
    message = payload.get("message")
    return [payload, message] if isinstance(message, dict) else [payload]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _readdressed(payload: Json, known: dict[str, str]) -> Json:
    changed = {
        field: known[payload[field]] for field in _ADDRESSES if _is_text(payload.get(field)) and payload[field] in known
    }
    message = payload.get("message")
    if isinstance(message, dict):
        changed["message"] = _readdressed(message, known)  # type: ignore[assignment]
    return {**payload, **changed}
