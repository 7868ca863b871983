"""What came of inbox rows, in one transaction: nothing is told twice, nothing is marked that was not stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from holdfast.domain.addresses import by_number, lids_in
from holdfast.domain.messages import message_to_json
from holdfast.domain.rows import ChatRow, EventRow, Json, MessageRow, NewEvent, Processed
from holdfast.domain.sent import sent_message
from holdfast.store import addons, inbox, media, messages, outbox, people, send_turns, sessions, timers
from holdfast.store import events as log
from holdfast.store.sql import check_epoch


def is_brief(processed: Processed) -> bool:
    """Whether it is what one stanza brings, not a history."""
    p = processed
    return all(
        len(part) <= 4 for part in (p.messages, p.acks, p.edits, p.addons, p.chats, p.contacts, p.mappings, p.events)
    )


def apply_inbox(
    c: Connection, name: str, epoch: int, processed: Processed, new_id: Callable[[], str]
) -> list[EventRow]:
    """See `ports.store.Store.apply_inbox`."""
    check_epoch(c, name, epoch)
    for lid, pn in people.learn(c, name, processed.mappings):
        timers.merge(c, name, lid, pn)
        for target in addons.merge(c, name, lid, pn):
            messages.catch_up(c, name, pn, target)
    people.put_contacts(c, name, processed.contacts)
    timers.put(c, name, processed.timers)
    news, met = _News(), set[str]()
    for row in people.canonical(c, name, processed.messages):
        if messages.put(c, name, row):
            news.messages.add((row.id, row.from_me, row.kind in ("waiting", "unknown")))
            media.expect(c, name, row)
            met.add(row.chat)
    for row in people.canonical(c, name, processed.edits):
        if (done := messages.edit(c, name, row)) is not None:
            news.edited[str(row.body.get("change"))] = done.before
    for addon in people.canonical(c, name, [*processed.addons, *processed.awaiting]):
        messages.came(c, name, addon.id)
        if addons.put(c, name, addon):
            news.addons.add(addon.id)
    for _, id_, level in processed.acks:
        queued, shown = outbox.acknowledge(c, name, id_, level), messages.acknowledge(c, name, id_, level)
        if queued or shown:
            news.acks.add((id_, level))
        if queued and not shown and level > 0:
            news.sent += _overtaken(c, name, id_)
    send_turns.meet(c, name, met)
    messages.put_chats(c, name, _canonical_chats(c, name, processed.chats))
    fresh = [*news.sent, *(news.told(event) for event in processed.events if news.has(event))]
    told = _canonical_events(c, name, fresh)
    appended = log.append(c, name, told, new_id)
    inbox.mark_done(c, name, processed.done)
    inbox.erase(c, name, processed.ignored)
    inbox.set_aside(c, name, processed.unreadable)
    return appended


def _overtaken(c: Connection, name: str, id_: str) -> list[NewEvent]:
    """A receipt came before the server's ack was stored, which may never be, after a crash: it proves the same, so the
    message is stored now, and told of.
    """
    row = outbox.get(c, name, id_)
    if row is None:
        return []
    sent = people.canonical(c, name, [sent_message(row, row.updated_at, sessions.required(c, name).me)])[0]
    if not messages.put(c, name, sent):
        return []
    return [NewEvent("message", {"message": message_to_json(sent)}, sent.chat)]


class _News:
    """What really changed, to drop the events of what did not. Payloads as `domain.messages` makes them: an edit, a
    revoke or a reaction has an id of its own, and names the message that it is about as `target`.
    """

    def __init__(self) -> None:
        self.messages: set[tuple[str, bool, bool]] = set()
        self.edited: dict[str, MessageRow | None] = {}
        self.addons: set[str] = set()
        self.acks: set[tuple[str, int]] = set()
        self.sent: list[NewEvent] = []

    def has(self, event: NewEvent) -> bool:
        payload = event.payload
        if event.kind == "message.ack":
            moved = (str(payload.get("id")), int(payload.get("ack") or 0))
            if moved not in self.acks:
                return False
            self.acks.remove(moved)  # told once, though many members of a group got it
            return True
        message = payload.get("message")
        if not isinstance(message, dict):
            return True
        if event.kind in ("message.edited", "message.revoked"):
            return message["id"] in self.edited
        if event.kind in ("message", "message.waiting") and "target" not in payload:
            return (message["id"], bool(message.get("from_me")), event.kind == "message.waiting") in self.messages
        return event.kind != "message.reaction" or message["id"] in self.addons

    def told(self, event: NewEvent) -> NewEvent:
        """The event, with what a changed message was before."""
        if event.kind not in ("message.edited", "message.revoked"):
            return event
        before = self.edited.get(event.payload["message"]["id"])
        return replace(event, payload={**event.payload, "before": message_to_json(before) if before else None})


def _canonical_chats(c: Connection, name: str, rows: Iterable[ChatRow]) -> list[ChatRow]:
    listed = list(rows)
    known = people.resolve(c, name, [row.id for row in listed])
    return [replace(row, id=known[row.id]) for row in listed]


_ADDRESSES = ("chat", "sender", "participant", "target_author")


def _canonical_events(c: Connection, name: str, events: list[NewEvent]) -> list[NewEvent]:
    """Users see the same address for a person, whichever the stanza carried, also for those named inside."""
    found = [event.chat for event in events]
    for event in events:
        found += [part[field] for part in _parts(event.payload) for field in _ADDRESSES if _is_text(part.get(field))]
        found += [lid for part in _parts(event.payload) for lid in lids_in(part.get("body"))]
    known = people.resolve(c, name, found)
    return [replace(event, chat=known[event.chat], payload=_readdressed(event.payload, known)) for event in events]


def _parts(payload: Json) -> list[Json]:
    return [payload, *(payload[name] for name in ("message", "before") if isinstance(payload.get(name), dict))]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _readdressed(payload: Json, known: dict[str, str]) -> Json:
    changed: Json = {
        field: known[payload[field]] for field in _ADDRESSES if _is_text(payload.get(field)) and payload[field] in known
    }
    if "body" in payload:
        changed["body"] = by_number(payload["body"], known)
    for name in ("message", "before"):
        if isinstance(payload.get(name), dict):
            changed[name] = _readdressed(payload[name], known)
    return {**payload, **changed}
