"""`holdfast serve`, measured: `python -m bench.loop_meter FILE` writes to FILE the most CPU, in seconds, that the event
loop's thread used between two turns. Where FILE is gone it begins again.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import uvloop

from holdfast.cli import main as holdfast

TICK = 0.002
"""Seconds between two readings; a turn that takes longer is followed by one."""


class Meter:
    """Reads the thread's clock once a turn, as long as there is something to do."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._last = time.thread_time()
        self._most = 0.0
        self._tick()

    def _tick(self) -> None:
        self._loop.call_later(TICK, self._tick)
        now = time.thread_time()
        if not self._path.exists():
            self._most = 0.0
        if now - self._last > self._most:
            self._most = now - self._last
            self._path.write_text(str(self._most))
        self._last = time.thread_time()


def main() -> None:
    """Serve, with the meter in the loop."""
    run, path = uvloop.run, Path(sys.argv.pop(1))

    async def metered(inner: Coroutine[Any, Any, Any]) -> Any:
        Meter(path)
        return await inner

    def measured(inner: Coroutine[Any, Any, Any]) -> Any:
        return run(metered(inner))

    setattr(uvloop, "run", measured)  # noqa: B010 - it is typed as a function that is not replaced
    sys.argv.append("serve")
    holdfast()


if __name__ == "__main__":
    main()
