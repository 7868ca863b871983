"""Statements stay prepared where nothing stands between us and PostgreSQL, and losing them loses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from holdfast.domain.rows import EngineWrite
from holdfast.store import SqlStore, open_store
from tests.contract.conftest import MovedClock
from tests.support.leases import take_lease

NAMED = "SELECT count(*) FROM pg_prepared_statements WHERE name <> ''"


@pytest.fixture
async def store(database: str) -> AsyncIterator[SqlStore]:
    opened = open_store(database, MovedClock())
    await opened.open()
    await opened.create_session("a", "baileys", {}, "running")
    await take_lease(opened, "a", "one", 600)
    yield opened
    await opened.close()


async def _said(store: SqlStore, sql: str) -> int:
    return int(await store._driver.read(lambda c: c.exec_driver_sql(sql).scalar_one()))


async def _work(store: SqlStore, value: bytes) -> None:
    await asyncio.gather(*(store.write_engine("a", 1, EngineWrite({("k", str(n)): value})) for n in range(8)))
    assert (await store.read_keys("a", [("k", str(n)) for n in range(8)])) == {("k", str(n)): value for n in range(8)}


async def test_statements_stay_prepared_and_reads_leave_no_transaction_open(store: SqlStore) -> None:
    await _work(store, b"1")
    assert await _said(store, NAMED) > 1
    assert await _said(store, "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'") == 0


async def test_statements_that_are_gone_are_done_without_and_nobody_sees_an_error(store: SqlStore) -> None:
    """As when a pooler is put between us and the server while we run: what we prepared is on another connection."""
    await _work(store, b"1")
    drop = "DO $$ DECLARE it record; BEGIN FOR it IN SELECT name FROM pg_prepared_statements WHERE name <> '' "
    drop += "LOOP EXECUTE 'DEALLOCATE ' || quote_ident(it.name); END LOOP; END $$"
    await asyncio.gather(*(store._driver.write(lambda c: c.exec_driver_sql(drop).close()) for _ in range(8)))
    await _work(store, b"2")
    assert await _said(store, NAMED) == 0


async def test_a_migration_beside_us_changes_what_was_prepared_and_nobody_sees_an_error(store: SqlStore) -> None:
    sql = "SELECT * FROM session_epoch"
    assert len(await store._driver.read(lambda c: c.exec_driver_sql(sql).one())) > 1
    widened = "ALTER TABLE session_epoch ADD COLUMN later INTEGER"
    before = await store._driver.read(lambda c: len(c.exec_driver_sql(sql).one()))
    await store._driver.write(lambda c: c.exec_driver_sql(widened).close())
    rows = await asyncio.gather(*(store._driver.read(lambda c: c.exec_driver_sql(sql).one()) for _ in range(8)))
    assert {len(row) for row in rows} == {before + 1}
    await _work(store, b"1")
    assert await _said(store, NAMED) > 1, "prepared again"
