"""The event log.

On PostgreSQL numbers are given before the commit, so a lower number can appear after a higher one. A consumer that
reads by number would skip it. So whoever appends publishes first, by a shared advisory lock, the last number given
*before* its own; a reader takes the last number given, then looks at those locks, and reads no further than the
smallest of both: an appender whose lock was not seen yet numbers its events above it. On SQLite there is one writer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import Connection, text

from holdfast.domain.rows import EventRow, NewEvent
from holdfast.store.sql import Query, dumps, loads

_CLASS = 0x486F6C64
"""First half of the advisory locks' keys; the second is a number of the log modulo 2^31."""

_APPEND = Query(
    "INSERT INTO event (id, session_name, kind, chat, at, payload) VALUES (?, ?, ?, ?, holdfast_now(), ?) "
    "RETURNING seq, at"
)
_ROWS = "SELECT seq, id, session_name, kind, chat, at, CAST(payload AS TEXT) FROM event WHERE seq > ? AND seq <= ?"
_READ = Query(f"{_ROWS} ORDER BY seq LIMIT ?")
_READ_SESSION = Query(f"{_ROWS} AND session_name = ? ORDER BY seq LIMIT ?")
_END = Query("SELECT COALESCE(MAX(seq), 0) FROM event WHERE seq <= ?")
_EVERYTHING = 2**63 - 1
_PUBLISH_AND_APPEND = Query(
    f"WITH published AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared({_CLASS}, (last_value % 2147483648)::int) "  # noqa: S608
    "FROM event_seq_seq) INSERT INTO event (id, session_name, kind, chat, at, payload) "
    "SELECT ?, ?, ?, ?, holdfast_now(), CAST(? AS JSON) FROM published RETURNING seq, at"
)
"""A row is numbered when it leaves the SELECT, so after the lock that gave it."""
_LAST = text("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM event_seq_seq")
_IN_FLIGHT = text(
    "SELECT objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted "  # noqa: S608
    f"AND classid = {_CLASS} AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def append(c: Connection, name: str, new: Sequence[NewEvent], new_id: Callable[[], str]) -> list[EventRow]:
    """Append as the last step of a transaction."""
    if not new:
        return []
    query = _APPEND if c.dialect.name == "sqlite" else _PUBLISH_AND_APPEND
    rows = []
    for entry in new:
        id_ = new_id()
        seq, at = query.first(c, id_, name, entry.kind, entry.chat, dumps(entry.payload))
        rows.append(EventRow(seq, id_, name, entry.kind, entry.chat, at, entry.payload))
        query = _APPEND  # one lock is enough for all
    return rows


def _horizon(c: Connection) -> int:
    """The last number that surely no later commit undercuts."""
    if c.dialect.name != "postgresql":
        return _EVERYTHING
    last: int = c.execute(_LAST).scalar_one()
    in_flight = c.execute(_IN_FLIGHT).scalars().all()
    horizon: int = min([last, *(last - ((last - before) % 2147483648) for before in in_flight)])
    return horizon


def read(c: Connection, after: int, limit: int, session: str | None) -> list[EventRow]:
    """In order of `seq`."""
    horizon = _horizon(c)
    if session is None:
        rows = _READ.all(c, after, horizon, limit)
    else:
        rows = _READ_SESSION.all(c, after, horizon, session, limit)
    return [EventRow(seq, id_, name, kind, chat, at, loads(said)) for seq, id_, name, kind, chat, at, said in rows]


def end(c: Connection) -> int:
    """The newest number that can be read; 0 if there is none."""
    return int(_END.first(c, _horizon(c))[0])
