"""Time and randomness, the only way in which they enter Holdfast.

Everything else is told what time it is. So a test moves the clock instead of sleeping, and the deterministic
simulation replays a seed exactly.
"""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Two clocks and a source of randomness.

    `now` and `boot` are never compared with each other: the first dates what users read, the second measures.
    """

    def now(self) -> float:
        """Wall time: seconds since the Unix epoch. May jump; used for what is shown, never for a lease."""
        ...

    def boot(self) -> float:
        """Seconds on a clock that never jumps and that goes on while the host is suspended (CLOCK_BOOTTIME)."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return once `boot` has advanced by `seconds`; zero or less only yields to other tasks."""
        ...

    def random(self) -> float:
        """A number in [0, 1); seeded in the simulation."""
        ...

    def token(self, nbytes: int) -> bytes:
        """`nbytes` unguessable bytes; seeded in the simulation."""
        ...
