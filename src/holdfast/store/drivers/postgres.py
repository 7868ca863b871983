"""PostgreSQL over asyncpg.

Nothing here needs session state, so transaction poolers (PgBouncer, Neon, Supabase) may stand in between: there,
statements are prepared without a name, which the next one replaces, so that none is ever left on a server connection.
Where nothing stands in between, which the number of the server process tells (a pooler makes one up), statements stay
prepared and reads need no transaction: half the round trips.

A transaction that surely did not commit (deadlock, connection lost before COMMIT was sent) is run again, as often as
there is time. A COMMIT without an answer is `StoreUnavailable`: unknown, and never repeated here.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import ssl
from collections.abc import Callable
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from holdfast.crash import point
from holdfast.domain.errors import HoldfastError, InvalidSettings, StoreUnavailable
from holdfast.domain.rows import Hint
from holdfast.store import migrate, sql, value_gate
from holdfast.store.drivers import failures
from holdfast.store.drivers.listener import Listener
from holdfast.store.urls import Target

T = TypeVar("T")

ATTEMPTS = 3
SIZE = 10
"""Most connections, unless the URL says otherwise (`connection_limit`)."""

IDLE = 5.0
"""Seconds that we may let the database wait in the middle of a transaction."""

PREPARED = 200
"""Statements that stay prepared on a connection, where they may."""

TIDY = 0.5
"""Seconds that a transaction has to end well after nobody waits for it any more."""


def tls(mode: str) -> ssl.SSLContext:
    """Trust in the system's certificate authorities; names are compared unless `mode` is `verify-ca`."""
    context = ssl.create_default_context()
    context.check_hostname = mode != "verify-ca"
    return context


class Hurried(asyncpg.Connection):  # type: ignore[misc] # asyncpg tells no types
    """Whose transactions the database ends when it hears nothing for `idle` seconds in the middle of one: we may be
    frozen or cut off, and others wait for what is locked. Said with each `BEGIN`, which costs no round trip and leaves
    nothing behind on a pooler's connection. So is that no transaction reads a whole table where an index serves: a plan
    that was made while a queue was empty would otherwise do so for as long as it is kept.
    """

    __slots__ = ("idle",)

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        """As asyncpg's."""
        if query.startswith("BEGIN"):
            query += f"SET LOCAL idle_in_transaction_session_timeout = {int(self.idle * 1000)};"
            query += "SET LOCAL enable_seqscan = off;"
        status: str = await super().execute(query, *args, timeout=timeout)
        return status


async def connect(target: Target, timeout: float, *, idle: float = IDLE, patient: bool = False) -> asyncpg.Connection:
    """A connection. `timeout`: seconds to connect, and for a statement, unless `patient`; `idle`: see `Hurried`."""
    context = {"ssl": tls(target.system_ca)} if target.system_ca else {}
    try:
        connection = await asyncpg.connect(
            target.dsn,
            timeout=min(timeout, target.timeout or timeout),
            command_timeout=None if patient else timeout,
            statement_cache_size=0,
            connection_class=asyncpg.Connection if patient else Hurried,
            **context,
        )
    except asyncpg.ClientConfigurationError as error:
        raise InvalidSettings(f"HOLDFAST_DATABASE_URL cannot be used: {error}.") from error
    if not patient:
        connection.idle = idle
    return connection


class PostgresDriver:
    """`direct`: the same database past the pooler, for hints. `timeout`: seconds for a transaction, connecting and
    repeating included; `idle`: see `Hurried`.
    """

    def __init__(
        self, target: Target, *, direct: Target | None = None, timeout: float = 20.0, idle: float = IDLE
    ) -> None:
        self._target = target
        self._listener = Listener(direct or target, self._connect, trusted=direct is not None)
        self._timeout = timeout
        self._idle_limit = idle
        self._engine: AsyncEngine | None = None
        self._idle: dict[AsyncEngine, set[Any]] = {}
        self._underway: dict[asyncio.Task[Any], asyncpg.Connection | None] = {}
        """What is being done, each on which connection."""
        self._answered_at = 0.0
        self._direct = False
        """Whether nothing stands between us and the server."""
        self._statements = itertools.count(1)
        self._size = target.size or SIZE
        self._room = asyncio.Semaphore(max(1, self._size - 1))
        """All connections but one, which is kept for what is urgent."""

    async def open(self) -> None:
        """Connect, and migrate where that is needed, however long it takes."""
        self._direct = await self._find_direct()
        self._engine = self._pool()
        try:
            if not await self.read(migrate.is_current):
                await self._migrate()
        except BaseException:
            await self.close()
            raise

    async def _find_direct(self) -> bool:
        """Whether the server process that answers is the one that said hello: a pooler says hello itself."""
        try:
            connection = await self._connect(self._target)
            try:
                return bool(await connection.fetchval("SELECT pg_backend_pid()") == connection.get_server_pid())
            finally:
                await connection.close()
        except Exception as error:
            raise failures.of_postgres(error) or error from error

    async def _set_direct(self, direct: bool) -> None:
        """With new connections: what the old ones have prepared goes with them."""
        before, self._direct = self._engine, direct
        self._engine = self._pool()
        if before is not None:
            self._idle.pop(before)
            await before.dispose()

    async def peek(self, fn: Callable[[Connection], T]) -> T:
        """Run `fn`, which only reads, in place of `open`: nothing is migrated. To be closed afterwards."""
        self._engine = self._pool()
        return await self.read(fn)

    async def _migrate(self) -> None:
        engine, self._engine = self._engine, self._pool(patient=True)
        try:
            for attempt in range(1, migrate.ATTEMPTS + 1):
                try:
                    await self._attempts(migrate.upgrade)
                    break
                except StoreUnavailable as error:
                    if attempt == migrate.ATTEMPTS or failures.sqlstate(error.__cause__) != failures.LOCK_TIMEOUT:
                        raise
        finally:
            patient, self._engine = self._engine, engine
            self._idle.pop(patient, None)
            await patient.dispose()

    def _pool(self, *, patient: bool = False) -> AsyncEngine:
        async def creator(*_args: Any, **_kwargs: Any) -> asyncpg.Connection:
            return await connect(self._target, self._timeout, idle=self._idle_limit, patient=patient)

        engine = create_async_engine(
            "postgresql+asyncpg://",
            connect_args={
                "async_creator_fn": creator,
                "prepared_statement_cache_size": PREPARED if self._direct else 0,
                "prepared_statement_name_func": self._named if self._direct else str,  # none: see the docstring
            },
            pool_size=1 if patient else self._size,
            max_overflow=0,
            pool_timeout=self._timeout,
            pool_recycle=300,
            hide_parameters=True,  # they hold message texts and keys, and errors reach logs
            json_serializer=sql.dumps,
            json_deserializer=sql.loads,
        )
        value_gate.guard(engine.sync_engine)
        idle: set[Any] = set()
        self._idle[engine] = idle

        def returned(connection: Any, _record: Any) -> None:
            if connection is not None:  # it ended meanwhile
                idle.add(connection)

        def taken(connection: Any, *_: Any) -> None:
            idle.discard(connection)

        for what, then in (("checkin", returned), ("checkout", taken), ("close", taken)):
            event.listen(engine.sync_engine, what, then)
        return engine

    def _named(self) -> str:
        return f"holdfast_{next(self._statements)}"

    async def close(self) -> None:
        """Finish what was asked, then close all connections."""
        if self._underway:
            await asyncio.wait(self._underway)
        engine, self._engine = self._engine, None
        if engine is not None:
            leaving = asyncio.create_task(engine.dispose())
            await asyncio.wait({leaving}, timeout=TIDY)
            self._drop_idle(engine)
            await leaving

    def _drop_idle(self, engine: AsyncEngine) -> None:
        """Without a farewell, for which each would take its time if nobody is there."""
        for idle in list(self._idle.pop(engine)):
            idle.driver_connection.terminate()

    async def write(self, fn: Callable[[Connection], T], *, brief: bool = False, urgent: bool = False) -> T:
        """See `Driver.write`."""
        return await self._in_time(fn, urgent=urgent)

    async def read(self, fn: Callable[[Connection], T], *, brief: bool = False) -> T:
        """See `Driver.read`."""
        return await self._in_time(fn, reads=True)

    def tell(self, hint: Hint) -> None:
        """See `Driver.tell`."""
        self._listener.tell(hint)

    async def listen(self, hear: Callable[[Hint], None]) -> None:
        """See `Driver.listen`."""
        await self._listener.run(hear)

    async def _connect(self, target: Target) -> asyncpg.Connection:
        return await connect(target, self._timeout)

    # --- one transaction ----------------------------------------------------------------------------------------
    async def _in_time(self, fn: Callable[[Connection], T], *, reads: bool = False, urgent: bool = False) -> T:
        """In a task of its own, which nobody needs to wait for longer than he wants to, whatever state the database is
        in: whoever renews leases must be able to give up in time (G1).
        """
        task = asyncio.create_task(self._queued(fn, reads, urgent))
        self._underway[task] = None
        task.add_done_callback(self._ended)
        try:
            async with asyncio.timeout(self._timeout):
                return await asyncio.shield(task)
        except TimeoutError as error:
            self._leave(task)
            raise StoreUnavailable(failures.slow(self._timeout)) from error
        except asyncio.CancelledError:
            self._leave(task)
            raise

    def _ended(self, task: asyncio.Task[Any]) -> None:
        del self._underway[task]
        if not task.cancelled() and task.exception() is None:
            self._answered_at = asyncio.get_running_loop().time()

    def _leave(self, task: asyncio.Task[Any]) -> None:
        """Nobody waits for it any more; it may still end well."""
        loop = asyncio.get_running_loop()
        loop.call_later(TIDY, self._give_up, task, loop.time())

    def _give_up(self, task: asyncio.Task[Any], since: float) -> None:
        """Its connection is dropped. If nothing else was answered either, so are all that are idle: after a failover
        none of them leads anywhere, and finding that out one by one would cost leases.
        """
        if task.done():
            return
        task.cancel()
        if (connection := self._underway[task]) is not None:
            connection.terminate()
        if self._answered_at < since and (engine := self._engine) is not None:
            self._engine = self._pool()
            self._drop_idle(engine)

    async def _queued(self, fn: Callable[[Connection], T], reads: bool, urgent: bool) -> T:
        async with contextlib.nullcontext() if urgent else self._room:
            return await self._attempts(fn, reads=reads)

    async def _attempts(self, fn: Callable[[Connection], T], *, reads: bool = False) -> T:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._once(fn, reads)
            except HoldfastError:
                raise
            except Exception as error:  # it happened before COMMIT was sent, or COMMIT was refused: surely undone
                known = failures.of_postgres(error)
                if self._direct and failures.is_unprepared(error):  # a pooler came between us, or the tables changed
                    await self._set_direct(failures.sqlstate(error) == failures.OTHER_TABLES)
                if attempt < ATTEMPTS and (failures.is_repeatable(error) or failures.is_lost(error)):
                    continue
                raise known or error from error
        raise AssertionError  # the last attempt returned or raised

    async def _once(self, fn: Callable[[Connection], T], reads: bool) -> T:
        engine = self._engine
        if engine is None:
            raise StoreUnavailable("The store is closed.")
        async with engine.connect() as connection:  # whose end undoes what was not committed
            try:
                await self._known(connection)
                if reads and self._direct:
                    await connection.execution_options(isolation_level="AUTOCOMMIT")
                await connection.begin()
                value = await connection.run_sync(fn)
                await (connection.rollback() if reads else self._commit(connection))
            finally:
                if engine is not self._engine:  # that pool was given up
                    await connection.invalidate()
        return value

    async def _known(self, connection: AsyncConnection) -> None:
        task = asyncio.current_task()
        if task in self._underway:
            self._underway[task] = (await connection.get_raw_connection()).driver_connection

    @staticmethod
    async def _commit(connection: AsyncConnection) -> None:
        point("store.committing")
        try:
            await connection.commit()
            point("store.committed")
        except Exception as error:
            if failures.is_refusal(error):
                raise
            raise StoreUnavailable(failures.unknown(error)) from error
