"""What waits, for operators: read from the partial indexes of what is open, however much history there is."""

from __future__ import annotations

from sqlalchemy import Connection

from holdfast.domain.rows import Alike, Figures, Queue
from holdfast.store.sql import Query, now

# A retry moves `send_at`, so it dates a message only before the first attempt.
_QUEUES = Query(
    "SELECT session_name, COUNT(*), MIN(CASE WHEN attempts > 0 THEN created_at "
    "WHEN send_at <= holdfast_now() THEN GREATEST(created_at, send_at) END) "
    "FROM outbox WHERE state IN ('queued', 'sending') GROUP BY session_name"
)
_UNPROCESSED = Query("SELECT COUNT(*) FROM inbox WHERE done_at IS NULL")

_ALIKE = Query(
    "SELECT desired, phase, code, failed, live, held, verified, linked, COUNT(*) FROM (SELECT s.desired, s.phase, "
    "COALESCE(s.state ->> 'code', 'stopped') AS code, s.state ->> 'failed' AS failed, s.state ->> 'live' AS live, "
    "CASE WHEN l.expires_at > holdfast_now() AND l.epoch = CAST(s.state ->> 'epoch' AS BIGINT) "
    "THEN 1 ELSE 0 END AS held, "
    "CASE WHEN s.verified_at > ? OR CAST(s.state ->> 'verified_at' AS DOUBLE PRECISION) > ? "
    "THEN 1 ELSE 0 END AS verified, "
    "CASE WHEN EXISTS (SELECT 1 FROM credential k WHERE k.session_name = s.name AND k.type = 'creds' AND k.id = '') "
    "THEN 1 ELSE 0 END AS linked "
    "FROM session s LEFT JOIN session_lock l ON l.session_name = s.name "
    "WHERE l.instance_id IS NULL OR l.instance_id <> ? OR l.expires_at <= holdfast_now()) AS standing "
    "GROUP BY desired, phase, code, failed, live, held, verified, linked"
)
_TRUE = (1, "1", "true")
"""SQLite gives a JSON boolean as a number, PostgreSQL as a word."""


def alike(c: Connection, instance: str, verified_after: float) -> list[Alike]:
    """See `ports.store.Store.alike`."""
    rows = _ALIKE.all(c, verified_after, verified_after, instance)
    return [
        Alike(
            desired, phase, code, failed in _TRUE, live in _TRUE, bool(held), bool(verified), bool(linked), int(count)
        )
        for desired, phase, code, failed, live, held, verified, linked, count in rows
    ]


def read(c: Connection) -> Figures:
    """See `ports.store.Store.figures`."""
    at = now(c)
    queues = {
        name: Queue(depth, 0.0 if since is None else max(0.0, at - since)) for name, depth, since in _QUEUES.all(c)
    }
    return Figures(queues, int(_UNPROCESSED.first(c)[0]))
