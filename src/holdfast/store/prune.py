"""What may be forgotten, a bounded number of rows at a time, so that no other transaction waits long."""

from __future__ import annotations

from sqlalchemy import Connection

from holdfast.domain.outbox import FINAL
from holdfast.store.sql import Query

AT_ONCE = 1000
INSTANCE_KEPT = 86_400.0
"""How long an instance that gave no sign of life is listed, in seconds."""
_SETTLED = ", ".join(f"'{state}'" for state in sorted(FINAL | {"sent", "delivered"}))


def _oldest(table: str, which: str) -> Query:
    return Query(  # joined from constants
        f"DELETE FROM {table} WHERE seq IN (SELECT seq FROM {table} WHERE {which} ORDER BY seq LIMIT {AT_ONCE})"  # noqa: S608
    )


_INBOX = _oldest("inbox", "done_at < holdfast_now() - ?")
_OUTBOX = _oldest("outbox", f"updated_at < holdfast_now() - ? AND state IN ({_SETTLED})")
_DEAD = _oldest("delivery", "updated_at < holdfast_now() - ? AND state = 'dead'")
_EVENTS = _oldest(
    "event",
    "at < holdfast_now() - ? "
    "AND NOT EXISTS (SELECT 1 FROM cursor WHERE cursor.session_name = event.session_name AND cursor.seq < event.seq) "
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
