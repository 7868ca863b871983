"""SQLite in a file: one writer thread with group commit, and readers on connections of their own.

A commit costs a disk flush, so whatever waits when the writer comes back is taken together and flushed once; the
callers are told after the flush. Other processes may use the same file: BEGIN IMMEDIATE waits for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from sqlalchemy import Connection

from holdfast.domain.errors import DataDirNotWritable, StoreUnavailable
from holdfast.domain.rows import Hint
from holdfast.store import database_file, migrate
from holdfast.store.bootclock import DatabaseTime
from holdfast.store.drivers.connection import Outcome, SqliteConnection, Transaction

T = TypeVar("T")

BATCH = 256
"""Most transactions that share a commit: bounds how long the first of them waits for the last."""

SWITCH = 0.0002
"""Seconds after which the interpreter hands over to a waiting thread. A loop that is busy in steps shorter than
Python's own 5 ms gives its lock up and takes it back before the writer wakes, and so starves it: measured, for ever.
"""


INLINE = 4
"""Most transactions that the loop commits itself."""

SHORT = 0.001
"""Seconds that a commit may take on average for the loop to do it itself: a slow disk is left to the thread."""


@dataclass(slots=True)
class _Asked:
    fn: Transaction
    answer: asyncio.Future[Any]
    brief: bool = False


class _Worker:
    """A thread that takes all that waits, runs it, and tells the loop once for the whole batch."""

    def __init__(self, name: str, run: Callable[[list[Transaction]], list[Outcome]]) -> None:
        self._run = run
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Asked | None] = SimpleQueue()
        self._behind = 0
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._closed = False
        self._thread.start()

    async def ask(self, fn: Callable[[Connection], T], *, brief: bool = False) -> T:
        """Queue a transaction and wait for its outcome."""
        if self._closed:
            raise StoreUnavailable("The store is closed.")
        answer: asyncio.Future[T] = self._loop.create_future()
        self._admit(_Asked(fn, answer, brief))
        return await answer

    def _admit(self, asked: _Asked) -> None:
        self._hand([asked])

    def _hand(self, batch: list[_Asked]) -> None:
        self._behind += len(batch)
        for asked in batch:
            self._queue.put(asked)

    async def close(self) -> None:
        """Finish what was asked."""
        self._closed = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        while (batch := self._take()) is not None:
            live = [asked for asked in batch if not asked.answer.cancelled()]
            started = time.perf_counter()
            outcomes = self._run([asked.fn for asked in live]) if live else []
            took = time.perf_counter() - started
            with contextlib.suppress(RuntimeError):  # the loop was closed under us: nobody waits any more
                self._loop.call_soon_threadsafe(self._done, len(batch), live, outcomes, took)

    def _done(self, count: int, live: list[_Asked], outcomes: list[Outcome], took: float) -> None:
        self._behind -= count
        _resolve(live, outcomes)

    def _take(self) -> list[_Asked] | None:
        first = self._queue.get()
        if first is None:
            return None
        batch = [first]
        while len(batch) < BATCH:
            try:
                following = self._queue.get_nowait()
            except Empty:
                break
            if following is None:
                self._queue.put(None)
                break
            batch.append(following)
        return batch


class _Writer(_Worker):
    """Commits few short transactions on the loop, all else on the thread; never on both at once.

    What is asked in one turn of the loop is taken together at the turn's end. While the thread has work, everything
    goes to it, so that a queue is committed in large groups. Measured in docs/decisions/0002-sqlite-writer.md.
    """

    def __init__(self, name: str, connection: SqliteConnection) -> None:
        self._connection = connection
        self._waiting: list[_Asked] = []
        self._cost = 0.0
        super().__init__(name, connection.write)

    def _admit(self, asked: _Asked) -> None:
        if self._behind:
            self._hand([asked])
            return
        self._waiting.append(asked)
        if len(self._waiting) == 1:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        batch = [asked for asked in self._waiting if not asked.answer.cancelled()]
        self._waiting = []
        if not batch:
            return
        if self._closed or len(batch) > INLINE or self._cost > SHORT or not all(asked.brief for asked in batch):
            self._hand(batch)
            return
        started = time.perf_counter()
        outcomes = self._connection.write_now([asked.fn for asked in batch])
        if outcomes is None:
            self._hand(batch)
            return
        self._note(time.perf_counter() - started, len(batch))
        _resolve(batch, outcomes)

    def _done(self, count: int, live: list[_Asked], outcomes: list[Outcome], took: float) -> None:
        if live and all(asked.brief for asked in live):
            self._note(took, len(live))
        super()._done(count, live, outcomes, took)

    def _note(self, took: float, count: int) -> None:
        self._cost = 0.8 * self._cost + 0.2 * took / count

    async def close(self) -> None:
        """Finish what was asked."""
        self._closed = True
        self._flush()
        await super().close()


def _resolve(batch: list[_Asked], outcomes: list[Outcome]) -> None:
    for asked, outcome in zip(batch, outcomes, strict=True):
        if asked.answer.done():
            continue
        if outcome.error is not None:
            asked.answer.set_exception(outcome.error)
        else:
            asked.answer.set_result(outcome.value)


class SqliteDriver:
    """The driver for a file. `busy`: seconds to wait for another process that writes."""

    def __init__(self, path: str, clock: DatabaseTime, *, busy: float = 10.0) -> None:
        self._path = path
        self._clock = clock
        self._busy = busy
        self._connections: list[SqliteConnection] = []
        self._opening: asyncio.Task[None] | None = None
        self._writer: _Writer | None = None
        self._reader: _Worker | None = None

    async def open(self) -> None:
        """Make the folder, connect, migrate, anchor time."""
        sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH))
        self._opening = asyncio.create_task(asyncio.to_thread(self._connect))
        await asyncio.shield(self._opening)
        writer, reader, brief = self._connections
        self._brief = brief
        self._writer = _Writer("store-writer", writer)
        self._reader = _Worker("store-reader", lambda fns: [reader.read(fn) for fn in fns])

    def _connect(self) -> None:
        _prepare_folder(Path(self._path))
        try:
            writer = SqliteConnection(self._path, self._clock, busy=self._busy)
            self._connections.append(writer)
            for step in (migrate.upgrade, self._clock.anchor):
                if (error := writer.write([step])[0].error) is not None:
                    raise error
            for _ in range(2):
                self._connections.append(SqliteConnection(self._path, self._clock, readonly=True, busy=self._busy))
        except BaseException:
            self._let_go()
            raise

    def _let_go(self) -> None:
        for connection in reversed(self._connections):
            connection.close()
        self._connections.clear()

    async def close(self) -> None:
        """Finish, then let go of the file (which folds the log into it)."""
        if self._opening is not None:  # nobody may have waited for its end
            await asyncio.wait({self._opening})
        for worker in (self._writer, self._reader):
            if worker is not None:
                await worker.close()
        await asyncio.to_thread(self._let_go)

    async def write(self, fn: Callable[[Connection], T], *, brief: bool = False, urgent: bool = False) -> T:
        """See `Driver.write`."""
        if self._writer is None:
            raise StoreUnavailable("The store is not open.")
        return await self._writer.ask(fn, brief=brief)

    async def read(self, fn: Callable[[Connection], T], *, brief: bool = False) -> T:
        """A look-up by key runs here: in WAL mode nothing blocks it, and a thread's hand-over costs more than it."""
        if self._reader is None:
            raise StoreUnavailable("The store is not open.")
        if not brief:
            return await self._reader.ask(fn)
        if not self._connections:
            raise StoreUnavailable("The store is closed.")
        outcome = self._brief.read(fn)
        if outcome.error is not None:
            raise outcome.error
        value: T = outcome.value
        return value

    def tell(self, hint: Hint) -> None:
        """Other processes on the file find it by polling."""

    async def listen(self, hear: Callable[[Hint], None]) -> None:
        """There are no hints."""


def _prepare_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataDirNotWritable(
            f"The data folder {path.parent} cannot be made ({error.strerror}). "
            "Set HOLDFAST_DATA_DIR to a folder of this user."
        ) from error
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise DataDirNotWritable(
            f"The data folder {path.parent} cannot be written. Set HOLDFAST_DATA_DIR to a folder of this user."
        )
    database_file.check(path)
    with contextlib.suppress(OSError, sqlite3.Error):  # SQLite says below what is wrong
        database_file.create(path)
