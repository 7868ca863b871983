"""Opens what is sealed under the secret of another message: edits, reactions, comments, votes, answers to events.

AES-256-GCM under HKDF-SHA256 without salt over the target's secret; the info is target id, target's author, sender and
a word for the use. Votes and answers have associated data, `target id NUL sender`; edits, reactions and comments have
none. Either side may have gone by phone number or by LID, so each pair is tried.

Source: whatsmeow `msgsecret.go` (2026-05), Baileys 7.0.0-rc14 lib/Utils/process-message.js.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from holdfast.domain.addons import Sealed
from holdfast.domain.content import unwrap
from holdfast.domain.messages import Interpreted, about, interpret, message_to_json
from holdfast.domain.protobuf import InvalidProtobuf, decode
from holdfast.domain.rows import AddonRow, MessageRow, NewEvent

Body = dict[str, Any]

VOTE, ANSWER, REACTION, COMMENT = "Poll Vote", "Event Response", "Enc Reaction", "Enc Comment"
MESSAGE_EDIT, EVENT_EDIT = "Message Edit", "Event Edit"
_BOUND = frozenset({VOTE, ANSWER})
"""Uses with associated data."""
_FAILED = {VOTE: "poll.vote.failed", ANSWER: "event.response.failed"}
_SECRET, _IV = 32, 12


def opened(sealed: Sealed, target: MessageRow | None, me: Mapping[str, Any]) -> Interpreted:
    """What is inside, as if it had come openly; an event that tells where it cannot be opened.

    Args:
        sealed: The stanza.
        target: The message that it names, as it is stored in the same chat; None if it is not there.
        me: The account.
    """
    secret = secret_of(target) if target is not None else b""
    if len(secret) != _SECRET or target is None:
        return replace(_failed(sealed, target), awaiting=(sealed.awaiting,))
    plain = _plain(sealed, secret, [*sealed.authors, target.sender])
    try:
        found = None if plain is None else _inside(sealed, target, plain, me)
    except InvalidProtobuf:
        found = None
    return found or _failed(sealed, target)


def secret_of(message: MessageRow) -> bytes:
    """The secret that a message brought; empty if it brought none, or cannot be read yet."""
    try:
        if kept := base64.b64decode(message.body.get("secret") or ""):
            return kept
        return base64.b64decode(unwrap(decode("Message", message.raw)).secret)
    except (binascii.Error, InvalidProtobuf):
        return b""


def _plain(sealed: Sealed, secret: bytes, authors: Sequence[str]) -> bytes | None:
    if len(sealed.iv) != _IV:
        return None
    for author, sender in product(dict.fromkeys(authors), sealed.senders):
        info = f"{sealed.target}{author}{sender}{sealed.use}".encode()
        bound = f"{sealed.target}\0{sender}".encode() if sealed.use in _BOUND else None
        try:
            return AESGCM(HKDF(SHA256(), 32, None, info).derive(secret)).decrypt(sealed.iv, sealed.payload, bound)
        except InvalidTag:
            continue
    return None


def _failed(sealed: Sealed, target: MessageRow | None) -> Interpreted:
    if kind := _FAILED.get(sealed.use):
        payload = about(sealed.message, sealed.target, _author(sealed, target))
        return Interpreted(0, events=(NewEvent(kind, payload, sealed.message.chat),))
    waiting = replace(sealed.message, kind="waiting", body={**sealed.message.body, "target": sealed.target})
    event = NewEvent("message.waiting", {"message": message_to_json(waiting), "target": sealed.target}, waiting.chat)
    return Interpreted(0, events=(event,))


def _author(sealed: Sealed, target: MessageRow | None) -> tuple[str, bool]:
    return target.sender if target else next(iter(sealed.authors), ""), sealed.target_from_me


# --- what was inside ----------------------------------------------------------------------------------------------


def _inside(sealed: Sealed, target: MessageRow, plain: bytes, me: Mapping[str, Any]) -> Interpreted | None:
    if sealed.use == VOTE:
        return _vote(sealed, target, plain)
    if sealed.use == ANSWER:
        return _answer(sealed, target, decode("Message.EventResponseMessage", plain))
    key = _key(sealed)
    if sealed.use == REACTION:
        body: Body = {"reactionMessage": {**decode("Message.ReactionMessage", plain), "key": key}}
    elif sealed.use == COMMENT:
        body = {"commentMessage": {"message": decode("Message", plain), "targetMessageKey": key}}
    else:
        edit = _edit(sealed, plain)
        if edit is None:
            return None
        body = {"protocolMessage": {"type": "MESSAGE_EDIT", "key": key, "editedMessage": edit}}
    found = interpret(replace(sealed.stanza, body=body, plaintext=plain), me)
    return replace(found, seq=0, sealed=())


def _key(sealed: Sealed) -> Body:
    """The target's key as the stanza wrote it."""
    body = unwrap(sealed.stanza.body).body
    part = next((part for part in body.values() if isinstance(part, Mapping) and "encPayload" in part), {})
    return dict(part.get("targetMessageKey") or {})


def _edit(sealed: Sealed, plain: bytes) -> Body | None:
    """The message as it is now. It may stand in an edit of its own, which must then be about the same message."""
    try:
        body = unwrap(decode("Message", plain)).body
    except InvalidProtobuf:
        body = {}
    protocol = body.get("protocolMessage")
    if isinstance(protocol, Mapping):
        key, after = protocol.get("key") or {}, protocol.get("editedMessage")
        same = key.get("id") in (None, "", sealed.target)
        return dict(after) if protocol.get("type") == "MESSAGE_EDIT" and same and after else None
    if sealed.use == EVENT_EDIT and "eventMessage" not in body:
        return {"eventMessage": decode("Message.EventMessage", plain)}
    return dict(body) or None


def _vote(sealed: Sealed, poll: MessageRow, plain: bytes) -> Interpreted:
    row = sealed.message
    chosen = _names(plain, (poll.body.get("poll") or {}).get("options") or [])
    payload = {**about(row, sealed.target, _author(sealed, poll)), "options": chosen}
    body = {"options": chosen}
    addon = AddonRow(row.chat, sealed.target, "vote", row.sender, row.from_me, row.id, row.timestamp, "", body)
    return Interpreted(0, addons=(addon,), events=(NewEvent("poll.vote", payload, row.chat),))


def _names(plain: bytes, options: Sequence[str]) -> list[str]:
    """In the poll's order; a choice that the poll does not have is left out."""
    hashes = set(_hashes(plain))
    return [name for name in options if hashlib.sha256(name.encode()).digest() in hashes]


def _hashes(plain: bytes) -> Iterator[bytes]:
    for chosen in decode("Message.PollVoteMessage", plain).get("selectedOptions", []):
        yield base64.b64decode(chosen["$b"])


def _answer(sealed: Sealed, target: MessageRow, said: Body) -> Interpreted:
    """An answer to an event: who comes, and with how many guests."""
    row = sealed.message
    response = {
        "response": said.get("response") or "UNKNOWN",
        "timestampMs": said.get("timestampMs") or int(row.timestamp * 1000),
        "extraGuestCount": said.get("extraGuestCount") or 0,
    }
    payload = {**about(row, sealed.target, _author(sealed, target)), "response": response}
    addon = AddonRow(row.chat, sealed.target, "answer", row.sender, row.from_me, row.id, row.timestamp, "", response)
    return Interpreted(0, addons=(addon,), events=(NewEvent("event.response", payload, row.chat),))
