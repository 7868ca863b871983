"""Instances on one real PostgreSQL: they hear of each other at once, and a lock deleted by hand never makes two."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import monotonic

import asyncpg
import pytest

from holdfast.domain.rows import EngineWrite
from holdfast.ports.gateway import SessionView
from holdfast.runtime import views
from holdfast.runtime.clock import SystemClock
from holdfast.runtime.node import Node, NodeSettings
from holdfast.store import open_store
from tests.support.cluster import cluster
from tests.support.pooler import PgBouncer
from tests.support.postgres import Postgres
from tests.support.scripted_engine import ScriptedEngine

NEVER_POLLS = NodeSettings(version="test", sweep_every=3600.0)
"""So that whatever happens soon happened by a hint."""


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@asynccontextmanager
async def two(url: str, direct_url: str = "") -> AsyncIterator[list[tuple[Node, ScriptedEngine]]]:
    """Two that do not know each other's address; the first has linked the session `shop`."""
    clock = SystemClock()
    one, other = ScriptedEngine(latency=0.01), ScriptedEngine(latency=0.01)
    other.accounts, one.peers, other.peers = one.accounts, [other], [one]
    async with AsyncExitStack() as stack:
        started = []
        for name, engine in (("one", one), ("two", other)):
            store = open_store(url, clock, direct_url=direct_url)
            node = Node(store, {"baileys": engine}, clock, NEVER_POLLS, instance=name)
            started.append((await stack.enter_async_context(node), engine))
            if name == "one":
                await node.gateway.create("shop", {}, engine="baileys", start=True)
                await until(node, "SCAN_QR_CODE")
                engine.scan("shop")
                await until(node, "WORKING")
                await store.write_engine("shop", 1, EngineWrite({("creds", ""): b"as the real engine keeps them"}))
        await both_listen(direct_url or url)
        yield started


async def both_listen(url: str) -> None:
    connection = await asyncpg.connect(url)
    listening = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' OR query LIKE '%unnest($2::text[])%'"
    async with asyncio.timeout(10):
        while await connection.fetchval(f"{listening} AND pid <> pg_backend_pid()") < 2:
            pass
    await connection.close()


async def until(node: Node, status: str) -> SessionView:
    view = await node.gateway.wait_status("shop", until=frozenset({status}), timeout=20)
    assert view.status == status, f"{view.status} {view.reason}: {view.message}"
    return view


async def noted(engine: ScriptedEngine, what: str, seconds: float = 3.0) -> None:
    """Wait until the engine did it; nothing is asked of the instance, which would make it look by itself."""
    async with asyncio.timeout(seconds):
        while (what, "shop") not in [entry[1:] for entry in engine.log]:
            await asyncio.sleep(0)


@pytest.fixture(params=["direct", "past the pooler"])
def urls(request: pytest.FixtureRequest, postgres: Postgres) -> Iterator[tuple[str, str]]:
    """`DATABASE_URL` and `DATABASE_DIRECT_URL`."""
    url = postgres.dsn("postgres")
    if request.param == "direct":
        yield url, ""
    else:
        with PgBouncer(postgres) as pooler:
            yield pooler.dsn("postgres"), url


async def test_others_are_heard_at_once(urls: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody polls: a message accepted by one is sent by the other, told of by a stream of the first, an order is
    carried out by the holder, and a lease that is given back is taken.
    """
    monkeypatch.setattr(views, "LOG_LOOK", 3600.0)
    async with two(*urls) as ((one, engine), (other, takes_over)):
        stream = other.gateway.subscribe()
        first = asyncio.ensure_future(anext(stream))
        row = await other.gateway.send("shop", "40712345601@c.us", {"type": "text", "text": "hi"}, wait=3.0)
        assert row.state == "sent"
        assert len(engine.sent) == 1
        async with asyncio.timeout(3):
            assert (await first).session == "shop"
        await stream.aclose()

        engine.log.clear()
        await other.gateway.restart("shop")
        await noted(engine, "open")

        began = monotonic()
        await one.__aexit__(None, None, None)
        await noted(takes_over, "open")
        assert monotonic() - began < 3.0
        assert ("closed", "shop") in [entry[1:] for entry in engine.log]


async def test_lock_deleted_by_hand_never_makes_two(tmp_path: Path) -> None:
    """Real processes, real sidecars: whoever deletes the lock of a live session only moves it, one ttl later."""
    times = {"HOLDFAST_LEASE_TTL": "3", "HOLDFAST_LEASE_RENEW": "0.7"}
    async with cluster(tmp_path, postgres=True) as world:
        assert world.database is not None
        first = await world.start(**times)
        await first.link(world.wasim, "shop", "40712345678")
        second = await world.start(**times)
        by_hand = await asyncpg.connect(world.database.dsn("holdfast"))
        since, deleted = await world.wasim.seq(), monotonic()
        assert await by_hand.execute("DELETE FROM session_lock") == "DELETE 1"
        await second.until("shop", lambda view: view["status"] == "WORKING" and view["epoch"] > 1, timeout=30)
        assert monotonic() - deleted >= 3.0, "claimed before the old holder had surely given up"
        assert await world.gap(since) > 0
        assert await world.overlaps() == []
        assert not await world.wasim.get("log", since=0, kind="replaced", limit=10)
        await by_hand.close()
