"""Queue depths and ages for operators: read from partial indexes, up to a bound, however much waits or is kept."""

from __future__ import annotations

from sqlalchemy import Connection

from holdfast.domain.rows import Alike, Figures, Queue, Unreadable
from holdfast.store.send_turns import FLYING, IN_QUEUE, OPEN, READY, WAITS
from holdfast.store.sql import ONCE, Query, now

COUNTED = 10_000
"""Rows that are counted of one queue at most: a longer one is as long as this."""
_DATED = 1_000
"""Rows of a kind among which a session's oldest due one is sought: the first ones of its chats, and its retries."""
# A retry moves `send_at`, so it dates a message only before the first attempt.
_DATE = "CASE WHEN attempts > 0 THEN created_at ELSE GREATEST(created_at, send_at) END"
_SINCE = f"{_DATE} AS since"
_QUEUES = Query(
    f"WITH RECURSIVE busy(name) AS (SELECT MIN(session_name) FROM outbox WHERE {OPEN} UNION ALL "  # noqa: S608
    f"SELECT (SELECT MIN(o.session_name) FROM outbox AS o WHERE o.{OPEN} AND o.session_name > busy.name) "
    "FROM busy WHERE busy.name IS NOT NULL) SELECT busy.name, "
    f"(SELECT COUNT(*) FROM (SELECT 1 FROM outbox AS o WHERE o.session_name = busy.name AND {IN_QUEUE} "
    f"LIMIT {COUNTED}) AS counted), "
    f"(SELECT MIN(since) FROM (SELECT {_SINCE} FROM outbox AS o WHERE o.session_name = busy.name AND {READY} "
    f"ORDER BY o.turn, o.seq LIMIT {_DATED}) AS first), "
    f"(SELECT MIN({_DATE}) FROM outbox AS o WHERE o.session_name = busy.name AND {FLYING}), "
    f"(SELECT MIN(since) FROM (SELECT o.attempts, o.send_at, {_SINCE} FROM outbox AS o "
    f"WHERE o.session_name = busy.name AND {WAITS} ORDER BY o.send_at, o.seq LIMIT {_DATED}) AS waits "
    f"WHERE attempts > 0 OR send_at <= {ONCE}) "
    "FROM busy WHERE busy.name IS NOT NULL"
)
_UNPROCESSED = Query(
    f"SELECT COUNT(*) FROM (SELECT 1 FROM inbox WHERE done_at IS NULL LIMIT {COUNTED}) AS counted"  # noqa: S608
)

_UNREADABLE = Query(
    "SELECT session_name, COUNT(*), MAX(done_at) FROM (SELECT session_name, done_at FROM inbox "  # noqa: S608
    f"WHERE problem <> '' LIMIT {COUNTED}) AS counted GROUP BY session_name"
)

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
    queues = {}
    for name, depth, *since in _QUEUES.all(c):
        dated = [at - value for value in since if value is not None]
        queues[str(name)] = Queue(depth, max(0.0, *dated) if dated else 0.0)
    unreadable = {str(name): Unreadable(count, latest) for name, count, latest in _UNREADABLE.all(c)}
    return Figures(queues, int(_UNPROCESSED.first(c)[0]), unreadable)
