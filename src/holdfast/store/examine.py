"""A look at the database without changing it: what `doctor` tells of it."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from time import time

from sqlalchemy import Connection, text

from holdfast.domain.errors import StoreDamaged
from holdfast.store import migrate, urls
from holdfast.store.drivers.connection import SqliteConnection
from holdfast.store.drivers.postgres import PostgresDriver

PATIENCE = 10.0
"""Seconds that a PostgreSQL may take to answer."""


@dataclass(frozen=True, slots=True)
class Examined:
    """`program`: the database and its version. `schema`: the revision, None if there is none yet. `current`: whether
    nothing is to be migrated. `ahead`: seconds by which its clock is ahead of ours. `async_replicas`: replicas that
    may lack what was committed.
    """

    program: str
    schema: str | None
    current: bool
    ahead: float = 0.0
    async_replicas: int = 0


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
    if not Path(path).exists():
        return Examined(program, None, False)
    connection = SqliteConnection(path, time, readonly=True)
    try:
        outcome = connection.read(_schema_of_sound)
    finally:
        connection.close()
    if outcome.error is not None:
        raise outcome.error
    return Examined(program, *outcome.value)


def _schema_of_sound(c: Connection) -> tuple[str | None, bool]:
    said = str(c.execute(text("PRAGMA quick_check(1)")).scalar())
    if said != "ok":
        raise StoreDamaged(
            f"The database file is damaged ({said}). Restore it from a backup, or move it away to start afresh."
        )
    return migrate.revision(c), migrate.is_current(c)


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
    return Examined(f"PostgreSQL {version}", migrate.revision(c), migrate.is_current(c), ahead, int(lagging))
