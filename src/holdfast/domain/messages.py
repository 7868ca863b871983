"""From inbox rows to what is stored and told: messages, acks, contacts, LID mappings and events (pure).

Stanza attributes as Baileys 7.0.0-rc14 reads them (lib/Utils/decode-wa-message.js): `from` is the chat, or the sender
in a group's `participant`; `recipient` is the chat of a message that another device of ours sent; `sender_pn` and
`sender_lid`, `participant_pn` and `participant_lid` name the same person's other address. `edit` is `8` where a
group's admin deletes another's message (lib/Socket/messages-send.js).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from holdfast.domain import jids
from holdfast.domain.content import Content, read, unwrap
from holdfast.domain.rows import ContactRow, InboxRow, Json, MessageRow, NewEvent, Processed

Me = Mapping[str, Any]

_ACK_OF_RECEIPT = {"": 2, "inactive": 2, "read": 3, "played": 4}
"""Levels of WAHA: 2 DEVICE, 3 READ, 4 PLAYED. `sender`, `read-self` and `played-self` come from our own devices."""


@dataclass(frozen=True, slots=True)
class Interpreted:
    """What one inbox row means."""

    seq: int
    messages: tuple[MessageRow, ...] = ()
    edits: tuple[MessageRow, ...] = ()
    acks: tuple[tuple[str, str, int], ...] = ()
    contacts: tuple[ContactRow, ...] = ()
    mappings: tuple[tuple[str, str], ...] = ()
    events: tuple[NewEvent, ...] = field(default=())


def merge(parts: Sequence[Interpreted]) -> Processed:
    """Everything of a batch, in order, for one transaction."""
    return Processed(
        done=[part.seq for part in parts],
        messages=[row for part in parts for row in part.messages],
        edits=[row for part in parts for row in part.edits],
        acks=[ack for part in parts for ack in part.acks],
        contacts=[row for part in parts for row in part.contacts],
        mappings=[pair for part in parts for pair in part.mappings],
        events=[event for part in parts for event in part.events],
    )


def interpret(row: InboxRow, me: Me) -> Interpreted:
    """What a row means. Never raises for what WhatsApp may send: what is not understood is kept as it came."""
    return _receipt(row) if row.kind == "receipt" else _message(row, me)


def message_to_json(row: MessageRow) -> Json:
    """A message in an event: the row without its raw bytes."""
    return {
        "id": row.id,
        "chat": row.chat,
        "from_me": row.from_me,
        "sender": row.sender,
        "timestamp": row.timestamp,
        "kind": row.kind,
        "text": row.text,
        "ack": row.ack,
        "body": row.body,
    }


# --- receipts ---------------------------------------------------------------------------------------------------


def _receipt(row: InboxRow) -> Interpreted:
    level = _ACK_OF_RECEIPT.get(str(row.body.get("type") or row.attrs.get("type") or ""))
    mappings = _mappings(row.attrs)
    if level is None:
        return Interpreted(row.seq, mappings=mappings)
    chat = jids.bare(row.attrs.get("from", ""))
    ids = [str(i) for i in row.body.get("ids") or [row.attrs.get("id", "")] if i]
    participant = jids.bare(row.attrs["participant"]) if row.attrs.get("participant") else None
    events = tuple(
        NewEvent(
            "message.ack", {"id": i, "chat": chat, "from_me": True, "participant": participant, "ack": level}, chat
        )
        for i in ids
    )
    return Interpreted(row.seq, acks=tuple((chat, i, level) for i in ids), mappings=mappings, events=events)


# --- messages ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Where:
    chat: str
    sender: str
    from_me: bool


def _message(row: InboxRow, me: Me) -> Interpreted:
    opened = unwrap(row.body)
    where = _where(row.attrs, opened.destination, me)
    learnt = Interpreted(
        row.seq, contacts=_contacts(row.attrs, where), mappings=_mappings(row.attrs, lid_chat=where.from_me)
    )
    content = Content("unknown") if _undecoded(row) else read(opened.body)
    if content is None or "|part" in row.key:
        return learnt
    message = _row(row, where, content, view_once=opened.view_once)
    if content.kind in ("reaction", "revoked", "edited", "poll_vote"):
        return _about_another(learnt, message, content, _author(row.attrs, where, content, me))
    event = NewEvent("message", {"message": message_to_json(message)}, where.chat)
    return Interpreted(
        row.seq, messages=(message,), contacts=learnt.contacts, mappings=learnt.mappings, events=(event,)
    )


def _where(attrs: Mapping[str, str], destination: str, me: Me) -> _Where:
    """Chat and sender. A message from our own account is ours, whichever of our devices sent it."""
    origin = jids.bare(attrs.get("from", ""))
    own = _own(me)
    if jids.is_group(origin) or origin.endswith("@broadcast"):
        sender = jids.bare(attrs.get("participant") or origin)
        return _Where(origin, sender, sender in own)
    if origin in own:
        recipient = destination or (jids.bare(attrs["recipient"]) if attrs.get("recipient") else origin)
        return _Where(recipient, origin, True)
    return _Where(origin, origin, False)


def _own(me: Me) -> set[str]:
    return {f"{me.get('phone')}@{jids.PN}", jids.bare(str(me.get("lid") or "-"))}


def _undecoded(row: InboxRow) -> bool:
    """Whether there is a message of which nothing could be read: a kind newer than our protobuf, or a damaged one."""
    return bool(row.plaintext) and not set(row.body) - {"messageContextInfo"}


def _author(attrs: Mapping[str, str], where: _Where, content: Content, me: Me) -> tuple[str, bool]:
    """Who wrote the message that is changed, and whether we did. Everyone may change their own messages only; the
    server lets a group's admin delete those of others, and marks it.
    """
    if content.kind == "revoked" and content.author and attrs.get("edit") == "8" and jids.is_group(where.chat):
        return content.author, content.author in _own(me)
    return where.sender, where.from_me


def _row(row: InboxRow, where: _Where, content: Content, *, view_once: bool) -> MessageRow:
    body: Json = dict(content.facts)
    if row.attrs.get("notify"):
        body["push_name"] = row.attrs["notify"]
    if row.attrs.get("participant"):
        body["participant"] = where.sender
    if view_once:
        body["view_once"] = True
    stamp = row.attrs.get("t", "")
    return MessageRow(
        id=row.attrs.get("id", ""),
        chat=where.chat,
        from_me=where.from_me,
        sender=where.sender,
        timestamp=float(stamp) if stamp.isdecimal() else row.received_at,
        kind=content.kind,
        text=content.text,
        ack=1 if where.from_me else 2,
        body=body,
        raw=row.plaintext,
    )


def _about_another(learnt: Interpreted, message: MessageRow, content: Content, author: tuple[str, bool]) -> Interpreted:
    """A reaction, an edit or a revoke is about the message it names; only edits and revokes change its row."""
    payload = {"message": message_to_json(message), "target": content.target}
    event = NewEvent(f"message.{content.kind}", payload, message.chat)
    edits: tuple[MessageRow, ...] = ()
    if content.kind in ("edited", "revoked"):
        mark = {**message.body, "revoked": True} if content.kind == "revoked" else {**message.body, "edited": True}
        edits = (
            MessageRow(
                id=content.target,
                chat=message.chat,
                from_me=author[1],
                sender=author[0],
                timestamp=message.timestamp,
                kind=content.becomes or content.kind,
                text=message.text,
                ack=message.ack,
                body=mark,
                raw=message.raw,
            ),
        )
    return Interpreted(learnt.seq, edits=edits, contacts=learnt.contacts, mappings=learnt.mappings, events=(event,))


# --- people -----------------------------------------------------------------------------------------------------


def _mappings(attrs: Mapping[str, str], *, lid_chat: bool = False) -> tuple[tuple[str, str], ...]:
    """(lid, phone number JID) pairs that the stanza tells."""
    pairs = []
    people = (("participant", "participant_lid", "participant_pn"),) if attrs.get("participant") else ()
    for address, lid_name, pn_name in (*people, ("from", "sender_lid", "sender_pn")):
        pairs.append(_pair(attrs.get(address, ""), attrs.get(lid_name, ""), attrs.get(pn_name, "")))
    if lid_chat and attrs.get("recipient"):
        lid, phone = (attrs.get(f"peer_{name}") or attrs.get(name, "") for name in ("recipient_lid", "recipient_pn"))
        pairs.append(_pair(attrs["recipient"], lid, phone))
    return tuple(pair for pair in pairs if pair is not None)


def _pair(address: str, lid: str, phone: str) -> tuple[str, str] | None:
    address = jids.bare(address)
    lid = jids.bare(lid) if lid else address if jids.is_lid(address) else ""
    phone = jids.bare(phone) if phone else address if jids.phone_of(address) else ""
    return (lid, phone) if lid and phone else None


def _contacts(attrs: Mapping[str, str], where: _Where) -> tuple[ContactRow, ...]:
    """The sender's push name, where the stanza brings it."""
    if where.from_me or not attrs.get("notify"):
        return ()
    pair = _pair(
        where.sender,
        attrs.get("participant_lid") or attrs.get("sender_lid") or "",
        attrs.get("participant_pn") or attrs.get("sender_pn") or "",
    )
    lid, phone = pair if pair else (where.sender if jids.is_lid(where.sender) else "", where.sender)
    address = phone if jids.phone_of(phone) else where.sender
    return (ContactRow(address, jids.phone_of(phone), lid, "", attrs["notify"]),)
