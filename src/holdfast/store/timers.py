"""Timers of disappearing messages, by chat: the newest setting counts, whichever comes last."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from holdfast.domain.timers import ChatTimer
from holdfast.store import people
from holdfast.store.sql import Query

_PUT = Query(
    "INSERT INTO chat_timer (session_name, chat, seconds, since) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (session_name, chat) DO UPDATE SET seconds = excluded.seconds, since = excluded.since "
    "WHERE excluded.since >= chat_timer.since"
)
_TAKE = Query("DELETE FROM chat_timer WHERE session_name = ? AND chat = ? RETURNING seconds, since")
_ALL = Query("SELECT chat, seconds, since FROM chat_timer WHERE session_name = ? AND seconds > 0")


def put(c: Connection, name: str, timers: Sequence[ChatTimer]) -> None:
    """Remember what was set."""
    known = people.resolve(c, name, [timer.chat for timer in timers]) if timers else {}
    for timer in timers:
        _PUT.run(c, name, known[timer.chat], timer.seconds, timer.since)


def merge(c: Connection, name: str, lid: str, pn: str) -> None:
    """One person's two addresses became known as such."""
    for seconds, since in _TAKE.all(c, name, lid):
        _PUT.run(c, name, pn, seconds, since)


def running(c: Connection, name: str) -> list[ChatTimer]:
    """Those that are on."""
    return [ChatTimer(str(chat), int(seconds), float(since)) for chat, seconds, since in _ALL.all(c, name)]
