"""Messages accepted for sending (G4): stored under their WhatsApp id before the first attempt, forward only."""

# ruff: noqa: S608 - the statements are joined from constants of this module
from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from sqlalchemy import Connection, func, select

from holdfast.domain.errors import DuplicateMessageId, IdempotencyConflict, SessionNotFound
from holdfast.domain.outbox import ACKNOWLEDGED, FINAL, NOT_DELIVERED, STATE_OF_ACK, STATES, may_move, tail
from holdfast.domain.rows import Hint, MessageRow, NewEvent, OutboxRow
from holdfast.store import events as log
from holdfast.store import hints, messages, people, send_turns
from holdfast.store.schema import outbox
from holdfast.store.send_turns import (
    ANSWERED,
    BEHIND,
    FLYING,
    IN_FLIGHT,
    IN_LANE,
    LEAVE,
    MET,
    NEW,
    STILL_OPEN,
    TIMED,
    WAITS,
    in_lane,
    inherited,
    of_chat,
    opening,
    pending,
    ready,
)
from holdfast.store.sql import ONCE, Query, check_epoch, current_epoch, dumps, listed, loads, now, rounded

_O = outbox.c
COLUMNS = (
    "id, session_name, chat, CAST(content AS TEXT), state, attempts, created_at, updated_at, expires_at, send_at, "
    "error, message, idempotency_key, in_doubt, seq"
)
NEAR = 100
"""Most rows of a chat that are looked at for one that is in the way."""
_GET = Query(f"SELECT {COLUMNS} FROM outbox WHERE session_name = ? AND id = ?")
_BY_KEY = Query(f"SELECT {COLUMNS}, fingerprint FROM outbox WHERE session_name = ? AND idempotency_key = ?")
_SESSION = Query(
    "SELECT (SELECT canonical FROM spelling WHERE spelling.session_name = session.name AND address = ?) "
    "FROM session WHERE name = ? FOR KEY SHARE"
)


def step(state: str, attempts: str = "attempts") -> str:
    """SQL that adds a step to a message's story; its parameter is `domain.outbox.tail`."""
    return (
        f"story = story || '{state}|' || CAST(holdfast_now() AS TEXT) || '|' || CAST({attempts} AS TEXT) || "
        "CAST(? AS TEXT)"
    )


_LENGTHY = 4000
"""Characters of a story after which further tries are counted in `attempts` only."""


def _brief_step(state: str, attempts: str = "attempts") -> str:
    full = step(state, attempts).removeprefix("story = ")
    return f"story = CASE WHEN length(story) < {_LENGTHY} THEN {full} ELSE story END"


_BUSY = Query(
    "SELECT 1 WHERE EXISTS (SELECT 1 FROM (SELECT state, expires_at FROM outbox WHERE session_name = ? "
    f"AND chat >= ? AND chat <= ? AND {IN_LANE} ORDER BY chat, seq LIMIT {NEAR}) AS near "
    f"WHERE state = 'sending' OR expires_at > {ONCE}) "
    f"OR (SELECT send_at FROM outbox WHERE session_name = ? AND {WAITS} ORDER BY send_at, seq LIMIT 1) <= {ONCE}"
)
"""Rows that nobody has looked at yet count as of this chat: a claim that looks at them is under way."""
_ADD = Query(
    "INSERT INTO outbox (session_name, id, chat, content, state, attempts, claim_epoch, created_at, updated_at, "
    "expires_at, send_at, idempotency_key, fingerprint, turn, story) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, holdfast_now(), holdfast_now(), ?, ?, ?, ?, ?, "
    "CAST(? AS TEXT) || CAST(holdfast_now() AS TEXT) || CAST(? AS TEXT)) "
    f"ON CONFLICT DO NOTHING RETURNING {COLUMNS}"
)


def before(row: str) -> str:
    """SQL: whether a row of its chat is in flight, or older and in the way. Its parameters: session and epoch, session.

    It counts on `send_turns`, except for rows of which nobody has taken a look yet: of these it reads the nearest.
    """
    return (
        f"(EXISTS (SELECT 1 FROM {IN_FLIGHT} WHERE flying.chat = {row}.chat AND flying.seq <> {row}.seq) OR "
        f"EXISTS (SELECT 1 FROM (SELECT lane.seq, expires_at FROM outbox AS lane WHERE lane.session_name = ? "
        f"AND {of_chat('lane', row)} AND {in_lane('lane')} ORDER BY lane.chat, lane.seq LIMIT {NEAR}) AS older "
        f"WHERE older.seq < {row}.seq AND expires_at > {ONCE}))"
    )


def before_unseen(row: str) -> str:
    """SQL: whether an older row of its chat that nobody has looked at is in the way. Its parameter: session."""
    return (
        "EXISTS (SELECT 1 FROM (SELECT near.seq, send_at, expires_at FROM outbox AS near WHERE near.session_name = ? "
        f"AND {of_chat('near', row)} AND near.state IN ('queued', 'sending') "
        f"ORDER BY near.chat, near.seq LIMIT {NEAR}) AS older "
        f"WHERE older.seq < {row}.seq AND send_at <= {ONCE} AND expires_at > {ONCE})"
    )


@lru_cache(maxsize=16)
def _claiming(turns: tuple[int, ...], paced: bool) -> Query:
    noted = ""
    if paced:
        noted = (
            "paced_at = holdfast_now(), "
            f"opens = CASE WHEN opens = 1 OR {opening('outbox')} THEN 1 ELSE 0 END, "
        )  # fmt: skip
    first = " UNION ALL ".join(
        f"SELECT seq, chat FROM (SELECT seq, chat FROM outbox WHERE session_name = ? AND {ready(turn)} "
        f"ORDER BY turn, seq LIMIT ?) AS ready{turn}"
        for turn in turns
    )
    return Query(
        f"UPDATE outbox SET {noted}in_doubt = CASE state WHEN 'sending' THEN 1 ELSE in_doubt END, "
        f"{_brief_step('sending', 'attempts + 1')}, state = 'sending', attempts = attempts + 1, "
        f"claim_epoch = ?, updated_at = holdfast_now(), turn = {BEHIND} "
        f"WHERE {STILL_OPEN} AND (state = 'queued' OR claim_epoch < ?) AND expires_at > {ONCE} AND seq IN "
        f"(SELECT seq FROM ({first}) AS o WHERE NOT {before('o')} ORDER BY seq LIMIT ?) RETURNING {COLUMNS}"
    )


_UNANSWERED = 15.0
"""Seconds after which a claim that its sender does not know of has surely got lost on the way back."""
_LOST = (
    f"UPDATE outbox SET state = 'queued', updated_at = holdfast_now(), turn = {TIMED} WHERE session_name = ? "
    f"AND {FLYING} AND claim_epoch = ? AND updated_at <= {ONCE} - ? AND id NOT IN ({{}})"
)


def _forward(state: str) -> Query:
    allowed = ", ".join(f"'{before}'" for before in sorted(STATES) if may_move(before, state))
    return Query(
        "UPDATE outbox SET state = ?, updated_at = holdfast_now(), error = COALESCE(?, error), "
        "message = COALESCE(?, message), send_at = COALESCE(?, send_at), "
        f"in_doubt = GREATEST(in_doubt * {0 if state in ACKNOWLEDGED else 1}, ?), "
        f"{_brief_step(state) if state == 'queued' else step(state)}, {LEAVE} "
        "WHERE seq = (SELECT seq FROM outbox WHERE session_name = ? AND id = ?) "
        f"AND COALESCE(state, '') IN ({allowed}) RETURNING {COLUMNS}"
    )


_FORWARD = {state: _forward(state) for state in sorted(STATES) if any(may_move(before, state) for before in STATES)}


def row_of(found: Any) -> OutboxRow:
    """Out of `COLUMNS`."""
    facts = *found[:3], loads(found[3]), *found[4:13], bool(found[13]), int(found[14])
    return OutboxRow(*facts)


def get(c: Connection, name: str, id_: str) -> OutboxRow | None:
    """By message id."""
    found = _GET.first(c, name, id_)
    return None if found is None else row_of(found)


def enqueue(c: Connection, row: OutboxRow, fingerprint: str, epoch: int | None) -> tuple[OutboxRow, bool]:
    """See `ports.store.Store.enqueue`.

    Who may take the row at once keeps claims, and others of its kind, out of the session until the commit, so that no
    two messages of a chat are in flight. The epoch comes before the session, as where a session is deleted.
    """
    ours = epoch is not None and current_epoch(c, row.session, alone=True) == epoch
    session = _SESSION.first(c, row.chat, row.session)
    if session is None:
        raise SessionNotFound(f"There is no session '{row.session}'.")
    named = str(session[0] or row.chat)  # WhatsApp's spelling of the number, where it is another
    chat = people.resolve(c, row.session, [named])[named]
    taken = ours and row.send_at <= now(c) and not _BUSY.all(c, row.session, chat, chat, row.session)
    stored = _ADD.first(
        c, row.session, row.id, chat, dumps(row.content), *(("sending", 1, epoch) if taken else ("queued", 0, 0)),
        row.expires_at, row.send_at, row.idempotency_key, fingerprint, BEHIND if taken else TIMED,
        *(("sending|", f"|1{tail(0, '')}") if taken else ("queued|", f"|0{tail(0, '')}")),
    )  # fmt: skip
    if stored is not None and not ours:
        hints.tell(c, Hint("outbox", row.session))
    return (_accepted_before(c, row, fingerprint), False) if stored is None else (row_of(stored), True)


def _accepted_before(c: Connection, row: OutboxRow, fingerprint: str) -> OutboxRow:
    first = None if row.idempotency_key is None else accepted(c, row.session, row.idempotency_key, fingerprint)
    if first is None:
        raise DuplicateMessageId(f"A message with the id '{row.id}' was accepted before.")
    return first


def accepted(c: Connection, name: str, key: str, fingerprint: str) -> OutboxRow | None:
    """See `ports.outbox.OutboxStore.accepted`."""
    first = _BY_KEY.first(c, name, key)
    if first is not None and first[15] != fingerprint:
        raise IdempotencyConflict
    return None if first is None else row_of(first)


Who = Literal["all", "known", "strangers"]


@dataclass(frozen=True, slots=True)
class Which:
    """Which rows may be claimed; see `ports.outbox.OutboxStore.claim_outbox`."""

    who: Who = "all"
    new_chats: bool = True
    paced: bool = False
    flying: Collection[str] | None = None

    @property
    def turns(self) -> tuple[int, ...]:
        """Of `send_turns`."""
        if self.who == "known":
            return (ANSWERED,)
        among = (MET,) if self.who == "strangers" else (ANSWERED, MET)
        return (*among, NEW) if self.new_chats else among


@lru_cache(maxsize=16)
def _worth(turns: tuple[int, ...]) -> Query:
    first = " OR ".join(
        f"(SELECT turn FROM outbox WHERE session_name = asked.name AND {ready(turn)} ORDER BY turn, seq LIMIT 1) "
        "IS NOT NULL"
        for turn in turns
    )
    return Query(
        "WITH asked(name) AS (VALUES (CAST(? AS TEXT))) SELECT 1 FROM asked WHERE NOT EXISTS "
        "(SELECT 1 FROM session_epoch WHERE session_name = asked.name AND epoch = ?) "
        f"OR {pending('asked.name')} OR {first} OR {inherited('asked.name')}"
    )


def is_worth_claiming(c: Connection, name: str, epoch: int, which: Which) -> bool:
    """Whether a claim would find anything, if not by `Which.flying`, or be refused."""
    return _worth(which.turns).first(c, name, epoch, epoch) is not None


def claim(c: Connection, name: str, epoch: int, limit: int, which: Which) -> tuple[list[OutboxRow], bool]:
    """See `ports.outbox.OutboxStore.claim_outbox`. Also whether there is more to look at, if nothing was found.

    A row waits for another of its chat that is in flight, and for an older one that is due, in doubt, or put back for
    a later retry; not for one that is merely scheduled for later.
    """
    check_epoch(c, name, epoch, alone=True)
    if which.flying is not None:
        known = rounded([*which.flying, ""])
        listed(_LOST, len(known)).run(c, name, epoch, _UNANSWERED, *known)
    all_seen = send_turns.arrange(c, name, epoch)
    turns = which.turns
    among = [value for _ in turns for value in (name, limit)]
    taken = _claiming(turns, which.paced).all(c, tail(0, ""), epoch, epoch, *among, name, epoch, name, limit)
    return sorted((row_of(found) for found in taken), key=lambda row: row.seq), not all_seen


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of an attempt; see `ports.store.Store.settle_outbox`."""

    state: str
    error: int = 0
    message: str = ""
    retry_at: float | None = None
    events: Sequence[NewEvent] = ()
    sent: MessageRow | None = None
    in_doubt: bool = False


def settle(
    c: Connection, name: str, epoch: int, id_: str, facts: Settlement, *, new_id: Callable[[], str]
) -> OutboxRow | None:
    """Move forward, store the sent message and the events. None if the move would be backward.

    A receipt may overtake the server's ack: then the row is ahead already, yet the message is stored, and told of. Its
    ack is not: who was told of a later one must not be led back.
    """
    check_epoch(c, name, epoch)
    values = facts.error, facts.message, facts.retry_at, int(facts.in_doubt), tail(facts.error, facts.message)
    moved = _move(c, name, id_, facts.state, values)
    stored = facts.sent is not None and messages.put(c, name, people.canonical(c, name, [facts.sent])[0])
    if facts.sent is not None and not stored:
        messages.keep_raw(c, name, facts.sent)
    if moved is not None or stored:
        fresh = [event for event in facts.events if moved is not None or event.kind != "message.ack"]
        log.append(c, name, fresh, new_id)
    return moved


def _move(c: Connection, name: str, id_: str, state: str, facts: tuple[Any, ...]) -> OutboxRow | None:
    """`facts`: error, sentence, when to retry (None keeps what stands), whether in doubt, and the step's tail."""
    found = _FORWARD[state].first(c, state, *facts, name, id_) if state in _FORWARD else None
    return None if found is None else row_of(found)


def requeue(c: Connection, name: str, id_: str, why: str, retry_at: float) -> None:
    """Put a message that is being sent back for another try; nothing of this one has left."""
    _move(c, name, id_, "queued", (None, why, retry_at, 0, tail(0, why)))


def acknowledge(c: Connection, name: str, id_: str, level: int) -> bool:
    """A receipt or an ack for one of ours: the row moves forward, whatever it waited for."""
    state, said = ("failed", NOT_DELIVERED) if level < 0 else (STATE_OF_ACK.get(level), "")
    return state is not None and _move(c, name, id_, state, (None, said, None, 0, tail(0, said))) is not None


def counts(c: Connection, name: str) -> dict[str, int]:
    """Rows by state, and the age of the oldest that is not final nor acknowledged."""
    rows = c.execute(select(_O.state, func.count()).where(_O.session_name == name).group_by(_O.state))
    found: dict[str, int] = dict(rows.all())
    oldest = c.execute(
        select(func.min(_O.created_at)).where(_O.session_name == name, _O.state.not_in(FINAL | {"sent", "delivered"}))
    ).scalar()
    found["oldest"] = 0 if oldest is None else max(0, int(now(c) - oldest))
    return found
