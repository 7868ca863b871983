"""States of an outgoing message: they only move forward (G4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from holdfast.domain.rows import Json, NewEvent, OutboxRow

RANK: Final = {"queued": 0, "sending": 1, "sent": 2, "delivered": 3, "read": 4}
"""Of those that lead to being read."""

UNSENT: Final = frozenset({"failed", "expired", "cancelled"})
"""They end a message that was not yet acknowledged; an acknowledged one cannot fail any more."""

FINAL: Final = UNSENT | {"read"}
WAITING: Final = frozenset({"queued", "sending"})
ACKNOWLEDGED: Final = frozenset({"sent", "delivered", "read"})
STATES: Final = frozenset(RANK) | FINAL

ACK_OF_STATE: Final = {
    **dict.fromkeys(UNSENT, -1), "queued": 0, "sending": 0, "sent": 1, "delivered": 2, "read": 3,
}  # fmt: skip
"""WAHA's ack levels: -1 ERROR, 0 PENDING, 1 SERVER, 2 DEVICE, 3 READ."""

STATE_OF_ACK: Final = {1: "sent", 2: "delivered", 3: "read", 4: "read"}


def may_move(before: str, after: str) -> bool:
    """Whether a message may go from one state to another. `sending -> queued` puts it back for another try."""
    if before == after or before in FINAL:
        return False
    if after == "cancelled":
        return before == "queued"
    if after in UNSENT:
        return before in {"queued", "sending"}
    if after == "queued":
        return before == "sending"
    return RANK[after] > RANK[before]


EXPIRED: Final = "The message was not sent before its deadline."
EXPIRED_IN_DOUBT: Final = (
    "The deadline passed before WhatsApp acknowledged the message. It was tried, so it may have arrived; "
    "it is not tried again."
)
NOT_DELIVERED: Final = "WhatsApp says that nobody has the message."
CANCELLED: Final = "Cancelled before it was sent."
FAILED_IN_DOUBT: Final = "An earlier try was not acknowledged, so it may have arrived all the same."
CANCELLED_IN_DOUBT: Final = (
    "Cancelled; it is not tried again. An earlier try was not acknowledged, so it may have arrived."
)


def too_late(state: str) -> str:
    """Why a message in that state cannot be cancelled any more."""
    if state == "sending":
        return "Too late to cancel: the message is being sent, or it is in doubt whether WhatsApp has it already."
    if state in UNSENT:
        return f"There is nothing to cancel: the message is {state}."
    return f"Too late to cancel: the message is {state}."


@dataclass(frozen=True, slots=True)
class Step:
    """One state that a message was in. `at`: Unix seconds; `error`: WhatsApp's code, 0 without one."""

    state: str
    at: float
    attempts: int
    error: int
    message: str


def tail(error: int, message: str) -> str:
    """The end of a step as it is stored, behind state, time and attempts."""
    return f"|{error or ''}|{' '.join(message.split())}\n"


def steps(story: str) -> list[Step]:
    """Out of `state|at|attempts|error|sentence` lines, oldest first."""
    found = []
    for line in story.splitlines():
        state, at, attempts, error, message = line.split("|", 4)
        found.append(Step(state, float(at), int(attempts), int(error or 0), message))
    return found


def ack_event(row: OutboxRow, state: str, error: int, message: str) -> NewEvent:
    """What users are told when a message reaches a state."""
    ack: Json = {"id": row.id, "chat": row.chat, "from_me": True, "ack": ACK_OF_STATE[state]}
    if state in UNSENT:
        ack["error"] = {"code": error or state, "message": message}
    return NewEvent("message.ack", ack, row.chat)
