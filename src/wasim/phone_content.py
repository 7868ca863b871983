"""What messages hold: padding, what a person sees of a message, and the histories that companions get."""

from __future__ import annotations

import secrets
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wasim.signal.ratchet import SignalError
from wasim.wire.protobuf import encode
from wasim.wire.schema import HISTORY, HISTORY_SYNC_NOTIFICATION, MESSAGE_EDIT, REVOKE

Body = Mapping[str, Any]
"""A ``Message`` as ``wire.protobuf`` reads it."""

WRAPPERS = ("ephemeralMessage", "viewOnceMessageV2", "documentWithCaptionMessage", "editedMessage")
FILES = {
    "imageMessage": "image", "videoMessage": "video", "audioMessage": "audio", "documentMessage": "document",
    "stickerMessage": "sticker",
}  # fmt: skip
"""Field of ``Message`` -> kind, of what is a file on the media server."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a person sees: ``text`` is text, caption, emoji or name; ``target`` is the message it is about."""

    kind: str
    text: str
    target: str = ""
    file: Body | None = None


def read(body: Body) -> Content | None:
    """Give what a person sees of a message; None for what only devices care about."""
    for wrapper in WRAPPERS:
        if wrapper in body:
            return read(body[wrapper].get("message", {}))
    if "protocolMessage" in body:
        return _protocol(body["protocolMessage"])
    for field, kind in FILES.items():
        if field in body:
            file = body[field]
            return Content(kind, file.get("caption", file.get("fileName", "")), file=file)
    for field, kind, name in _NAMED:
        if field in body:
            return Content(kind, body[field].get(name, ""))
    if "conversation" in body:
        return Content("text", body["conversation"])
    if "reactionMessage" in body:
        reaction = body["reactionMessage"]
        return Content("reaction", reaction.get("text", ""), reaction.get("key", {}).get("id", ""))
    return None


_NAMED = (
    ("extendedTextMessage", "text", "text"),
    ("locationMessage", "location", "name"),
    ("contactMessage", "contact", "displayName"),
    ("pollCreationMessage", "poll", "name"),
    ("pollCreationMessageV3", "poll", "name"),
)


def _protocol(protocol: Body) -> Content | None:
    target = protocol.get("key", {}).get("id", "")
    kind = protocol.get("type", REVOKE)
    if kind == REVOKE and target:
        return Content("revoked", "", target)
    if kind == MESSAGE_EDIT:
        inner = read(protocol.get("editedMessage", {}))
        return Content("edited", inner.text, target) if inner else None
    return None


def pad(plain: bytes) -> bytes:
    """WhatsApp pads with 1 to 16 bytes that each say how many they are."""
    size = secrets.randbelow(16) + 1
    return plain + bytes([size]) * size


def unpad(padded: bytes) -> bytes:
    """The inverse of ``pad``. Raises ``SignalError``."""
    size = padded[-1] if padded else 0
    if not 1 <= size <= len(padded):
        raise SignalError("the plaintext's padding is wrong")
    return padded[:-size]


def history(kind: int, facts: Body) -> Body:
    """A whole history of one kind, inline."""
    payload = zlib.compress(encode(HISTORY, {"syncType": kind, "chunkOrder": 1, "progress": 100, **facts}))
    notification = {
        "syncType": kind, "chunkOrder": 1, "progress": 100, "initialHistBootstrapInlinePayload": payload,
    }  # fmt: skip
    return {"protocolMessage": {"type": HISTORY_SYNC_NOTIFICATION, "historySyncNotification": notification}}
