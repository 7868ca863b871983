"""The real clock, which a test can set forward: what sleeps until then wakes, and sockets work as ever."""

from __future__ import annotations

import asyncio

from holdfast.runtime.clock import SystemClock


class MovedClock(SystemClock):
    """`move` lets time pass at once, by the wall clock, the boot clock and for everyone who sleeps."""

    def __init__(self) -> None:
        self._moved = 0.0
        self._sleepers: set[asyncio.Event] = set()

    def now(self) -> float:
        return super().now() + self._moved

    def boot(self) -> float:
        return super().boot() + self._moved

    async def sleep(self, seconds: float) -> None:
        end, moved = self.boot() + seconds, asyncio.Event()
        self._sleepers.add(moved)
        try:
            while (left := end - self.boot()) > 0:
                moved.clear()
                try:
                    async with asyncio.timeout(left):
                        await moved.wait()
                except TimeoutError:
                    pass
            await asyncio.sleep(0)
        finally:
            self._sleepers.discard(moved)

    def move(self, seconds: float) -> None:
        """So much later it is now."""
        self._moved += seconds
        for moved in self._sleepers:
            moved.set()
