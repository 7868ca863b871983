"""Reads a session's chats and messages from WAHA, page by page: all of them once, and the newest now and then.

History is stored without telling anybody: it was there before. What came lately goes through the inbox, as if its
webhook had come; whatever is known already is one row.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any
from urllib.parse import quote

import structlog

from holdfast.domain import remote_messages as read
from holdfast.domain.errors import HoldfastError
from holdfast.domain.ignored_chats import NOTHING, IgnoredChats
from holdfast.engines.waha.client import WahaClient
from holdfast.engines.waha.options import WahaOptions
from holdfast.ports.store import Store

log = structlog.get_logger(__name__)

PAGES = 20
"""Pages of messages that are copied of one chat, at most: 1,000 messages."""
Json = dict[str, Any]


class History:
    """One session's pages. Errors are the client's."""

    def __init__(
        self, session: str, client: WahaClient, store: Store, options: WahaOptions, ignored: IgnoredChats = NOTHING
    ) -> None:
        """Nothing is copied of `ignored` chats."""
        self._session = session
        self._client = client
        self._store = store
        self._ignored = ignored
        self._chats, self._messages = options.chats_page, options.messages_page

    async def copy(self, epoch: int, phone: str) -> int:
        """Store all chats and their messages under `epoch`; how many messages there were. `phone`: our digits."""
        count = 0
        async for chats in self._chat_pages():
            await self._store.apply_inbox(self._session, epoch, self._ignored.kept(read.chats(chats)))
            for chat in (id_ for id_ in map(read.chat_id, chats) if id_ and not self._ignored.covers(id_)):
                async for messages in self._message_pages(chat):
                    told = read.history(messages, phone)
                    await self._store.apply_inbox(self._session, epoch, told)
                    count += len(told.messages)
        return count

    async def copy_what_can_be(self, epoch: int, phone: str) -> None:
        """The same before the session is deleted at WAHA, which often refuses it by then: what it does give is kept."""
        try:
            count = await self.copy(epoch, phone)
        except HoldfastError as error:
            log.info("no history to be had", session=self._session, action="history", code=error.code)
        else:
            log.info("history copied", session=self._session, action="history", count=count)

    async def lately(self, since: float) -> AsyncIterator[Json]:
        """Messages of chats in which something happened since, Unix seconds, oldest first in each chat."""
        for chat in await self._stirred(since):
            query = {"limit": self._messages, "filter.timestamp.gte": int(since), "downloadMedia": False}
            found = await self._client.get(self._path(chat), query)
            for message in sorted(_maps(found), key=lambda one: float(one.get("timestamp") or 0)):
                yield message

    async def _stirred(self, since: float) -> list[str]:
        """Ids of chats, the newest page of them."""
        path = f"/api/{quote(self._session)}/chats/overview"
        found = _maps(await self._client.get(path, {"limit": self._chats, "offset": 0}))
        return [
            read.chat_id(chat)
            for chat in found
            if read.chat_id(chat) and float((chat.get("lastMessage") or {}).get("timestamp") or 0) >= since
        ]

    async def message(self, chat: str, id: str) -> Json | None:
        """One message by its id, WAHA's serialized one."""
        found = await self._client.get(f"{self._path(chat)}/{quote(id, safe='@')}", {"downloadMedia": False})
        return found if isinstance(found, dict) else None

    async def own_lately(self, chat: str) -> list[Json]:
        """The newest messages that we wrote in a chat, newest first."""
        query = {"limit": self._messages, "filter.fromMe": True, "downloadMedia": False}
        found = _maps(await self._client.get(self._path(chat), query))
        return [one for one in found if one.get("fromMe")]

    def _path(self, chat: str) -> str:
        return f"/api/{quote(self._session)}/chats/{quote(chat, safe='@')}/messages"

    async def _chat_pages(self) -> AsyncIterator[list[Json]]:
        path, offset = f"/api/{quote(self._session)}/chats/overview", 0
        while page := _maps(await self._client.get(path, {"limit": self._chats, "offset": offset})):
            yield page
            offset += len(page)
            if len(page) < self._chats:
                return

    async def _message_pages(self, chat: str) -> AsyncIterator[list[Json]]:
        for number in range(PAGES):
            query = {"limit": self._messages, "offset": number * self._messages, "downloadMedia": False}
            page = _maps(await self._client.get(self._path(chat), query))
            if page:
                yield page
            if len(page) < self._messages:
                return


def _maps(found: object) -> list[Json]:
    """What is a map in an answer that should be a list of them."""
    items: Iterable[object] = found if isinstance(found, list) else ()
    return [dict(one) for one in items if isinstance(one, Mapping)]
