"""Leases, outbox, inbox and events through a real transaction pooler: the very same contract, and what it forbids."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest

from holdfast.domain.rows import EngineWrite
from holdfast.store import open_store
from tests.contract.conftest import MovedClock
from tests.contract.rows import received
from tests.contract.test_store_events import *  # noqa: F403
from tests.contract.test_store_leases import *  # noqa: F403
from tests.contract.test_store_outbox import *  # noqa: F403
from tests.support.pooler import PgBouncer
from tests.support.postgres import Postgres


@pytest.fixture(scope="module")
def pooler(postgres: Postgres) -> Iterator[PgBouncer]:
    with PgBouncer(postgres) as running:
        yield running


@pytest.fixture
def store_url(pooler: PgBouncer, migrated: str) -> str:
    """Of the same database, through the pooler."""
    return pooler.dsn(migrated.partition("@/")[2].partition("?")[0])


async def test_many_instances_share_few_server_connections_and_leave_nothing_on_them(
    store_url: str, migrated: str
) -> None:
    """Three stores, thirty writers, four connections; no statement stays prepared, nothing stays set or locked."""
    stores = [open_store(store_url, MovedClock(), boot_id="b") for _ in range(3)]
    await asyncio.gather(*(store.open() for store in stores))
    await stores[0].create_session("a", "baileys", {}, "running")
    await stores[0].claim(["a"], "one", 60)

    async def work(lane: int) -> None:
        store = stores[lane % 3]
        for n in range(10):
            await store.write_engine("a", 1, EngineWrite({("k", f"{lane}"): b"%d" % n}, [received(f"{lane}-{n}")]))
            assert await store.read_keys("a", [("k", f"{lane}")]) == {("k", f"{lane}"): b"%d" % n}

    await asyncio.gather(*(work(lane) for lane in range(30)))
    assert len(await stores[1].inbox_pending("a", 1000)) == 300
    direct = await asyncpg.connect(migrated)
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    assert 1 <= await direct.fetchval(f"SELECT count(*) {others}") <= 4
    assert await direct.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0
    await direct.close()
    await asyncio.gather(*(_left_prepared(store_url) for _ in range(4)))
    await asyncio.gather(*(store.close() for store in stores))


async def _left_prepared(url: str) -> None:
    """Looks, in a transaction, at what earlier clients left on whichever server connection it is given."""
    connection = await asyncpg.connect(url, statement_cache_size=0)
    async with connection.transaction():
        await connection.execute("SELECT pg_sleep(0.05)")  # all four are in use at once
        left = await connection.fetch("SELECT name FROM pg_prepared_statements WHERE name <> ''")
        assert [row["name"] for row in left] == []
    await connection.close()
