"""The history as a whole: searched, and exported as it lies in the store, whatever the connection does."""

from __future__ import annotations

from collections.abc import AsyncIterator

from holdfast.domain import history
from holdfast.domain.errors import SessionNotFound
from holdfast.domain.waha import from_waha_id
from holdfast.ports.history import Found
from holdfast.ports.store import Json, Store
from holdfast.runtime.views import Views

PAGE = 500


class History(Views):
    """The history's part of `ports.gateway.Gateway`."""

    async def search(
        self, asked: str, limit: int, offset: int, *, session: str | None = None, filters: Json | None = None
    ) -> list[Found]:
        """See the port."""
        name = None if session is None else (await self._row(session)).name
        wanted = dict(filters or {})
        if wanted.get("chat"):
            wanted["chat"] = from_waha_id(str(wanted["chat"]))
        return await self._store.search(history.words_of(asked), limit, offset, session=name, filters=wanted)

    async def export(self, name: str) -> AsyncIterator[Json]:
        """See the port."""
        return await exported(self._store, name)


async def exported(store: Store, name: str) -> AsyncIterator[Json]:
    """A session's history, line by line. Raises `SessionNotFound` before the first."""
    row = await store.session(name)
    if row is None:
        raise SessionNotFound(f"There is no session '{name}'.")
    first = history.head(row.name, row.me, await store.now(), await store.history_counts(row.name))
    return _lines(store, row.name, first)


async def _lines(store: Store, name: str, first: Json) -> AsyncIterator[Json]:
    lines = 0
    async for line in _all(store, name, first):
        lines += 1
        yield line
    yield history.end(lines)


async def _all(store: Store, name: str, first: Json) -> AsyncIterator[Json]:
    """A page at a time, so that a long history neither fills the memory nor holds up the store."""
    yield first
    offset = 0
    while contacts := await store.contacts(name, PAGE, offset):
        for one in contacts:
            yield history.contact(one)
        offset += PAGE
    after = ""
    while chats := await store.chats_after(name, after, PAGE):
        for chat in chats:
            yield history.chat(chat)
        after = chats[-1].id
    seq = 0
    while messages := await store.messages_after(name, seq, PAGE):
        for _, message in messages:
            yield history.message(message)
        seq = messages[-1][0]
    seq = 0
    while addons := await store.addons_after(name, seq, PAGE):
        for _, addon in addons:
            yield history.addon(addon)
        seq = addons[-1][0]
