"""Consumers of the event log, who delivers them, and the events that could not be delivered in order.

A consumer is delivered by its owner alone: the session's holder, or, of a session that nobody holds, whichever instance
comes first. Every write of an owner says who it is and changes nothing for one that was replaced.

The cursor moves in groups and passes only what is delivered or has a row here, so nothing is written for an event that
goes through. Of the rows of one chat that are `retrying` or `waiting` the first always has `next_at`: `_arm` sees to it
in every transaction that touches them, so that what waits is found again whoever crashed when.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from holdfast.domain.errors import DeliveryNotFound
from holdfast.domain.rows import NEVER, Busy, ConsumerFacts, DeliveryRow, EventRow, Settled, Taken, Undelivered
from holdfast.store import events
from holdfast.store.sql import ONCE, Query, listed, loads

_OTHERS = (
    "EXISTS (SELECT 1 FROM session_lock l WHERE l.session_name = cursor.session_name "
    "AND l.expires_at > holdfast_now() AND l.instance_id <> ?)"
)
_OPEN = "state IN ('retrying', 'waiting')"

# --- which there are --------------------------------------------------------------------------------------------
_KNOWN = Query(
    "SELECT consumer, place, receiver, settings FROM cursor WHERE session_name = ? ORDER BY place, consumer FOR UPDATE"
)
_LOOK_UP = Query(
    "SELECT consumer, place, receiver, settings FROM cursor WHERE session_name = ? ORDER BY place, consumer"
)
_START = Query(
    "INSERT INTO cursor (consumer, seq, session_name, place, receiver, settings) VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT DO NOTHING"
)
_RENAME = Query("UPDATE cursor SET consumer = ?, owner = '', until = 0 WHERE consumer = ?")
_RENAME_ROWS = Query("UPDATE delivery SET consumer = ? WHERE consumer = ?")
_FACTS = Query("UPDATE cursor SET place = ?, receiver = ?, settings = ? WHERE consumer = ?")
_REMOVE = Query("DELETE FROM cursor WHERE consumer = ?")
_REMOVE_ROWS = Query("DELETE FROM delivery WHERE consumer = ?")


def configure(c: Connection, session: str, wanted: Sequence[ConsumerFacts]) -> None:
    """See `ports.store.Store.set_consumers`."""
    known = {name: facts for name, *facts in _KNOWN.all(c, session)}
    names = {one.consumer for one in wanted}
    gone = [name for name in known if name not in names]
    new = [one.consumer for one in wanted if one.consumer not in known]
    for before, after in zip(gone, new, strict=False):
        _RENAME.run(c, after, before)
        _RENAME_ROWS.run(c, after, before)
    for name in gone[len(new) :]:
        _REMOVE.run(c, name)
        _REMOVE_ROWS.run(c, name)
    fresh = set(new[len(gone) :])
    for place, one in enumerate(wanted):
        if one.consumer in fresh:
            _START.run(c, one.consumer, events.end(c), session, place, one.receiver, one.settings)
        elif known.get(one.consumer) != [place, one.receiver, one.settings]:
            _FACTS.run(c, place, one.receiver, one.settings, one.consumer)


def is_configured(c: Connection, session: str, wanted: Sequence[ConsumerFacts]) -> bool:
    """Whether `configure` would change nothing."""
    known = [(name, place, *facts) for name, place, *facts in _LOOK_UP.all(c, session)]
    return known == [(one.consumer, place, one.receiver, one.settings) for place, one in enumerate(wanted)]


# --- who delivers them ------------------------------------------------------------------------------------------
_TAKE = Query(
    "UPDATE cursor SET owner = ?, until = holdfast_now() + ? WHERE consumer = ? "  # noqa: S608
    f"AND (owner = ? OR until <= holdfast_now()) AND NOT {_OTHERS} RETURNING seq, settings"
)
_IN_THE_WAY = Query(
    f"SELECT owner, CASE WHEN {_OTHERS} THEN 0 ELSE until - holdfast_now() END FROM cursor WHERE consumer = ?"  # noqa: S608
)
_STUCK = Query(f"SELECT DISTINCT chat FROM delivery WHERE consumer = ? AND ({_OPEN} OR told = 0)")  # noqa: S608
_KEEP = (
    "UPDATE cursor SET until = holdfast_now() + ? WHERE owner = ? AND consumer IN ({}) "  # noqa: S608
    f"AND NOT {_OTHERS} RETURNING consumer, settings"
)
_LEAVE = "UPDATE cursor SET owner = '', until = 0 WHERE owner = ? AND consumer IN ({})"
_LEAVE_ALL = Query("UPDATE cursor SET owner = '', until = 0 WHERE owner = ?")
_WAITING = Query(
    "WITH ours AS MATERIALIZED (SELECT consumer, session_name, seq FROM cursor "  # noqa: S608
    "WHERE (owner = ? OR until <= holdfast_now()) AND session_name NOT IN "
    "(SELECT session_name FROM session_lock WHERE expires_at > holdfast_now() AND instance_id <> ?)) "
    "SELECT consumer, session_name FROM ours WHERE "
    "(SELECT e.seq FROM event e WHERE e.session_name >= ours.session_name AND e.session_name <= ours.session_name "
    "ORDER BY e.session_name DESC, e.seq DESC LIMIT 1) > ours.seq OR "
    f"(SELECT MIN(d.next_at) FROM delivery d WHERE d.consumer = ours.consumer) <= {ONCE} "
    "ORDER BY consumer"
)
"""Every instance asks every few seconds: whose sessions are the others' is looked up once, and the newest event
of ours only. The name is a range, so that PostgreSQL takes the index that begins with it (`send_turns.of_chat`)."""


def take(c: Connection, consumer: str, instance: str, ttl: float) -> Taken | Busy | None:
    """See `ports.store.Store.take_consumer`."""
    won = _TAKE.first(c, instance, ttl, consumer, instance, instance)
    if won is not None:
        return Taken(int(won[0]), won[1], frozenset(chat for (chat,) in _STUCK.all(c, consumer)))
    found = _IN_THE_WAY.first(c, instance, consumer)
    return None if found is None else Busy(found[0], max(0.0, found[1]))


def keep(c: Connection, instance: str, consumers: Sequence[str], ttl: float) -> dict[str, str]:
    """See `ports.store.Store.keep_consumers`."""
    if not consumers:
        return {}
    return dict(listed(_KEEP, len(consumers)).all(c, ttl, instance, *consumers, instance))


def leave(c: Connection, instance: str, consumers: Sequence[str] | None) -> None:
    """See `ports.store.Store.leave_consumers`."""
    if consumers is None:
        _LEAVE_ALL.run(c, instance)
    elif consumers:
        listed(_LEAVE, len(consumers)).run(c, instance, *consumers)


def waiting(c: Connection, instance: str) -> list[tuple[str, str]]:
    """See `ports.store.Store.waiting_consumers`."""
    return [(consumer, session) for consumer, session in _WAITING.all(c, instance, instance)]


# --- what became of events --------------------------------------------------------------------------------------
_ADVANCE = Query("UPDATE cursor SET seq = GREATEST(seq, ?) WHERE consumer = ? AND owner = ? RETURNING session_name")
_PUT = Query(
    "INSERT INTO delivery (consumer, session_name, chat, event_seq, state, attempts, part, since, next_at, told, "
    "status, problem, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, holdfast_now() - CAST(? AS DOUBLE PRECISION), "
    "holdfast_now() + CAST(? AS DOUBLE PRECISION), ?, ?, ?, holdfast_now()) "
    "ON CONFLICT (consumer, event_seq) DO UPDATE SET state = excluded.state, attempts = excluded.attempts, "
    "part = excluded.part, since = COALESCE(delivery.since, excluded.since), next_at = excluded.next_at, "
    "told = excluded.told, status = excluded.status, problem = excluded.problem, updated_at = excluded.updated_at"
)
_DONE = "DELETE FROM delivery WHERE consumer = ? AND event_seq IN ({})"
_TOLD = "UPDATE delivery SET told = 1 WHERE consumer = ? AND event_seq IN ({})"
_ARM = Query(
    "UPDATE delivery SET next_at = holdfast_now() WHERE consumer = ? AND event_seq = "  # noqa: S608
    f"(SELECT MIN(event_seq) FROM delivery INDEXED BY delivery_open WHERE consumer = ? AND chat = ? AND {_OPEN}) "
    "AND (next_at IS NULL OR (next_at > holdfast_now() AND since <= holdfast_now() - CAST(? AS DOUBLE PRECISION)))"
)
_REVIVE = Query(
    "UPDATE delivery SET next_at = holdfast_now() WHERE consumer = ? AND next_at > holdfast_now() "
    "AND state IN ('retrying', 'parked')"
)
_PROBE = Query(
    "UPDATE delivery SET next_at = holdfast_now() WHERE seq = (SELECT seq FROM delivery WHERE consumer = ? "  # noqa: S608
    f"AND next_at > {ONCE} AND state IN ('retrying', 'parked') ORDER BY next_at LIMIT 1)"
)


def settle(c: Connection, consumer: str, instance: str, settled: Settled) -> bool:
    """See `ports.store.Store.settle_deliveries`."""
    found = _ADVANCE.first(c, settled.upto or 0, consumer, instance)
    if found is None:
        return False
    arriving, chats = set[str](), set[str]()
    for row, seconds in settled.rows:
        (arriving if row.state == "waiting" else chats).add(row.event.chat)
        since = None if row.state == "waiting" else row.failing_for
        _PUT.run(
            c, consumer, found[0], row.event.chat, row.event.seq, row.state, row.attempts, row.part, since, seconds,
            int(row.told), row.status, row.problem,
        )  # fmt: skip
    if settled.done:
        listed(_DONE, len(settled.done)).run(c, consumer, *(row.event.seq for row in settled.done))
        chats.update(row.event.chat for row in settled.done)
    if settled.told:
        listed(_TOLD, len(settled.told)).run(c, consumer, *(row.event.seq for row in settled.told))
    for chat in sorted(chats | arriving):
        _ARM.run(c, consumer, consumer, chat, settled.hold if chat in arriving else NEVER)
    return True


def revive(c: Connection, consumer: str, *, only_next: bool) -> None:
    """See `ports.store.Store.revive_deliveries`."""
    (_PROBE if only_next else _REVIVE).run(c, consumer)


# --- what is to be tried ----------------------------------------------------------------------------------------
def _rows(index: str = "") -> str:
    """SQL of a consumer's undelivered events; `index`: the one that SQLite shall take, where it would guess wrong."""
    return (
        "SELECT e.seq, e.id, e.session_name, e.kind, e.chat, e.at, CAST(e.payload AS TEXT), d.state, d.attempts, "  # noqa: S608
        "CASE WHEN d.since IS NULL THEN 0 ELSE holdfast_now() - d.since END, d.part, d.told, d.problem, d.status "
        f"FROM delivery d{index} JOIN event e ON e.seq = d.event_seq WHERE d.consumer = ? AND "
    )


_LANE = Query(f"{_rows(' INDEXED BY delivery_open')} d.chat = ? AND d.{_OPEN} ORDER BY d.event_seq LIMIT ?")
_UNTOLD = Query(f"{_rows(' INDEXED BY delivery_untold')} d.chat = ? AND d.told = 0 ORDER BY d.event_seq")
_DUE = Query(f"{_rows()} d.next_at <= {ONCE} ORDER BY d.next_at, d.event_seq LIMIT ?")
_NEXT = Query(
    f"SELECT MIN(next_at) - holdfast_now() FROM delivery WHERE consumer = ? AND next_at > {ONCE}"  # noqa: S608
)


def _undelivered(found: Sequence[Any]) -> Undelivered:
    seq, id_, session, kind, chat, at, payload, state, attempts, failing_for, part, told, problem, status = found
    event = EventRow(seq, id_, session, kind, chat, at, loads(payload))
    return Undelivered(event, state, attempts, max(0.0, failing_for), part, bool(told), problem, status)


def lane(c: Connection, consumer: str, chat: str, limit: int) -> tuple[list[Undelivered], list[Undelivered]]:
    """See `ports.store.Store.delivery_lane`."""
    rows = _LANE.all(c, consumer, chat, limit)
    return [_undelivered(row) for row in rows], [_undelivered(row) for row in _UNTOLD.all(c, consumer, chat)]


def due(c: Connection, consumer: str, limit: int) -> tuple[list[Undelivered], float | None]:
    """See `ports.store.Store.due_deliveries`."""
    (left,) = _NEXT.first(c, consumer)
    return [_undelivered(row) for row in _DUE.all(c, consumer, limit)], left


# --- for people -------------------------------------------------------------------------------------------------
_SHOWN = (
    "SELECT d.seq, d.consumer, c.receiver, d.session_name, e.id, e.kind, d.chat, e.at, d.state, d.attempts, d.since, "
    "d.next_at, d.status, d.problem FROM delivery d JOIN event e ON e.seq = d.event_seq "
    "JOIN cursor c ON c.consumer = d.consumer"
)
_ONE = Query(f"{_SHOWN} WHERE d.seq = ?")
_AGAIN = (
    "UPDATE delivery SET state = CASE state WHEN 'dead' THEN 'parked' ELSE state END, attempts = 0, "
    "since = CASE state WHEN 'retrying' THEN since ELSE holdfast_now() END, next_at = holdfast_now(), "
    "updated_at = holdfast_now() "
    "WHERE (state IN ('dead', 'parked') OR (state = 'retrying' AND next_at IS NOT NULL)) AND {} RETURNING seq"
)


@dataclass(frozen=True, slots=True)
class Which:
    """Which rows are meant; without any condition all are."""

    states: Collection[str] = ()
    session: str | None = None
    consumer: str | None = None

    def conditions(self, of: str) -> tuple[list[str], list[Any]]:
        """In SQL, with the parameters."""
        where, params = list[str](), list[Any]()
        if self.states:
            where.append(f"{of}state IN ({','.join('?' * len(self.states))})")
            params += sorted(self.states)
        for column, value in (("session_name", self.session), ("consumer", self.consumer)):
            if value is not None:
                where.append(f"{of}{column} = ?")
                params.append(value)
        return where, params


_REPLAY = Query(_AGAIN.format("seq = ?"))


def replay(c: Connection, id_: int) -> DeliveryRow:
    """See `ports.store.Store.replay_delivery`."""
    _REPLAY.all(c, id_)
    found = _ONE.first(c, id_)
    if found is None:
        raise DeliveryNotFound()
    return DeliveryRow(*found)


def replay_all(c: Connection, which: Which) -> int:
    """See `ports.store.Store.replay_deliveries`."""
    where, params = which.conditions("")
    return len(Query(_AGAIN.format(" AND ".join(where) or "1 = 1")).all(c, *params))


def listing(c: Connection, which: Which, limit: int, before: int | None) -> list[DeliveryRow]:
    """See `ports.store.Store.deliveries`."""
    where, params = which.conditions("d.")
    if before is not None:
        where.append("d.seq < ?")
        params.append(before)
    condition = f" WHERE {' AND '.join(where)}" if where else ""
    rows = Query(f"{_SHOWN}{condition} ORDER BY d.seq DESC LIMIT ?").all(c, *params, limit)
    return [DeliveryRow(*row) for row in rows]
