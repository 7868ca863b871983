"""Sessions: what the user configured and ordered, what the holder last decided, and the timeline of that."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, case, delete, exists, func, literal, select, update

from holdfast.domain.errors import SessionExists, SessionNotFound
from holdfast.domain.rows import EventRow, Hint, Json, NewEvent, SessionRow, TimelineRow
from holdfast.store import apart, hints, media
from holdfast.store import events as log
from holdfast.store.schema import (
    OF_A_SESSION,
    alias,
    credential,
    db_now,
    session,
    session_epoch,
    session_lock,
    timeline,
)
from holdfast.store.sql import Query, check_epoch, dumps, insert, listed, loads, raw, rounded

ROWS = (
    "SELECT s.name, s.engine, CAST(s.config AS TEXT), s.desired, CAST(s.command AS TEXT), CAST(s.state AS TEXT), "
    "e.epoch, CAST(s.me AS TEXT), EXISTS (SELECT 1 FROM credential WHERE credential.session_name = s.name "
    "AND credential.type = 'creds' AND credential.id = ''), s.verified_at, s.created_at, s.updated_at "
    "FROM session s JOIN session_epoch e ON e.session_name = s.name"
)
"""What `row_of` reads."""
_BY_NAME = Query(f"{ROWS} WHERE s.name = ?")
_BY_ALIAS = Query(f"{ROWS} JOIN alias a ON a.session_name = s.name WHERE a.alias = ?")
_NAMED = f"{ROWS} WHERE s.name IN ({{}})"
_ALL = Query(f"{ROWS} ORDER BY s.name")


def row_of(found: Any) -> SessionRow:
    """Out of `ROWS`."""
    name, engine, config, desired, command, state, epoch, me, has_credentials, *times = found
    known = loads(config), desired, loads(command), loads(state), epoch, loads(me), bool(has_credentials)
    return SessionRow(name, engine, *known, *times)


def _row(c: Connection, query: Query, name: str) -> SessionRow | None:
    found = query.first(c, name)
    return None if found is None else row_of(found)


def create(c: Connection, name: str, engine: str, config: Json, desired: str) -> SessionRow:
    """Insert, and make the epoch's row unless an earlier session of the name left one. Raises `SessionExists`."""
    stmt = insert(c, session).values(
        name=name, engine=engine, config=config, desired=desired, command={}, state={}, me={},
        created_at=db_now(), updated_at=db_now(),
    )  # fmt: skip
    taken = c.execute(select(alias.c.alias).where(alias.c.alias == name)).first() is not None
    if taken or not c.execute(stmt.on_conflict_do_nothing().returning(session.c.name)).all():
        raise SessionExists(f"A session named '{name}' exists already. Use PUT to update it.")
    c.execute(insert(c, session_epoch).values(session_name=name, epoch=0).on_conflict_do_nothing())
    hints.tell(c, Hint("order", name))
    return required(c, name)


def get(c: Connection, name: str) -> SessionRow | None:
    """By name, else by alias."""
    return _row(c, _BY_NAME, name) or _row(c, _BY_ALIAS, name)


def named(c: Connection, names: Collection[str]) -> dict[str, SessionRow]:
    """Those of these names, by name."""
    if not names:
        return {}
    asked = rounded(sorted(names))
    return {found[0]: row_of(found) for found in listed(_NAMED, len(asked)).all(c, *asked)}


def every(c: Connection) -> list[SessionRow]:
    """All, by name."""
    return [row_of(found) for found in _ALL.all(c)]


def required(c: Connection, name: str) -> SessionRow:
    """By name. Raises `SessionNotFound`."""
    row = _row(c, _BY_NAME, name)
    if row is None:
        raise SessionNotFound(f"There is no session '{name}'.")
    return row


def update_config(c: Connection, name: str, config: Json) -> SessionRow:
    """The holder is told by an order of its own, wherever it is. Raises `SessionNotFound`."""
    changed = update(session).where(session.c.name == name).values(config=config, updated_at=db_now())
    known = c.execute(changed.returning(session.c.command_seq, session.c.done_seq)).first()
    if known is None or known.command_seq > known.done_seq:
        return required(c, name)  # the holder looks at the session for the order that waits
    return order(c, name, None, {"kind": "configure"})


_NUMBER = Query("UPDATE session SET command_seq = command_seq + 1 WHERE name = ? RETURNING command_seq")
_ORDER = Query(
    "UPDATE session SET desired = COALESCE(?, desired), command = COALESCE(?, command), updated_at = holdfast_now() "
    "WHERE name = ?"
)


def order(c: Connection, name: str, desired: str | None, command: Json | None) -> SessionRow:
    """Store an order. The command's number is counted in a column of its own: it never repeats."""
    if command is not None and (counted := _NUMBER.first(c, name)) is not None:
        command = {**command, "seq": counted[0]}
    _ORDER.run(c, desired, None if command is None else dumps(command), name)
    hints.tell(c, Hint("order", name))
    return required(c, name)


def remove(c: Connection, name: str) -> bool:
    """Delete all but the epoch, which is raised first: a holder that does not know yet writes nothing any more.

    Whoever still holds the lease may keep its connection until it runs out, so a session made anew under the name can
    be claimed only one ttl after this, unless the lease was given back before.
    """
    held = exists().where(session_lock.c.session_name == name, session_lock.c.expires_at > db_now())
    missing_since = case((held, db_now()), else_=func.coalesce(session_epoch.c.missing_since, literal(0.0)))
    c.execute(
        update(session_epoch)
        .where(session_epoch.c.session_name == name)
        .values(epoch=session_epoch.c.epoch + 1, missing_since=missing_since)
    )
    media.drop_all(c, name)
    for table in OF_A_SESSION:
        c.execute(delete(table).where(table.c.session_name == name))
    return c.execute(delete(session).where(session.c.name == name)).rowcount > 0


_SAVE = Query(
    "UPDATE session SET state = ?, phase = ?, done_seq = ?, me = COALESCE(?, me), updated_at = holdfast_now() "
    "WHERE name = ?"
)


def save_state(
    c: Connection,
    name: str,
    epoch: int,
    state: Json,
    *,
    me: Json | None,
    entry: TimelineRow | None,
    events: Sequence[NewEvent],
    clear_credentials: bool,
    put_apart: str | None = None,
    new_id: Callable[[], str],
) -> list[EventRow]:
    """The holder's decision with all that belongs to it."""
    check_epoch(c, name, epoch)
    if put_apart is not None:
        apart.put(c, name, put_apart, str(state.get("phone", "")))
    looked_at = (str(state.get("phase", "")), int(state.get("command_seq", 0)))
    _SAVE.run(c, dumps(state), *looked_at, None if me is None else dumps(me), name)
    if clear_credentials:
        c.execute(delete(credential).where(credential.c.session_name == name))
    if entry is not None:
        enter(c, name, entry)
    return log.append(c, name, events, new_id)


_ENTER = Query(
    "INSERT INTO timeline (session_name, at, status, code, message, attempt, instance, epoch, detail) "
    "VALUES (?, COALESCE(?, holdfast_now()), ?, ?, ?, ?, ?, ?, ?)"
)


def enter(c: Connection, name: str, entry: TimelineRow) -> None:
    """Append to the timeline; an entry without a time gets the database's."""
    _ENTER.run(
        c, name, entry.at or None, entry.status, entry.code, entry.message,
        entry.attempt, entry.instance, entry.epoch, dumps(entry.detail),
    )  # fmt: skip


_PROOF = "(CAST(? AS VARCHAR), CAST(? AS BIGINT), CAST(? AS DOUBLE PRECISION))"
_NOTE = (
    "WITH proof (name, epoch, at) AS (VALUES {}) UPDATE session SET verified_at = "
    "(SELECT at FROM proof WHERE proof.name = session.name) WHERE name IN "
    "(SELECT proof.name FROM proof JOIN session_epoch e ON e.session_name = proof.name AND e.epoch = proof.epoch)"
)


def note_verified(c: Connection, proofs: Mapping[str, tuple[int, float]]) -> None:
    """One statement for all; a session under another epoch is left alone."""
    if proofs:
        params = [value for name in sorted(proofs) for value in (name, *proofs[name])]
        raw(c, _NOTE.format(", ".join([_PROOF] * len(proofs))), tuple(params))


def read_timeline(c: Connection, name: str, limit: int, before: int | None) -> list[TimelineRow]:
    """Newest first, older than entry `before` if given."""
    t = timeline.c
    rows = select(
        t.seq, t.session_name, t.at, t.status, t.code, t.message, t.attempt, t.instance, t.epoch, t.detail
    ).where(t.session_name == name)
    if before is not None:
        rows = rows.where(t.seq < before)
    found: Any = c.execute(rows.order_by(t.seq.desc()).limit(limit))
    return [TimelineRow(*line) for line in found]


def aliases(c: Connection, name: str) -> list[str]:
    """By name."""
    return list(c.execute(select(alias.c.alias).where(alias.c.session_name == name).order_by(alias.c.alias)).scalars())


def add_alias(c: Connection, other: str, name: str) -> None:
    """Raises `SessionExists` if the alias means another session, `SessionNotFound` if there is none to name."""
    required(c, name)
    if other == name:
        return
    taken = SessionExists(f"'{other}' is the name or alias of another session.")
    if _row(c, _BY_NAME, other) is not None:
        raise taken
    c.execute(insert(c, alias).values(alias=other, session_name=name).on_conflict_do_nothing())
    if c.execute(select(alias.c.session_name).where(alias.c.alias == other)).scalar() != name:
        raise taken
