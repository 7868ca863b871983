"""What the admin API lets a person do on a phone, by name; each takes the request's body and gives a result."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from wasim import phone_more
from wasim.phone_contacts import PhoneError
from wasim.phone_content import read
from wasim.wire.protobuf import ProtobufError

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


async def _message(phone: Any, body: Mapping[str, Any]) -> Any:
    """Any message that ``wire.schema`` knows, as JSON; no field of bytes."""
    message = body.get("message")
    if not isinstance(message, dict) or not message:
        raise PhoneError("message must be an object with the fields of WhatsApp's Message")
    content = read(message)
    kind, text = (content.kind, content.text) if content else ("unknown", "")
    try:
        return await phone.send(_text(body, "chat"), message, kind=kind, text=text)
    except (ProtobufError, AttributeError, TypeError, ValueError) as error:
        raise PhoneError(f"message is none: {error}") from None


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
    if body.get("leave") is True:
        await phone.leave_group(group)


ACTIONS: Mapping[str, Action] = {
    "read": _read,
    "react": _react,
    "edit": _edit,
    "revoke": _revoke,
    "picture": _picture,
    "download": _download,
    "typing": _typing,
    "available": _available,
    "auto-reply": _auto_reply,
    "addressing": _addressing,
    "message": _message,
    "poll": _poll,
    "vote": _vote,
    "group": _group,
    "group-change": _group_change,
}
