"""The messages' half of `ports.gateway.Gateway`: accepted durably, awaited, read from the store."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

from holdfast.crash import point
from holdfast.domain import outbox
from holdfast.domain.errors import HeldElsewhere, HoldfastError, InvalidMessage, MessageNotFound, WrongStatus
from holdfast.domain.waha import from_waha_id
from holdfast.ports.gateway import SessionView
from holdfast.ports.store import ChatRow, ContactRow, Json, MessageRow, OutboxRow
from holdfast.runtime.views import Views

TEXT_LIMIT = 65_536
EXPIRES_AFTER = 86_400.0
PEER_TIMEOUT = 5.0
"""Seconds beyond its own wait that another instance may take to answer."""


class Conversations(Views):
    """See the port for outcomes and errors."""

    # --- messages -----------------------------------------------------------------------------------------------
    async def send(
        self,
        name: str,
        chat: str,
        content: Mapping[str, Any],
        *,
        id: str | None = None,
        idempotency_key: str | None = None,
        wait: float = 30.0,
    ) -> OutboxRow:
        """See the port."""
        view = await self.session(name)
        jid = from_waha_id(chat)
        _check_content(content)
        if not view.linked or view.status in ("STOPPED", "SCAN_QR_CODE"):
            raise WrongStatus(
                f"Session status is not as expected. {view.message}",
                session=view.name,
                status=view.status,
                expected=["WORKING"],
            )
        sender = self._sender_of(view.name)
        row, fresh = await self._store.enqueue(
            self._draft(view.name, jid, content, id, idempotency_key),
            _fingerprint(jid, content, id),
            epoch=sender.claim_epoch() if sender else None,
        )
        point("send.accepted")
        if sender is not None and fresh and row.state == "sending":
            return await self._answered(sender.fly(row), row, wait)
        if sender is not None:
            sender.wake()
            return await self._settled(view.name, row, wait)
        return await self._settled_elsewhere(view, row, wait)

    async def _settled_elsewhere(self, view: SessionView, row: OutboxRow, wait: float) -> OutboxRow:
        """The holder sends it and says so at once; should it not be reached, the store tells a little later."""
        if self._peers is not None and wait > 0 and view.owner not in (None, self.instance):
            holder = (await self._store.holders([view.name])).get(view.name)
            if holder is not None and holder.valid and holder.url:
                with contextlib.suppress(HoldfastError):
                    args = {"id": row.id, "wait": wait}
                    await self._peers.ask(holder, "settled", args, timeout=wait + PEER_TIMEOUT)
                    wait = 0.0
        return await self._settled(view.name, row, wait)

    async def settled(self, name: str, id: str, wait: float) -> str:
        """A peer stored a message for a session that we hold: send it, and say what became of it within `wait`."""
        if (sender := self._sender_of(name)) is None:
            raise HeldElsewhere
        sender.wake()
        row = await self.outgoing(name, id)
        return (await self._settled(name, row, wait)).state

    async def _answered(self, flight: asyncio.Future[OutboxRow | None], row: OutboxRow, wait: float) -> OutboxRow:
        """WhatsApp's answer to the first attempt; without one, whatever becomes of the row in the time that is left."""
        end = self._clock.boot() + wait
        done, _ = await asyncio.wait({flight}, timeout=wait)
        if done and (sent := flight.result()) is not None:
            return sent
        return await self._settled(row.session, row, max(0.0, end - self._clock.boot()))

    def _draft(self, name: str, jid: str, content: Mapping[str, Any], id: str | None, key: str | None) -> OutboxRow:
        now = self._clock.now()
        return OutboxRow(
            id=id or f"3EB0{self._clock.token(9).hex().upper()}",
            session=name,
            chat=jid,
            content=dict(content),
            state="queued",
            attempts=0,
            created_at=now,
            updated_at=now,
            expires_at=now + EXPIRES_AFTER,
            send_at=0.0,
            error=0,
            message="",
            idempotency_key=key,
        )

    async def _settled(self, name: str, row: OutboxRow, wait: float) -> OutboxRow:
        latest = row

        async def over() -> bool:
            nonlocal latest
            found = await self._store.outbox_get(name, row.id)
            latest = found or latest
            return latest.state in outbox.ACKNOWLEDGED or latest.state in outbox.FINAL

        await self._until(f"message:{name}:{row.id}", over, wait)
        return latest

    async def outgoing(self, name: str, id: str) -> OutboxRow:
        """See the port."""
        row = await self._store.outbox_get((await self._row(name)).name, id)
        if row is None:
            raise MessageNotFound(f"No message '{id}' was accepted for sending in this session.")
        return row

    async def chats(self, name: str, limit: int, offset: int) -> list[ChatRow]:
        """See the port."""
        return await self._store.chats((await self._row(name)).name, limit, offset)

    async def messages(
        self, name: str, chat: str | None, limit: int, offset: int, filters: Json | None = None
    ) -> list[MessageRow]:
        """See the port."""
        row = await self._row(name)
        return await self._store.messages(row.name, from_waha_id(chat) if chat else None, limit, offset, filters)

    async def message(self, name: str, id: str) -> MessageRow | None:
        """See the port."""
        return await self._store.message((await self._row(name)).name, id)

    async def contacts(self, name: str, limit: int, offset: int) -> list[ContactRow]:
        """See the port."""
        return await self._store.contacts((await self._row(name)).name, limit, offset)


def _fingerprint(jid: str, content: Mapping[str, Any], id: str | None) -> str:
    """What makes two requests under one Idempotency-Key the same."""
    return repr((jid, sorted(content.items(), key=lambda item: item[0]), id))


def _check_content(content: Mapping[str, Any]) -> None:
    text = content.get("text")
    if content.get("type", "text") != "text":
        return
    if not isinstance(text, str) or not text.strip():
        raise InvalidMessage("The text is empty.")
    if len(text) > TEXT_LIMIT:
        raise InvalidMessage(f"The text has {len(text):,} characters; WhatsApp takes at most {TEXT_LIMIT:,}.")
