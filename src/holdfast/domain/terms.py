"""When a message is to be sent, and until when: as it was asked, checked (pure)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from holdfast.domain.errors import InvalidTime

YEAR = 366 * 86_400.0
"""Nothing is scheduled, nor waits, for longer."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a request says beside the message. `send_at`, `expires_at`: Unix seconds; `expires_in`: seconds from
    `send_at`, or from now; `queue`: whether it may wait for a session that needs a person. None: as the session says.
    """

    send_at: float | None = None
    expires_at: float | None = None
    expires_in: float | None = None
    queue: bool | None = None

    @property
    def timed(self) -> bool:
        """Whether they name any time."""
        return any(time is not None for time in (self.send_at, self.expires_at, self.expires_in))

    def instants(self, now: float, lasts: float) -> tuple[float, float]:
        """(send_at, expires_at) in Unix seconds; 0 for at once. `lasts`: how long a message waits that says nothing
        of it. Raises `InvalidTime`.
        """
        if self.expires_at is not None and self.expires_in is not None:
            raise InvalidTime("Give expires_in or expires_at, not both.")
        due = now if self.send_at is None else self._scheduled(self.send_at, now)
        if self.expires_in is not None and not 0 < self.expires_in <= YEAR:
            raise InvalidTime(f"expires_in is a number of seconds above 0 and at most {YEAR:.0f}, which is a year.")
        ends = due + (lasts if self.expires_in is None else self.expires_in)
        if self.expires_at is not None:
            ends = self.expires_at
            if not due < ends <= due + YEAR:
                raise InvalidTime(
                    f"expires_at ({shown(ends)}) must lie after {'send_at' if self.send_at else 'now'} ({shown(due)}), "
                    "by a year at most."
                )
        return (0.0 if self.send_at is None else due), ends

    @staticmethod
    def _scheduled(at: float, now: float) -> float:
        if at < now:
            raise InvalidTime(f"send_at ({shown(at)}) is in the past; it is {shown(now)} now.")
        if at > now + YEAR:
            raise InvalidTime(f"send_at ({shown(at)}) is more than a year ahead. Unix time is taken in seconds.")
        return at


def instant(value: float | str, name: str) -> float:
    """Unix seconds out of a number or of ISO 8601 text with its offset from UTC. Raises `InvalidTime`."""
    if isinstance(value, str):
        try:
            at = datetime.fromisoformat(value.strip())
        except ValueError:
            raise _not_a_time(name) from None
        if at.tzinfo is None:
            raise InvalidTime(f"{name} does not say its time zone. Put Z or an offset behind it, as +02:00.")
        value = at.timestamp()
    if not math.isfinite(value) or value < 0:
        raise _not_a_time(name)
    return float(value)


def _not_a_time(name: str) -> InvalidTime:
    return InvalidTime(f"{name} is no time: use 2026-12-24T18:00:00+02:00, or Unix seconds.")


def shown(at: float) -> str:
    """A time as sentences name it."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return f"{at:.0f}"


def own(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a session's configuration says beyond WAHA."""
    said = config.get("holdfast")
    return said if isinstance(said, Mapping) else {}
