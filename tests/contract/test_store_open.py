"""Opening: migrations, damaged, newer and unwritable files, reboots, and power loss."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sqlite3
import stat
import sys
from pathlib import Path

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from holdfast.domain.errors import (
    DataDirNotWritable,
    InvalidSettings,
    StoreDamaged,
    StoreNewer,
    StoreUnavailable,
)
from holdfast.domain.rows import EngineWrite, Holder, Lease
from holdfast.store import migrate, migration_sql, open_store
from holdfast.store.schema import metadata
from tests.contract.conftest import MovedClock, World
from tests.support.leases import take_lease


async def test_migrations_and_schema_agree_on_postgresql(database: str) -> None:
    def difference(c: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(c, opts={"compare_server_default": True}), metadata))

    store = open_store(database, MovedClock())
    await store.open()
    assert await store._driver.write(difference) == []
    await store.close()


async def test_migrations_and_schema_agree_on_sqlite_to_the_letter(tmp_path: Path) -> None:
    """The store in memory is made from the schema, the one in a file by the migrations."""

    def described(c: Connection) -> set[str]:
        rows = c.exec_driver_sql("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name <> 'alembic_version'")
        return {" ".join(row[0].split()) for row in rows}

    found = []
    for url in ("sqlite://", f"sqlite:///{tmp_path}/h.db"):
        store = open_store(url, MovedClock())
        await store.open()
        found.append(await store._driver.write(described))
        await store.close()
    assert found[0] == found[1]
    assert len(found[0]) > len(metadata.tables)


async def test_head_is_the_newest_revision() -> None:
    known = migrate._known(migrate._config())
    assert max(known) == migrate.HEAD
    assert sorted(known) == [f"{number:04d}" for number in range(1, len(known) + 1)]


@pytest.mark.parametrize("url", ["sqlite:///x.db", "postgresql://h/d"])
async def test_migration_sql_makes_every_table(url: str) -> None:
    script = migration_sql(url)
    made = set(re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+) \(", script))
    assert {table.name for table in metadata.sorted_tables} < made
    if url.startswith("sqlite"):
        sqlite3.connect(":memory:").executescript(script)


async def test_reopened_store_has_everything(empty_url: str) -> None:
    for n in range(3):
        store = open_store(empty_url, MovedClock())
        await store.open()
        kept = [row.name for row in await store.sessions()]
        assert kept == ([] if empty_url == "sqlite://" else [f"s{i}" for i in range(n)])
        await store.create_session(f"s{n}", "baileys", {}, "running")
        await store.close()


async def test_closed_store_says_so(held: World) -> None:
    await held.store.close()
    for call in (held.store.session("a"), held.store.sessions(), held.store.put_setting("a", "b")):
        with pytest.raises(StoreUnavailable):
            await call


async def test_newer_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/h.db"
    store = open_store(url, MovedClock())
    await store.open()
    await store._driver.write(lambda c: c.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'").close())
    await store.put_setting(migrate.OLDEST_KEY, "9999")
    await store.close()
    with pytest.raises(StoreNewer, match="9999"):
        await open_store(url, MovedClock()).open()


@pytest.mark.parametrize("content", [b"this is no database at all" * 400, b"SQLite format 3\x00" + b"\xff" * 8000])
async def test_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "h.db").write_bytes(content)
    with pytest.raises(StoreDamaged, match=r"file h\.db is damaged") as told:
        await open_store(f"sqlite:///{tmp_path}/h.db", MovedClock()).open()
    assert f"file {tmp_path}/h.db is damaged" in told.value.in_full
    assert (tmp_path / "h.db").read_bytes() == content


async def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataDirNotWritable, match="HOLDFAST_DATA_DIR"):
        await open_store(f"sqlite:///{tmp_path}/file/sub/h.db", MovedClock()).open()


async def test_path_that_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataDirNotWritable):
        await open_store(f"sqlite:///{tmp_path}", MovedClock()).open()


async def test_odd_characters_in_the_path_and_private_file(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/a b%23/%C3%BC.db", MovedClock())
    await store.open()
    await store.close()
    file = tmp_path / "a b#" / "ü.db"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_locked_file_says_who_to_blame(tmp_path: Path) -> None:
    from holdfast.store.bootclock import DatabaseTime
    from holdfast.store.drivers.sqlite import SqliteDriver

    path = f"{tmp_path}/h.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA user_version = 1")  # an empty file is a lost database, which is said first
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreUnavailable, match="locked"):
        await SqliteDriver(path, DatabaseTime(MovedClock()), busy=0.05).open()
    other.close()


async def test_unreachable_postgresql(unused_tcp_port: int) -> None:
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        await open_store(f"postgres://u@127.0.0.1:{unused_tcp_port}/d", MovedClock()).open()


async def test_unknown_url() -> None:
    with pytest.raises(InvalidSettings, match="mysql"):
        open_store("mysql://x/y", MovedClock())


async def test_wall_clock_moves_no_lease_and_a_reboot_ends_leases_within_a_ttl(tmp_path: Path) -> None:
    url, clock = f"sqlite:///{tmp_path}/h.db", MovedClock()

    async def claim(boot: str, instance: str) -> Lease | Holder | None:
        store = open_store(url, clock, boot_id=boot)
        await store.open()
        await store.register_instance(instance, "", "")
        answer = await take_lease(store, "a", instance, 15)
        await store.close()
        return answer

    store = open_store(url, clock, boot_id="one")
    await store.open()
    await store.create_session("a", "baileys", {}, "running")
    await store.close()
    assert isinstance(await claim("one", "i1"), Lease)
    clock.wall += 3600.0
    assert isinstance(await claim("one", "i2"), Holder)
    clock.wall, clock.booted = 1_700_000_000.0, 3.0  # rebooted, and the wall clock lost years
    assert isinstance(await claim("two", "i2"), Holder)
    clock.booted += 15.0
    assert isinstance(await claim("two", "i2"), Lease)


async def test_lock_table_of_an_earlier_setup_is_adopted(database: str) -> None:
    old = await asyncpg.connect(database)
    await old.execute(
        "CREATE TABLE session_lock (id SERIAL PRIMARY KEY, session_name VARCHAR(100) NOT NULL UNIQUE, "
        "instance_id TEXT NOT NULL, locked_at TIMESTAMP DEFAULT NOW(), expires_at TIMESTAMP NOT NULL);"
        "CREATE INDEX idx_session_lock_name ON session_lock(session_name);"
        "INSERT INTO session_lock (session_name, instance_id, expires_at) VALUES ('a', 'old', NOW() + interval '60 s')"
    )
    await old.close()
    store = open_store(database, MovedClock())
    await store.open()
    await store.create_session("a", "baileys", {}, "running")
    holder = await take_lease(store, "a", "new", 15)
    assert isinstance(holder, Holder)
    assert holder.instance == "old"
    assert holder.expires_at == pytest.approx(await store.now() + 60, abs=20)

    def difference(c: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(c), metadata))

    assert await store._driver.write(difference) == []
    await store.close()


async def test_two_stores_open_an_empty_database_at_once(empty_url: str) -> None:
    stores = [open_store(empty_url, MovedClock(), boot_id="b") for _ in range(3)]
    await asyncio.gather(*(store.open() for store in stores))
    if empty_url != "sqlite://":
        await stores[0].create_session("a", "baileys", {}, "running")
        claims = await asyncio.gather(*(take_lease(store, "a", f"i{n}", 15) for n, store in enumerate(stores)))
        assert sum(isinstance(answer, Lease) for answer in claims) == 1
    await asyncio.gather(*(store.close() for store in stores))


_WRITER = """
import asyncio, sys
from holdfast.domain.rows import EngineWrite, InboxRow
from holdfast.runtime.clock import SystemClock
from holdfast.store import open_store

async def main():
    store = open_store(sys.argv[1], SystemClock())
    await store.open()
    await store.create_session("a", "baileys", {}, "running")
    await store.claim(["a"], "one", 600)
    async def write(lane):
        n = 0
        while True:
            n += 1
            row = InboxRow(f"{lane}-{n}", "message", {}, b"p", {})
            await store.write_engine("a", 1, EngineWrite({("lane", str(lane)): b"%d" % n}, [row]))
            print(lane, n, flush=True)
    await asyncio.gather(*(write(lane) for lane in range(8)))

asyncio.run(main())
"""


async def test_kill_9_loses_nothing_that_was_confirmed_and_tears_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/h.db"
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _WRITER, url, stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": "src"}
    )
    assert child.stdout is not None
    confirmed: dict[int, int] = {}
    for _ in range(400):
        lane, n = map(int, (await child.stdout.readline()).split())
        confirmed[lane] = n
    child.send_signal(signal.SIGKILL)
    for line in (await child.stdout.read()).splitlines()[:-1]:
        lane, n = map(int, line.split())
        confirmed[lane] = n
    await child.wait()
    store = open_store(url, MovedClock())
    await store.open()
    stored = await store.read_keys("a", [("lane", str(lane)) for lane in range(8)])
    for lane, n in confirmed.items():
        last = int(stored[("lane", str(lane))])
        assert last >= n
        assert await store.inbox_find("a", f"{lane}-{last}") is not None
        assert await store.inbox_find("a", f"{lane}-{last + 1}") is None
    await store.write_engine("a", 1, EngineWrite({("after", ""): b"x"}))
    await store.close()
