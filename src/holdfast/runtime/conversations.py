"""What the store holds of conversations: the reading half of the messages in `ports.gateway.Gateway`."""

from __future__ import annotations

from holdfast.domain.waha import from_waha_id
from holdfast.ports.store import ChatRow, ContactRow, Json, MessageRow
from holdfast.runtime.history import History
from holdfast.runtime.sending import Sending


class Conversations(Sending, History):
    """See the port for outcomes and errors."""

    async def chats(self, name: str, limit: int, offset: int) -> list[ChatRow]:
        """See the port."""
        return await self._store.chats((await self._row(name)).name, limit, offset)

    async def messages(
        self, name: str, chat: str | None, limit: int, offset: int, filters: Json | None = None
    ) -> list[MessageRow]:
        """See the port."""
        row = await self._row(name)
        address = await self._store.address_of(row.name, from_waha_id(chat)) if chat else None
        return await self._store.messages(row.name, address, limit, offset, filters)

    async def message(self, name: str, id: str) -> MessageRow | None:
        """See the port."""
        return await self._store.message((await self._row(name)).name, id)

    async def contacts(self, name: str, limit: int, offset: int) -> list[ContactRow]:
        """See the port."""
        return await self._store.contacts((await self._row(name)).name, limit, offset)
