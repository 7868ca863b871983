"""The few words in which both databases differ, and the fast way past the statement compiler for the hot paths."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy import Connection, Table, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import CursorResult

from holdfast.domain.errors import StaleEpoch
from holdfast.store.schema import db_now

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()


def dumps(value: Any) -> str:
    """JSON text."""
    return _encoder.encode(value).decode()


def loads(value: str | bytes) -> Any:
    """From JSON text."""
    return _decoder.decode(value)


def insert(c: Connection, table: Table) -> Any:
    """INSERT that knows `on_conflict_do_nothing` and `on_conflict_do_update`, which both databases spell alike."""
    return sqlite.insert(table) if c.dialect.name == "sqlite" else postgresql.insert(table)


@lru_cache(maxsize=512)
def _numbered(sql: str) -> str:
    parts = sql.split("?")
    return "".join(f"{part}${i}" for i, part in enumerate(parts[:-1], start=1)) + parts[-1]


def raw(c: Connection, sql: str, params: Sequence[Any] = ()) -> CursorResult[*tuple[Any, ...]]:
    """Run SQL text with `?` placeholders (no literal `?` in the text). A list of tuples runs it once for each."""
    if c.dialect.name != "sqlite":
        sql = _numbered(sql)
    return c.exec_driver_sql(sql, params)


def now(c: Connection) -> float:
    """Database time."""
    return float(c.execute(select(db_now())).scalar_one())


_SHARE_EPOCH = "SELECT epoch FROM session_epoch WHERE session_name = ?"


def check_epoch(c: Connection, name: str, epoch: int) -> None:
    """Hold the epoch still until this transaction ends, and raise `StaleEpoch` if it is not the current one (G2)."""
    sql = _SHARE_EPOCH if c.dialect.name == "sqlite" else _SHARE_EPOCH + " FOR SHARE"
    row = raw(c, sql, (name,)).first()
    if row is None or row[0] != epoch:
        raise StaleEpoch(session=name, epoch=epoch, current=row[0] if row else None)
