"""Migrations on a real PostgreSQL: by Holdfast, by psql, by two at once, beside a version that runs already."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from holdfast.domain.errors import InvalidSettings, StoreNewer, StoreUnavailable
from holdfast.domain.rows import Holder
from holdfast.store import SqlStore, migrate, migration_sql, open_store
from holdfast.store.schema import metadata
from tests.contract.conftest import MovedClock
from tests.support.leases import take_lease
from tests.support.pooler import PgBouncer
from tests.support.postgres import Postgres

SEEDS_TABLE = """
CREATE TABLE IF NOT EXISTS session_lock (
    id SERIAL PRIMARY KEY,
    session_name VARCHAR(100) NOT NULL UNIQUE,
    instance_id TEXT NOT NULL,
    locked_at TIMESTAMP DEFAULT NOW(),
    expires_at TIMESTAMP NOT NULL
);
CREATE INDEX IF NOT EXISTS idx_session_lock_name ON session_lock(session_name);
CREATE INDEX IF NOT EXISTS idx_session_lock_expires ON session_lock(expires_at);
INSERT INTO session_lock (session_name, instance_id, expires_at) VALUES ('a', 'old', NOW() + interval '60 s');
"""


def difference(c: Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(c, opts={"compare_server_default": True}), metadata))


async def opened(url: str) -> SqlStore:
    store = open_store(url, MovedClock())
    await store.open()
    return store


def by_psql(server: Postgres, database: str, script: str, tmp_path: Path) -> None:
    file = tmp_path / "script.sql"
    file.write_text(script)
    name = database.partition("@/")[2].partition("?")[0]
    server.run("psql", "-q", "-X", "-v", "ON_ERROR_STOP=1", "-d", name, "-f", str(file))


@pytest.mark.parametrize("before", ["", SEEDS_TABLE], ids=["empty", "with the earlier lock table"])
async def test_psql_runs_what_is_printed(database: str, postgres: Postgres, tmp_path: Path, before: str) -> None:
    by_psql(postgres, database, before + migration_sql(database), tmp_path)
    store = await opened(database)
    assert await store._driver.write(difference) == []
    await store.create_session("a", "baileys", {}, "running")
    holder = await take_lease(store, "a", "new", 15)
    if before:
        assert isinstance(holder, Holder)
        assert (holder.instance, holder.valid) == ("old", True)
        assert holder.expires_at == pytest.approx(await store.now() + 60, abs=20)
    await store.close()


async def test_psql_brings_a_database_that_is_in_use_from_an_older_schema(
    database: str, postgres: Postgres, tmp_path: Path
) -> None:
    by_psql(postgres, database, _sql_up_to("0001"), tmp_path)
    old = await asyncpg.connect(database)
    await old.execute(
        "INSERT INTO session (name, engine, config, desired, command, state, me, created_at, updated_at) VALUES "
        """('a', 'baileys', '{}', 'running', '{}', '{"phase": "terminal", "command_seq": 3}', '{}', 1, 1), """
        "('b', 'baileys', '{}', 'running', '{}', '{}', '{}', 1, 1)"
    )
    by_psql(postgres, database, migration_sql(database, "0001"), tmp_path)
    rows = await old.fetch("SELECT name, phase, done_seq FROM session ORDER BY name")
    assert [tuple(row) for row in rows] == [("a", "terminal", 3), ("b", "", 0)]
    await old.close()
    store = await opened(database)
    assert await store._driver.write(difference) == []
    await store.close()


def _sql_up_to(revision: str) -> str:
    import io

    config = migrate._config()
    config.attributes["dialect"] = "postgresql"
    config.output_buffer = io.StringIO()
    command.upgrade(config, revision, sql=True)
    return config.output_buffer.getvalue()


def test_unknown_schema_to_begin_at() -> None:
    with pytest.raises(InvalidSettings, match="no schema '77'"):
        migration_sql("postgresql://h/d", "77")


async def test_lock_table_without_times_and_numbers_gets_them(database: str) -> None:
    old = await asyncpg.connect(database)
    await old.execute(
        "CREATE TABLE session_lock (session_name VARCHAR(100) NOT NULL, instance_id TEXT NOT NULL, "
        "expires_at TIMESTAMPTZ NOT NULL, note TEXT);"
        "INSERT INTO session_lock VALUES ('a', 'old', NOW() + interval '60 s', 'kept')"
    )
    store = await opened(database)
    row = await old.fetchrow("SELECT id, epoch, note, expires_at - extract(epoch FROM now()) AS left FROM session_lock")
    assert (row["id"], row["epoch"], row["note"]) == (1, 0, "kept")
    assert 30 < row["left"] <= 60
    await store.create_session("a", "baileys", {}, "running")
    assert isinstance(await take_lease(store, "a", "new", 15), Holder)
    await store.close()
    await old.close()


@pytest.fixture
def pooler(postgres: Postgres) -> Iterator[PgBouncer]:
    with PgBouncer(postgres) as running:
        yield running


async def test_several_processes_migrate_at_once_through_a_pooler(
    database: str, pooler: PgBouncer, tmp_path: Path
) -> None:
    url = pooler.dsn(database.partition("@/")[2].partition("?")[0])
    env = {**os.environ, "HOLDFAST_DATABASE_URL": url, "HOLDFAST_DATA_DIR": str(tmp_path)}
    program = [sys.executable, "-m", "holdfast.cli", "migrate"]
    running = [
        await asyncio.create_subprocess_exec(*program, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for _ in range(3)
    ]
    for child in running:
        said, _ = await child.communicate()
        assert (child.returncode, said.decode().strip()) == (0, "The database is up to date.")
    store = await opened(url)
    assert await store._driver.write(difference) == []
    await store.close()


async def test_migration_steps_back_from_a_busy_table_so_that_others_go_on(
    database: str, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_psql(postgres, database, _sql_up_to("0001"), tmp_path)
    monkeypatch.setattr(migrate, "LOCK_WAIT", 0.2)
    busy, other = await asyncpg.connect(database), await asyncpg.connect(database)
    await busy.execute("BEGIN; LOCK TABLE session IN ROW EXCLUSIVE MODE")
    opening = asyncio.create_task(opened(database))
    for _ in range(2):  # it waits, steps back, and waits again: in between a reader gets through
        while not await other.fetchval(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation::regclass::text = 'session'"
        ):
            assert not opening.done()
            await asyncio.sleep(0)
        await asyncio.wait_for(other.execute("SELECT count(*) FROM session"), 5)
    assert not opening.done()
    await busy.execute("COMMIT")
    store = await asyncio.wait_for(opening, 20)
    assert await store._driver.write(difference) == []
    await store.close()
    await busy.close()
    await other.close()


@pytest.mark.parametrize(("oldest", "runs"), [("0001", True), (migrate.HEAD, True), ("9000", False)])
async def test_version_before_runs_on_a_newer_schema_that_lets_it(database: str, oldest: str, runs: bool) -> None:
    store = await opened(database)
    await store._driver.write(lambda c: c.exec_driver_sql("UPDATE alembic_version SET version_num = '9001'").close())
    await store.put_setting(migrate.OLDEST_KEY, oldest)
    await store.close()
    if not runs:
        with pytest.raises(StoreNewer, match="9001"):
            await opened(database)
        return
    store = await opened(database)
    await store.create_session("a", "baileys", {}, "running")
    await store.close()


async def test_user_without_rights_is_told_which_and_what_to_do(database: str) -> None:
    admin = await asyncpg.connect(database)
    name = f"poor_{os.urandom(4).hex()}"
    await admin.execute(f"CREATE ROLE {name} LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    url = database.replace("postgres@", f"{name}@")
    with pytest.raises(StoreUnavailable, match=r"permission denied for schema public.*holdfast migrate --sql"):
        await opened(url)
    await (await opened(database)).close()
    await admin.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {name}")
    await admin.execute(f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {name}")
    store = await opened(url)  # whoever migrated is another: what is needed to run is enough
    await store.create_session("a", "baileys", {}, "running")
    assert await take_lease(store, "a", "one", 15) is not None
    await store.close()
    await admin.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")
    await admin.close()
