"""Files of messages: what is to be fetched, kept and deleted. The files themselves lie elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, and_, delete, exists, func, select, update

from holdfast.domain.media import MediaRow, State
from holdfast.domain.rows import MessageRow
from holdfast.store.base import Part
from holdfast.store.schema import IS_OPEN, db_now, media, outbox
from holdfast.store.sql import insert, now

_M = media.c
_COLUMNS = (
    _M.name, _M.session_name, _M.message_id, _M.chat, _M.sender, _M.from_me, _M.state, _M.source, _M.mimetype,
    _M.filename, _M.size, _M.attempts, _M.problem,
)  # fmt: skip
STAGED_FOR = 3600.0
"""Seconds that a file may lie there before its message was accepted, or after it was sent."""


def _row(found: Any) -> MediaRow:
    name, session, message_id, chat, sender, from_me, state, source, *rest = found
    return MediaRow(name, session, message_id, chat, sender, bool(from_me), state, bytes(source), *rest)


def expect(c: Connection, session: str, row: MessageRow) -> None:
    """A message was stored; if it has a file, that is to be fetched."""
    facts = row.body.get("media") or {}
    if not facts.get("file") or not row.raw:
        return
    _add(
        c,
        MediaRow(
            name=facts["file"],
            session=session,
            message_id=row.id,
            chat=row.chat,
            sender=row.sender,
            from_me=row.from_me,
            state="awaited",
            source=row.raw,
            mimetype=str(facts.get("mimetype") or ""),
            filename=str(facts.get("filename") or ""),
            size=int(facts.get("size") or 0),
        ),
    )


def _add(c: Connection, row: MediaRow) -> None:
    c.execute(
        insert(c, media)
        .values(
            session_name=row.session, name=row.name, message_id=row.message_id, chat=row.chat, sender=row.sender,
            from_me=row.from_me, state=row.state, source=row.source, mimetype=row.mimetype, filename=row.filename,
            size=row.size, attempts=0, next_at=0.0, problem=row.problem, created_at=db_now(), updated_at=db_now(),
        )
        .on_conflict_do_nothing()
    )  # fmt: skip


def get(c: Connection, name: str) -> MediaRow | None:
    """By name."""
    found = c.execute(select(*_COLUMNS).where(_M.name == name)).first()
    return None if found is None else _row(found)


def awaited(c: Connection, session: str, limit: int) -> tuple[list[MediaRow], float | None]:
    """See `ports.media.MediaStore.media_awaited`."""
    waiting = and_(_M.session_name == session, _M.state == "awaited")
    at = select(db_now()).scalar_subquery()  # once, so that the index is used
    in_order = select(*_COLUMNS).where(waiting, _M.next_at <= at).order_by(_M.next_at, _M.seq)
    due = c.execute(in_order.limit(limit)).all()
    later = c.execute(select(func.min(_M.next_at)).where(waiting, _M.next_at > at)).scalar()
    return [_row(found) for found in due], None if later is None else max(0.0, later - now(c))


def settle(c: Connection, name: str, state: State, *, size: int, problem: str, retry_in: float, tries: int) -> None:
    """See `ports.media.MediaStore.media_settle`. What was dropped meanwhile stays dropped."""
    values: dict[str, Any] = {
        "state": state, "problem": problem, "attempts": _M.attempts + tries, "next_at": db_now() + retry_in,
        "updated_at": db_now(),
    }  # fmt: skip
    if state == "kept":
        values |= {"size": size, "source": b""}
    c.execute(update(media).where(_M.name == name, _M.state == "awaited").values(**values))


def drop(c: Connection, *which: Any) -> None:
    """Nobody needs these files any more."""
    c.execute(update(media).where(*which).values(state="dropped", source=b"", updated_at=db_now()))


def drop_all(c: Connection, session: str) -> None:
    """The session is deleted. Its rows go when their files are gone."""
    drop(c, _M.session_name == session)


def stale(c: Connection, keep: float, limit: int) -> list[str]:
    """See `ports.media.MediaStore.media_stale`."""
    at = select(db_now()).scalar_subquery()
    waits = exists().where(outbox.c.session_name == _M.session_name, outbox.c.id == _M.message_id, IS_OPEN)
    kinds = (
        (_M.state == "dropped",),
        (_M.state == "kept", _M.updated_at <= at - keep),
        (_M.state == "lost", _M.updated_at <= at - keep),
        (_M.state == "staged", _M.updated_at <= at - STAGED_FOR, ~waits),
    )
    found: list[str] = []
    for which in kinds:  # each by the index of states and ages
        some = select(_M.name).where(*which).order_by(_M.updated_at).limit(limit - len(found))
        found += c.execute(some).scalars()
    return found


class MediaPart(Part):
    """See `ports.media`."""

    async def media_stage(self, row: MediaRow) -> None:
        """See the port."""
        await self._write(lambda c: _add(c, row), brief=True)

    async def media(self, name: str) -> MediaRow | None:
        """See the port."""
        return await self._read(lambda c: get(c, name), brief=True)

    async def media_awaited(self, session: str, limit: int) -> tuple[list[MediaRow], float | None]:
        """See the port."""
        return await self._read(lambda c: awaited(c, session, limit), brief=True)

    async def media_settle(
        self,
        name: str,
        state: State,
        *,
        size: int = 0,
        problem: str = "",
        retry_in: float = 0.0,
        counted: bool = True,
    ) -> None:
        """See the port."""
        facts: dict[str, Any] = {"size": size, "problem": problem, "retry_in": retry_in, "tries": int(counted)}
        await self._write(lambda c: settle(c, name, state, **facts), brief=True)

    async def media_drop(self, name: str) -> None:
        """See the port."""
        await self._write(lambda c: drop(c, _M.name == name), brief=True)

    async def media_stale(self, keep: float, limit: int) -> list[str]:
        """See the port."""
        return await self._read(lambda c: stale(c, keep, limit))

    async def media_forget(self, names: Sequence[str]) -> None:
        """See the port."""
        gone = list(names)
        await self._write(lambda c: c.execute(delete(media).where(_M.name.in_(gone))).close())
