"""The event log, and where its consumers stand.

On PostgreSQL numbers are given before the commit, so a lower number can appear after a higher one. A consumer that
reads by number would skip it. So whoever appends publishes first, by a shared advisory lock, the last number given
*before* its own; a reader takes the last number given, then looks at those locks, and reads no further than the
smallest of both: an appender whose lock was not seen yet numbers its events above it. On SQLite there is one writer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import Connection, func, select, text

from holdfast.domain.rows import EventRow, NewEvent
from holdfast.store.schema import cursor, event
from holdfast.store.sql import dumps, insert, now, raw

_CLASS = 0x486F6C64
"""First half of the advisory locks' keys; the second is a number of the log modulo 2^31."""

_APPEND = "INSERT INTO event (id, session_name, kind, chat, at, payload) VALUES (?, ?, ?, ?, ?, ?) RETURNING seq"
_PUBLISH = text(
    f"SELECT pg_advisory_xact_lock_shared({_CLASS}, (last_value % 2147483648)::int) FROM event_seq_seq"  # noqa: S608
)
_LAST = text("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM event_seq_seq")
_IN_FLIGHT = text(
    "SELECT objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted "  # noqa: S608
    f"AND classid = {_CLASS} AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def append(c: Connection, name: str, new: Sequence[NewEvent], new_id: Callable[[], str]) -> list[EventRow]:
    """Append as the last step of a transaction."""
    if not new:
        return []
    if c.dialect.name == "postgresql":
        c.execute(_PUBLISH)
    at = now(c)
    rows = []
    for entry in new:
        id_ = new_id()
        seq = raw(c, _APPEND, (id_, name, entry.kind, entry.chat, at, dumps(entry.payload))).scalar_one()
        rows.append(EventRow(seq, id_, name, entry.kind, entry.chat, at, entry.payload))
    return rows


def _horizon(c: Connection) -> int | None:
    """The last number that surely no later commit undercuts; None: all that can be seen."""
    if c.dialect.name != "postgresql":
        return None
    last: int = c.execute(_LAST).scalar_one()
    in_flight = c.execute(_IN_FLIGHT).scalars().all()
    horizon: int = min([last, *(last - ((last - before) % 2147483648) for before in in_flight)])
    return horizon


def read(c: Connection, after: int, limit: int, session: str | None) -> list[EventRow]:
    """In order of `seq`."""
    horizon = _horizon(c)
    e = event.c
    rows = select(e.seq, e.id, e.session_name, e.kind, e.chat, e.at, e.payload).where(e.seq > after)
    if horizon is not None:
        rows = rows.where(e.seq <= horizon)
    if session is not None:
        rows = rows.where(e.session_name == session)
    return [EventRow(*found) for found in c.execute(rows.order_by(e.seq).limit(limit))]


def end(c: Connection) -> int:
    """The newest number that can be read; 0 if there is none."""
    horizon = _horizon(c)
    newest = select(func.coalesce(func.max(event.c.seq), 0))
    if horizon is not None:
        newest = newest.where(event.c.seq <= horizon)
    return int(c.execute(newest).scalar_one())


def position(c: Connection, consumer: str) -> int:
    """Where a consumer stands; a new one stands at the log's end."""
    found: int | None = c.execute(select(cursor.c.seq).where(cursor.c.consumer == consumer)).scalar()
    if found is not None:
        return found
    c.execute(insert(c, cursor).values(consumer=consumer, seq=end(c)).on_conflict_do_nothing())
    stands: int = c.execute(select(cursor.c.seq).where(cursor.c.consumer == consumer)).scalar_one()
    return stands


def advance(c: Connection, consumer: str, seq: int) -> None:
    """Forward only."""
    stmt = insert(c, cursor).values(consumer=consumer, seq=seq)
    c.execute(stmt.on_conflict_do_update(index_elements=["consumer"], set_={"seq": seq}, where=cursor.c.seq < seq))
