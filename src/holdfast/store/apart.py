"""A session that changes its number: what belonged to the number before gets a session of its own.

Nothing is deleted and nothing mixed: conversations, contacts and the queue move to a stopped session, which can be
linked with the old number again. What was still to be sent is not sent any more.
"""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from holdfast.domain.jids import mask
from holdfast.domain.outbox import tail
from holdfast.domain.state import State
from holdfast.store.outbox import step
from holdfast.store.schema import (
    account,
    addon,
    chat,
    chat_timer,
    contact,
    inbox,
    lid_map,
    media,
    message,
    outbox,
    session,
    session_epoch,
    spelling,
)
from holdfast.store.send_turns import OPEN
from holdfast.store.sql import Query, insert, now

_MOVED = (chat, contact, lid_map, spelling, chat_timer, message, addon, media, inbox, outbox)
NOT_SENT = "The session changed its number before this message was sent."
_FAIL = Query(
    f"UPDATE outbox SET state = 'failed', message = ?, updated_at = holdfast_now(), {step('failed')} "  # noqa: S608
    f"WHERE session_name = ? AND {OPEN}"
)


def put(c: Connection, name: str, into: str, phone: str) -> None:
    """Move all conversations of `name`, which is `phone`'s (digits) from now on, to a new session `into`. The caller
    has checked the epoch.
    """
    at = now(c)
    before = c.execute(select(session.c.engine, session.c.me, session.c.state).where(session.c.name == name)).one()
    old = str(before.state.get("phone", ""))
    state = State(
        code="put_apart",
        message=f"Conversations of {mask(old)}, from before '{name}' changed its number.",
        since=at,
        phone=old,
    )
    values = {"name": into, "engine": before.engine, "config": {}, "desired": "stopped", "command": {}, "me": before.me}
    c.execute(insert(c, session).values(**values, state=state.to_json(), created_at=at, updated_at=at))
    c.execute(insert(c, session_epoch).values(session_name=into, epoch=0).on_conflict_do_nothing())
    _FAIL.run(c, NOT_SENT, tail(0, NOT_SENT), name)
    for table in _MOVED:
        c.execute(update(table).where(table.c.session_name == name).values(session_name=into))
    _renumber(c, name, phone)


def _renumber(c: Connection, name: str, phone: str) -> None:
    """The account goes with its session; a phone that is another account's stays that one's."""
    if c.dialect.name == "postgresql":
        c.exec_driver_sql("LOCK TABLE account IN SHARE ROW EXCLUSIVE MODE")
    theirs = c.execute(select(account.c.session_name).where(account.c.phone == phone)).first()
    mine = update(account).where(account.c.session_name == name, account.c.phone.is_not(None))
    c.execute(mine.values(phone=None if theirs else phone))
