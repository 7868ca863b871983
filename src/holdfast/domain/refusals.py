"""What WhatsApp's error numbers mean, in answers to queries and in acknowledgements of messages: one table (pure).

A number is either *final*, then the same request is refused again and nobody asks, or *passing*, then it may be granted
a little later. A message whose acknowledgement carries an error was refused, whatever the number (G4): it is never
sent again by itself. The difference counts for the queries that precede a message: for the members of a group, for
devices and keys.

Source: Baileys 7.0.0-rc14 `NACK_REASONS` and `SERVER_ERROR_CODES`, whatsmeow `errors.go` (2026-09), and what WhatsApp
Web's own code calls them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from holdfast.domain.errors import (
    BadRequest,
    CallFailed,
    GroupNotFound,
    HoldfastError,
    NotAllowed,
    Refused,
    RefusedForNow,
)
from holdfast.domain.terms import shown


@dataclass(frozen=True, slots=True)
class Refusal:
    """A number's meaning. `message`: what it says of a message; `group`: what it says of a change of a group."""

    message: str
    group: str = ""
    error: type[HoldfastError] = BadRequest
    """What a live call raises."""
    final: bool = True


REFUSALS: Final = {
    400: Refusal("WhatsApp could not read the message", "WhatsApp could not read what was asked of the group."),
    401: Refusal(
        "WhatsApp does not let this account write here",
        "WhatsApp does not let this account do that in the group: it may not be an admin of it.",
        NotAllowed,
    ),
    403: Refusal(
        "WhatsApp does not let this account write here: it is no longer a member, or only admins may write",
        "WhatsApp does not let this account do that: it is no member of the group, or no admin.",
        NotAllowed,
    ),
    404: Refusal(
        "WhatsApp knows no such chat or recipient",
        "WhatsApp knows no such group, or no such member in it.",
        GroupNotFound,
    ),
    405: Refusal("WhatsApp does not allow this message here", "WhatsApp does not allow it in this group.", NotAllowed),
    406: Refusal(
        "WhatsApp did not accept the message",
        "WhatsApp did not accept it: a subject is too long or empty, or somebody is not on WhatsApp.",
    ),
    408: Refusal("WhatsApp did not answer in time", error=RefusedForNow, final=False),
    409: Refusal("WhatsApp says that this was changed meanwhile", "WhatsApp says that it is so already."),
    410: Refusal("The chat no longer exists", "The invitation is no longer valid.", GroupNotFound),
    413: Refusal("The message is too large for WhatsApp"),
    419: Refusal("WhatsApp says that the group is full", "The group is full."),
    420: Refusal("WhatsApp says that this account's method of writing failed"),
    421: Refusal("The group changed how it addresses its members; send the message again", final=False),
    425: Refusal("WhatsApp says that it is too early for that", error=RefusedForNow, final=False),
    429: Refusal(
        "WhatsApp says that this account sends too fast",
        "WhatsApp says that this account asks too often; try again later.",
        RefusedForNow,
        final=False,
    ),
    440: Refusal("WhatsApp says that the session was replaced", error=RefusedForNow, final=False),
    463: Refusal(
        "WhatsApp restricts this account from starting new chats. Wait, and answer only who wrote first",
        error=NotAllowed,
    ),
    475: Refusal("This account has started as many new chats as WhatsApp allows it for now", error=NotAllowed),
    479: Refusal("WhatsApp refused the message for this account"),
    500: Refusal("WhatsApp had an error of its own", error=RefusedForNow, final=False),
    501: Refusal("WhatsApp does not know that request", "WhatsApp does not know that request.", CallFailed),
    503: Refusal("WhatsApp is not available now", error=RefusedForNow, final=False),
}  # fmt: skip


def of(number: int) -> Refusal:
    """Of numbers that stand in no table: 4xx are final, 5xx pass."""
    known = REFUSALS.get(number)
    if known is not None:
        return known
    if number >= 500:
        return Refusal("WhatsApp could not do it now", error=RefusedForNow, final=False)
    return Refusal("WhatsApp refused the message", error=CallFailed)


def sentence(number: int) -> str:
    """What became of a message that was refused with that number."""
    words, _, advice = of(number).message.partition(". ")
    return f"{words} ({number}).{f' {advice}.' if advice else ''}"


def restricted(cause: str, until: float | None) -> str:
    """What became of a message that was refused with 463, by what WhatsApp says of it when it is asked."""
    if cause == "timelock":
        end = f"until {shown(until)}" if until else "for now"
        return f"WhatsApp restricts this account from writing to new people {end} (463). Messages to them wait."
    if cause == "token":
        return (
            "WhatsApp wants this person's privacy token with the first message, and gave none when it was asked (463). "
            "It is there once the person writes to this account."
        )
    return sentence(463)


def of_message(number: int) -> HoldfastError:
    """A query that precedes a message was refused with that number: `Refused`, or `RefusedForNow`; nothing has left."""
    if of(number).final:
        return Refused(sentence(number), error=number)
    return RefusedForNow(f"{sentence(number)} It is tried again.", error=number)


def of_call(number: int, *, group: bool) -> HoldfastError:
    """A live call was refused with that number."""
    known = of(number)
    words = known.group if group and known.group else f"WhatsApp did not do what was asked ({number})."
    error = known.error if group or known.error is not GroupNotFound else CallFailed
    return error(words, error=number)
