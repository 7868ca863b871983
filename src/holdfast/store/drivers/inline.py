"""The same transactions inline on an in-memory SQLite: no threads, so that a simulation replays exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection

from holdfast.domain.errors import StoreUnavailable
from holdfast.domain.rows import Hint
from holdfast.store import migrate
from holdfast.store.bootclock import DatabaseTime
from holdfast.store.drivers.connection import Outcome, SqliteConnection

T = TypeVar("T")


class InlineDriver:
    """Nothing survives `close`. Calls return without ever yielding to the loop."""

    def __init__(self, time: DatabaseTime) -> None:
        self._time = time
        self._connection: SqliteConnection | None = None

    async def open(self) -> None:
        """Make the tables."""
        if self._connection is None:
            self._connection = SqliteConnection(":memory:", self._time)
            _value(self._connection.write([migrate.create])[0])
            _value(self._connection.write([self._time.anchor])[0])

    async def close(self) -> None:
        """Forget everything."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def write(self, fn: Callable[[Connection], T], *, brief: bool = False, urgent: bool = False) -> T:
        """See `Driver.write`."""
        value: T = _value(self._open().write([fn])[0])
        return value

    async def read(self, fn: Callable[[Connection], T], *, brief: bool = False) -> T:
        """See `Driver.read`."""
        value: T = _value(self._open().read(fn))
        return value

    def tell(self, hint: Hint) -> None:
        """Nobody would hear it."""

    async def listen(self, hear: Callable[[Hint], None]) -> None:
        """There are no hints."""

    def _open(self) -> SqliteConnection:
        if self._connection is None:
            raise StoreUnavailable("The store is closed.")
        return self._connection


def _value(outcome: Outcome) -> Any:
    if outcome.error is not None:
        raise outcome.error
    return outcome.value
