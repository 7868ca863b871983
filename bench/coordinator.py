"""B8, seen from one instance: what starting a session costs, and the statements that grow with their number."""

from __future__ import annotations

import asyncio
import logging
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from sqlalchemy import event
from sqlalchemy.engine import Engine

from bench.figures import Figure
from bench.stub import StubEngine
from holdfast.domain.pacing import Pace
from holdfast.domain.state import Phase
from holdfast.runtime.clock import SystemClock
from holdfast.runtime.node import Node, NodeSettings
from holdfast.store import SqlStore, open_store
from tests.support.postgres import Postgres

STARTED = 1_000
HELD = (1_000, 5_000)
LISTED = 50_000
TTL = 600.0
TIMES = 11

MANY = """
INSERT INTO session (name, engine, config, desired, command, state, me, created_at, updated_at)
  SELECT 's' || lpad(n::text, 6, '0'), 'baileys', '{{}}', 'running', '{{}}', '{{}}', '{{}}', 0, 0
  FROM generate_series(1, {count}) n;
INSERT INTO session_epoch (session_name, epoch) SELECT name, 0 FROM session;
INSERT INTO credential SELECT name, 'creds', '', '{{}}'::bytea FROM session;
"""
LOCKS = """
UPDATE session_epoch SET epoch = 1;
INSERT INTO session_lock (session_name, instance_id, epoch, locked_at, expires_at)
  SELECT name, 'one', 1, extract(epoch FROM now()), extract(epoch FROM now()) + 600 FROM session;
ANALYZE;
"""


def costs(step: Callable[..., None]) -> list[Figure]:
    """B8.start, B8.asked, B8.renew and B8.look."""
    with Postgres("max_connections=50") as server:
        step("starting sessions on one instance")
        server.run("createdb", "starting")
        started = asyncio.run(_starting(server, server.dsn("starting")))
        step("renewing and looking")
        server.run("createdb", "listed")
        return [*started, *asyncio.run(_statements(server, server.dsn("listed")))]


def _shown(id_: str, what: str, value: float, unit: str = "ms") -> Figure:
    return Figure(id_, what, unit, round(value, 2), None, None, "shown", True)


async def _filled(server: Postgres, url: str, sql: str) -> SqlStore:
    store = open_store(url, SystemClock())
    await store.open()
    server.run("psql", "-q", "-d", url.partition("@/")[2].partition("?")[0], "-c", sql)
    return store


async def _starting(server: Postgres, url: str) -> list[Figure]:
    """The pace of openings out of the way: what is left is what an instance works for each."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    await (await _filled(server, url, MANY.format(count=STARTED))).close()
    clock = SystemClock()
    settings = NodeSettings(version="bench", pace=Pace(STARTED, STARTED))
    node = Node(open_store(url, clock), {"baileys": StubEngine()}, clock, settings, instance="one")
    asked = 0

    @event.listens_for(Engine, "before_cursor_execute")
    def count(*_: Any) -> None:
        nonlocal asked
        asked += 1

    async with node:
        began, asked = time.process_time(), 0
        while sum(actor.state.phase is Phase.WORKING for actor in node.supervisor.actors.values()) < STARTED:
            await asyncio.sleep(0.05)
        took = time.process_time() - began
        event.remove(Engine, "before_cursor_execute", count)
    each = f"for each of {STARTED:,} sessions that it starts"
    return [
        _shown("B8.start", f"CPU of the instance {each}", 1000 * took / STARTED),
        _shown("B8.asked", f"statements {each}", asked / STARTED, ""),
    ]


async def _statements(server: Postgres, url: str) -> list[Figure]:
    store = await _filled(server, url, MANY.format(count=LISTED) + LOCKS)
    figures = []
    for count in HELD:
        epochs = {f"s{number:06d}": 1 for number in range(1, count + 1)}
        took = await _median(lambda epochs=epochs: store.renew("one", epochs, TTL))  # type: ignore[misc]
        figures.append(_shown(f"B8.renew@{count}", f"renewal of {count:,} leases at once", took))
    took = await _median(lambda: store.attention("one", TTL))
    figures.append(_shown("B8.look", f"a look among {LISTED:,} sessions, none of them free", took))
    await store.close()
    return figures


async def _median(call: Callable[[], Awaitable[object]]) -> float:
    """Milliseconds."""
    times = []
    for _ in range(TIMES):
        began = time.perf_counter()
        await call()
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times)
