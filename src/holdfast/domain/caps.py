"""How fast a session may send: limits that protect its number, applied to what it sent lately (pure).

The facts are stored with every message that is claimed, so a restart or another instance goes on where the last one
stood. Windows slide: no 60 seconds hold more than a minute's messages, no 24 hours more than a day's new chats.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from holdfast.domain.terms import own

MINUTE = 60.0
DAY = 86_400.0
MOST = 10_000
"""The largest figure that a limit may have."""


@dataclass(frozen=True, slots=True)
class Caps:
    """A session's limits; None or 0: none. `jitter`: a pause of up to so many seconds after each message, at random.
    A new chat is the first message to a person with whom nothing was exchanged; groups are none. `factor` scales
    minute, day and jitter, for tests.
    """

    messages_per_minute: int | None = None
    new_chats_per_day: int | None = None
    jitter: float = 0.0
    factor: float = 1.0

    @classmethod
    def of(cls, config: Mapping[str, Any], factor: float = 1.0) -> Self | None:
        """Those of a session's configuration (`holdfast.pacing`); None if it has none."""
        said = own(config).get("pacing")
        if not isinstance(said, Mapping):
            return None
        caps = cls(said.get("messages_per_minute"), said.get("new_chats_per_day"), said.get("jitter") or 0.0, factor)
        return caps if caps != cls(factor=factor) else None

    @property
    def minute(self) -> float:
        """Seconds of a minute."""
        return MINUTE * self.factor

    @property
    def day(self) -> float:
        """Seconds of a day."""
        return DAY * self.factor


@dataclass(frozen=True, slots=True)
class Lately:
    """What a session did, in database time (Unix seconds), newest first; as much of it as its limits ask for."""

    now: float
    sent: Sequence[float] = ()
    """Of the last minute: when each message was last tried. At most as many as a minute allows."""
    opened: Sequence[float] = ()
    """Of the last day: when each new chat was opened. At most as many as a day allows."""
    last: tuple[float, str] | None = None
    """When the newest message was tried, and its id."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What may be sent. `at`: from when on (Unix seconds, not before now); `count`: how many then at once, None: any
    number; `new_at`: from when on to new chats, with `new_count` of them.
    """

    at: float
    count: int | None
    new_at: float
    new_count: int | None


def allowance(caps: Caps, lately: Lately) -> Allowance:
    """What the limits leave."""
    at, count = _slot(caps.messages_per_minute, lately.sent, caps.minute, lately.now)
    if caps.jitter and lately.last is not None:
        tried_at, id_ = lately.last
        at = max(at, tried_at + caps.jitter * caps.factor * fraction(id_))
    if caps.jitter:
        count = 1
    new_at, new_count = _slot(caps.new_chats_per_day, lately.opened, caps.day, lately.now)
    return Allowance(at, count, max(at, new_at), new_count)


def _slot(most: int | None, times: Sequence[float], span: float, now: float) -> tuple[float, int | None]:
    """When the next of at most `most` in `span` seconds may be, and how many then."""
    if not most:
        return now, None
    counting = [time for time in times if now - time < span]
    if len(counting) < most:
        return now, most - len(counting)
    return counting[most - 1] + span, 1


def fraction(id: str) -> float:
    """A number in [0, 1) made of a message's id: whoever asks again, on whichever instance, gets the same pause."""
    return int.from_bytes(hashlib.sha256(id.encode()).digest()[:6]) / float(1 << 48)
