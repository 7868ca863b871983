"""What waits in the outbox: listed, cancelled, ended at its deadline, and counted against a session's limits."""

# ruff: noqa: S608 - the statements are joined from constants of this module
from __future__ import annotations

from collections.abc import Callable, Collection
from functools import lru_cache

from sqlalchemy import Connection

from holdfast.domain.caps import Caps, Lately
from holdfast.domain.errors import MessageNotFound, TooLate
from holdfast.domain.outbox import (
    CANCELLED,
    CANCELLED_IN_DOUBT,
    EXPIRED,
    EXPIRED_IN_DOUBT,
    STATES,
    Step,
    ack_event,
    steps,
    tail,
    too_late,
)
from holdfast.domain.rows import Hint, OutboxRow, Waiting
from holdfast.store import events as log
from holdfast.store import hints, outbox
from holdfast.store.outbox import COLUMNS, OPEN, row_of, step
from holdfast.store.sql import Query, current_epoch, now

AT_ONCE = 500
"""Rows that one transaction ends at most."""

_OVERDUE = Query(
    f"SELECT DISTINCT session_name FROM outbox WHERE {OPEN} AND expires_at <= holdfast_now() ORDER BY session_name"
)
# What a living holder is sending right now is left to it; what is in doubt without one may end like all else.
_MINE_TO_END = (
    "(state = 'queued' OR claim_epoch < ? OR NOT EXISTS (SELECT 1 FROM session_lock AS l "
    "WHERE l.session_name = outbox.session_name AND l.expires_at > holdfast_now()))"
)


def _expiring(in_doubt: str) -> Query:
    return Query(
        f"UPDATE outbox SET state = 'expired', message = ?, updated_at = holdfast_now(), {step('expired')} "
        f"WHERE session_name = ? AND {OPEN} AND expires_at <= holdfast_now() AND {_MINE_TO_END} AND {in_doubt} "
        f"AND seq IN (SELECT seq FROM outbox WHERE session_name = ? AND {OPEN} AND expires_at <= holdfast_now() "
        f"ORDER BY seq LIMIT {AT_ONCE}) RETURNING {COLUMNS}"
    )


_DOUBTED = "(in_doubt = 1 OR state = 'sending')"
_EXPIRE = ((_expiring(_DOUBTED), EXPIRED_IN_DOUBT), (_expiring(f"NOT {_DOUBTED}"), EXPIRED))
_CANCEL = Query(
    f"UPDATE outbox SET state = 'cancelled', message = ?, updated_at = holdfast_now(), {step('cancelled')} "
    f"WHERE session_name = ? AND id = ? AND state = 'queued' RETURNING {COLUMNS}"
)
_EPOCH = Query("SELECT epoch FROM session_epoch WHERE session_name = ?")
_STORY = Query("SELECT story FROM outbox WHERE session_name = ? AND id = ?")
_SENT = Query(
    "SELECT paced_at, id FROM outbox WHERE session_name = ? AND paced_at IS NOT NULL "
    "AND paced_at > holdfast_now() - ? ORDER BY paced_at DESC LIMIT ?"
)
_OPENED = Query(
    "SELECT paced_at FROM outbox WHERE session_name = ? AND paced_at IS NOT NULL AND opens = 1 "
    "AND paced_at > holdfast_now() - ? ORDER BY paced_at DESC LIMIT ?"
)


def overdue(c: Connection) -> list[str]:
    """The sessions with messages whose deadline has passed."""
    return [str(name) for (name,) in _OVERDUE.all(c)]


def expire(c: Connection, name: str, new_id: Callable[[], str]) -> list[str]:
    """End a session's messages whose deadline has passed; their ids. See `ports.outbox.OutboxStore.expire_outbox`.

    Claims are kept out meanwhile, whoever holds the session.
    """
    epoch = current_epoch(c, name, alone=True) or 0
    ended = []
    for query, sentence in _EXPIRE:
        for found in query.all(c, sentence, tail(0, sentence), name, epoch, name):
            row = row_of(found)
            ended.append(row.id)
            log.append(c, name, [ack_event(row, "expired", 0, sentence)], new_id)
    return ended


def cancel(c: Connection, name: str, id_: str, new_id: Callable[[], str]) -> OutboxRow:
    """See `ports.outbox.OutboxStore.cancel_outbox`."""
    current_epoch(c, name, alone=True)
    stands = outbox.get(c, name, id_)
    if stands is None:
        raise MessageNotFound(f"No message '{id_}' was accepted for sending in this session.")
    sentence = CANCELLED_IN_DOUBT if stands.in_doubt else CANCELLED
    found = _CANCEL.first(c, sentence, tail(0, sentence), name, id_)
    if found is not None:
        log.append(c, name, [ack_event(stands, "cancelled", 0, sentence)], new_id)
        hints.tell(c, Hint("outbox", name))
        return row_of(found)
    if stands.state != "cancelled":
        raise TooLate(too_late(stands.state))
    return stands


def story(c: Connection, name: str, id_: str) -> list[Step]:
    """See `ports.outbox.OutboxStore.outbox_story`."""
    found = _STORY.first(c, name, id_)
    return steps(str(found[0])) if found is not None else []


@lru_cache(maxsize=16)
def _listing(states: tuple[str, ...], *narrowed: str) -> Query:
    among = ", ".join(f"'{state}'" for state in states)
    columns = COLUMNS.replace("CAST(content", "CAST(o.content")
    return Query(
        f"SELECT {columns}, {outbox.before('o')} AS behind, {outbox.answered('o')} AS answered, "
        f"{outbox.opening('o')} AS opening FROM outbox AS o WHERE session_name = ? AND state IN ({among}) "
        f"{' '.join(f'AND {how} ?' for how in narrowed)} ORDER BY seq DESC LIMIT ?"
    )


def listing(
    c: Connection, name: str, states: Collection[str], limit: int, *, earlier: int | None, id_: str | None
) -> list[Waiting]:
    """See `ports.outbox.OutboxStore.outbox_listing`."""
    narrowed: dict[str, int | str] = {} if earlier is None else {"seq <": earlier}
    if id_ is not None:
        narrowed["id ="] = id_
    query = _listing(tuple(sorted(STATES.intersection(states))), *narrowed)
    epoch = _EPOCH.first(c, name)
    found = query.all(c, name, epoch[0] if epoch else 0, name, *narrowed.values(), limit)
    return [Waiting(row_of(row), *(bool(fact) for fact in row[15:])) for row in found]


def lately(c: Connection, name: str, caps: Caps) -> Lately:
    """See `ports.outbox.OutboxStore.outbox_lately`."""
    since = max(caps.minute, caps.jitter * caps.factor)
    tried = [(float(at), str(id_)) for at, id_ in _SENT.all(c, name, since, caps.messages_per_minute or 1)]
    opened = []
    if caps.new_chats_per_day:
        opened = [float(at) for (at,) in _OPENED.all(c, name, caps.day, caps.new_chats_per_day)]
    return Lately(now(c), [at for at, _ in tried], opened, tried[0] if tried else None)
