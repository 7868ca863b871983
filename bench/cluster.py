"""What several instances cost and how fast one follows another: B3, B4 (handover), B8; on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.figures import Figure, below
from tests.support.cluster import Cluster, cluster, me, until_owner
from tests.support.postgres import Postgres

Step = Callable[..., None]
"""Called with what is being done, and with how many of how many are done where that can be counted."""

SHOP = "40712345678"
TTL = 15.0
INSTANCES, SESSIONS = 10, 10_000
COUNTED = 30
"""Seconds in which statements are counted."""


async def instances(step: Step, only: str) -> list[Figure]:
    """B3 and B4.handover, with the session of one number on two instances."""
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as folder:
        async with cluster(Path(folder), postgres=True) as world:
            first = await world.start()
            await first.link(world.wasim, "shop", SHOP)
            if "B4.handover".startswith(only) or only.startswith("B4"):
                figures.append(await _handover(world, first, step))
            if "B3".startswith(only):
                figures.append(await _failover(world, step))
    return figures


async def _handover(world: Cluster, old: Any, step: Step) -> Figure:
    step("handing over by SIGTERM")
    gaps = []
    for _ in range(5):
        new = await world.start()
        await until_owner(new, await me(old))
        since = await world.wasim.seq()
        await old.stop(signal.SIGTERM)
        await until_owner(new, await me(new))
        gaps.append(await world.gap(since))
        old = new
    return below("B4.handover", "planned handover: without a connection", "s", statistics.median(gaps), 0.3)


async def _failover(world: Cluster, step: Step) -> Figure:
    step("failing over after kill -9")
    times = []
    old = world.instances[-1]
    for _ in range(2):
        new = await world.start()
        await until_owner(new, await me(old))
        began = time.time()
        await old.stop(signal.SIGKILL)
        await until_owner(new, await me(new))
        times.append(time.time() - began)
        old = new
    return below("B3", "failover after kill -9, until another instance is WORKING", "s", max(times), TTL + 2.0)


# --- B8 ---------------------------------------------------------------------------------------------------------


def control_plane(step: Step) -> list[Figure]:
    """B8: ten instances with a thousand stubbed sessions each; then one of them dies."""
    with Postgres("max_connections=300") as server:
        server.run("createdb", "holdfast")
        url = server.dsn("holdfast")
        asyncio.run(_make(url, step))
        linked = "INSERT INTO credential SELECT name, 'creds', '', '{}'::bytea FROM session"
        server.run("psql", "-q", "-d", "holdfast", "-c", linked)
        context = multiprocessing.get_context("spawn")
        pipes, children = [], []
        for number in range(INSTANCES):
            ours, theirs = context.Pipe()
            child = context.Process(target=_instance, args=(url, f"i{number}", theirs), daemon=True)
            child.start()
            pipes.append(ours)
            children.append(child)
        try:
            return _watched(step, pipes, children)
        finally:
            for child in children:
                child.kill()


def _watched(step: Step, pipes: list[Any], children: list[Any]) -> list[Figure]:
    began = time.time()
    _until(pipes, 900, lambda working: step("claiming: each its share", working, SESSIONS))
    claimed = time.time() - began
    _evened(pipes, 600, lambda most: step("evening the shares out", SESSIONS // INSTANCES, most))
    before, began = _ask(pipes), time.time()
    for second in range(COUNTED):
        step("counting statements", second, COUNTED)
        time.sleep(1)
    after, took = _ask(pipes), time.time() - began
    rate = max((b["statements"] - a["statements"]) / took for a, b in zip(before, after, strict=True))
    children[0].kill()
    began = time.time()
    _until(pipes[1:], 120, lambda working: step("taking over from one that died", working, SESSIONS))
    each = SESSIONS // INSTANCES
    return [
        Figure(
            "B8.claimed",
            f"all {SESSIONS:,} sessions run, from nothing",
            "s",
            round(claimed, 1),
            None,
            None,
            "shown",
            True,
        ),
        below("B8.rate", f"statements a second, the busiest of {INSTANCES}, {each:,} sessions each", "/s", rate, 10),
        below("B8.takeover", f"a dead instance's {each:,} sessions run elsewhere", "s", time.time() - began, TTL + 5),
    ]


def _ask(pipes: list[Any]) -> list[dict[str, int]]:
    for pipe in pipes:
        pipe.send("facts")
    return [pipe.recv() for pipe in pipes]


def _until(pipes: list[Any], timeout: float, tell: Callable[[int], None]) -> None:
    """Until all sessions run."""
    end = time.time() + timeout
    while (working := sum(facts["working"] for facts in _ask(pipes))) < SESSIONS:
        tell(working)
        if time.time() > end:
            raise RuntimeError(f"only {working} of {SESSIONS} sessions run after {timeout:.0f} s")
        time.sleep(0.2)


def _evened(pipes: list[Any], timeout: float, tell: Callable[[int], None]) -> None:
    """Until no instance has much more than its share: handing over costs statements that a settled cluster does not."""
    end, fair = time.time() + timeout, SESSIONS // INSTANCES
    while (most := max(facts["working"] for facts in _ask(pipes))) > fair * 1.05 + 1:
        tell(most)
        if time.time() > end:
            raise RuntimeError(f"one instance still has {most} of {SESSIONS} sessions after {timeout:.0f} s")
        time.sleep(1)


async def _make(url: str, step: Step) -> None:
    from holdfast.runtime.clock import SystemClock  # noqa: PLC0415 - only B8 needs them
    from holdfast.store import open_store  # noqa: PLC0415

    store = open_store(url, SystemClock())
    await store.open()
    gate = asyncio.Semaphore(16)

    async def one(number: int) -> None:
        async with gate:
            await store.create_session(f"s{number:05d}", "baileys", {}, "running")
        if number % 100 == 0:
            step("making sessions", number, SESSIONS)

    await asyncio.gather(*(one(number) for number in range(SESSIONS)))
    await store.close()


def _instance(url: str, name: str, pipe: Any) -> None:
    import structlog  # noqa: PLC0415 - see above

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    asyncio.run(_serve(url, name, pipe))


async def _serve(url: str, name: str, pipe: Any) -> None:
    from sqlalchemy import event  # noqa: PLC0415 - see above
    from sqlalchemy.engine import Engine  # noqa: PLC0415

    from bench.stub import StubEngine  # noqa: PLC0415
    from holdfast.domain.state import Phase  # noqa: PLC0415
    from holdfast.runtime.clock import SystemClock  # noqa: PLC0415
    from holdfast.runtime.node import Node, NodeSettings  # noqa: PLC0415
    from holdfast.store import open_store  # noqa: PLC0415

    counted = 0

    @event.listens_for(Engine, "before_cursor_execute")
    def count(*_: Any) -> None:
        nonlocal counted
        counted += 1

    clock = SystemClock()
    node = Node(open_store(url, clock), {"baileys": StubEngine()}, clock, NodeSettings(version="bench"), instance=name)
    async with node:
        while True:
            await asyncio.to_thread(pipe.recv)
            actors = node.supervisor.actors.values()
            working = sum(actor.state.phase is Phase.WORKING for actor in actors)
            pipe.send({"working": working, "statements": counted})
