"""A look at the database without changing it: what `doctor` tells of it."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from time import time

from sqlalchemy import Connection, text

from holdfast.domain.errors import StoreDamaged
from holdfast.domain.rows import Json
from holdfast.store import database_file, leases, migrate, root_key, urls
from holdfast.store.drivers.connection import SqliteConnection
from holdfast.store.drivers.postgres import PostgresDriver
from holdfast.store.schema import metadata

PATIENCE = 10.0
"""Seconds that a PostgreSQL may take to answer."""

ALIVE = 30.0
"""Seconds since its last sign of life for which an instance counts as running."""


@dataclass(frozen=True, slots=True)
class Examined:
    """`program`: the database and its version. `schema`: the revision, None if there is none yet. `current`: whether
    nothing is to be migrated. `ahead`: seconds by which its clock is ahead of ours. `async_replicas`: replicas that
    may lack what was committed. `closed`: tables that this user may not read and write. `instances`: those that run.
    `root_key`: of the WhatsApp that linked sessions belong to, None if unknown.
    """

    program: str
    schema: str | None
    current: bool
    ahead: float = 0.0
    async_replicas: int = 0
    closed: tuple[str, ...] = ()
    instances: tuple[Json, ...] = ()
    root_key: str | None = None


async def examine(url: str) -> Examined:
    """Connect and look. Raises `StoreUnavailable`, `StoreDamaged`, `StoreNewer`, `DataDirNotWritable`,
    `InvalidSettings`.
    """
    path = urls.sqlite_path(url)
    if path is None:
        found = await _postgres(url)
    elif path == urls.MEMORY:
        found = Examined(f"SQLite {sqlite3.sqlite_version}, in memory", None, False)
    else:
        found = await asyncio.to_thread(_sqlite, path)
    if not found.current:
        migrate.refuse_newer(found.schema)
    return found


def _sqlite(path: str) -> Examined:
    program = f"SQLite {sqlite3.sqlite_version}, {path}"
    database_file.check(path)
    if not Path(path).exists():
        return Examined(program, None, False)
    connection = SqliteConnection(path, time, readonly=True)
    try:
        outcome = connection.read(_schema_of_sound)
    finally:
        connection.close()
    if outcome.error is not None:
        raise outcome.error
    revision, current, running, known = outcome.value
    return Examined(program, revision, current, instances=running, root_key=known)


def _schema_of_sound(c: Connection) -> tuple[str | None, bool, tuple[Json, ...], str | None]:
    said = str(c.execute(text("PRAGMA quick_check(1)")).scalar())
    if said != "ok":
        raise StoreDamaged(
            f"The database file is damaged ({said}). Restore it from a backup, or move it away to start afresh."
        )
    current = migrate.is_current(c)
    if not current:
        return migrate.revision(c), False, (), None
    return migrate.revision(c), True, _running(c), root_key.known(c)


def _running(c: Connection) -> tuple[Json, ...]:
    return tuple(row for row in leases.instances(c) if row["seen_ago"] < ALIVE)


async def _postgres(url: str) -> Examined:
    driver = PostgresDriver(urls.postgres(url), timeout=PATIENCE)
    try:
        return await driver.peek(_of_server)
    finally:
        await driver.close()


def _of_server(c: Connection) -> Examined:
    version = c.execute(text("SHOW server_version")).scalar()
    ahead = float(c.execute(text("SELECT EXTRACT(EPOCH FROM clock_timestamp())::float8")).scalar_one()) - time()
    lagging = c.execute(text("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'async'")).scalar_one()
    program, current = f"PostgreSQL {version}", migrate.is_current(c)
    if not current:
        return Examined(program, migrate.revision(c), False, ahead, int(lagging))
    closed = tuple(name for (name,) in c.execute(text(_CLOSED)).all())
    if closed:
        return Examined(program, migrate.revision(c), True, ahead, int(lagging), closed)
    known = root_key.known(c)
    return Examined(program, migrate.revision(c), True, ahead, int(lagging), (), _running(c), known)


_CLOSED = (  # joined from constants
    "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace "  # noqa: S608
    f"AND relname IN ({', '.join(repr(name) for name in sorted(metadata.tables))}) AND NOT "
    "(has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT') AND has_table_privilege(oid, 'UPDATE') "
    "AND has_table_privilege(oid, 'DELETE')) ORDER BY relname"
)
