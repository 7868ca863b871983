"""What the admin API lets a person do on a phone, by name; each takes the request's body and gives a result."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from wasim.phone_contacts import PhoneError

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


async def _typing(phone: Any, body: Mapping[str, Any]) -> Any:
    return await phone.typing(_text(body, "chat"), _text(body, "state", "composing"))


async def _available(phone: Any, body: Mapping[str, Any]) -> Any:
    return await phone.available(body.get("there", True) is not False)


async def _auto_reply(phone: Any, body: Mapping[str, Any]) -> Any:
    phone.auto_reply = None if body.get("text") is None else _text(body, "text")
    return phone.auto_reply


ACTIONS: Mapping[str, Action] = {
    "read": _read,
    "react": _react,
    "edit": _edit,
    "revoke": _revoke,
    "picture": _picture,
    "typing": _typing,
    "available": _available,
    "auto-reply": _auto_reply,
}
