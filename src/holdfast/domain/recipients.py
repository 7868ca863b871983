"""Whom a message may be sent to, and whom it may mention (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from holdfast.domain import jids
from holdfast.domain.errors import InvalidChatId
from holdfast.domain.waha import from_waha_id

EVERYONE: Final = "all"
"""WAHA's word for every member of a group."""


def recipient(chat: str) -> str:
    """The chat that a message goes to, as WhatsApp writes it. Raises `InvalidChatId`."""
    text = chat.strip()
    if text == jids.STATUS_BROADCAST:
        raise InvalidChatId(
            "Holdfast sends no status updates: 'status@broadcast' would reach nobody. Write to a person or a group."
        )
    if text.endswith("@broadcast"):
        raise InvalidChatId(
            "Only the phone can write to its broadcast lists. Write to each of the people, with their own chat id."
        )
    return from_waha_id(chat)


def mentioned(said: Sequence[str] | str | None, chat: str) -> dict[str, Any]:
    """What a message's content says of its mentions; `said` may be a list, or a text with commas, as in a form.

    Raises `InvalidChatId`, which names the field.
    """
    given = said.split(",") if isinstance(said, str) else said or ()
    names = [name.strip() for name in given if name.strip()]
    if EVERYONE in names:
        if not jids.is_group(recipient(chat)):
            raise InvalidChatId("mentions: 'all' mentions the members of a group, and this chat is none.")
        return {"mention_all": True}
    found = [_person(name) for name in names]
    return {"mentions": found} if found else {}


def _person(name: str) -> str:
    try:
        jid = from_waha_id(name)
    except InvalidChatId:
        jid = ""
    if not (jids.phone_of(jid) or jids.is_lid(jid)):
        shown = name if len(name) <= 64 else f"{name[:64]}…"
        raise InvalidChatId(
            f"mentions: '{shown}' is no person. Use a phone number with '@c.us', an '@lid', or 'all' in a group."
        )
    return jid
