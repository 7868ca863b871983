"""What WhatsApp tells beside messages (history sync, push names, app state, LID mappings), made ready for the store.

Advisory: it may come again and in any order, so it only adds what is known, and never counts as a message.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from holdfast.domain import jids
from holdfast.domain.rows import ChatRow, ContactRow, Processed
from holdfast.domain.timers import LONGEST, ChatTimer

Item = Mapping[str, Any]


def synced(kind: str, items: Iterable[Item], me: Mapping[str, Any]) -> Processed:
    """`kind` and `items` as in `ports.engine.Synced`; items without an id are passed over."""
    del me
    usable = [item for item in items if item.get("id") or kind == "lid_mapping"]
    if kind == "contacts":
        return Processed(
            contacts=[_contact(item) for item in usable], mappings=[pair for item in usable for pair in _pairs(item)]
        )
    if kind in ("chats", "history"):
        listed = [item for item in usable if item["id"] != jids.STATUS_BROADCAST]
        return Processed(
            chats=[_chat(item) for item in listed], timers=[one for item in listed for one in _timer(item)]
        )
    if kind == "lid_mapping":
        return Processed(mappings=[pair for item in usable for pair in _pairs(item)])
    return Processed()


def _text(item: Item, *names: str) -> str:
    for name in names:
        if value := item.get(name):
            return str(value)
    return ""


def _contact(item: Item) -> ContactRow:
    address = jids.bare(str(item["id"]))
    lid = address if jids.is_lid(address) else jids.bare(_text(item, "lid")) if item.get("lid") else ""
    phone = jids.phone_of(address) or jids.phone_of(_text(item, "phoneNumber", "pn"))
    return ContactRow(
        id=f"{phone}@{jids.PN}" if phone else address,
        phone=phone,
        lid=lid,
        name=_text(item, "name", "verifiedName"),
        push_name=_text(item, "notify", "pushName"),
    )


def _chat(item: Item) -> ChatRow:
    stamp = item.get("conversationTimestamp") or item.get("timestamp") or 0
    unread = item.get("unreadCount") or 0
    return ChatRow(
        id=jids.bare(str(item["id"])),
        name=_text(item, "name", "subject"),
        timestamp=float(stamp if isinstance(stamp, int | float | str) else 0),
        unread=max(int(unread), 0) if isinstance(unread, int | float) else 0,
    )


def _timer(item: Item) -> list[ChatTimer]:
    seconds, since = item.get("ephemeralExpiration"), item.get("ephemeralSettingTimestamp")
    if not isinstance(seconds, int) or not isinstance(since, int | float) or since <= 0:
        return []
    return [ChatTimer(jids.bare(str(item["id"])), min(max(seconds, 0), LONGEST), float(since))]


def _pairs(item: Item) -> list[tuple[str, str]]:
    lid = _text(item, "lid") or (str(item.get("id", "")) if jids.is_lid(str(item.get("id", ""))) else "")
    phone = _text(item, "pn", "phoneNumber") or (
        str(item.get("id", "")) if jids.phone_of(str(item.get("id", ""))) else ""
    )
    return [(jids.bare(lid), jids.bare(phone))] if lid and phone else []
