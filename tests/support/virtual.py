"""Virtual time: an event loop on which sleeping costs nothing, and a clock that reads it.

The loop has no sockets and no threads. When nothing is ready to run it jumps to the next timer, so an hour passes in
microseconds, always in the same order: a test that uses it is fast and replays exactly. If nothing is ready and no
timer is set, every task waits for something that cannot come: that is a deadlock, and it is raised.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
import random
import selectors
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

EPOCH = 1_800_000_000.0
"""Wall time at the loop's start."""


class Deadlock(AssertionError):
    """Every task waits, and no timer is set."""


class _NoInput(selectors.BaseSelector):
    """Only to be told what the loop registers for itself."""

    def __init__(self) -> None:
        self._map: dict[Any, selectors.SelectorKey] = {}

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        raise AssertionError("there is no input in virtual time")

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = selectors.SelectorKey(fileobj, getattr(fileobj, "fileno", lambda: fileobj)(), events, data)
        self._map[fileobj] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._map.pop(fileobj)

    def get_map(self) -> dict[Any, selectors.SelectorKey]:
        return self._map

    def close(self) -> None:
        self._map.clear()


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop of the module's docstring. Timers of one instant run in the order in which they were set."""

    def __init__(self) -> None:
        self.now = 0.0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._set = itertools.count()
        super().__init__(_NoInput())

    def time(self) -> float:
        return self.now

    def call_later(
        self, delay: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        timer = self._timer(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._set), timer))
        return timer

    _timer = asyncio.TimerHandle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is passed over when its time comes."""

    def _run_once(self) -> None:
        """One turn: everything that is ready now, or the next instant at which something is."""
        ready: deque[asyncio.Handle] = self._ready  # type: ignore[attr-defined]
        timers = self._timers
        if not ready:
            while timers and timers[0][2].cancelled():
                heapq.heappop(timers)
            if not timers:
                raise Deadlock("every task waits, and no timer is set")
            self.now = max(self.now, timers[0][0])
        while timers and timers[0][0] <= self.now:
            ready.append(heapq.heappop(timers)[2])
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()


class VirtualClock:
    """`ports.clock.Clock` on a `VirtualLoop`, seeded. Boot and wall time can be moved apart by `wall_jump`."""

    def __init__(self, loop: VirtualLoop, seed: int = 0) -> None:
        self._loop = loop
        self._random = random.Random(seed)
        self.wall_offset = EPOCH

    def now(self) -> float:
        return self._loop.time() + self.wall_offset

    def boot(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(seconds, 0.0))

    def random(self) -> float:
        return self._random.random()

    def token(self, nbytes: int) -> bytes:
        return self._random.randbytes(nbytes)

    def wall_jump(self, seconds: float) -> None:
        """Somebody changed the wall clock."""
        self.wall_offset += seconds


def run(main: Callable[[VirtualClock], Coroutine[Any, Any, T]], *, seed: int = 0) -> T:
    """Run `main(clock)` to its end in virtual time, and leave no task behind."""
    loop = VirtualLoop()
    try:
        clock = VirtualClock(loop, seed)
        result = loop.run_until_complete(main(clock))
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        return result
    finally:
        loop.close()
