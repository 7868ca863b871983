"""Why a message still waits, in words for people (pure)."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.domain.caps import Allowance
from holdfast.domain.rows import Waiting
from holdfast.domain.terms import shown


@dataclass(frozen=True, slots=True)
class Reason:
    """`code` is for programs, `message` for people; `until`: Unix seconds, None where nobody can say."""

    code: str
    message: str
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Circumstances:
    """How the session stands. Times are Unix seconds. `said`: its status's sentence; `allowed`: what its limits leave;
    `restricted_until`: WhatsApp's restriction, if there is one.
    """

    now: float
    working: bool
    said: str
    restricted_until: float | None = None
    allowed: Allowance | None = None


def why(waiting: Waiting, at: Circumstances) -> Reason | None:
    """The one thing that a queued or sending message waits for; None for any other."""
    row, now = waiting.row, at.now
    if row.state not in ("queued", "sending"):
        return None
    if row.expires_at <= now:
        return Reason("expiring", "Its deadline has passed; it ends within seconds.", row.expires_at)
    if row.state == "queued" and row.send_at > now and not row.attempts:
        return Reason("scheduled", f"Scheduled for {shown(row.send_at)}.", row.send_at)
    if not at.working:
        return Reason("session", f"The session is not connected: {at.said}")
    if row.state == "sending":
        return Reason("sending", "Being sent: WhatsApp has not acknowledged it yet.")
    if waiting.behind:
        return Reason("order", "An older message of this chat is not through yet.")
    if row.send_at > now:
        return Reason(
            "retry", f"Try {row.attempts} failed: {row.message} The next is at {shown(row.send_at)}.", row.send_at
        )
    return _held_back(waiting, at) or Reason("due", "It is sent as soon as there is room.")


def _held_back(waiting: Waiting, at: Circumstances) -> Reason | None:
    if at.restricted_until is not None and not waiting.answered:
        until = at.restricted_until
        return Reason("restricted", f"WhatsApp restricts writing to new people until {shown(until)}.", until)
    if at.allowed is None:
        return None
    if at.allowed.at > at.now:
        return Reason(
            "pacing", f"The session's limits allow the next message at {shown(at.allowed.at)}.", at.allowed.at
        )
    if waiting.new and at.allowed.new_at > at.now:
        until = at.allowed.new_at
        return Reason("new_chats", f"The session's limits allow the next new chat at {shown(until)}.", until)
    return None
