"""Timers of disappearing messages: what a received message says of its chat's (pure).

A person's chat has one timer for both sides. It is set by a message of its own (`EPHEMERAL_SETTING`), and every message
repeats it in its context, with the time of the setting. Groups say theirs themselves, whenever they are asked.

Source: `ContextInfo.expiration` and `ephemeralSettingTimestamp`; Baileys 7.0.0-rc14 lib/Utils/process-message.js.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdfast.domain import jids

SETTING = "EPHEMERAL_SETTING"
LONGEST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class ChatTimer:
    """For how many seconds a chat's messages are kept; 0: for good. `since`: when that was set, in Unix seconds."""

    chat: str
    seconds: int
    since: float


def timer_of(body: Mapping[str, Any], chat: str, at: float) -> ChatTimer | None:
    """What a message to `chat`, sent at `at` (Unix seconds), says; `body` is its protobuf as JSON, unwrapped."""
    if not (jids.phone_of(chat) or jids.is_lid(chat)):
        return None
    protocol = body.get("protocolMessage")
    if isinstance(protocol, Mapping):
        if protocol.get("type") not in (SETTING, 3):
            return None
        return ChatTimer(chat, _seconds(protocol.get("ephemeralExpiration")), at)
    for part in body.values():
        context = part.get("contextInfo") if isinstance(part, Mapping) else None
        if isinstance(context, Mapping) and ("expiration" in context or "ephemeralSettingTimestamp" in context):
            said = _seconds(context.get("expiration"))
            since = _seconds(context.get("ephemeralSettingTimestamp"))
            return ChatTimer(chat, said, float(since) or at) if said or since else None
    return None


def _seconds(value: Any) -> int:
    return min(value, LONGEST) if isinstance(value, int) and value > 0 else 0
