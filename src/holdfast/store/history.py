"""The history as a whole: searched by words, and read in order. Meanings stand in `ports.history`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Select, and_, func, select, text

from holdfast.domain.rows import AddonRow, ChatRow, InboxRow, Json, MessageRow
from holdfast.ports.history import Found
from holdfast.store import inbox, people
from holdfast.store.base import Part
from holdfast.store.messages import COLUMNS, row_of
from holdfast.store.schema import TSVECTOR, addon, chat, contact, message

_M, _A = message.c, addon.c
LOOKED_AT = 4
"""Stanzas that are looked at for each that is asked for: most of them were read long ago."""
_LITE = text("message.seq IN (SELECT rowid FROM message_words WHERE message_words MATCH :words)")
_POSTGRES = text(f"{TSVECTOR.replace('(text,', '(message.text,')} @@ to_tsquery('simple', :words)")


def _matching(c: Connection, words: Sequence[str]) -> Any:
    """Every word as the beginning of one; words hold no ASCII marks, so that quoting them is enough."""
    if c.dialect.name == "sqlite":
        return _LITE.bindparams(words=" ".join(f'"{word}"*' for word in words))
    return _POSTGRES.bindparams(words=" & ".join(_spellings(word) for word in words))


def _spellings(word: str) -> str:
    """A database in the locale C knows the small letters of ASCII only: then these find what they can."""
    forms = [word] if word.isascii() else sorted({word, word.lower(), word.upper(), word.capitalize()})
    return "(" + " | ".join(f"'{form}':*" for form in forms) + ")"


def search(
    c: Connection, words: Sequence[str], place: tuple[int, int], session: str | None, filters: Json
) -> list[Found]:
    """See the port."""
    named = func.coalesce(func.nullif(chat.c.name, ""), func.nullif(contact.c.name, ""), contact.c.push_name, "")
    rows = (
        select(_M.session_name, named, *COLUMNS)
        .outerjoin(chat, and_(chat.c.session_name == _M.session_name, chat.c.id == _M.chat))
        .outerjoin(contact, and_(contact.c.session_name == _M.session_name, contact.c.id == _M.chat))
        .where(_matching(c, words))
    )
    ordered = _narrowed(c, rows, session, filters).order_by(_M.timestamp.desc(), _M.seq.desc())
    found = c.execute(ordered.limit(place[0]).offset(place[1])).all()
    return [Found(one[0], people.readable(c, one[0], [row_of(one[2:])])[0], one[1]) for one in found]


def _narrowed(c: Connection, rows: Select[Any], session: str | None, filters: Json) -> Select[Any]:
    if session is not None:
        rows = rows.where(_M.session_name == session)
    if asked := filters.get("chat"):
        known = asked if session is None else people.resolve(c, session, [asked])[asked]
        rows = rows.where(_M.chat == known)
    if filters.get("from_me") is not None:
        rows = rows.where(_M.from_me.is_(bool(filters["from_me"])))
    if filters.get("since") is not None:
        rows = rows.where(_M.timestamp >= float(filters["since"]))
    if filters.get("until") is not None:
        rows = rows.where(_M.timestamp <= float(filters["until"]))
    return rows


def counts(c: Connection, name: str) -> dict[str, int]:
    """See the port."""
    tables = {"contacts": contact, "chats": chat, "messages": message, "addons": addon}
    return {
        what: c.execute(select(func.count()).select_from(table).where(table.c.session_name == name)).scalar_one()
        for what, table in tables.items()
    }


def chats_after(c: Connection, name: str, after: str, limit: int) -> list[ChatRow]:
    """See the port."""
    k = chat.c
    rows = select(k.id, k.name, k.timestamp, k.unread).where(k.session_name == name, k.id > after)
    return [ChatRow(*found) for found in c.execute(rows.order_by(k.id).limit(limit))]


def messages_after(c: Connection, name: str, after: int, limit: int) -> list[tuple[int, MessageRow]]:
    """See the port."""
    rows = select(_M.seq, *COLUMNS).where(_M.session_name == name, _M.seq > after).order_by(_M.seq).limit(limit)
    found = c.execute(rows).all()
    seqs = [one[0] for one in found]
    return list(zip(seqs, people.readable(c, name, [row_of(one[1:]) for one in found]), strict=True))


def addons_after(c: Connection, name: str, after: int, limit: int) -> list[tuple[int, AddonRow]]:
    """See the port."""
    columns = (_A.chat, _A.target, _A.kind, _A.sender, _A.from_me, _A.id, _A.timestamp, _A.text, _A.body)
    rows = select(_A.seq, *columns).where(_A.session_name == name, _A.seq > after).order_by(_A.seq).limit(limit)
    return [(seq, AddonRow(*rest)) for seq, *rest in c.execute(rows)]


def unread(c: Connection, name: str, limit: int) -> list[InboxRow]:
    """See the port."""
    found = inbox.unread(c, name, LOOKED_AT * limit)
    ids = [row.attrs.get("id", "") for row, _ in found]
    still = set(c.execute(select(_M.id).where(_M.session_name == name, _M.id.in_(ids), _M.kind == "waiting")).scalars())
    return [row for row, new in found if new or row.attrs.get("id") in still][:limit]


class HistoryPart(Part):
    """See `ports.history`."""

    async def unread(self, name: str, limit: int) -> list[InboxRow]:
        """See the port."""
        return await self._read(lambda c: unread(c, name, limit), brief=True)

    async def search(
        self, words: Sequence[str], limit: int, offset: int, *, session: str | None = None, filters: Json | None = None
    ) -> list[Found]:
        """See the port."""
        return await self._read(lambda c: search(c, words, (limit, offset), session, filters or {}))

    async def history_counts(self, name: str) -> dict[str, int]:
        """See the port."""
        return await self._read(lambda c: counts(c, name))

    async def chats_after(self, name: str, after: str, limit: int) -> list[ChatRow]:
        """See the port."""
        return await self._read(lambda c: chats_after(c, name, after, limit))

    async def messages_after(self, name: str, after: int, limit: int) -> list[tuple[int, MessageRow]]:
        """See the port."""
        return await self._read(lambda c: messages_after(c, name, after, limit))

    async def addons_after(self, name: str, after: int, limit: int) -> list[tuple[int, AddonRow]]:
        """See the port."""
        return await self._read(lambda c: addons_after(c, name, after, limit))
