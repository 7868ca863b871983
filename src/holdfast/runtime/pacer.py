"""The pace at which one instance opens connections: many sessions coming back at once do not stampede (G7)."""

from __future__ import annotations

from holdfast.domain.pacing import Bucket, Pace, ready, take
from holdfast.ports.clock import Clock


class Pacer:
    """Gives every opening its turn. Reservations only count; waiting is the caller's."""

    def __init__(self, pace: Pace, clock: Clock) -> None:
        self._pace = pace
        self._clock = clock
        self._bucket: Bucket | None = None

    def turn(self) -> float:
        """Seconds until this opening may go ahead."""
        self._bucket, wait = take(self._pace, self._bucket, self._clock.boot())
        return wait

    def ready(self, most: int) -> int:
        """How many of `most` may go ahead at once; those count."""
        self._bucket, count = ready(self._pace, self._bucket, self._clock.boot(), most)
        return count
