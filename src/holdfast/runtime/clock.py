"""The real clock: the one place that reads time and randomness from the system."""

from __future__ import annotations

import asyncio
import random
import secrets
import time

_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Goes on while the host is suspended; where a system lacks it, the monotonic clock is the next best."""


class SystemClock:
    """`ports.clock.Clock` on the machine's own clocks."""

    _behind = 0.0

    def now(self) -> float:
        """Unix seconds."""
        return time.time() + self._behind

    def put_right(self, seconds: float) -> None:
        """The machine's clock is behind by so much more than was known."""
        self._behind += seconds

    def boot(self) -> float:
        """Seconds since boot, suspended time included."""
        return time.clock_gettime(_BOOT)

    async def sleep(self, seconds: float) -> None:
        """Sleep; a suspended host makes it longer, which the callers allow for by looking at `boot` again."""
        await asyncio.sleep(max(seconds, 0.0))

    def random(self) -> float:
        """For jitter only."""
        return random.random()  # noqa: S311 - jitter needs no secrecy

    def token(self, nbytes: int) -> bytes:
        """For ids and keys."""
        return secrets.token_bytes(nbytes)
