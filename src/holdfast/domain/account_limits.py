"""What WhatsApp lets an account do to new people: the reach-out timelock and the quota of new chats (pure).

Both leave the session connected. They are kept with the session's state, shown as WAHA shows them, and reported by
`session.status` again whenever one of them changes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from email.utils import formatdate
from typing import Any

from holdfast.domain import disconnects
from holdfast.domain.state import Capped, Phase, Restricted, State

Json = dict[str, Any]

DEFAULT_ENFORCEMENT = "DEFAULT"
"""WhatsApp's name for a restriction whose kind it does not say."""


def on_restricted(state: State, event: Restricted, now: float) -> State:
    """WhatsApp set a restriction, or lifted it."""
    until = event.until if event.until is not None and event.until > now else None
    kind = event.enforcement or state.enforcement or DEFAULT_ENFORCEMENT
    return relabelled(replace(state, restricted_until=until, enforcement=kind if until else state.enforcement), now)


def on_capped(state: State, event: Capped) -> State:
    """WhatsApp told the account's quota of new chats."""
    return replace(state, quota=dict(event.quota))


def relabelled(state: State, now: float) -> State:
    """A session that works, with the code and sentence that its restriction gives it."""
    if state.phase is not Phase.WORKING:
        return state
    code, message = working(state, now)
    return replace(state, code=code, message=message)


def working(state: State, now: float) -> tuple[str, str]:
    """Code and sentence of a session that works, with what holds it back."""
    if state.restricted_until is None or state.restricted_until <= now:
        return "working", "Connected, and verified by traffic from WhatsApp."
    until = formatdate(state.restricted_until, usegmt=True)
    message = (
        f"Connected, but WhatsApp lets this account write to no new people until {until}. "
        "Messages to them wait; write less to strangers."
    )
    return disconnects.RESTRICTED, message


def changed(before: State, after: State) -> bool:
    """Whether a connected session's limits changed, so that its status is reported again."""
    facts = (before.restricted_until, before.quota), (after.restricted_until, after.quota)
    return after.phase is Phase.WORKING and facts[0] != facts[1]


def timelock(state: State) -> Json | None:
    """WAHA's ReachoutTimelockData; None if no restriction was ever seen for the account."""
    if not state.enforcement:
        return None
    ends = state.restricted_until
    return {
        "enforcementType": state.enforcement,
        "isActive": ends is not None,
        "timeEnforcementEnds": None if ends is None else int(ends),
    }


def limits(state: State) -> Json:
    """What is known of the account's limits, by WAHA's names in MeInfo."""
    found = {"reachoutTimelock": timelock(state), "messageCapping": state.quota}
    return {name: value for name, value in found.items() if value is not None}


def quota(told: Mapping[str, Any]) -> Json:
    """WAHA's MessageCappingData from WhatsApp's `new_chat_messages_capping_info`, or from WAHA's own.

    Args:
        told: What came from outside: missing parts and numbers that are text are usual.
    """

    def first(*names: str) -> Any:
        return next((told[name] for name in names if told.get(name) is not None), None)

    return {
        "cappingStatus": _text(first("capping_status", "cappingStatus")) or "NONE",
        "totalQuota": _whole(first("total_quota", "totalQuota"), -1),
        "usedQuota": _whole(first("used_quota", "usedQuota"), 0),
        "cycleStart": _whole(first("cycle_start_timestamp", "cycleStart"), None),
        "cycleEnd": _whole(first("cycle_end_timestamp", "cycleEnd"), None),
        "mvStatus": _text(first("mv_status", "mvStatus")),
        "oteStatus": _text(first("ote_status", "oteStatus")),
    }


def _whole(value: object, default: int | None) -> int | None:
    with contextlib.suppress(ValueError, OverflowError):
        return int(float(str(value)))
    return default


def _text(value: object) -> str | None:
    return value[:100] if isinstance(value, str) and value else None
