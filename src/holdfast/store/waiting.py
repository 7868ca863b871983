"""What waits in the outbox: listed, cancelled, ended at its deadline, and counted against a session's limits."""

# ruff: noqa: S608 - the statements are joined from constants of this module
from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
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
    WAITING,
    Step,
    ack_event,
    steps,
    tail,
    too_late,
)
from holdfast.domain.rows import Hint, OutboxRow, Waiting
from holdfast.store import events as log
from holdfast.store import hints, outbox
from holdfast.store.outbox import COLUMNS, row_of, step
from holdfast.store.send_turns import IN_QUEUE, LEAVE, OPEN, STILL_OPEN, answered, opening
from holdfast.store.sql import ONCE, Query, current_epoch, listed, now, rounded

AT_ONCE = 500
"""Rows that one transaction ends at most."""

# What a living holder is sending right now is left to it; what is in doubt without one may end like all else.
_MINE_TO_END = (
    "(state = 'queued' OR claim_epoch < ? OR NOT EXISTS (SELECT 1 FROM session_lock AS l "
    "WHERE l.session_name = outbox.session_name AND l.expires_at > holdfast_now()))"
)


_OVERDUE = Query(
    f"SELECT session_name, seq FROM outbox WHERE {OPEN} AND expires_at <= {ONCE} AND (state = 'queued' OR NOT EXISTS "
    "(SELECT 1 FROM session_lock AS l WHERE l.session_name = outbox.session_name AND l.expires_at > holdfast_now() "
    f"AND l.epoch <= outbox.claim_epoch)) ORDER BY expires_at LIMIT {AT_ONCE}"
)


def _expiring(in_doubt: str) -> str:
    return (
        f"UPDATE outbox SET state = 'expired', message = ?, updated_at = holdfast_now(), {step('expired')}, {LEAVE} "
        f"WHERE session_name = ? AND {STILL_OPEN} AND expires_at <= {ONCE} AND {_MINE_TO_END} AND {in_doubt} "
        f"AND seq IN ({{}}) RETURNING {COLUMNS}"
    )


_DOUBTED = "(in_doubt = 1 OR state = 'sending')"
_EXPIRE = ((_expiring(_DOUBTED), EXPIRED_IN_DOUBT), (_expiring(f"NOT {_DOUBTED}"), EXPIRED))
_CANCEL = Query(
    f"UPDATE outbox SET state = 'cancelled', message = ?, updated_at = holdfast_now(), {step('cancelled')}, {LEAVE} "
    f"WHERE session_name = ? AND id = ? AND {STILL_OPEN} AND state <> 'sending' RETURNING {COLUMNS}"
)
_EPOCH = Query("SELECT epoch FROM session_epoch WHERE session_name = ?")
_STORY = Query("SELECT story FROM outbox WHERE session_name = ? AND id = ?")
_SENT = Query(
    "SELECT paced_at, id FROM outbox WHERE session_name = ? AND paced_at IS NOT NULL "
    f"AND paced_at > {ONCE} - ? ORDER BY paced_at DESC LIMIT ?"
)
_OPENED = Query(
    f"SELECT paced_at FROM outbox WHERE session_name = ? AND opens = 1 "
    f"AND paced_at > {ONCE} - ? ORDER BY paced_at DESC LIMIT ?"
)


def overdue(c: Connection) -> dict[str, list[int]]:
    """Messages whose deadline has passed, by session: some of them, those that have waited longest."""
    found: dict[str, list[int]] = {}
    for name, seq in _OVERDUE.all(c):
        found.setdefault(str(name), []).append(int(seq))
    return found


def expire(c: Connection, name: str, seqs: Sequence[int], new_id: Callable[[], str]) -> list[str]:
    """End those of these messages whose deadline has passed; their ids. See `ports.outbox.OutboxStore.expire_outbox`.

    Claims are kept out meanwhile, whoever holds the session.
    """
    epoch = current_epoch(c, name, alone=True) or 0
    ended, among = [], rounded(seqs)
    for sql, sentence in _EXPIRE:
        for found in listed(sql, len(among)).all(c, sentence, tail(0, sentence), name, epoch, *among):
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
    which = f"state IN ({', '.join(map(repr, states))})"
    if WAITING.issuperset(states):
        which = f"{IN_QUEUE} AND {which}"  # for the index of these
    columns = COLUMNS.replace("CAST(content", "CAST(o.content")
    return Query(
        f"SELECT {columns}, ({outbox.before('o')} OR {outbox.before_unseen('o')}) AS behind, "
        f"{answered('o')} AS answered, {opening('o')} AS opening FROM outbox AS o WHERE session_name = ? AND {which} "
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
    found = query.all(c, name, epoch[0] if epoch else 0, name, name, name, *narrowed.values(), limit)
    return [Waiting(row_of(row), *(bool(fact) for fact in row[15:])) for row in found]


def lately(c: Connection, name: str, caps: Caps) -> Lately:
    """See `ports.outbox.OutboxStore.outbox_lately`."""
    since = max(caps.minute, caps.jitter * caps.factor)
    tried = [(float(at), str(id_)) for at, id_ in _SENT.all(c, name, since, caps.messages_per_minute or 1)]
    opened = []
    if caps.new_chats_per_day:
        opened = [float(at) for (at,) in _OPENED.all(c, name, caps.day, caps.new_chats_per_day)]
    return Lately(now(c), [at for at, _ in tried], opened, tried[0] if tried else None)
