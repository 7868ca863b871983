"""A look at the database from outside: it tells what is there, and changes nothing."""

from __future__ import annotations

import os
import time
from pathlib import Path

import asyncpg
import pytest

from holdfast.domain.errors import StoreDamaged, StoreNewer, StoreUnavailable
from holdfast.runtime.clock import SystemClock
from holdfast.store import open_store
from holdfast.store.examine import examine
from holdfast.store.migrate import HEAD
from tests.contract.conftest import World


async def test_an_open_store_is_looked_at_beside_its_owner(world: World) -> None:
    found = await examine(world.url)
    if world.url == "sqlite://":
        assert found.schema is None, "another one in memory"
        return
    assert (found.schema, found.current, found.async_replicas) == (HEAD, True, 0)
    assert abs(found.ahead) < 5
    assert found.program.startswith(("SQLite 3.", "PostgreSQL 1"))


async def test_an_empty_database_stays_empty(empty_url: str, tmp_path: Path) -> None:
    before = time.time()
    found = await examine(empty_url)
    assert (found.schema, found.current) == (None, False)
    assert time.time() - before < 10
    assert not (tmp_path / "holdfast.db").exists()


@pytest.mark.parametrize("oldest", [HEAD, "9998", None])
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])  # one in memory has no past
async def test_a_newer_one_is_refused_unless_it_says_that_this_version_may_use_it(
    store_url: str, oldest: str | None
) -> None:
    """As the server judges it, that would start on it in a rolling deploy."""
    store = open_store(store_url, SystemClock())
    await store.open()
    world = World(store, None, store_url)  # type: ignore[arg-type]
    await world.sql("UPDATE alembic_version SET version_num = '9999'")
    await world.sql("DELETE FROM setting WHERE key = 'schema.oldest'")
    if oldest is not None:
        await store.put_setting("schema.oldest", oldest)
    await store.close()
    if oldest == HEAD:
        found = await examine(store_url)
        assert (found.schema, found.current) == ("9999", True)
        again = open_store(store_url, SystemClock())
        await again.open()
        await again.close()
        return
    with pytest.raises(StoreNewer):
        await examine(store_url)


async def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "holdfast.db").write_bytes(b"SQLite format 3\0" + b"junk" * 5000)
    with pytest.raises(StoreDamaged):
        await examine(f"sqlite:///{tmp_path}/holdfast.db")


async def test_a_server_that_is_away_is_told() -> None:
    with pytest.raises(StoreUnavailable):
        await examine("postgresql://someone:secret@127.0.0.1:1/x")


async def test_tables_that_the_user_may_not_write_are_named(database: str) -> None:
    store = open_store(database, SystemClock())
    await store.open()
    await store.close()
    admin, name = await asyncpg.connect(database), f"poor_{os.urandom(4).hex()}"
    await admin.execute(f"CREATE ROLE {name} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}")
    url = database.replace("postgres@", f"{name}@")
    found = await examine(url)
    assert {"session", "session_lock", "message"} <= set(found.closed)
    poor = open_store(url, SystemClock())
    await poor.open()
    with pytest.raises(StoreUnavailable, match="user lacks a right"):
        await poor.register_instance("one", "", "test")
    await poor.close()
    await admin.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}")
    assert (await examine(url)).closed == ()
    await admin.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")
    await admin.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])  # one in memory has no others
async def test_running_instances_are_listed_with_their_settings(world: World) -> None:
    store = open_store(world.url, SystemClock())
    await store.open()
    await store.register_instance("one", "http://one", "test", facts={"HOLDFAST_LEASE_TTL": 15.0})
    await store.close()
    (row,) = [row for row in (await examine(world.url)).instances if row["id"] == "one"]
    assert row["facts"] == {"HOLDFAST_LEASE_TTL": 15.0}
