"""What a WhatsApp message says: from the decoded protobuf (`proto.Message` as JSON) to kind, text and facts.

Field names are those of WAProto.Message as Baileys 7.0.0-rc14 carries it. Wrappers (ephemeral, view once, document
with caption, device sent ...) are opened; kinds that say nothing to a user give None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from holdfast.domain import business_content as business
from holdfast.domain import jids
from holdfast.domain.message_types import MESSAGE_TYPES, PROTOCOL_TYPES, WRAPPERS, Treatment, system_name

Body = Mapping[str, Any]

_MEDIA: Mapping[str, str] = {
    "imageMessage": "image",
    "videoMessage": "video",
    "ptvMessage": "video",
    "audioMessage": "audio",
    "documentMessage": "document",
    "stickerMessage": "sticker",
    "productImage": "image",
    "catalogImage": "image",
}
"""Fields that are a file on WhatsApp's media servers, wherever in a message they stand."""


@dataclass(frozen=True, slots=True)
class Content:
    """A message as users see it. `target` is the id of the message that a reaction, vote, edit or revoke is about.

    `author` is who wrote the target, as the sender claims, and `by_sender` says that it was the sender; `becomes` is
    the kind that an edited message has now. `treatment` says whether it is a message at all.
    """

    kind: str
    text: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    target: str = ""
    author: str = ""
    by_sender: bool = False
    becomes: str = ""
    treatment: Treatment = Treatment.MESSAGE


@dataclass(frozen=True, slots=True)
class Opened:
    """A body without its wrappers; `destination` is the chat of a message that another device of ours sent.

    `secret` is the message's own (base64), under which votes in a poll are sealed; `part_of` the kind of association
    with another message, and `parent` that message's id.
    """

    body: Body
    destination: str = ""
    view_once: bool = False
    ephemeral: bool = False
    secret: str = ""
    part_of: str = ""
    parent: str = ""


def unwrap(body: Body) -> Opened:
    """Open wrappers, at most eight deep."""
    destination = ""
    contexts: list[Body] = []
    opened: set[str] = set()
    for _ in range(8):
        contexts.append(_mapping(body.get("messageContextInfo")))
        sent = body.get("deviceSentMessage")
        if isinstance(sent, Mapping) and isinstance(sent.get("message"), Mapping):
            destination = jids.bare(str(sent.get("destinationJid") or ""))
            body = sent["message"]
            continue
        wrapper = next((name for name in WRAPPERS if isinstance(body.get(name), Mapping)), None)
        if wrapper is None:
            break
        opened.add(wrapper)
        body = body[wrapper].get("message") or {}
    association = next(filter(None, (_mapping(one.get("messageAssociation")) for one in contexts)), {})
    return Opened(
        body,
        destination,
        view_once=any(wrapper.startswith("viewOnce") for wrapper in opened),
        ephemeral="ephemeralMessage" in opened,
        secret=next(filter(None, (bytes_of(one.get("messageSecret")) for one in contexts)), ""),
        part_of=str(association.get("associationType") or ""),
        parent=_key_id(association.get("parentMessageKey")),
    )


def _mapping(value: object) -> Body:
    return value if isinstance(value, Mapping) else {}


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
    return _not_written(body)


def _not_written(body: Body) -> Content | None:
    """What is not a message that a person wrote, and what is newer than our table of kinds."""
    for name in body:
        treatment = MESSAGE_TYPES.get(name)
        if treatment is Treatment.PLACEHOLDER:
            return Content("waiting", treatment=treatment)
        if treatment is Treatment.SYSTEM:
            return _system(name, body[name])
    return None if all(name in MESSAGE_TYPES for name in body) else unreadable()


def unreadable() -> Content:
    """A kind that this version does not know: kept, so that a later one can read it."""
    return Content("unknown", treatment=Treatment.PLACEHOLDER)


def _system(name: str, part: object) -> Content:
    key = part.get("key") if isinstance(part, Mapping) else None
    return replace(_about(system_name(name), key), treatment=Treatment.SYSTEM)


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
    facts = {**_context(part), "media": _file(part)}
    if part.get("viewOnce"):
        facts["view_once"] = True
    return Content(kind, str(part.get("caption") or ""), facts)


def _file(part: Body) -> dict[str, Any]:
    return {
        "mimetype": str(part.get("mimetype") or ""),
        "size": _number(part.get("fileLength")),
        "filename": str(part.get("fileName") or "") or None,
        "seconds": _number(part.get("seconds")) or None,
        "voice": bool(part.get("ptt")),
    }


def _attached(part: Body) -> dict[str, Any]:
    """The file of a template's header, a product, an invoice: the first one, the highest before the deeper.

    The sidecar searches in the same order for the one that it downloads (`sidecar/src/media.ts`).
    """
    level = [part]
    for _ in range(_DEEPEST):
        for one in level:
            for name in sorted(one):
                if name in _MEDIA and isinstance(one[name], Mapping):
                    return {"media": _file(one[name])}
            if one.get("attachmentDirectPath"):
                return {"media": _file({"mimetype": one.get("attachmentMimetype")})}
        shown = [one[name] for one in level for name in sorted(one) if name not in _NOT_SHOWN]
        level = [inner for value in shown for inner in _inside(value)]
    return {}


_NOT_SHOWN = frozenset({"contextInfo", "noteMessage"})


def _inside(value: object) -> list[Body]:
    listed = value if isinstance(value, list) else [value]
    return [one for one in listed if isinstance(one, Mapping)]


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


def _reaction(part: Body) -> Content:
    return replace(_about("reaction", part.get("key"), str(part.get("text") or "")), treatment=Treatment.UPDATE)


def _about(kind: str, key: object, text: str = "", facts: dict[str, Any] | None = None) -> Content:
    """What is about the message that a key names."""
    by_sender = bool(key.get("fromMe")) if isinstance(key, Mapping) else False
    return Content(kind, text, facts or {}, _key_id(key), _key_author(key), by_sender)


def _said(reader: Callable[[Body], business.Read], kind: str = "text") -> Callable[[Body], Content]:
    """A reader of `business_content`, with quote, mentions and file added."""

    def read_part(part: Body) -> Content:
        text, facts = reader(part)
        facts = {**_attached(part), **facts}
        return Content(kind, text, {**_context(part), **facts}) if text or facts else unreadable()

    return read_part


def _comment(part: Body) -> Content | None:
    """A reply to a post in a community: the message that it holds, as an answer to the post."""
    inner = _quoted(_mapping(part.get("message")))
    if inner is None or inner.treatment is not Treatment.MESSAGE:
        return inner
    quoted = {"id": _key_id(part.get("targetMessageKey")), "participant": _key_author(part.get("targetMessageKey"))}
    return replace(inner, facts={**inner.facts, "quoted": quoted})


def _pin(part: Body) -> Content:
    found = _about("pinned", part.get("key"), facts={"pinned": part.get("type") != "UNPIN_FOR_ALL"})
    return replace(found, treatment=Treatment.UPDATE)


def _sealed(use: str, key: str) -> Callable[[Body], Content | None]:
    """What is sealed under the secret of the message that it is about (`runtime.sealed` opens it)."""

    def read_part(part: Body) -> Content | None:
        name = _SEALED_TYPES.get(str(part.get("secretEncType") or "")) if use == "" else use
        if name is None:
            return unreadable()
        inner = _mapping(part.get("vote")) or part
        box = {"use": name, "payload": bytes_of(inner.get("encPayload")), "iv": bytes_of(inner.get("encIv"))}
        return replace(_about("sealed", part.get(key), facts={"sealed": box}), treatment=Treatment.UPDATE)

    return read_part


_SEALED_TYPES = {"MESSAGE_EDIT": "Message Edit", "EVENT_EDIT": "Event Edit"}
"""`SecretEncryptedMessage.secretEncType`: the word under which the key is derived."""


def _protocol(part: Body) -> Content | None:
    """Revokes and edits; of the rest some is shown in the chat, most (history, keys) is WhatsApp's own business."""
    kind = part.get("type")
    if kind in ("REVOKE", 0) or (kind is None and part.get("key") and len(part) == 1):
        return _about("revoked", part.get("key"))
    if kind in ("MESSAGE_EDIT", 14):
        inner = unwrap(part.get("editedMessage") or {}).body
        after = None if "protocolMessage" in inner else read(inner)
        if after is not None and after.treatment is Treatment.MESSAGE:
            return Content("edited", after.text, after.facts, _key_id(part.get("key")), becomes=after.kind)
        return None
    if PROTOCOL_TYPES.get(str(kind)) is Treatment.SYSTEM:
        return _system(str(kind), part)
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
    "pollUpdateMessage": _sealed("Poll Vote", "pollCreationMessageKey"),
    "reactionMessage": _reaction,
    "encReactionMessage": _sealed("Enc Reaction", "targetMessageKey"),
    "encCommentMessage": _sealed("Enc Comment", "targetMessageKey"),
    "encEventResponseMessage": _sealed("Event Response", "eventCreationMessageKey"),
    "secretEncryptedMessage": _sealed("", "targetMessageKey"),
    "pinInChatMessage": _pin,
    "commentMessage": _comment,
    "buttonsResponseMessage": _said(business.button_reply),
    "listResponseMessage": _said(business.list_reply),
    "templateButtonReplyMessage": _said(business.template_reply),
    "interactiveResponseMessage": _said(business.flow_reply),
    "buttonsMessage": _said(business.buttons),
    "listMessage": _said(business.listing),
    "templateMessage": _said(business.template),
    "highlyStructuredMessage": _said(business.highly_structured),
    "interactiveMessage": _said(business.interactive),
    "groupInviteMessage": _said(business.invitation),
    "newsletterAdminInviteMessage": _said(business.invitation),
    "newsletterFollowerInviteMessageV2": _said(business.invitation),
    "eventMessage": _said(business.event, "event"),
    "scheduledCallCreationMessage": _said(business.planned_call, "event"),
    "productMessage": _said(business.product, "product"),
    "orderMessage": _said(business.order, "order"),
    "requestPaymentMessage": _said(business.payment("request"), "payment"),
    "sendPaymentMessage": _said(business.payment("sent"), "payment"),
    "invoiceMessage": _said(business.invoice, "payment"),
    "stickerPackMessage": _said(business.sticker_pack),
    "richResponseMessage": _said(business.rich_response),
    "pollResultSnapshotMessage": _said(business.poll_result),
    "pollResultSnapshotMessageV3": _said(business.poll_result),
    "questionResponseMessage": _said(business.answer),
    "statusQuestionAnswerMessage": _said(business.answer),
    "statusQuotedMessage": _said(business.answer),
}
