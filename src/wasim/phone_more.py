"""What a phone does beside plain messages: polls and votes, groups, and what companions ask it for."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from wasim import jid as jids
from wasim.phone_contacts import PhoneError, asked
from wasim.phone_content import Body
from wasim.ports import PhoneNetwork
from wasim.wire.messages import from_json, schema, to_json
from wasim.wire.nodes import Node
from wasim.wire.protobuf import encode
from wasim.wire.schema import PEER_DATA_OPERATION_RESPONSE, PLACEHOLDER_MESSAGE_RESEND, POLL_VOTE, WEB_MESSAGE

if TYPE_CHECKING:
    from wasim.phone import Phone

KEPT = 1_000


class Received:
    """The newest received messages as they came, by id: (chat, sender, time, message).

    ``decrypted`` is every ciphertext that was opened, whatever it held: (stanza's attributes, message).
    """

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[str, str, int, Body]] = OrderedDict()
        self.decrypted: deque[tuple[Mapping[str, str], Body]] = deque(maxlen=KEPT)

    def note(self, attrs: Mapping[str, str], body: Body) -> None:
        """Remember what was decrypted."""
        self.decrypted.append((dict(attrs), body))

    def keep(self, message_id: str, chat: str, sender: str, stamp: int, body: Body) -> None:
        """Remember a message."""
        self._known[message_id] = (chat, sender, stamp, body)
        while len(self._known) > KEPT:
            self._known.popitem(last=False)

    def find(self, message_id: str) -> tuple[str, str, int, Body] | None:
        """Give a message, or None."""
        return self._known.get(message_id)


# --- polls ------------------------------------------------------------------------------------------------------


async def ask_poll(phone: Phone, chat: str, name: str, options: Sequence[str]) -> str:
    """Start a poll; give its message id."""
    poll = {"name": name, "options": [{"optionName": option} for option in options], "selectableOptionsCount": 0}
    body = {"pollCreationMessageV3": poll, "messageContextInfo": {"messageSecret": secrets.token_bytes(32)}}
    return await phone.send(chat, body, kind="poll", text=name, attrs={"type": "poll"})


async def vote(phone: Phone, chat: str, poll_id: str, options: Sequence[str]) -> str:
    """Vote in a poll that the phone knows; no options take the vote back. Raises ``PhoneError``."""
    received, own = phone.received.find(poll_id), phone.sent.get(poll_id)
    body = received[3] if received else own[1] if own else {}
    secret = body.get("messageContextInfo", {}).get("messageSecret")
    if secret is None:
        raise PhoneError(f"there is no poll {poll_id}")
    creator = phone.lid if own else phone.memory.lid(received[1] if received else "") or ""
    key = await phone.key_of(chat, poll_id)
    sealed = seal_vote(secret, poll_id, creator, phone.lid, options)
    update = {"pollCreationMessageKey": key, "vote": sealed, "senderTimestampMs": phone.now_ms()}
    attrs = {"type": "poll"}
    return await phone.send(chat, {"pollUpdateMessage": update}, kind="vote", text="", target=poll_id, attrs=attrs)


def seal_vote(secret: bytes, poll_id: str, creator: str, voter: str, options: Sequence[str]) -> dict[str, bytes]:
    """Seal a choice as clients do (Baileys 7.0.0-rc14 ``decryptPollVote`` opens it)."""
    plain = encode(POLL_VOTE, {"selectedOptions": [hashlib.sha256(option.encode()).digest() for option in options]})
    return seal(secret, "Poll Vote", poll_id, plain, author=creator, sender=voter)


BOUND = ("Poll Vote", "Event Response")
"""What is sealed with associated data (whatsmeow ``msgsecret.go``)."""


def seal(secret: bytes, use: str, target: str, plain: bytes, *, author: str, sender: str) -> dict[str, bytes]:
    """Seal what is about the message ``target`` under that message's secret."""
    extracted = hmac.digest(bytes(32), secret, "sha256")
    key = hmac.digest(extracted, f"{target}{author}{sender}{use}".encode() + b"\x01", "sha256")
    iv, bound = secrets.token_bytes(12), f"{target}\0{sender}".encode() if use in BOUND else None
    return {"encPayload": AESGCM(key).encrypt(iv, plain, bound), "encIv": iv}


SEALED_IN: Mapping[str, tuple[str, str, str]] = {
    "Message Edit": ("secretEncryptedMessage", "targetMessageKey", "Message"),
    "Event Edit": ("secretEncryptedMessage", "targetMessageKey", "Message"),
    "Enc Reaction": ("encReactionMessage", "targetMessageKey", "Message.ReactionMessage"),
    "Enc Comment": ("encCommentMessage", "targetMessageKey", "Message"),
    "Event Response": ("encEventResponseMessage", "eventCreationMessageKey", "Message.EventResponseMessage"),
}
"""Use -> the field that holds it, the name of its key, and what is inside."""


async def send_sealed(
    phone: Phone, chat: str, target: str, use: str, content: Mapping[str, Any], *, by_phone: bool = False,
    message_id: str | None = None,
) -> str:  # fmt: skip
    """Send what only the target's secret opens; the target may be anybody's in the chat. Raises ``PhoneError``.

    ``content`` is JSON. An edit may be given as the message that it makes (``conversation`` ...).
    """
    received, own = phone.received.find(target), phone.sent.get(target)
    body = received[3] if received else own[1] if own else {}
    secret = body.get("messageContextInfo", {}).get("messageSecret")
    if secret is None:
        raise PhoneError(f"message {target} has no secret here")
    if use not in SEALED_IN:
        raise PhoneError(f"use must be one of {', '.join(SEALED_IN)}")
    field, key_name, kind = SEALED_IN[use]
    key = await phone.key_of(chat, target)
    if use == "Message Edit" and "protocolMessage" not in content:
        edit = {"key": to_json(schema("MessageKey"), key), "type": "MESSAGE_EDIT", "editedMessage": dict(content)}
        content = {"protocolMessage": edit | {"timestampMs": phone.now_ms()}}
    plain = encode(schema(kind), from_json(schema(kind), content))
    author = phone.lid if own else phone.memory.lid(received[1] if received else "") or ""
    author, sender = (phone.memory.person(author), phone.pn) if by_phone else (author, phone.lid)
    sealed: dict[str, Any] = {key_name: key, **seal(secret, use, target, plain, author=author, sender=sender)}
    if field == "secretEncryptedMessage":
        sealed["secretEncType"] = 2 if use == "Message Edit" else 1
    attrs = {"edit": "1"} if use == "Message Edit" else {}
    return await phone.send(
        chat, {field: sealed}, kind="sealed", text="", target=target, attrs=attrs, message_id=message_id
    )  # fmt: skip


# --- groups -----------------------------------------------------------------------------------------------------


async def create_group(phone: Phone, network: PhoneNetwork, subject: str, members: Sequence[str]) -> str:
    """Create a group; give its address. Raises ``PhoneError``."""
    listed = [Node("participant", {"jid": await phone.contacts.lid_of(member)}) for member in members]
    create = Node("create", {"subject": subject, "key": secrets.token_hex(8)}, listed)
    found = (await _set(network, f"@{jids.GROUP}", create)).child("group")
    return f"{found.attrs['id']}@{jids.GROUP}" if found else ""


async def change_group(phone: Phone, network: PhoneNetwork, group: str, change: str, members: Sequence[str]) -> None:
    """``add``, ``remove``, ``promote`` or ``demote`` members. Raises ``PhoneError``."""
    listed = [Node("participant", {"jid": await phone.contacts.lid_of(member)}) for member in members]
    await _set(network, group, Node(change, {}, listed))


async def rename_group(network: PhoneNetwork, group: str, subject: str) -> None:
    """Raises ``PhoneError``."""
    await _set(network, group, Node("subject", {}, subject.encode()))


async def expire_group(network: PhoneNetwork, group: str, seconds: int) -> None:
    """Set the group's timer of disappearing messages; 0 turns it off. Raises ``PhoneError``."""
    timer = Node("ephemeral", {"expiration": str(seconds)}) if seconds else Node("not_ephemeral")
    await _set(network, group, timer)


async def leave_group(network: PhoneNetwork, group: str) -> None:
    """Raises ``PhoneError``."""
    await _set(network, f"@{jids.GROUP}", Node("leave", {}, [Node("group", {"id": group})]))


async def _set(network: PhoneNetwork, to: str, content: Node) -> Node:
    return await asked(network, Node("iq", {"to": to, "type": "set", "xmlns": "w:g2"}, [content]))


# --- for companions ---------------------------------------------------------------------------------------------


def resend(phone: Phone, request: Mapping[str, Any], request_id: str) -> Body | None:
    """What a companion could not read and asks its own phone for; None if the phone does not have it either."""
    results = []
    for wanted in request.get("placeholderMessageResendRequest", []):
        key = wanted.get("messageKey", {})
        found = phone.received.find(key.get("id", ""))
        if found is None:
            continue
        chat, sender, stamp, body = found
        info = {"key": key, "message": body, "messageTimestamp": stamp, "pushName": phone.memory.names.get(sender)}
        if chat.endswith(jids.GROUP):
            info["participant"] = phone.memory.lid(sender) or sender
        results.append({"placeholderMessageResendResponse": {"webMessageInfoBytes": encode(WEB_MESSAGE, info)}})
    if not results:
        return None
    response = {
        "peerDataOperationRequestType": PLACEHOLDER_MESSAGE_RESEND, "stanzaId": request_id,
        "peerDataOperationResult": results,
    }  # fmt: skip
    protocol = {"type": PEER_DATA_OPERATION_RESPONSE, "peerDataOperationRequestResponseMessage": response}
    return {"protocolMessage": protocol}
