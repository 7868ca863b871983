"""What waits, for operators: read from the partial indexes of what is open, however much history there is."""

from __future__ import annotations

from sqlalchemy import Connection

from holdfast.domain.rows import Figures, Queue
from holdfast.store.sql import Query, now

# A retry moves `send_at`, so it dates a message only before the first attempt.
_QUEUES = Query(
    "SELECT session_name, COUNT(*), MIN(CASE WHEN attempts > 0 THEN created_at "
    "WHEN send_at <= holdfast_now() THEN GREATEST(created_at, send_at) END) "
    "FROM outbox WHERE state IN ('queued', 'sending') GROUP BY session_name"
)
_UNPROCESSED = Query("SELECT COUNT(*) FROM inbox WHERE done_at IS NULL")


def read(c: Connection) -> Figures:
    """See `ports.store.Store.figures`."""
    at = now(c)
    queues = {
        name: Queue(depth, 0.0 if since is None else max(0.0, at - since)) for name, depth, since in _QUEUES.all(c)
    }
    return Figures(queues, int(_UNPROCESSED.first(c)[0]))
