"""Messages accepted for sending (G4): stored under their WhatsApp id before the first attempt, forward only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, exists, func, or_, select, update

from holdfast.domain.errors import DuplicateMessageId, IdempotencyConflict, SessionNotFound
from holdfast.domain.outbox import FINAL, STATE_OF_ACK, may_move
from holdfast.domain.rows import MessageRow, NewEvent, OutboxRow
from holdfast.store import events as log
from holdfast.store import messages, people
from holdfast.store.schema import IS_OPEN, db_now, outbox, session
from holdfast.store.sql import check_epoch, insert, now

_O = outbox.c
_COLUMNS = (
    _O.id, _O.session_name, _O.chat, _O.content, _O.state, _O.attempts, _O.created_at, _O.updated_at, _O.expires_at,
    _O.send_at, _O.error, _O.message, _O.idempotency_key,
)  # fmt: skip


def get(c: Connection, name: str, id_: str) -> OutboxRow | None:
    """By message id."""
    found: Any = c.execute(select(*_COLUMNS).where(_O.session_name == name, _O.id == id_)).first()
    return None if found is None else OutboxRow(*found)


def enqueue(c: Connection, row: OutboxRow, fingerprint: str) -> tuple[OutboxRow, bool]:
    """See `ports.store.Store.enqueue`."""
    here = select(session.c.name).where(session.c.name == row.session).with_for_update(read=True, key_share=True)
    if c.execute(here).first() is None:
        raise SessionNotFound(f"There is no session '{row.session}'.")
    chat = people.resolve(c, row.session, [row.chat])[row.chat]
    stmt = insert(c, outbox).values(
        session_name=row.session, id=row.id, chat=chat, content=row.content, state="queued", attempts=0,
        created_at=db_now(), updated_at=db_now(), expires_at=row.expires_at, send_at=row.send_at,
        idempotency_key=row.idempotency_key, fingerprint=fingerprint,
    )  # fmt: skip
    if not c.execute(stmt.on_conflict_do_nothing().returning(_O.seq)).all():
        return _accepted_before(c, row, fingerprint), False
    stored = get(c, row.session, row.id)
    assert stored is not None
    return stored, True


def _accepted_before(c: Connection, row: OutboxRow, fingerprint: str) -> OutboxRow:
    if row.idempotency_key is not None:
        first: Any = c.execute(
            select(_O.fingerprint, *_COLUMNS).where(
                _O.session_name == row.session, _O.idempotency_key == row.idempotency_key
            )
        ).first()
        if first is not None:
            if first[0] != fingerprint:
                raise IdempotencyConflict
            return OutboxRow(*first[1:])
    raise DuplicateMessageId(f"A message with the id '{row.id}' was accepted before.")


def claim(c: Connection, name: str, epoch: int, limit: int) -> list[OutboxRow]:
    """See `ports.store.Store.claim_outbox`.

    A row waits for another of its chat that is in flight, and for an older one that is due, in doubt, or put back for
    a later retry; not for one that is merely scheduled for later.
    """
    check_epoch(c, name, epoch)
    other = outbox.alias("other").c
    due = or_(and_(_O.state == "queued", _O.send_at <= db_now()), and_(_O.state == "sending", _O.claim_epoch < epoch))
    in_flight = and_(other.state == "sending", other.claim_epoch >= epoch)
    ahead = and_(
        other.seq < _O.seq,
        or_(
            other.state == "sending",
            and_(other.state == "queued", or_(other.send_at <= db_now(), other.attempts > 0)),
        ),
    )
    blocked = exists().where(
        other.session_name == name,
        other.chat == _O.chat,
        other.seq != _O.seq,
        other.state.in_(("queued", "sending")),
        or_(in_flight, ahead),
    )
    first = select(_O.seq).where(_O.session_name == name, IS_OPEN, due, ~blocked).order_by(_O.seq).limit(limit)
    taken = c.execute(
        update(outbox)
        .where(_O.seq.in_(first.scalar_subquery()), due)
        .values(state="sending", attempts=_O.attempts + 1, claim_epoch=epoch, updated_at=db_now())
        .returning(_O.seq, *_COLUMNS)
    ).all()
    return [OutboxRow(*found[1:]) for found in sorted(taken, key=lambda found: found[0])]


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
    values: dict[str, Any] = {"error": facts.error, "message": facts.message}
    if facts.retry_at is not None:
        values["send_at"] = facts.retry_at
    moved = _move(c, name, id_, facts.state, values)
    stored = facts.sent is not None and messages.put(c, name, people.canonical(c, name, [facts.sent])[0])
    if moved or stored:
        log.append(c, name, facts.events, new_id)
    return get(c, name, id_) if moved else None


def _move(c: Connection, name: str, id_: str, state: str, values: dict[str, Any]) -> bool:
    here = and_(_O.session_name == name, _O.id == id_)
    before = c.execute(select(_O.state).where(here).with_for_update()).scalar()
    if before is None or not may_move(before, state):
        return False
    c.execute(update(outbox).where(here).values(state=state, updated_at=db_now(), **values))
    return True


def acknowledge(c: Connection, name: str, id_: str, level: int) -> bool:
    """A receipt or an ack for one of ours: the row moves forward, whatever it waited for."""
    state = "failed" if level < 0 else STATE_OF_ACK.get(level)
    return state is not None and _move(c, name, id_, state, {})


def counts(c: Connection, name: str) -> dict[str, int]:
    """Rows by state, and the age of the oldest that is not final nor acknowledged."""
    rows = c.execute(select(_O.state, func.count()).where(_O.session_name == name).group_by(_O.state))
    found: dict[str, int] = dict(rows.all())
    oldest = c.execute(
        select(func.min(_O.created_at)).where(_O.session_name == name, _O.state.not_in(FINAL | {"sent", "delivered"}))
    ).scalar()
    found["oldest"] = 0 if oldest is None else max(0, int(now(c) - oldest))
    return found
