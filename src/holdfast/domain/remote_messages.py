"""From what a WAHA server tells (webhooks, pages of messages) to inbox rows and history (pure).

Rows are as the Baileys engine stores them (`domain.messages`), with the same keys: whatever comes twice, by two hooks
or by hook and page, is one row. Only documented fields of WAHA's are relied upon (OpenAPI 2026.9.2); of its `_data`,
whose form depends on its engine, only names and other addresses are taken where they are found.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from holdfast.domain import jids
from holdfast.domain.rows import ChatRow, InboxRow, Json, MessageRow, Processed
from holdfast.domain.waha import plain_message_id

Payload = Mapping[str, Any]

RECEIPTS = {2: "", 3: "read", 4: "played"}
"""WAHA's ack levels that receipts bring; 1 is the server's own answer to a send."""
_MEDIA = {"image": "imageMessage", "video": "videoMessage", "audio": "audioMessage"}


def own_phone(me: object) -> str:
    """The digits of the linked account, from WAHA's MeInfo; empty for none."""
    return jids.phone_of(jids.bare(str(me.get("id") or ""))) if isinstance(me, Mapping) else ""


def inbox_rows(event: str, payload: Payload, phone: str) -> list[InboxRow]:
    """What one webhook event, or one message of a page (`message.any`), brings. `phone`: digits of our account.

    Empty for what is no message or receipt. Raises `ValueError` for what has no id or chat.
    """
    if event in ("message", "message.any"):
        return [_row(payload, phone, _body(payload))]
    if event in ("message.ack", "message.ack.group"):
        return _receipt(payload)
    if event == "message.reaction":
        reaction = _map(payload.get("reaction"))
        key = {"id": plain_message_id(str(reaction.get("messageId") or ""))}
        return [_row(payload, phone, {"reactionMessage": {"text": str(reaction.get("text") or ""), "key": key}})]
    if event == "message.edited":
        change = {"type": "MESSAGE_EDIT", "key": _target(payload, "editedMessageId"), "editedMessage": _body(payload)}
        return [_row(payload, phone, {"protocolMessage": change}, suffix="|edited")]
    if event == "message.revoked":
        shown = {**_map(payload.get("before")), **_map(payload.get("after"))}
        change = {"type": "REVOKE", "key": _target(payload, "revokedMessageId")}
        return [_row(shown, phone, {"protocolMessage": change}, suffix="|revoked")]
    return []


def history(messages: Iterable[Payload], phone: str) -> Processed:
    """Messages of a page, stored without telling anybody: they were there before. What cannot be read is left out."""
    rows = []
    for payload in messages:
        try:
            rows.append(_message(payload, phone))
        except ValueError:
            continue
    return Processed(messages=rows)


def chats(items: Iterable[Payload]) -> Processed:
    """Chats of a page (`/chats` or `/chats/overview`)."""
    rows = []
    for item in items:
        chat = jids.bare(chat_id(item))
        stamp = item.get("conversationTimestamp") or _map(item.get("lastMessage")).get("timestamp") or 0
        if chat and chat != jids.STATUS_BROADCAST:
            rows.append(ChatRow(chat, str(item.get("name") or ""), _seconds(stamp), 0))
    return Processed(chats=rows)


def chat_id(item: Payload) -> str:
    """A chat's id as WAHA lists it; some of its engines wrap it."""
    given = item.get("id")
    return str(_map(given).get("_serialized") or "") if isinstance(given, Mapping) else str(given or "")


def ack_of(payload: Payload) -> tuple[str, int]:
    """(WhatsApp's own id of the message, WAHA's ack level); `("", 0)` for what is none of ours."""
    level = payload.get("ack")
    if not payload.get("fromMe") or not isinstance(level, int):
        return "", 0
    return plain_message_id(str(payload.get("id") or "")), level


# --- rows -------------------------------------------------------------------------------------------------------


def _row(payload: Payload, phone: str, body: Json, suffix: str = "") -> InboxRow:
    attrs = _attrs(payload, phone)
    key = f"{attrs['from']}|{attrs.get('participant', '')}|{attrs['id']}{suffix}"
    return InboxRow(key=key, kind="message", attrs=attrs, plaintext=b"", body=body)


def _attrs(payload: Payload, phone: str) -> dict[str, str]:
    """The stanza's attributes that such a message would have had."""
    id_, chat, who = _address(payload)
    own, mine = f"{phone}@{jids.PN}", bool(payload.get("fromMe"))
    attrs = {"from": chat, "id": id_, "t": str(int(_seconds(payload.get("timestamp"))))}
    if jids.is_group(chat) or chat.endswith("@broadcast"):
        attrs["participant"] = own if mine else who or chat
    elif mine:
        attrs |= {"from": own, "recipient": chat}
    data = _map(payload.get("_data"))
    if not mine and (name := _first(data, "pushName", "notifyName") or _first(_map(data.get("Info")), "PushName")):
        attrs["notify"] = name
    if not mine and (other := _other_address(data)):
        attrs[f"{'participant' if 'participant' in attrs else 'sender'}_{'lid' if jids.is_lid(other) else 'pn'}"] = (
            other
        )
    return attrs


def _address(payload: Payload) -> tuple[str, str, str]:
    """(WhatsApp's id, chat, who wrote in a group). Raises `ValueError` where one cannot be told."""
    serialized = str(payload.get("id") or "")
    parts = serialized.split("_")
    whole = len(parts) >= 3 and parts[0] in ("true", "false")
    written_to = payload.get("to") if payload.get("fromMe") else None  # some of WAHA's engines leave it empty
    named = parts[1] if whole else str(written_to or payload.get("from") or "")
    who = str(payload.get("participant") or payload.get("author") or (parts[3] if whole and len(parts) > 3 else ""))
    chat, id_ = jids.bare(named), plain_message_id(serialized)
    if not id_ or "@" not in chat:
        raise ValueError("a message without an id or a chat")
    return id_, chat, jids.bare(who) if who else ""


def _other_address(data: Payload) -> str:
    """The same person's other address, phone number or LID, where WAHA's engine has it."""
    key, info = _map(data.get("key")), _map(data.get("Info"))
    found = _first(key, "participantAlt", "remoteJidAlt", "participantPn", "senderPn") or _first(info, "SenderAlt")
    other = jids.bare(found) if found else ""
    return other if jids.is_lid(other) or jids.phone_of(other) else ""


def _receipt(payload: Payload) -> list[InboxRow]:
    id_, level = ack_of(payload)
    if not id_ or level not in RECEIPTS:
        return []
    _, chat, who = _address(payload)
    attrs = {"from": chat, "id": id_, **({"participant": who} if who and jids.is_group(chat) else {})}
    key = f"{chat}|{attrs.get('participant', '')}|{id_}|ack{level}"
    return [InboxRow(key=key, kind="receipt", attrs=attrs, plaintext=b"", body={"type": RECEIPTS[level]})]


def _message(payload: Payload, phone: str) -> MessageRow:
    id_, chat, who = _address(payload)
    mine = bool(payload.get("fromMe"))
    level = payload.get("ack")
    facts: Json = {"participant": who} if who and not mine else {}
    return MessageRow(
        id=id_,
        chat=chat,
        from_me=mine,
        sender=f"{phone}@{jids.PN}" if mine else who or chat,
        timestamp=_seconds(payload.get("timestamp")),
        kind=_kind(payload),
        text=str(payload.get("body") or ""),
        ack=level if isinstance(level, int) and level > 0 else 1 if mine else 2,
        body=facts,
    )


# --- what a message says ------------------------------------------------------------------------------------------


def _body(payload: Payload) -> Json:
    """The message as WhatsApp's protobuf would hold it, as far as WAHA tells."""
    text, context = str(payload.get("body") or ""), _context(payload)
    place, cards = payload.get("location"), payload.get("vCards")
    if payload.get("hasMedia"):
        return {_media_kind(payload): {**_media(payload), "caption": text, **context}}
    if isinstance(place, Mapping):
        named = {"name": place.get("name") or place.get("title"), "address": place.get("address")}
        where = {"degreesLatitude": place.get("latitude"), "degreesLongitude": place.get("longitude")}
        return {"locationMessage": {**where, **named, **context}}
    if isinstance(cards, list) and cards:
        contacts = [{"displayName": _card_name(str(card)), "vcard": str(card)} for card in cards]
        return {"contactsArrayMessage": {"contacts": contacts, **context}}
    return {"extendedTextMessage": {"text": text, **context}} if context else {"conversation": text}


def _context(payload: Payload) -> Json:
    reply = _map(payload.get("replyTo"))
    info: Json = {}
    if reply.get("id"):
        info["stanzaId"] = plain_message_id(str(reply["id"]))
        info["quotedMessage"] = {"conversation": str(reply.get("body") or "")}
        if reply.get("participant"):
            info["participant"] = jids.bare(str(reply["participant"]))
    mentions = _map(payload.get("_data")).get("mentions")
    if isinstance(mentions, list) and mentions:
        info["mentionedJid"] = [jids.bare(str(one)) for one in mentions]
    return {"contextInfo": info} if info else {}


def _media(payload: Payload) -> Json:
    media = _map(payload.get("media"))
    return {"mimetype": str(media.get("mimetype") or ""), "fileName": str(media.get("filename") or "")}


def _media_kind(payload: Payload) -> str:
    mimetype = str(_map(payload.get("media")).get("mimetype") or "")
    return _MEDIA.get(mimetype.partition("/")[0], "documentMessage")


def _kind(payload: Payload) -> str:
    if payload.get("hasMedia"):
        return _media_kind(payload).removesuffix("Message")
    if payload.get("location"):
        return "location"
    return "contact" if payload.get("vCards") else "text"


def _card_name(card: str) -> str:
    found = re.search(r"^FN[^:\n]*:(.*)$", card, re.MULTILINE)
    return found.group(1).strip() if found else ""


def _target(payload: Payload, name: str) -> Json:
    return {"id": plain_message_id(str(payload.get(name) or ""))}


def _seconds(stamp: object) -> float:
    """Unix seconds; some of WAHA's engines give milliseconds, or text."""
    try:
        value = float(str(stamp))
    except ValueError:
        return 0.0
    if not 0 < value < 1e15:
        return 0.0
    return value / 1000 if value > 1e11 else value


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _first(part: Mapping[str, Any], *names: str) -> str:
    return next((str(part[name]) for name in names if isinstance(part.get(name), str) and part[name]), "")
