"""Virtual time: an event loop on which sleeping costs nothing, and a clock that reads it.

The loop has no sockets and no threads. When nothing is ready to run it jumps to the next timer, so an hour passes in
microseconds, always in the same order: a test that uses it is fast and replays exactly. If nothing is ready and no
timer is set, every task waits for something that cannot come: that is a deadlock, and it is raised.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

EPOCH = 1_800_000_000.0
"""Wall time at the loop's start."""


class Deadlock(AssertionError):
    """Every task waits, and no timer is set."""


class _JumpingSelector(selectors.BaseSelector):
    """Instead of waiting for input it moves the loop's clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self._map: dict[Any, selectors.SelectorKey] = {}

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Deadlock("every task waits, and no timer is set")
        self.now += max(timeout, 0.0)
        return []

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
    """The loop of the module's docstring."""

    def __init__(self) -> None:
        self.selector = _JumpingSelector()
        super().__init__(self.selector)

    def time(self) -> float:
        return self.selector.now


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
