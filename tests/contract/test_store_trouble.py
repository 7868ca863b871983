"""A store that takes no writes says why, and forgets it with the first that it takes again."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from holdfast.domain.errors import DataDirNotWritable, StoreFull, StoreReadOnly, StoreUnavailable
from holdfast.runtime.clock import SystemClock
from holdfast.store import open_store
from holdfast.store.drivers import failures
from tests.support.postgres import Postgres

FULL = """
CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END$$;
CREATE TRIGGER full_disk BEFORE INSERT ON setting EXECUTE FUNCTION full_disk();
"""


async def test_a_full_disk_on_sqlite(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'h.db'}", SystemClock())
    await store.open()
    raw = store._driver._connections[0].raw  # type: ignore[attr-defined]
    most, used = (raw.execute(f"PRAGMA {name}").fetchone()[0] for name in ("max_page_count", "page_count"))
    raw.execute(f"PRAGMA max_page_count = {used}").close()
    with pytest.raises(StoreFull, match=r"disk is full.*Free some space"):
        await store.put_setting("large", "x" * 1_000_000)
    assert isinstance(store.trouble, StoreFull)
    assert await store.setting("large") is None
    raw.execute(f"PRAGMA max_page_count = {most}").close()
    await store.put_setting("large", "x" * 1_000_000)
    assert store.trouble is None
    await store.close()


async def test_a_read_only_sqlite(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'h.db'}", SystemClock())
    await store.open()
    await store.put_setting("a", "1")
    raw = store._driver._connections[0].raw  # type: ignore[attr-defined]
    raw.execute("PRAGMA query_only = ON").close()
    with pytest.raises(StoreReadOnly, match=r"cannot be written .*HOLDFAST_DATA_DIR"):
        await store.put_setting("a", "2")
    assert isinstance(store.trouble, DataDirNotWritable)
    assert await store.setting("a") == "1"
    raw.execute("PRAGMA query_only = OFF").close()
    await store.put_setting("a", "3")
    assert store.trouble is None
    await store.close()


async def test_a_full_disk_and_a_read_only_postgresql(postgres: Postgres) -> None:
    postgres.run("createdb", "trouble")
    store = open_store(postgres.dsn("trouble"), SystemClock())
    await store.open()

    def psql(*said: str) -> None:
        commands = (part for text in ("SET default_transaction_read_only = off", *said) for part in ("-c", text))
        postgres.run("psql", "-q", "-d", "trouble", "-v", "ON_ERROR_STOP=1", *commands)

    psql(FULL)
    with pytest.raises(StoreFull, match="disk is full"):
        await store.put_setting("a", "1")
    assert isinstance(store.trouble, StoreFull)
    psql("SET client_min_messages = warning", "DROP FUNCTION full_disk CASCADE")
    await store.put_setting("a", "1")
    assert store.trouble is None

    psql("ALTER DATABASE trouble SET default_transaction_read_only = on")
    readers = open_store(postgres.dsn("trouble"), SystemClock())
    await readers.open()
    assert await readers.setting("a") == "1"
    with pytest.raises(StoreReadOnly, match="read-only"):
        await readers.put_setting("a", "2")
    assert readers.trouble is not None
    assert readers.trouble.code == "store_read_only"
    await readers.close()
    await store.close()


def test_every_kind_of_trouble_is_waited_for_like_a_store_that_is_away() -> None:
    """Who waits for the store asks for `StoreUnavailable` alone: a task that ended for another would be missed."""
    said = ("disk is full", "attempt to write a readonly database", "database is locked", "disk image is malformed")
    for words in said:
        assert isinstance(failures.of_sqlite(sqlite3.OperationalError(words), "h.db"), StoreUnavailable), words
    assert isinstance(failures.of_sqlite(sqlite3.OperationalError(said[1]), "h.db"), DataDirNotWritable)
