"""WAHA's shapes, by the models that a client generated from WAHA's own description (waha-py)."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

NULL_AT_WAHA_TOO: dict[str, Any] = {
    "participant": "", "mediaUrl": "", "browser": "", "platform": "", "presence": {}, "name": "", "picture": "",
    "assignedWorker": "", "activity": 0, "lastMessage": {}, "media": {},
}  # fmt: skip
"""Required and not nullable in WAHA's description, and null in what WAHA itself sends where there is nothing to say."""


def filled(value: Any) -> Any:
    """The same as WAHA's description would have it: without nulls, and the names of events as objects."""
    if isinstance(value, dict):
        return {key: _filled(key, part) for key, part in value.items()}
    return [filled(part) for part in value] if isinstance(value, list) else value


def _filled(key: str, part: Any) -> Any:
    if part is None and key in NULL_AT_WAHA_TOO:
        return NULL_AT_WAHA_TOO[key]
    if key == "events" and isinstance(part, list):
        return [{"event": name} if isinstance(name, str) else name for name in part]
    return filled(part)


def fits(model: type[BaseModel], value: Any) -> None:
    """Raises pydantic's `ValidationError` where a value is not of WAHA's shape."""
    model.model_validate(filled(value), strict=False)
