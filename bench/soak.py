"""soak: 100,000 messages each way through one instance, and whether its memory stays flat.

The memory is what the system keeps resident for the instance (Python) and its sidecar (Node) together: heap that was
freed and not given back counts too, since a machine must have it. Each is told by itself as well, early and late, so
that one sees which of them grew. Sending is slower than receiving, so the last third is nothing but sending.

Not among the default figures, for it takes half an hour: `make bench ONLY=soak`.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.figures import Figure, below
from bench.measures import Step, link_all, names, phone, settle
from tests.support.processes import Holdfast, Receiver, Wasim

COUNT = int(os.environ.get("BENCH_SOAK", "100000"))
"""Messages each way."""
SESSIONS, LANES = 5, 10
AHEAD = 500
"""Most messages that people wrote and the receiver has not got yet: more would measure the queue of the simulator."""
EVERY = 2.0
"""Seconds between two looks at the memory."""
GROWTH = 30.0
"""MB by which the memory may be more in the last fifth than in the second: caches fill, and pages are returned late."""


class Traffic:
    """What goes through, and the memory meanwhile."""

    def __init__(self, wasim: Wasim, holdfast: Holdfast, hook: Receiver, step: Step) -> None:
        self._wasim, self._holdfast, self._hook, self._step = wasim, holdfast, hook, step
        self.sent = self.written = 0
        self.told: set[str] = set()
        self.memory: list[tuple[float, float]] = []
        """MB of the instance and of its sidecar, at each look."""
        self._again = asyncio.Event()
        hook.says = self._take

    def _take(self, envelope: dict[str, Any]) -> int:
        self._hook.envelopes.clear()
        self._hook.arrived.clear()
        self.told.add(envelope["payload"]["id"])
        self._again.set()
        return 200

    async def run(self) -> float:
        """All of it; how many seconds it took."""
        watch = asyncio.create_task(self._watch())
        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for lane in range(LANES):
                group.create_task(self._write(lane))
                group.create_task(self._send(lane))
        while len(self.told) < COUNT:
            await self._grown()
        watch.cancel()
        return time.perf_counter() - started

    async def _grown(self) -> None:
        self._again.clear()
        async with asyncio.timeout(60):  # nothing for a minute: it is lost, or stuck
            await self._again.wait()

    async def _write(self, lane: int) -> None:
        while self.written < COUNT:
            self.written += 1
            body = {"from": f"4073000{lane:04d}", "to": phone(lane % SESSIONS), "text": f"in {self.written}"}
            await self._wasim.post("inject", body)
            while self.written - len(self.told) > AHEAD:
                await self._grown()

    async def _send(self, lane: int) -> None:
        chat, session = f"4072000{lane:04d}@c.us", names(SESSIONS)[lane % SESSIONS]
        while self.sent < COUNT:
            self.sent += 1
            body = {"session": session, "chatId": chat, "text": f"out {self.sent}"}
            answer = await self._holdfast.ask("POST", "/api/sendText", body)
            if answer["ack"] < 1:
                raise RuntimeError(f"not acknowledged: {answer['holdfast']}")

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            self.memory.append(self._holdfast.memories())
            done, (instance, sidecar) = self.sent + len(self.told), self.memory[-1]
            memory = f"instance {instance:.0f} MB, sidecar {sidecar:.0f} MB"
            self._step(f"soak: {done:,} of {2 * COUNT:,}, {memory}", done, 2 * COUNT)


async def soak(step: Step) -> list[Figure]:
    """Rates both ways, and the memory at the end against that near the beginning."""
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as name:
        folder = Path(name)
        async with Wasim(folder) as wasim, Receiver() as hook, Holdfast(wasim, folder) as holdfast:
            await link_all(wasim, holdfast, SESSIONS, step, hook.config("message"))
            for lane in range(LANES):
                await wasim.post("phones", {"phone": f"4072000{lane:04d}"})
            await settle(holdfast, SESSIONS)
            traffic = Traffic(wasim, holdfast, hook, step)
            seconds = await traffic.run()
    return [
        Figure(
            "soak.rate", f"{COUNT:,} messages each way at once", "/s", round(2 * COUNT / seconds, 1),
            None, None, "shown", True,
        ),
        *_memory(traffic.memory),
    ]  # fmt: skip


def _memory(looks: list[tuple[float, float]]) -> list[Figure]:
    """What it was in the last fifth of the time, against the second; of each process for information."""
    early, late = _ends([sum(look) for look in looks])
    what = f"memory after {COUNT:,} messages each way"
    figures = [below("soak.memory", what, "MB", late, round(early + GROWTH, 1), early)]
    for name, column in zip(("instance", "sidecar"), zip(*looks, strict=True), strict=True):
        early, late = _ends(column)
        ratio = round(late / early, 3)
        figures.append(Figure(f"soak.memory.{name}", f"of it the {name}", "MB", late, early, ratio, "shown", True))
    return figures


def _ends(values: Sequence[float]) -> tuple[float, float]:
    fifth = max(1, len(values) // 5)
    return round(statistics.median(values[fifth : 2 * fifth]), 1), round(statistics.median(values[-fifth:]), 1)
