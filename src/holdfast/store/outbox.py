"""Messages accepted for sending (G4): stored under their WhatsApp id before the first attempt, forward only."""

# ruff: noqa: S608 - the statements are joined from constants of this module
from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from holdfast.domain.errors import DuplicateMessageId, IdempotencyConflict, SessionNotFound
from holdfast.domain.outbox import FINAL, STATE_OF_ACK, STATES, may_move
from holdfast.domain.rows import Hint, MessageRow, NewEvent, OutboxRow
from holdfast.store import events as log
from holdfast.store import hints, messages, people
from holdfast.store.schema import outbox
from holdfast.store.sql import Query, check_epoch, current_epoch, dumps, listed, loads, now, rounded

_O = outbox.c
_COLUMNS = (
    "id, session_name, chat, CAST(content AS TEXT), state, attempts, created_at, updated_at, expires_at, send_at, "
    "error, message, idempotency_key"
)
_OPEN = "state IN ('queued', 'sending')"
_GET = Query(f"SELECT {_COLUMNS} FROM outbox WHERE session_name = ? AND id = ?")
_BY_KEY = Query(f"SELECT {_COLUMNS}, fingerprint FROM outbox WHERE session_name = ? AND idempotency_key = ?")
_SESSION = Query("SELECT 1 FROM session WHERE name = ? FOR KEY SHARE")
_BUSY = Query(
    f"SELECT 1 FROM outbox WHERE session_name = ? AND chat = ? AND {_OPEN} "
    "AND (state = 'sending' OR send_at <= holdfast_now() OR attempts > 0) LIMIT 1"
)
_ADD = Query(
    "INSERT INTO outbox (session_name, id, chat, content, state, attempts, claim_epoch, created_at, updated_at, "
    "expires_at, send_at, idempotency_key, fingerprint) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, holdfast_now(), holdfast_now(), ?, ?, ?, ?) "
    f"ON CONFLICT DO NOTHING RETURNING {_COLUMNS}"
)
_DUE = "((state = 'queued' AND send_at <= holdfast_now()) OR (state = 'sending' AND claim_epoch < ?))"
_KNOWN = (
    "AND (o.chat LIKE '%@g.us' OR EXISTS (SELECT 1 FROM message WHERE message.session_name = o.session_name "
    "AND message.chat = o.chat AND NOT message.from_me)) "
)


def _claiming(also: str) -> Query:
    return Query(
        "UPDATE outbox SET state = 'sending', attempts = attempts + 1, claim_epoch = ?, updated_at = holdfast_now() "
        f"WHERE {_DUE} AND seq IN (SELECT seq FROM outbox AS o WHERE session_name = ? AND {_OPEN} AND {_DUE} {also}"
        f"AND NOT EXISTS (SELECT 1 FROM outbox AS other WHERE other.session_name = ? AND other.chat = o.chat "
        f"AND other.seq <> o.seq AND other.{_OPEN} AND ((other.state = 'sending' AND other.claim_epoch >= ?) OR "
        "(other.seq < o.seq AND (other.state = 'sending' OR other.send_at <= holdfast_now() OR other.attempts > 0)))) "
        f"ORDER BY seq LIMIT ?) RETURNING {_COLUMNS}, seq"
    )


_CLAIM, _CLAIM_KNOWN = _claiming(""), _claiming(_KNOWN)
_UNANSWERED = 15.0
"""Seconds after which a claim that its sender does not know of has surely got lost on the way back."""
_LOST = (
    "UPDATE outbox SET state = 'queued', updated_at = holdfast_now() WHERE session_name = ? AND state = 'sending' "
    "AND claim_epoch = ? AND updated_at <= holdfast_now() - ? AND id NOT IN ({})"
)


def _forward(state: str) -> Query:
    allowed = ", ".join(f"'{before}'" for before in sorted(STATES) if may_move(before, state))
    return Query(
        "UPDATE outbox SET state = ?, updated_at = holdfast_now(), error = COALESCE(?, error), "
        "message = COALESCE(?, message), send_at = COALESCE(?, send_at) "
        f"WHERE session_name = ? AND id = ? AND state IN ({allowed}) RETURNING {_COLUMNS}"
    )


_FORWARD = {state: _forward(state) for state in sorted(STATES) if any(may_move(before, state) for before in STATES)}


def _row(found: Any) -> OutboxRow:
    id_, name, chat, content, *rest = found[:13]
    return OutboxRow(id_, name, chat, loads(content), *rest)


def get(c: Connection, name: str, id_: str) -> OutboxRow | None:
    """By message id."""
    found = _GET.first(c, name, id_)
    return None if found is None else _row(found)


def enqueue(c: Connection, row: OutboxRow, fingerprint: str, epoch: int | None) -> tuple[OutboxRow, bool]:
    """See `ports.store.Store.enqueue`.

    Who may take the row at once keeps claims, and others of its kind, out of the session until the commit, so that no
    two messages of a chat are in flight. The epoch comes before the session, as where a session is deleted.
    """
    ours = epoch is not None and current_epoch(c, row.session, alone=True) == epoch
    if not _SESSION.all(c, row.session):
        raise SessionNotFound(f"There is no session '{row.session}'.")
    chat = people.resolve(c, row.session, [row.chat])[row.chat]
    taken = ours and row.send_at <= now(c) and not _BUSY.all(c, row.session, chat)
    stored = _ADD.first(
        c, row.session, row.id, chat, dumps(row.content), *(("sending", 1, epoch) if taken else ("queued", 0, 0)),
        row.expires_at, row.send_at, row.idempotency_key, fingerprint,
    )  # fmt: skip
    if stored is not None and not ours:
        hints.tell(c, Hint("outbox", row.session))
    return (_accepted_before(c, row, fingerprint), False) if stored is None else (_row(stored), True)


def _accepted_before(c: Connection, row: OutboxRow, fingerprint: str) -> OutboxRow:
    first = None if row.idempotency_key is None else _BY_KEY.first(c, row.session, row.idempotency_key)
    if first is None:
        raise DuplicateMessageId(f"A message with the id '{row.id}' was accepted before.")
    if first[13] != fingerprint:
        raise IdempotencyConflict
    return _row(first)


def claim(
    c: Connection, name: str, epoch: int, limit: int, *, known_only: bool = False, flying: Collection[str] | None = None
) -> list[OutboxRow]:
    """See `ports.store.Store.claim_outbox`.

    A row waits for another of its chat that is in flight, and for an older one that is due, in doubt, or put back for
    a later retry; not for one that is merely scheduled for later.
    """
    check_epoch(c, name, epoch, alone=True)
    if flying is not None:
        known = rounded([*flying, ""])
        listed(_LOST, len(known)).run(c, name, epoch, _UNANSWERED, *known)
    taken = (_CLAIM_KNOWN if known_only else _CLAIM).all(c, epoch, epoch, name, epoch, name, epoch, limit)
    return [_row(found) for found in sorted(taken, key=lambda found: int(found[13]))]


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of an attempt; see `ports.store.Store.settle_outbox`."""

    state: str
    error: int = 0
    message: str = ""
    retry_at: float | None = None
    events: Sequence[NewEvent] = ()
    sent: MessageRow | None = None


def settle(
    c: Connection, name: str, epoch: int, id_: str, facts: Settlement, *, new_id: Callable[[], str]
) -> OutboxRow | None:
    """Move forward, store the sent message and the events. None if the move would be backward.

    A receipt may overtake the server's ack: then the row is ahead already, yet the message is stored, and told of.
    """
    check_epoch(c, name, epoch)
    moved = _move(c, name, id_, facts.state, (facts.error, facts.message, facts.retry_at))
    stored = facts.sent is not None and messages.put(c, name, people.canonical(c, name, [facts.sent])[0])
    if moved is not None or stored:
        log.append(c, name, facts.events, new_id)
    return moved


def _move(c: Connection, name: str, id_: str, state: str, facts: tuple[Any, ...]) -> OutboxRow | None:
    """`facts`: error, sentence, when to retry; None keeps what stands."""
    found = _FORWARD[state].first(c, state, *facts, name, id_) if state in _FORWARD else None
    return None if found is None else _row(found)


def acknowledge(c: Connection, name: str, id_: str, level: int) -> bool:
    """A receipt or an ack for one of ours: the row moves forward, whatever it waited for."""
    state = "failed" if level < 0 else STATE_OF_ACK.get(level)
    return state is not None and _move(c, name, id_, state, (None, None, None)) is not None


def counts(c: Connection, name: str) -> dict[str, int]:
    """Rows by state, and the age of the oldest that is not final nor acknowledged."""
    rows = c.execute(select(_O.state, func.count()).where(_O.session_name == name).group_by(_O.state))
    found: dict[str, int] = dict(rows.all())
    oldest = c.execute(
        select(func.min(_O.created_at)).where(_O.session_name == name, _O.state.not_in(FINAL | {"sent", "delivered"}))
    ).scalar()
    found["oldest"] = 0 if oldest is None else max(0, int(now(c) - oldest))
    return found
