"""The few words in which both databases differ, and the fast way past the statement compiler for the hot paths."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, Table
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import CursorResult

from holdfast.domain.errors import StaleEpoch
from holdfast.store.value_gate import parameters, storable_json

T = TypeVar("T")

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()


def dumps(value: Any) -> str:
    """JSON text, of whatever somebody sent."""
    try:
        return _encoder.encode(value).decode()
    except (UnicodeEncodeError, OverflowError, RecursionError):
        return _encoder.encode(storable_json(value)).decode()


def loads(value: str | bytes) -> Any:
    """From JSON text."""
    return _decoder.decode(value)


def insert(c: Connection, table: Table) -> Any:
    """INSERT that knows `on_conflict_do_nothing` and `on_conflict_do_update`, which both databases spell alike."""
    if c.dialect.name == "sqlite":
        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - SQLite's users need not wait for it at each start

    return postgresql.insert(table)


@lru_cache(maxsize=512)
def _numbered(sql: str) -> str:
    parts = sql.split("?")
    return "".join(f"{part}${i}" for i, part in enumerate(parts[:-1], start=1)) + parts[-1]


def raw(c: Connection, sql: str, params: Sequence[Any] = ()) -> CursorResult[*tuple[Any, ...]]:
    """Run SQL text with `?` placeholders (no literal `?` in the text). A list of tuples runs it once for each."""
    if c.dialect.name != "sqlite":
        sql = _numbered(sql)
    return c.exec_driver_sql(sql, params)


_LOCKS = (" FOR NO KEY UPDATE", " FOR UPDATE SKIP LOCKED", " FOR UPDATE", " FOR KEY SHARE", " FOR SHARE")
_INDEXED = re.compile(r" INDEXED BY \w+")
_NOW = "(EXTRACT(EPOCH FROM clock_timestamp())::float8)"


ONCE = "(SELECT holdfast_now())"
"""Database time in a condition: evaluated once for the statement, so that an index can use it. `holdfast_now()` by
itself is asked for each row, which reads all of them; it is meant for values, and where a row is waited for first.
"""


class Query:
    """One statement of a hot path, written once, in PostgreSQL's words where both differ.

    SQLAlchemy needs ten times as long to build and key an expression as SQLite needs to run it, so these are text, and
    on SQLite they go straight to the driver, which keeps them prepared. `?` stands for a parameter, `holdfast_now()`
    for database time, `GREATEST` for the larger of two; row locks fall away on SQLite, which has one writer, and
    `INDEXED BY` on PostgreSQL, which knows how full each index is.
    """

    __slots__ = ("lite", "postgres")

    def __init__(self, sql: str) -> None:
        self.postgres = _numbered(_INDEXED.sub("", sql)).replace("holdfast_now()", _NOW)
        for lock in _LOCKS:
            sql = sql.replace(lock, "")
        self.lite = sql.replace("GREATEST(", "MAX(")

    def all(self, c: Connection, *params: Any) -> list[Any]:
        """Run it; its rows as tuples, JSON as text."""
        if c.dialect.name == "sqlite":
            return _driver(c).execute(self.lite, parameters(params)).fetchall()
        return list(c.exec_driver_sql(self.postgres, params).all())

    def first(self, c: Connection, *params: Any) -> Any:
        """Run it; the first row, or None."""
        rows = self.all(c, *params)
        return rows[0] if rows else None

    def run(self, c: Connection, *params: Any) -> None:
        """Run one that gives no rows."""
        self.count(c, *params)

    def count(self, c: Connection, *params: Any) -> int:
        """Run one that gives no rows; how many it changed."""
        if c.dialect.name == "sqlite":
            return _driver(c).execute(self.lite, parameters(params)).rowcount
        return c.exec_driver_sql(self.postgres, params).rowcount


def _driver(c: Connection) -> sqlite3.Connection:
    found: Any = c.connection.dbapi_connection
    connection: sqlite3.Connection = found
    return connection


@lru_cache(maxsize=256)
def listed(sql: str, count: int) -> Query:
    """The statement with its `{}` made into `count` placeholders."""
    return Query(sql.format(",".join("?" * count)))


def rounded(values: Sequence[T]) -> list[T]:
    """Filled up to a power of two with the last value: few distinct statements, so that they stay prepared."""
    return [*values, *[values[-1]] * ((1 << (len(values) - 1).bit_length()) - len(values))]


_CLOCK = Query("SELECT holdfast_now()")


def now(c: Connection) -> float:
    """Database time."""
    return float(_CLOCK.first(c)[0])


_SHARE_EPOCH = Query("SELECT epoch FROM session_epoch WHERE session_name = ? FOR SHARE")
_OWN_EPOCH = Query("SELECT epoch FROM session_epoch WHERE session_name = ? FOR NO KEY UPDATE")


def current_epoch(c: Connection, name: str, *, alone: bool = False) -> int | None:
    """The epoch, held still until this transaction ends. `alone`: keep the session's other writers out as well."""
    row = (_OWN_EPOCH if alone else _SHARE_EPOCH).first(c, name)
    return None if row is None else int(row[0])


def check_epoch(c: Connection, name: str, epoch: int, *, alone: bool = False) -> None:
    """Raise `StaleEpoch` if it is not the current one (G2); see `current_epoch`."""
    current = current_epoch(c, name, alone=alone)
    if current != epoch:
        raise StaleEpoch(session=name, epoch=epoch, current=current)
