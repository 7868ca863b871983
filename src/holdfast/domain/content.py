"""What a WhatsApp message says: from the decoded protobuf (`proto.Message` as JSON) to kind, text and facts.

Field names are those of WAProto.Message as Baileys 7.0.0-rc14 carries it. Wrappers (ephemeral, view once, document
with caption, device sent ...) are opened; kinds that say nothing to a user give None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from holdfast.domain import jids

Body = Mapping[str, Any]

_WRAPPERS = (
    "ephemeralMessage",
    "viewOnceMessage",
    "viewOnceMessageV2",
    "viewOnceMessageV2Extension",
    "documentWithCaptionMessage",
    "groupMentionedMessage",
    "botInvokeMessage",
    "botForwardedMessage",
    "lottieStickerMessage",
    "editedMessage",
    "associatedChildMessage",
    "groupStatusMessage",
    "groupStatusMessageV2",
    "questionMessage",
    "questionReplyMessage",
    "pollCreationMessageV4",
)
_SILENT = frozenset(
    {
        "senderKeyDistributionMessage",
        "fastRatchetKeySenderKeyDistributionMessage",
        "messageContextInfo",
        "protocolMessage",
        "deviceSentMessage",
        "keepInChatMessage",
    }
)
_MEDIA = {
    "imageMessage": "image",
    "videoMessage": "video",
    "ptvMessage": "video",
    "audioMessage": "audio",
    "documentMessage": "document",
    "stickerMessage": "sticker",
}


@dataclass(frozen=True, slots=True)
class Content:
    """A message as users see it. `target` is the id of the message that a reaction, vote, edit or revoke is about.

    `author` is who wrote the target, as the sender claims, and `by_sender` says that it was the sender; `becomes` is
    the kind that an edited message has now.
    """

    kind: str
    text: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    target: str = ""
    author: str = ""
    by_sender: bool = False
    becomes: str = ""


@dataclass(frozen=True, slots=True)
class Opened:
    """A body without its wrappers; `destination` is the chat of a message that another device of ours sent.

    `secret` is the message's own (base64), under which votes in a poll are sealed.
    """

    body: Body
    destination: str = ""
    view_once: bool = False
    ephemeral: bool = False
    secret: str = ""


def unwrap(body: Body) -> Opened:
    """Open wrappers, at most eight deep."""
    destination, secret, opened = "", "", set[str]()
    for _ in range(8):
        secret = secret or _secret(body)
        sent = body.get("deviceSentMessage")
        if isinstance(sent, Mapping) and isinstance(sent.get("message"), Mapping):
            destination = jids.bare(str(sent.get("destinationJid") or ""))
            body = sent["message"]
            continue
        wrapper = next((name for name in _WRAPPERS if isinstance(body.get(name), Mapping)), None)
        if wrapper is None:
            break
        opened.add(wrapper)
        body = body[wrapper].get("message") or {}
    view_once = any(wrapper.startswith("viewOnce") for wrapper in opened)
    return Opened(body, destination, view_once, "ephemeralMessage" in opened, secret or _secret(body))


def _secret(body: Body) -> str:
    context = body.get("messageContextInfo")
    return bytes_of(context.get("messageSecret")) if isinstance(context, Mapping) else ""


def bytes_of(value: object) -> str:
    """Bytes of a decoded body, as base64; empty for anything else."""
    return str(value.get("$b") or "") if isinstance(value, Mapping) else ""


_HEAVY = frozenset(
    {"jpegThumbnail", "mediaKey", "messageSecret", "streamingSidecar", "scansSidecar", "waveform", "thumbnailEncSha256"}
)

_DEEPEST = 40


def plain(body: Body) -> Body:
    """A body to show: without thumbnails and keys, bytes as base64."""
    shown: Body = _plain({name: part for name, part in body.items() if name != "messageContextInfo"})
    return shown


def _plain(value: Any, depth: int = 0) -> Any:
    """Quotes nest as deep as a sender likes; what nobody reads is cut off."""
    if depth > _DEEPEST:
        return None
    if isinstance(value, Mapping):
        if set(value) == {"$b"}:
            return value["$b"]
        return {name: _plain(part, depth + 1) for name, part in value.items() if name not in _HEAVY}
    return [_plain(part, depth + 1) for part in value] if isinstance(value, list) else value


def read(body: Body) -> Content | None:
    """What an opened body says; None for what users need not see."""
    protocol = body.get("protocolMessage")
    if isinstance(protocol, Mapping):
        return _protocol(protocol)
    for name, reader in _READERS.items():
        if (part := body.get(name)) is not None:
            return reader(part if isinstance(part, Mapping) else {"text": part})
    for name, kind in _MEDIA.items():
        if isinstance(part := body.get(name), Mapping):
            return _media(kind, part)
    if any(name not in _SILENT for name in body):
        return Content("unknown")
    return None


def _context(part: Body) -> dict[str, Any]:
    """Quoted message and mentions."""
    info = part.get("contextInfo")
    if not isinstance(info, Mapping):
        return {}
    facts: dict[str, Any] = {}
    if info.get("stanzaId"):
        quoted = _quoted(info.get("quotedMessage") or {})
        facts["quoted"] = {
            "id": str(info["stanzaId"]),
            "participant": jids.bare(str(info.get("participant") or "")),
            "text": quoted.text if quoted else "",
            "media": quoted is not None and "media" in quoted.facts,
        }
    if info.get("mentionedJid"):
        facts["mentions"] = [jids.bare(str(jid)) for jid in info["mentionedJid"]]
    if info.get("isForwarded"):
        facts["forwarded"] = True
    return facts


def _quoted(body: Body) -> Content | None:
    """What a quoted message says, without what it quotes in turn: a sender may nest quotes hundreds deep."""
    flat = {
        name: {key: value for key, value in part.items() if key != "contextInfo"} if isinstance(part, Mapping) else part
        for name, part in unwrap(body).body.items()
        if name != "protocolMessage"
    }
    return read(flat)


def _text(part: Body) -> Content:
    return Content("text", str(part.get("text") or ""), _context(part))


def _media(kind: str, part: Body) -> Content:
    facts = _context(part)
    if part.get("viewOnce"):
        facts["view_once"] = True
    facts["media"] = {
        "mimetype": str(part.get("mimetype") or ""),
        "size": _number(part.get("fileLength")),
        "filename": str(part.get("fileName") or "") or None,
        "seconds": _number(part.get("seconds")) or None,
        "voice": bool(part.get("ptt")),
    }
    return Content(kind, str(part.get("caption") or ""), facts)


def _number(value: object) -> float:
    text = str(value) if isinstance(value, int | float | str) else ""
    return float(text) if text.replace(".", "", 1).isdecimal() else 0.0


def _location(part: Body) -> Content:
    place = {
        "latitude": part.get("degreesLatitude"),
        "longitude": part.get("degreesLongitude"),
        "title": part.get("name") or part.get("caption"),
        "address": part.get("address"),
    }
    return Content("location", str(place["title"] or ""), {**_context(part), "location": place})


def _live_location(part: Body) -> Content:
    found = _location(part)
    return Content("location", found.text, {**found.facts, "location": {**found.facts["location"], "live": True}})


def _contact(part: Body) -> Content:
    cards = part.get("contacts") or [part]
    names = [str(card.get("displayName") or "") for card in cards]
    vcards = [str(card.get("vcard") or "") for card in cards]
    return Content("contact", ", ".join(names), {**_context(part), "vcards": vcards})


def _poll(part: Body) -> Content:
    options = [str(option.get("optionName") or "") for option in part.get("options") or []]
    facts = {**_context(part), "poll": {"options": options, "selectable": part.get("selectableOptionsCount") or 0}}
    return Content("poll", str(part.get("name") or ""), facts)


def _poll_vote(part: Body) -> Content:
    sealed = part.get("vote")
    sealed = sealed if isinstance(sealed, Mapping) else {}
    vote = {"payload": bytes_of(sealed.get("encPayload")), "iv": bytes_of(sealed.get("encIv"))}
    return _about("poll_vote", part.get("pollCreationMessageKey"), facts={"vote": vote})


def _reaction(part: Body) -> Content:
    return _about("reaction", part.get("key"), str(part.get("text") or ""))


def _about(kind: str, key: object, text: str = "", facts: dict[str, Any] | None = None) -> Content:
    """What is about the message that a key names."""
    by_sender = bool(key.get("fromMe")) if isinstance(key, Mapping) else False
    return Content(kind, text, facts or {}, _key_id(key), _key_author(key), by_sender)


def _buttons(part: Body) -> Content:
    text = part.get("selectedDisplayText") or part.get("title") or part.get("selectedButtonId") or ""
    return Content("text", str(text), _context(part))


def _business(part: Body) -> Content:
    """What a business sends with buttons, lists and templates: the text that people read."""
    body = part.get("body")
    template = part.get("hydratedTemplate") or part.get("hydratedFourRowTemplate")
    texts = (
        part.get("contentText"),
        part.get("description"),
        part.get("caption"),
        body.get("text") if isinstance(body, Mapping) else body,
        template.get("hydratedContentText") if isinstance(template, Mapping) else None,
        part.get("title"),
        part.get("groupName"),
        part.get("name"),
    )
    return Content("text", next((str(text) for text in texts if text), ""), _context(part))


def _protocol(part: Body) -> Content | None:
    """Revokes and edits; all else (history, keys, settings) is WhatsApp's own business."""
    kind = part.get("type")
    if kind in ("REVOKE", 0) or (kind is None and part.get("key") and len(part) == 1):
        return _about("revoked", part.get("key"))
    if kind in ("MESSAGE_EDIT", 14):
        inner = unwrap(part.get("editedMessage") or {}).body
        after = None if "protocolMessage" in inner else read(inner)
        if after is not None:
            return Content("edited", after.text, after.facts, _key_id(part.get("key")), becomes=after.kind)
    return None


def _key_id(key: object) -> str:
    return str(key.get("id") or "") if isinstance(key, Mapping) else ""


def _key_author(key: object) -> str:
    return jids.bare(str(key.get("participant") or "")) if isinstance(key, Mapping) else ""


_READERS: Mapping[str, Callable[[Body], Content | None]] = {
    "conversation": _text,
    "extendedTextMessage": _text,
    "locationMessage": _location,
    "liveLocationMessage": _live_location,
    "contactMessage": _contact,
    "contactsArrayMessage": _contact,
    "pollCreationMessage": _poll,
    "pollCreationMessageV2": _poll,
    "pollCreationMessageV3": _poll,
    "pollCreationMessageV5": _poll,
    "pollUpdateMessage": _poll_vote,
    "reactionMessage": _reaction,
    "buttonsResponseMessage": _buttons,
    "listResponseMessage": _buttons,
    "templateButtonReplyMessage": _buttons,
    "interactiveResponseMessage": _business,
    "buttonsMessage": _business,
    "listMessage": _business,
    "templateMessage": _business,
    "interactiveMessage": _business,
    "groupInviteMessage": _business,
    "eventMessage": _business,
}
