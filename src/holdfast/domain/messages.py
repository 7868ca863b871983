"""From inbox rows to what is stored and told: messages, acks, contacts, LID mappings and events (pure).

Stanza attributes as Baileys 7.0.0-rc14 reads them (lib/Utils/decode-wa-message.js): `from` is the chat, or the sender
in a group's `participant`; `recipient` is the chat of a message that another device of ours sent; `sender_pn` and
`sender_lid`, `participant_pn` and `participant_lid` name the same person's other address. `edit` is `8` where a
group's admin deletes another's message (lib/Socket/messages-send.js).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from holdfast.domain import groups, jids
from holdfast.domain.addons import Sealed
from holdfast.domain.content import Content, Opened, bytes_of, plain, read, unreadable, unwrap
from holdfast.domain.media import name_of
from holdfast.domain.message_types import ALBUM, PARTS_OF_ANOTHER, Treatment
from holdfast.domain.rows import AddonRow, ChatRow, ContactRow, InboxRow, Json, MessageRow, NewEvent, Processed
from holdfast.domain.timers import ChatTimer, timer_of

Me = Mapping[str, Any]

_ACK_OF_RECEIPT = {"": 2, "inactive": 2, "read": 3, "played": 4}
"""Levels of WAHA: 2 DEVICE, 3 READ, 4 PLAYED. `sender`, `read-self` and `played-self` come from our own devices."""


@dataclass(frozen=True, slots=True)
class Interpreted:
    """What one inbox row means."""

    seq: int
    messages: tuple[MessageRow, ...] = ()
    edits: tuple[MessageRow, ...] = ()
    addons: tuple[AddonRow, ...] = ()
    sealed: tuple[Sealed, ...] = ()
    """What only the secret of another message opens: `runtime.sealed` makes addons, edits and events of them."""
    awaiting: tuple[AddonRow, ...] = ()
    """Inbox rows that are processed again once the message that they are about is there."""
    acks: tuple[tuple[str, str, int], ...] = ()
    chats: tuple[ChatRow, ...] = ()
    contacts: tuple[ContactRow, ...] = ()
    mappings: tuple[tuple[str, str], ...] = ()
    timers: tuple[ChatTimer, ...] = ()
    events: tuple[NewEvent, ...] = field(default=())


def merge(parts: Sequence[Interpreted]) -> Processed:
    """Everything of a batch, in order, for one transaction."""
    return Processed(
        done=[part.seq for part in parts if part.seq],
        messages=[row for part in parts for row in part.messages],
        edits=[row for part in parts for row in part.edits],
        addons=[row for part in parts for row in part.addons],
        awaiting=[row for part in parts for row in part.awaiting],
        chats=[row for part in parts for row in part.chats],
        acks=[ack for part in parts for ack in part.acks],
        contacts=[row for part in parts for row in part.contacts],
        mappings=[pair for part in parts for pair in part.mappings],
        timers=[timer for part in parts for timer in part.timers],
        events=[event for part in parts for event in part.events],
    )


def interpret(row: InboxRow, me: Me) -> Interpreted:
    """What a row means. Never raises for what WhatsApp may send: what is not understood is kept as it came."""
    if row.kind == "receipt":
        return _receipt(row)
    if row.kind == "group":
        events, chats, pairs = groups.notified(row, me)
        return Interpreted(row.seq, chats=tuple(chats), mappings=tuple(pairs), events=tuple(events))
    if row.kind == "waiting":
        return _waiting(row, me)
    found, timer = _message(row, me), _timer(row, me)
    return found if timer is None else replace(found, timers=(timer,))


def _timer(row: InboxRow, me: Me) -> ChatTimer | None:
    opened, stamp = unwrap(row.body), row.attrs.get("t", "")
    chat = _where(row.attrs, opened.destination, me).chat
    return timer_of(opened.body, chat, float(stamp) if stamp.isdecimal() else row.received_at)


def message_to_json(row: MessageRow) -> Json:
    """A message in an event: the row without its raw bytes and its secret."""
    return {
        "id": row.id,
        "chat": row.chat,
        "from_me": row.from_me,
        "sender": row.sender,
        "timestamp": row.timestamp,
        "kind": row.kind,
        "text": row.text,
        "ack": row.ack,
        "body": {name: value for name, value in row.body.items() if name != "secret"},
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
    kinds = ["message.ack", "message.ack.group"] if participant and jids.is_group(chat) else ["message.ack"]
    events = tuple(
        NewEvent(kind, {"id": i, "chat": chat, "from_me": True, "participant": participant, "ack": level}, chat)
        for i in ids
        for kind in kinds
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
    if row.body.get("resent") and where.from_me and row.attrs.get("category") == "peer":
        return _resent(row, me)
    learnt = Interpreted(
        row.seq, contacts=_contacts(row.attrs, where), mappings=_mappings(row.attrs, lid_chat=where.from_me)
    )
    content = unreadable() if _undecoded(row, opened) else read(opened.body)
    if content is None or "|part" in row.key or opened.part_of in PARTS_OF_ANOTHER:
        return learnt
    message = _with_file(_row(row, where, content, opened), me)
    if content.kind in ("revoked", "edited"):
        return _changed(learnt, message, content, _author(row.attrs, where, content, me))
    if content.kind == "sealed":
        return replace(learnt, sealed=(_sealed(message, content, row, _target(where, content, me), me),))
    if content.treatment is not Treatment.MESSAGE and content.treatment is not Treatment.PLACEHOLDER:
        return _noted(learnt, message, content, _target(where, content, me))
    placeholder = content.treatment is Treatment.PLACEHOLDER
    event = NewEvent(
        "message.waiting" if placeholder else "message", {"message": message_to_json(message)}, where.chat
    )  # fmt: skip
    return Interpreted(
        row.seq, messages=(message,), contacts=learnt.contacts, mappings=learnt.mappings, events=(event,)
    )


def _resent(row: InboxRow, me: Me) -> Interpreted:
    """What our own phone handed us because we could not read it: each message as if its stanza had come now."""
    parts = []
    for one in row.body["resent"]:
        key = one["key"]
        chat = jids.bare(str(key.get("remoteJid") or ""))
        author = str(key.get("participant") or one.get("participant") or "")
        attrs = {"id": str(key.get("id") or ""), "from": chat, "t": str(one.get("timestamp") or "")}
        if jids.is_group(chat):
            attrs["participant"] = str(row.attrs["from"]) if key.get("fromMe") else author
        elif key.get("fromMe"):
            attrs |= {"from": str(row.attrs["from"]), "recipient": chat}
        if one.get("push_name"):
            attrs["notify"] = str(one["push_name"])
        plaintext = _bytes(bytes_of(one["plaintext"]))
        parts.append(
            _message(InboxRow(row.key, "message", attrs, plaintext, one["body"], row.seq, row.received_at), me)
        )
    whole = merge(parts)
    return Interpreted(
        row.seq,
        messages=tuple(whole.messages),
        edits=tuple(whole.edits),
        addons=tuple(whole.addons),
        sealed=tuple(one for part in parts for one in part.sealed),
        contacts=tuple(whole.contacts),
        events=tuple(whole.events),
    )


def _where(attrs: Mapping[str, str], destination: str, me: Me) -> _Where:
    """Chat and sender. A message from our own account is ours, whichever of our devices sent it; we go by number."""
    origin = jids.bare(attrs.get("from", ""))
    own = _own(me)
    ours = f"{me.get('phone')}@{jids.PN}"
    if jids.is_group(origin) or origin.endswith("@broadcast"):
        sender = jids.bare(attrs.get("participant") or origin)
        if jids.is_broadcast_list(origin) and sender not in own:
            return _Where(sender, sender, False)  # as any message of theirs, and so answered
        return _Where(origin, ours, True) if sender in own else _Where(origin, sender, False)
    if origin in own:
        recipient = destination or (jids.bare(attrs["recipient"]) if attrs.get("recipient") else origin)
        return _Where(recipient, ours, True)
    return _Where(origin, origin, False)


def _own(me: Me) -> set[str]:
    return {f"{me.get('phone')}@{jids.PN}", jids.bare(str(me.get("lid") or "-"))}


def _undecoded(row: InboxRow, opened: Opened) -> bool:
    """Whether there is a message of which nothing could be read: a kind newer than our protobuf, or a damaged one."""
    return bool(row.plaintext) and not set(opened.body) - {"messageContextInfo"}


def _author(attrs: Mapping[str, str], where: _Where, content: Content, me: Me) -> tuple[str, bool]:
    """Who wrote the message that is changed, and whether we did. Everyone may change their own messages only; the
    server lets a group's admin delete those of others, and marks it.
    """
    if content.kind == "revoked" and content.author and attrs.get("edit") == "8" and jids.is_group(where.chat):
        return content.author, content.author in _own(me)
    return where.sender, where.from_me


def _waiting(row: InboxRow, me: Me) -> Interpreted:
    """A message that could not be read: its place is kept until it comes again under the same id. What changes other
    messages, or is between our own devices, has no place of its own.
    """
    where = _where(row.attrs, "", me)
    mappings = _mappings(row.attrs, lid_chat=where.from_me)
    if row.attrs.get("category") == "peer" or row.attrs.get("edit") or row.attrs.get("type") == "reaction":
        return Interpreted(row.seq, mappings=mappings)
    once = str(row.body.get("unavailable") or "").startswith("view_once")  # WhatsApp gives it to phones alone
    message = _row(row, where, Content("waiting"), Opened({}, view_once=once))
    event = NewEvent("message.waiting", {"message": message_to_json(message)}, where.chat)
    return Interpreted(row.seq, messages=(message,), mappings=mappings, events=(event,))


def _row(row: InboxRow, where: _Where, content: Content, opened: Opened) -> MessageRow:
    body: Json = dict(content.facts)
    if row.attrs.get("notify"):
        body["push_name"] = row.attrs["notify"]
    if row.attrs.get("participant") and where.chat != where.sender:
        body["participant"] = where.sender
    if jids.is_broadcast_list(row.attrs.get("from", "")):
        body["broadcast"] = row.attrs["from"]
    if opened.view_once:
        body["view_once"] = True
    if opened.ephemeral:
        body["ephemeral"] = True
    if opened.secret:
        body["secret"] = opened.secret
    if opened.part_of == ALBUM and opened.parent:
        body["album"] = opened.parent
    if set(opened.body) - {"conversation", "messageContextInfo"}:
        body["message"] = plain(opened.body)
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


def _with_file(row: MessageRow, me: Me) -> MessageRow:
    """A picture, a voice message and so on name the file that will be kept of them."""
    media = row.body.get("media")
    if not media or not row.raw or row.kind == "edited":
        return row
    who = (me.get("phone"), row.chat, row.from_me, row.sender, row.id)
    named = {**media, "file": name_of(*who, mimetype=media["mimetype"])}
    return replace(row, body={**row.body, "media": named})


def _changed(learnt: Interpreted, message: MessageRow, content: Content, author: tuple[str, bool]) -> Interpreted:
    """An edit or a deletion changes the row of the message that it names (`domain.addons.changed`)."""
    payload = {"message": message_to_json(message), "target": content.target}
    event = NewEvent(f"message.{content.kind}", payload, message.chat)
    mark: Json = {"revoked": True, "by": message.sender} if content.kind == "revoked" else {"edited": True}
    change = MessageRow(
        id=content.target,
        chat=message.chat,
        from_me=author[1],
        sender=author[0],
        timestamp=message.timestamp,
        kind=content.becomes or content.kind,
        text=message.text,
        ack=message.ack,
        body={**{k: v for k, v in message.body.items() if k != "message"}, **mark, "change": message.id},
    )
    return Interpreted(learnt.seq, edits=(change,), contacts=learnt.contacts, mappings=learnt.mappings, events=(event,))


def _target(where: _Where, content: Content, me: Me) -> tuple[str, bool]:
    """Who wrote the message that a reaction or a vote names, and whether we did: keys are the sender's view."""
    if content.by_sender:
        return where.sender, where.from_me
    if jids.is_group(where.chat):
        return content.author, content.author in _own(me)
    return (where.chat, False) if where.from_me else (f"{me.get('phone', '')}@{jids.PN}", True)


def _noted(learnt: Interpreted, message: MessageRow, content: Content, target: tuple[str, bool]) -> Interpreted:
    """A reaction belongs to the message that it names; a pin and what the chat only shows are events. None of them
    has a row of its own.
    """
    payload = about(message, content.target, target)
    if content.treatment is Treatment.SYSTEM:
        return replace(learnt, events=(NewEvent("message.system", payload, message.chat),))
    event = NewEvent(f"message.{content.kind}", payload, message.chat)
    if content.kind != "reaction":
        return replace(learnt, events=(event,))
    addon = AddonRow(
        message.chat, content.target, content.kind, message.sender, message.from_me, message.id, message.timestamp,
        message.text,
    )  # fmt: skip
    return replace(learnt, addons=(addon,), events=(event,))


def about(message: MessageRow, target: str, author: tuple[str, bool]) -> Json:
    """The payload of an event about another message: whose that is, too."""
    own = {"target_author": author[0], "target_from_me": author[1]}
    return {"message": message_to_json(message), "target": target, **own}


def _sealed(message: MessageRow, content: Content, row: InboxRow, target: tuple[str, bool], me: Me) -> Sealed:
    box, attrs = content.facts["sealed"], row.attrs
    names = ("from", "participant", *(f"{who}_{what}" for who in ("sender", "participant") for what in ("pn", "lid")))
    others = [attrs[name] for name in names if attrs.get(name) and not jids.is_group(attrs[name])]
    peer = [attrs[name] for name in ("recipient", "peer_recipient_lid", "peer_recipient_pn") if attrs.get(name)]
    own = sorted(_own(me))
    senders = own if message.from_me else others
    authors = own if target[1] else [target[0], content.author, *(senders if content.by_sender else [*others, *peer])]
    facts = {name: value for name, value in message.body.items() if name != "sealed"}
    return Sealed(
        use=box["use"],
        message=replace(message, body=facts),
        stanza=row,
        target=content.target,
        target_from_me=target[1],
        payload=_bytes(box["payload"]),
        iv=_bytes(box["iv"]),
        senders=[jid for jid in dict.fromkeys(map(jids.bare, senders)) if jid],
        authors=[jid for jid in dict.fromkeys(map(jids.bare, authors)) if jid],
    )


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except (ValueError, binascii.Error):
        return b""


# --- people -----------------------------------------------------------------------------------------------------


def _mappings(attrs: Mapping[str, str], *, lid_chat: bool = False) -> tuple[tuple[str, str], ...]:
    """(lid, phone number JID) pairs that the stanza tells."""
    pairs = []
    people = [("participant", "participant_lid", "participant_pn")] if attrs.get("participant") else []
    if jids.is_broadcast_list(attrs.get("from", "")):
        people.append(("participant", "sender_lid", "sender_pn"))
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
