"""An event loop in which several processes live: each can be paused and killed, and every run goes the same way.

Every callback belongs to the process that its context names, and so do the tasks that a process starts: contexts are
inherited. The callbacks of a paused process wait until it goes on, as under SIGSTOP and SIGCONT, while time goes on for
all; those of a killed one never run. Code without a process (the world: network, database, WhatsApp) always runs.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
from asyncio import events
from collections.abc import Callable, Coroutine
from typing import Any

from tests.support.virtual import VirtualLoop

_PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)
WORLD = contextvars.Context()
"""What belongs to no process runs in it."""


class Process:
    """What runs, pauses and dies as one. `context` is what its code runs in."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self.context = contextvars.Context()
        self.context.run(_PROCESS.set, self)
        self.paused = False
        self.dead = False
        self._loop = loop
        self._held: list[events.Handle] = []
        loop.processes.append(self)

    def holds(self, handle: events.Handle) -> bool:
        """Keep a callback back, if nothing of this process may run now."""
        if self.paused or self.dead:
            self._held.append(handle)
            return True
        return False

    def kill(self) -> None:
        """Nothing of it runs any more, not even a `finally`."""
        self.dead = True

    def go_on(self) -> None:
        """What was held back runs now, in the order in which it was due."""
        self.paused = self.dead = False
        held, self._held = self._held, []
        self._loop.again(held)

    def soon(self, callback: Callable[..., object], *args: object) -> None:
        """Let it run something."""
        self._loop.call_soon(callback, *args, context=self.context)

    def task(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Let it run a task."""
        return self._loop.create_task(work, context=self.context)


class _Handle(events.Handle):
    __slots__ = ()

    def _run(self) -> None:
        process = self._context.get(_PROCESS)  # type: ignore[attr-defined]
        if process is None or not process.holds(self):
            super()._run()


class _Timer(events.TimerHandle):
    __slots__ = ()

    def _run(self) -> None:
        process = self._context.get(_PROCESS)  # type: ignore[attr-defined]
        if process is None or not process.holds(self):
            super()._run()


class _Task(asyncio.Task[Any]):
    """Sets of tasks keep an order that depends on the run alone, and not on addresses."""

    def __new__(cls, coro: Any, *, loop: SimulatedLoop, **_: Any) -> _Task:
        task = super().__new__(cls)
        task._number = loop.next_number()
        return task

    def __hash__(self) -> int:
        return self._number


class SimulatedLoop(VirtualLoop):
    """See the module."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self.next_number = self._numbers.__next__
        self.tasks: list[_Task] = []
        """All of the run: whoever waits for something that a dead process held back must not be collected."""
        self.processes: list[Process] = []
        super().__init__()
        self.set_task_factory(self._make)  # type: ignore[arg-type]

    def _make(self, loop: SimulatedLoop, work: Any, **options: Any) -> _Task:
        task = _Task(work, loop=loop, **options)
        self.tasks.append(task)
        return task

    def call_soon(self, callback: Any, *args: Any, context: contextvars.Context | None = None) -> events.Handle:
        handle = _Handle(callback, args, self, context)
        self._ready.append(handle)  # type: ignore[attr-defined]
        return handle

    _timer = _Timer

    def again(self, handles: list[events.Handle]) -> None:
        """Run what was held back."""
        self._ready.extend(handles)  # type: ignore[attr-defined]

    def end(self) -> None:
        """Cancel whatever is left, of killed processes too, so that nothing is collected half done."""
        while left := [task for task in self.tasks if not task.done()]:
            for task in left:
                task.cancel()
            for process in self.processes:
                process.go_on()
            self.run_until_complete(asyncio.wait(left, timeout=60.0))
