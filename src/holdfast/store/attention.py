"""What an instance must look at now: sessions that nobody runs, and orders that it has not carried out.

Instances ask every few seconds, so this reads no session that is as it should be.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection

from holdfast.domain.rows import Attention, Peer
from holdfast.store.send_turns import FLYING, OPEN, READY, inherited, pending
from holdfast.store.sql import ONCE, Query, loads

_FREE = Query(
    "SELECT f.name, CAST(s.config AS TEXT), f.total FROM (SELECT s.name AS name, COUNT(*) OVER () AS total, "
    "ROW_NUMBER() OVER (ORDER BY s.name) - 1 AS place FROM session s "
    "LEFT JOIN session_lock l ON l.session_name = s.name "
    "WHERE (s.command_seq > s.done_seq OR (s.desired = 'running' AND s.phase <> 'terminal')) "
    "AND (l.session_name IS NULL OR l.expires_at <= holdfast_now())) f JOIN session s ON s.name = f.name "
    "ORDER BY f.place < CAST(? AS DOUBLE PRECISION) * f.total, f.place LIMIT ?"
)
MOST = 500
"""Free sessions that one look tells of: more than can be claimed at once, and few enough to be read every second."""
_HELD = Query(
    "SELECT l.instance_id, COUNT(*), MIN(l.expires_at) - holdfast_now() FROM session_lock l "
    "WHERE l.expires_at > holdfast_now() GROUP BY l.instance_id"
)
_ORDERED = Query(
    "SELECT s.name FROM session s JOIN session_lock l ON l.session_name = s.name "
    "WHERE l.instance_id = ? AND s.command_seq > s.done_seq ORDER BY s.name"
)
_UNSENT = Query(
    f"WITH RECURSIVE busy(name) AS (SELECT MIN(session_name) FROM outbox WHERE {OPEN} UNION ALL "  # noqa: S608
    f"SELECT (SELECT MIN(o.session_name) FROM outbox AS o WHERE o.{OPEN} AND o.session_name > busy.name) "
    "FROM busy WHERE busy.name IS NOT NULL) "
    "SELECT l.session_name FROM busy JOIN session_lock AS l ON l.session_name = busy.name "
    f"WHERE l.instance_id = ? AND ((SELECT turn FROM outbox WHERE session_name = busy.name AND {READY} "
    "ORDER BY turn, seq LIMIT 1) "
    f"IS NOT NULL OR {pending('busy.name', 'l.epoch')} OR {inherited('busy.name')} "
    f"OR EXISTS (SELECT 1 FROM outbox AS o WHERE o.session_name = busy.name AND {FLYING} "
    f"AND o.updated_at < {ONCE} - ?))"
)
"""The sessions are found one after the other in the index: it holds many rows of few of them."""
SENDING = 30.0
"""Seconds after which a message that is being sent is looked at again."""
_PEERS = Query("SELECT id, url, labels FROM instance WHERE heartbeat_at > holdfast_now() - ? ORDER BY id")


def look(c: Connection, instance_id: str, alive_within: float, start: float) -> Attention:
    """See `ports.store.Store.attention`."""
    free = _FREE.all(c, start, MOST)
    held = {str(holder): (int(count), float(left)) for holder, count, left in _HELD.all(c)}
    ordered = [str(name) for (name,) in _ORDERED.all(c, instance_id)]
    peers = [
        Peer(str(id_), str(url), _labels(labels), held.get(str(id_), (0, 0.0))[0])
        for id_, url, labels in _PEERS.all(c, alive_within)
    ]
    return Attention(
        free={str(name): loads(config) for name, config, _ in free},
        waiting=int(free[0][2]) if free else 0,
        ordered=ordered,
        unsent=[str(name) for (name,) in _UNSENT.all(c, instance_id, SENDING)],
        peers=peers,
        next_expiry=min((left for holder, (_, left) in held.items() if holder != instance_id), default=None),
        holders=sorted(holder for holder in held if holder != instance_id),
    )


def _labels(text: str) -> frozenset[str]:
    return frozenset(part for part in text.split(",") if part)


def written(labels: Collection[str]) -> str:
    """Labels as they are stored."""
    return ",".join(sorted(labels))
