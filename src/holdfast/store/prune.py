"""What may be forgotten, a bounded number of rows at a time, so that no other transaction waits long."""

from __future__ import annotations

from sqlalchemy import Connection

from holdfast.store.schema import SETTLED
from holdfast.store.sql import ONCE, Query

AT_ONCE = 1000
INSTANCE_KEPT = 86_400.0
"""How long an instance that gave no sign of life is listed, in seconds."""


def _oldest(table: str, instant: str, which: str = "1 = 1") -> Query:
    """By an index of that instant, so that nothing is read when nothing is old enough."""
    return Query(  # joined from constants
        f"DELETE FROM {table} WHERE seq IN (SELECT seq FROM {table} WHERE {instant} < {ONCE} - ? AND {which} "  # noqa: S608
        f"ORDER BY {instant} LIMIT {AT_ONCE})"
    )


# What was set aside is kept until a release can read it.
_INBOX = _oldest("inbox", "done_at", "problem = ''")
_OUTBOX = _oldest("outbox", "updated_at", SETTLED)
_DEAD = _oldest("delivery", "updated_at", "state = 'dead'")
_EVENTS = _oldest(
    "event",
    "at",
    "NOT EXISTS (SELECT 1 FROM cursor WHERE cursor.session_name = event.session_name AND cursor.seq < event.seq) "
    "AND NOT EXISTS (SELECT 1 FROM delivery WHERE delivery.event_seq = event.seq)",
)
_INSTANCES = Query("DELETE FROM instance WHERE heartbeat_at < holdfast_now() - ?")

_DASHBOARD_SESSIONS = Query("DELETE FROM dashboard_session WHERE expires_at < holdfast_now() - ?")


def prune(c: Connection, age: float, events: float, dead: float) -> int:
    """See `ports.store.Store.prune`."""
    limits = (
        (_INBOX, age),
        (_OUTBOX, age),
        (_DEAD, dead),
        (_EVENTS, events),
        (_INSTANCES, INSTANCE_KEPT),
        (_DASHBOARD_SESSIONS, 0.0),
    )
    return sum(query.count(c, limit) for query, limit in limits)
