"""Delays between attempts of one session, and the pace at which a whole fleet comes back."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_DELAY = 1.0
DELAY_CAP = 300.0
JITTER = 0.2
CONFLICT_DELAY = 60.0
CONFLICT_CAP = 3600.0


def backoff(attempt: int, rand: float, *, first: float = FIRST_DELAY, cap: float = DELAY_CAP) -> float:
    """Seconds before attempt number `attempt` (from 1): 1, 2, 4 ... up to the cap, each plus or minus 20 %.

    `rand` is a number in [0, 1). The cap bounds the delay before its jitter.
    """
    exponent = min(max(attempt, 1) - 1, 30)
    return min(first * float(2**exponent), cap) * (1 - JITTER + 2 * JITTER * rand)


def conflict_holdoff(conflicts: int, rand: float) -> float:
    """Seconds to stay away after the n-th replacement in a row: 1, 2, 4 ... minutes, at most an hour.

    Only ever longer than the plain figure, so that two Holdfasts that fight do not fall into step.
    """
    exponent = min(max(conflicts, 1) - 1, 20)
    return min(CONFLICT_DELAY * float(2**exponent), CONFLICT_CAP) * (1 + JITTER * rand)


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast an instance may open connections: a bucket of `burst` that refills at `rate` a second."""

    burst: float = 50.0
    rate: float = 40.0


@dataclass(frozen=True, slots=True)
class Bucket:
    """State of the pace: how many connections may be opened at once at time `at` (boot seconds)."""

    level: float
    at: float


def _level(pace: Pace, bucket: Bucket | None, now: float) -> float:
    return pace.burst if bucket is None else min(pace.burst, bucket.level + (now - bucket.at) * pace.rate)


def take(pace: Pace, bucket: Bucket | None, now: float) -> tuple[Bucket, float]:
    """Reserve one opening. Returns the new state and how many seconds the caller must wait before it opens.

    Reservations queue up: the level may go below zero, and each waits for its own turn.
    """
    level = _level(pace, bucket, now)
    wait = 0.0 if level >= 1 else (1 - level) / pace.rate
    return Bucket(level - 1, now), wait


def ready(pace: Pace, bucket: Bucket | None, now: float, most: int) -> tuple[Bucket, int]:
    """Take as many of `most` as need not wait. Returns the new state and how many."""
    level = _level(pace, bucket, now)
    count = max(0, min(most, int(level)))
    return Bucket(level - count, now), count
