"""Sessions that move, each in one transaction: a device that is linked already moves in; one goes to another engine."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection, update

from holdfast.domain.errors import SessionExists, SessionRunning, WrongNumber
from holdfast.domain.jids import mask
from holdfast.domain.phases import public_status
from holdfast.domain.rows import Hint, Json, MovedIn, SessionRow, TimelineRow
from holdfast.domain.state import Phase, State
from holdfast.domain.whatsapp import WhatsApp
from holdfast.store import hints, keys, leases, root_key, sessions
from holdfast.store.schema import session
from holdfast.store.sql import now

MESSAGE = "Its credentials were imported; waiting for an instance to connect."


def move_in(c: Connection, name: str, engine: str, moved: MovedIn, whatsapp: WhatsApp, *, over: bool) -> SessionRow:
    """See `ports.store.Store.move_in`."""
    known = sessions.get(c, name)
    if known is None:
        sessions.create(c, name, engine, {}, "running")
        state = State()
    elif over and known.name == name:
        state = _make_way(c, name, moved)
    else:
        raise SessionExists(f"A session named '{name}' exists already.")
    at = now(c)
    state = replace(state, message=MESSAGE, since=at, phone=moved.phone)
    me = {"phone": moved.phone, "lid": moved.lid, "push_name": moved.push_name}
    root_key.record(c, name, whatsapp)
    keys.put_all(c, name, moved.keys)
    # The order that was given last must not be carried out any more: it may have been a logout.
    values = {
        "engine": engine,
        "desired": "running",
        "command": {},
        "state": state.to_json(),
        "me": me,
        "updated_at": at,
    }
    values |= {"phase": str(state.phase), "done_seq": state.command_seq}
    c.execute(update(session).where(session.c.name == name).values(**values))
    row = sessions.required(c, name)
    sessions.enter(c, name, TimelineRow(0, name, at, "STARTING", "imported", MESSAGE, 0, "", row.epoch))
    hints.tell(c, Hint("order", name))
    return row


def change_engine(c: Connection, name: str, engine: str, config: Json, message: str) -> SessionRow:
    """See `ports.store.Store.change_engine`."""
    keys.clear(c, name)
    at = now(c)
    c.execute(update(session).where(session.c.name == name).values(engine=engine, config=config, updated_at=at))
    row = sessions.required(c, name)
    status = public_status(State.from_json(row.state))
    sessions.enter(c, name, TimelineRow(0, name, at, status, "moved", message, 0, "", row.epoch))
    hints.tell(c, Hint("order", name))
    return row


def _make_way(c: Connection, name: str, moved: MovedIn) -> State:
    """The present credentials go, fenced, unless a connection may be open with them or they are another number's."""
    keys.clear(c, name)
    row = sessions.required(c, name)
    state = State.from_json(row.state)
    holder = leases.holders(c, [name]).get(name)
    ordered = int(row.command.get("seq", 0))
    idle = state.phase in (Phase.STOPPED, Phase.TERMINAL) and ordered <= state.command_seq
    if holder is not None and holder.valid and not idle:
        raise SessionRunning(
            f"'{name}' is running on a server. Stop it there first (Stop in the dashboard, or "
            f"POST /api/sessions/{name}/stop), then import again."
        )
    if state.phone and state.phone != moved.phone:
        raise WrongNumber(
            f"'{name}' belongs to {mask(state.phone)}, and these credentials to {mask(moved.phone)}. "
            "Import them as a session of another name: conversations of two numbers are not mixed."
        )
    done = max(ordered, state.command_seq)
    return State(connection=state.connection, generation=state.generation, command_seq=done)
