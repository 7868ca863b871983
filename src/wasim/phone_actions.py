"""What the admin API lets a person do on a phone, by name; each takes the request's body and gives a result."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from wasim import phone_more
from wasim.phone_contacts import PhoneError
from wasim.phone_content import FILES, read
from wasim.stanzas.disguise import Disguise
from wasim.wire.messages import from_json
from wasim.wire.nodes import Node
from wasim.wire.protobuf import ProtobufError, encode
from wasim.wire.schema import MESSAGE

Action = Callable[[Any, Mapping[str, Any]], Awaitable[Any]]


def _text(body: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = body.get(name, default)
    if not isinstance(value, str):
        raise PhoneError(f"{name} must be a string")
    return value


async def _read(phone: Any, body: Mapping[str, Any]) -> Any:
    ids = body.get("ids", [])
    if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
        raise PhoneError("ids must be a list of message ids")
    return await phone.mark_read(_text(body, "chat"), ids)


async def _react(phone: Any, body: Mapping[str, Any]) -> Any:
    return await phone.react(_text(body, "chat"), _text(body, "id"), _text(body, "emoji", "👍"))


async def _edit(phone: Any, body: Mapping[str, Any]) -> Any:
    return await phone.edit(_text(body, "chat"), _text(body, "id"), _text(body, "text"))


async def _revoke(phone: Any, body: Mapping[str, Any]) -> Any:
    return await phone.revoke(_text(body, "chat"), _text(body, "id"))


async def _picture(phone: Any, body: Mapping[str, Any]) -> Any:
    try:
        data = base64.b64decode(_text(body, "base64"), validate=True)
    except binascii.Error:
        raise PhoneError("base64 must be the picture in base64") from None
    caption, mimetype = _text(body, "caption", ""), _text(body, "mimetype", "image/jpeg")
    return await phone.send_image(_text(body, "chat"), data, caption, mimetype)


async def _upload(phone: Any, body: Mapping[str, Any]) -> Any:
    """Upload a file; give what a message says of it, as JSON: for ``raw``."""
    kind = _text(body, "kind", "document")
    if kind not in FILES.values():
        raise PhoneError(f"kind must be one of {', '.join(FILES.values())}")
    try:
        data = base64.b64decode(_text(body, "base64"), validate=True)
    except binascii.Error:
        raise PhoneError("base64 must be the file in base64") from None
    file = await phone.files.upload(kind, data) | {"mimetype": _text(body, "mimetype", "application/octet-stream")}
    return {name: base64.b64encode(one).decode() if isinstance(one, bytes) else one for name, one in file.items()}


async def _download(phone: Any, body: Mapping[str, Any]) -> Any:
    return base64.b64encode(await phone.download(_text(body, "id"))).decode()


async def _typing(phone: Any, body: Mapping[str, Any]) -> Any:
    return await phone.typing(_text(body, "chat"), _text(body, "state", "composing"))


async def _available(phone: Any, body: Mapping[str, Any]) -> Any:
    return await phone.available(body.get("there", True) is not False)


async def _auto_reply(phone: Any, body: Mapping[str, Any]) -> Any:
    phone.auto_reply = None if body.get("text") is None else _text(body, "text")
    return phone.auto_reply


async def _addressing(phone: Any, body: Mapping[str, Any]) -> Any:
    by = _text(body, "by")
    if by not in ("phone", "lid"):
        raise PhoneError("by must be phone or lid")
    phone.by_phone = by == "phone"
    return by


def _list(body: Mapping[str, Any], name: str) -> list[str]:
    value = body.get(name, [])
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise PhoneError(f"{name} must be a list of strings")
    return value


def _attributes(body: Mapping[str, Any], name: str) -> dict[str, str]:
    value = body.get(name, {})
    if not isinstance(value, dict) or not all(item is None or isinstance(item, str) for item in value.values()):
        raise PhoneError(f"{name} must be an object of strings; null removes an attribute")
    return {key: item or "" for key, item in value.items()}


def _nodes(listed: Any) -> list[Node]:
    """Read ``[{"tag": "meta", "attrs": {}, "content": "text" or [...]}]``."""
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise PhoneError("nodes must be a list of objects with tag, attrs and content")
    found = []
    for one in listed:
        content = one.get("content")
        inner = _nodes(content) if isinstance(content, list) else content.encode() if content else None
        found.append(Node(_text(one, "tag"), _attributes(one, "attrs"), inner))
    return found


async def _raw(phone: Any, body: Mapping[str, Any]) -> Any:
    """Send any ``proto.Message`` as protobuf's JSON, with any stanza attribute; give the message id."""
    message = body.get("message")
    if not isinstance(message, dict) or not message:
        raise PhoneError("message must be an object with the fields of WhatsApp's Message")
    try:
        parsed = from_json(MESSAGE, message)
        encode(MESSAGE, parsed)
    except (ProtobufError, ValueError) as error:
        raise PhoneError(f"invalid message: {error}") from None
    content = read(parsed)
    kind, text, target = (content.kind, content.text, content.target) if content else ("unknown", "", "")
    disguise = Disguise(
        _attributes(body, "stanza"), _attributes(body, "own_stanza"), _attributes(body, "enc"),
        _nodes(body.get("nodes", [])),
    )  # fmt: skip
    message_id = _text(body, "id", "") or None
    return await phone.send(
        _text(body, "chat"), parsed, kind=kind, text=text, target=target, message_id=message_id, disguise=disguise
    )


async def _sealed(phone: Any, body: Mapping[str, Any]) -> Any:
    """Seal ``message`` under the secret of the message ``id``, as ``use``: an edit unless it says otherwise."""
    message = body.get("message")
    if not isinstance(message, dict):
        raise PhoneError("message must be an object")
    chat, target, use = _text(body, "chat"), _text(body, "id"), _text(body, "use", "Message Edit")
    try:
        return await phone_more.send_sealed(phone, chat, target, use, message, by_phone=body.get("by") == "phone")
    except ProtobufError as error:
        raise PhoneError(f"invalid message: {error}") from None


async def _poll(phone: Any, body: Mapping[str, Any]) -> Any:
    return await phone_more.ask_poll(phone, _text(body, "chat"), _text(body, "name"), _list(body, "options"))


async def _vote(phone: Any, body: Mapping[str, Any]) -> Any:
    return await phone_more.vote(phone, _text(body, "chat"), _text(body, "id"), _list(body, "options"))


async def _group(phone: Any, body: Mapping[str, Any]) -> Any:
    return await phone.create_group(_text(body, "subject"), _list(body, "members"))


async def _group_change(phone: Any, body: Mapping[str, Any]) -> Any:
    group = _text(body, "group")
    for change in ("add", "remove", "promote", "demote"):
        if members := _list(body, change):
            await phone.change_group(group, change, members)
    if "subject" in body:
        await phone.rename_group(group, _text(body, "subject"))
    if "ephemeral" in body:
        if not isinstance(seconds := body["ephemeral"], int) or seconds < 0:
            raise PhoneError("ephemeral must be a number of seconds, 0 for off")
        await phone.expire_group(group, seconds)
    if body.get("leave") is True:
        await phone.leave_group(group)


ACTIONS: Mapping[str, Action] = {
    "read": _read,
    "react": _react,
    "edit": _edit,
    "revoke": _revoke,
    "picture": _picture,
    "upload": _upload,
    "download": _download,
    "typing": _typing,
    "available": _available,
    "auto-reply": _auto_reply,
    "addressing": _addressing,
    "message": _raw,
    "raw": _raw,
    "sealed": _sealed,
    "poll": _poll,
    "vote": _vote,
    "group": _group,
    "group-change": _group_change,
}
