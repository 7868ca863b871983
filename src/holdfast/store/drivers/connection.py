"""One SQLite connection, and how a batch of transactions shares a commit on it.

Transactions are driven by hand on the raw connection (BEGIN IMMEDIATE, savepoints), because the group commit needs
exactly that; SQLAlchemy compiles and runs the statements in between.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import StaticPool

from holdfast.crash import point
from holdfast.domain.errors import HoldfastError, StoreUnavailable
from holdfast.store import sql, value_gate
from holdfast.store.drivers import failures

Transaction = Callable[[Connection], Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one transaction: its value, or its error."""

    value: Any = None
    error: BaseException | None = None


class SqliteConnection:
    """Used by one thread at a time. `now` becomes the SQL function `holdfast_now()`."""

    def __init__(self, path: str, now: Callable[[], float], *, readonly: bool = False, busy: float = 10.0) -> None:
        self._path = path
        self._now = now
        self._readonly = readonly
        self._busy = self._waits = busy
        try:
            engine = create_engine(
                "sqlite://",
                creator=self._connect,
                poolclass=StaticPool,
                isolation_level="AUTOCOMMIT",
                hide_parameters=True,  # they hold message texts and keys, and errors reach logs
                json_serializer=sql.dumps,
                json_deserializer=sql.loads,
            )
            value_gate.guard(engine)
            self.core = engine.connect()
        except Exception as error:
            raise failures.of_sqlite(error, path) or error from error
        self.raw: sqlite3.Connection = self.core.connection.dbapi_connection  # type: ignore[assignment]

    def _connect(self) -> sqlite3.Connection:
        uri = self._path if self._path == ":memory:" else f"file:{_quoted(self._path)}"
        raw = sqlite3.connect(
            uri,
            timeout=self._busy,
            isolation_level=None,
            check_same_thread=False,
            uri=uri != ":memory:",
            cached_statements=512,
        )
        try:
            raw.create_function("holdfast_now", 0, self._now)
            raw.execute("PRAGMA foreign_keys = ON")
            raw.execute("PRAGMA cache_size = -16384")
            if self._readonly:
                raw.execute("PRAGMA query_only = ON")
            else:
                _write_ahead(raw)
                raw.execute("PRAGMA synchronous = FULL")
        except BaseException:
            raw.close()
            raise
        return raw

    def close(self) -> None:
        """Let go of the file."""
        self.core.close()
        self.core.engine.dispose()

    def translate(self, error: BaseException) -> BaseException:
        """The domain's error where there is one."""
        return failures.of_sqlite(error, self._path) or error

    def read(self, fn: Transaction) -> Outcome:
        """Run one reading function on a snapshot of its own."""
        try:
            self.raw.execute("BEGIN")
            try:
                return Outcome(fn(self.core))
            finally:
                self.raw.execute("ROLLBACK")
        except Exception as error:
            return Outcome(error=self.translate(error))

    def write_now(self, fns: Sequence[Transaction]) -> list[Outcome] | None:
        """As `write`, but None, with nothing done, if another process holds the file just now."""
        self._wait(0.0)
        try:
            self.raw.execute("BEGIN IMMEDIATE")
        except sqlite3.Error:
            return None  # whatever it is, `write` meets it again and says so
        return self._run(fns)

    def _wait(self, seconds: float) -> None:
        if seconds != self._waits:
            self.raw.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}").close()
            self._waits = seconds

    def write(self, fns: Sequence[Transaction]) -> list[Outcome]:
        """Run all in one transaction, each in a savepoint of its own, so that each fails alone; then commit once."""
        try:
            self._wait(self._busy)
            self.raw.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            return [Outcome(error=self.translate(error))] * len(fns)
        return self._run(fns)

    def _run(self, fns: Sequence[Transaction]) -> list[Outcome]:
        try:
            outcomes = [Outcome(fns[0](self.core))] if len(fns) == 1 else [self._one(fn) for fn in fns]
            point("store.committing")
            self.raw.execute("COMMIT")
            point("store.committed")
        except Exception as error:
            if self.raw.in_transaction:
                self.raw.execute("ROLLBACK")
            return [Outcome(error=self.translate(error))] * len(fns)
        return outcomes

    def _one(self, fn: Transaction) -> Outcome:
        self.raw.execute("SAVEPOINT one")
        try:
            outcome = Outcome(fn(self.core))
        except Exception as error:
            if not self.raw.in_transaction:  # a full disk or a read error undid the whole batch
                raise _batch_lost(self.translate(error)) from error
            self.raw.execute("ROLLBACK TO one")
            outcome = Outcome(error=self.translate(error))
        self.raw.execute("RELEASE one")
        return outcome


def _write_ahead(raw: sqlite3.Connection) -> None:
    """Of several that open a new file at once, SQLite tells one that it is locked, without the wait that it was asked
    for. So that one waits until it had the file for itself, and asks again.
    """
    try:
        raw.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError:
        raw.execute("BEGIN EXCLUSIVE")
        raw.execute("ROLLBACK")
        raw.execute("PRAGMA journal_mode = WAL")


def _batch_lost(error: BaseException) -> HoldfastError:
    return error if isinstance(error, HoldfastError) else StoreUnavailable(f"The transaction was undone: {error}")


def _quoted(path: str) -> str:
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
