"""States of an outgoing message: they only move forward (G4)."""

from __future__ import annotations

from typing import Final

RANK: Final = {"queued": 0, "sending": 1, "sent": 2, "delivered": 3, "read": 4}
"""`failed` and `expired` end a message that was not yet acknowledged; an acknowledged one cannot fail any more."""

FINAL: Final = frozenset({"failed", "expired", "read"})
ACKNOWLEDGED: Final = frozenset({"sent", "delivered", "read"})
STATES: Final = frozenset(RANK) | FINAL

NEVER_RETRIED: Final = {
    463: "WhatsApp restricts this account from starting new chats (463). Wait, and answer only who wrote first.",
    479: "WhatsApp refused the message for this account (479).",
    405: "WhatsApp does not allow this message here (405).",
    400: "WhatsApp could not read the message (400).",
    401: "WhatsApp does not let this account write here (401).",
    403: "WhatsApp does not let this account write here (403).",
    404: "WhatsApp does not know this recipient (404).",
    406: "WhatsApp did not accept the message (406).",
    429: "WhatsApp says that this account sends too fast (429).",
}

ACK_OF_STATE: Final = {"failed": -1, "expired": -1, "queued": 0, "sending": 0, "sent": 1, "delivered": 2, "read": 3}
"""WAHA's ack levels: -1 ERROR, 0 PENDING, 1 SERVER, 2 DEVICE, 3 READ."""

STATE_OF_ACK: Final = {1: "sent", 2: "delivered", 3: "read", 4: "read"}


def may_move(before: str, after: str) -> bool:
    """Whether a message may go from one state to another. `sending -> queued` only puts back what never left."""
    if before == after or before in FINAL:
        return False
    if after in {"failed", "expired"}:
        return before in {"queued", "sending"}
    if after == "queued":
        return before == "sending"
    return RANK[after] > RANK[before]


def refusal(error: int) -> str:
    """The sentence for an acknowledgement with an error. Such a message is never retried by itself."""
    return NEVER_RETRIED.get(error, f"WhatsApp refused the message ({error}).")
