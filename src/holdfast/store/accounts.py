"""Accounts: whose a session is. One company, one user and one phone number have one session each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, or_, select, update

from holdfast.domain.accounts import AccountRow, merged
from holdfast.domain.errors import AccountTaken
from holdfast.domain.rows import SessionRow
from holdfast.domain.state import State
from holdfast.store import sessions
from holdfast.store.schema import account, session
from holdfast.store.sql import insert

_ROW = select(account.c.session_name, account.c.company_id, account.c.user_id, account.c.phone, account.c.name)


def find(c: Connection, asked: AccountRow) -> AccountRow | None:
    """The account with one of these: the session if given, else the phone, else the company, else the user."""
    for holds in _meant(asked):
        found: Any = c.execute(_ROW.join(session, session.c.name == account.c.session_name).where(holds)).first()
        if found is not None:
            return AccountRow(*found)
    return None


def _meant(asked: AccountRow) -> list[ColumnElement[bool]]:
    ways: list[ColumnElement[bool]] = []
    if asked.session:
        ways.append(account.c.session_name == asked.session)
    if asked.phone:
        unsaid = and_(account.c.phone.is_(None), session.c.me["phone"].as_string() == asked.phone)
        ways.append(or_(account.c.phone == asked.phone, unsaid))
    if asked.company_id:
        ways.append(account.c.company_id == asked.company_id)
    if asked.user_id:
        ways.append(account.c.user_id == asked.user_id)
    return ways


def every(c: Connection) -> list[AccountRow]:
    """All, by session."""
    found: Any = c.execute(_ROW.order_by(account.c.session_name))
    return [AccountRow(*line) for line in found]


def linked(c: Connection, phone: str) -> list[str]:
    """The sessions that are or were linked to a phone, by name."""
    rows = select(session.c.name).where(session.c.me["phone"].as_string() == phone).order_by(session.c.name)
    return list(c.execute(rows).scalars())


def save(c: Connection, asked: AccountRow, engine: str, aliases: Sequence[str]) -> tuple[AccountRow, bool]:
    """See `ports.store.Store.save_account`. One at a time, so that of two who ask for the same one sees the other's."""
    if c.dialect.name == "postgresql":
        c.exec_driver_sql("LOCK TABLE account IN SHARE ROW EXCLUSIVE MODE")
    row = sessions.get(c, asked.session)
    fresh = row is None
    row = row or _made(c, asked, engine)
    known = find(c, AccountRow(row.name)) or AccountRow(row.name)
    said = AccountRow(row.name, phone=known.phone or State.from_json(row.state).phone or None)
    saved = merged(merged(known, said), asked)
    _none_other(c, saved)
    columns = {column.name: value for column, value in zip(account.c, astuple(saved), strict=True)}
    write = insert(c, account).values(columns)
    c.execute(write.on_conflict_do_update(index_elements=["session_name"], set_=columns))
    for alias in aliases:
        sessions.add_alias(c, alias, row.name)
    return saved, fresh


def _made(c: Connection, asked: AccountRow, engine: str) -> SessionRow:
    """A new session, not started; it may be linked with the account's phone only."""
    row = sessions.create(c, asked.session, engine, {}, "stopped")
    if asked.phone:
        state = State(phone=asked.phone, since=row.created_at)
        values = {"state": state.to_json(), "phase": str(state.phase)}
        c.execute(update(session).where(session.c.name == row.name).values(values))
    return row


def _none_other(c: Connection, saved: AccountRow) -> None:
    for what, one in (
        ("phone number", AccountRow("", phone=saved.phone)),
        ("company", AccountRow("", company_id=saved.company_id)),
        ("user", AccountRow("", user_id=saved.user_id)),
    ):
        other = find(c, one)
        if other is not None and other.session != saved.session:
            raise AccountTaken(
                f"The {what} has an account already: '{other.session}'. Use that one, or delete it first."
            )
