"""PostgreSQL over asyncpg.

Nothing here needs session state, so transaction poolers (PgBouncer, Neon, Supabase) may stand in between: statements
are prepared under names that never repeat, and not kept. A transaction that surely did not commit (deadlock, lost
before COMMIT was sent) is run again; a COMMIT without an answer is `StoreUnavailable`: unknown, and never repeated.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from holdfast.domain.errors import HoldfastError, StoreUnavailable
from holdfast.store import migrate, sql
from holdfast.store.drivers import failures

T = TypeVar("T")

ATTEMPTS = 3
_REPEATABLE = {"40001", "40P01"}
"""Serialization failure and deadlock: PostgreSQL says that the transaction was undone."""

_NOT_FOR_ASYNCPG = {"channel_binding", "pgbouncer", "connection_limit", "pool_timeout", "connect_timeout", "schema"}
"""Parameters that platforms put into URLs for libpq or other clients; asyncpg would send them to the server."""


def plain_dsn(url: str) -> str:
    """The URL as asyncpg reads it; `sslmode` and the like stay."""
    parts = urlsplit(url)
    query = [(key, value) for key, value in parse_qsl(parts.query) if key not in _NOT_FOR_ASYNCPG]
    return urlunsplit(("postgresql", parts.netloc, parts.path, urlencode(query), ""))


class PostgresDriver:
    """`size`: most connections. `timeout`: seconds for a connection, and for one statement."""

    def __init__(self, url: str, *, size: int = 10, timeout: float = 20.0) -> None:
        self._dsn = plain_dsn(url)
        self._size = size
        self._timeout = timeout
        self._engine: AsyncEngine | None = None

    async def open(self) -> None:
        """Connect and migrate, under an advisory lock."""
        self._engine = create_async_engine(
            "postgresql+asyncpg://",
            connect_args={
                "async_creator_fn": self._connect,
                "prepared_statement_cache_size": 0,
                "prepared_statement_name_func": lambda: f"holdfast_{uuid.uuid4().hex}",
            },
            pool_size=self._size,
            max_overflow=0,
            pool_timeout=self._timeout,
            pool_recycle=300,
            hide_parameters=True,  # they hold message texts and keys, and errors reach logs
            json_serializer=sql.dumps,
            json_deserializer=sql.loads,
        )
        try:
            await self.write(migrate.upgrade)
        except BaseException:
            await self.close()
            raise

    async def _connect(self, *_args: Any, **_kwargs: Any) -> asyncpg.Connection:
        return await asyncpg.connect(
            self._dsn, timeout=self._timeout, command_timeout=self._timeout, statement_cache_size=0
        )

    async def close(self) -> None:
        """Close all connections."""
        if self._engine is not None:
            engine, self._engine = self._engine, None
            await engine.dispose()

    async def write(self, fn: Callable[[Connection], T], *, brief: bool = False) -> T:
        """See `Driver.write`."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._once(fn)
            except HoldfastError:
                raise
            except Exception as error:
                if attempt < ATTEMPTS and self._surely_undone(error):
                    continue
                raise failures.of_postgres(error) or error from error
        raise AssertionError  # the last attempt returned or raised

    async def read(self, fn: Callable[[Connection], T], *, brief: bool = False) -> T:
        """See `Driver.read`."""
        return await self.write(fn)

    async def _once(self, fn: Callable[[Connection], T]) -> T:
        if self._engine is None:
            raise StoreUnavailable("The store is closed.")
        async with self._engine.connect() as connection:
            transaction = await connection.begin()
            try:
                value = await connection.run_sync(fn)
            except BaseException:
                await asyncio.shield(transaction.rollback())
                raise
            try:
                await transaction.commit()
            except Exception as error:
                if failures.sqlstate(error) in _REPEATABLE:
                    raise
                raise StoreUnavailable from error
            return value

    @staticmethod
    def _surely_undone(error: Exception) -> bool:
        """Everything that reaches `write` happened before COMMIT was sent."""
        return failures.sqlstate(error) in _REPEATABLE or isinstance(failures.of_postgres(error), StoreUnavailable)
