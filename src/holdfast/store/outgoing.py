"""The outbox of `SqlStore`. The meaning of each method stands in `ports.outbox`."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from holdfast.domain.caps import Caps, Lately
from holdfast.domain.outbox import Step
from holdfast.domain.rows import MessageRow, NewEvent, OutboxRow, Waiting
from holdfast.domain.timers import ChatTimer
from holdfast.store import messages, outbox, spellings, timers, waiting
from holdfast.store.base import Part


class OutboxPart(Part):
    """See the port."""

    async def enqueue(self, row: OutboxRow, fingerprint: str, *, epoch: int | None = None) -> tuple[OutboxRow, bool]:
        """See the port."""
        return await self._write(lambda c: outbox.enqueue(c, row, fingerprint, epoch), brief=True)

    async def accepted(self, name: str, key: str, fingerprint: str) -> OutboxRow | None:
        """See the port."""
        return await self._read(lambda c: outbox.accepted(c, name, key, fingerprint), brief=True)

    async def claim_outbox(
        self,
        name: str,
        epoch: int,
        limit: int,
        *,
        known_only: bool = False,
        strangers_only: bool = False,
        new_chats: bool = True,
        paced: bool = False,
        flying: Collection[str] | None = None,
    ) -> list[OutboxRow]:
        """See the port. Mostly nothing is due: then a look at it is all, and no writer waits."""
        who: outbox.Who = "strangers" if strangers_only else "known" if known_only else "all"
        which = outbox.Which(who, new_chats, paced, None if flying is None else list(flying))
        if flying is None and not await self._read(
            lambda c: outbox.is_worth_claiming(c, name, epoch, which), brief=True
        ):
            return []
        more = True
        while more:  # one transaction takes a bounded part
            rows, more = await self._write(lambda c: outbox.claim(c, name, epoch, limit, which), brief=True)
            if rows:
                return rows
        return []

    async def settle_outbox(
        self,
        name: str,
        epoch: int,
        id: str,
        state: str,
        *,
        error: int = 0,
        message: str = "",
        retry_at: float | None = None,
        in_doubt: bool = False,
        events: Sequence[NewEvent] = (),
        sent: MessageRow | None = None,
    ) -> OutboxRow | None:
        """See the port."""
        facts = outbox.Settlement(state, error, message, retry_at, events, sent, in_doubt)
        row = await self._write(lambda c: outbox.settle(c, name, epoch, id, facts, new_id=self._new_id), brief=True)
        self._tell("message", name, id)
        if events:
            self._tell("events", name)
        return row

    async def readdress_outbox(self, name: str, epoch: int, id: str, address: str, retry_at: float) -> None:
        """See the port."""
        await self._write(lambda c: spellings.readdress(c, name, epoch, id, address, retry_at=retry_at), brief=True)

    async def address_of(self, name: str, chat: str) -> str:
        """See the port."""
        return await self._read(lambda c: spellings.address(c, name, chat), brief=True)

    async def mark_seen(self, name: str, chat: str, ids: Sequence[str]) -> None:
        """See the port."""
        await self._write(lambda c: messages.seen(c, name, chat, ids), brief=True)

    async def chat_timers(self, name: str) -> list[ChatTimer]:
        """See the port."""
        return await self._read(lambda c: timers.running(c, name))

    async def expire_outbox(self) -> list[tuple[str, str]]:
        """See the port."""
        ended = []
        while overdue := await self._read(waiting.overdue, brief=True):
            found = [(name, id_) for name, seqs in overdue.items() for id_ in await self._expire(name, seqs)]
            ended += found
            if not found:  # others were faster
                break
        return ended

    async def _expire(self, name: str, seqs: Sequence[int]) -> list[str]:
        ids = await self._write(lambda c: waiting.expire(c, name, seqs, self._new_id), brief=True)
        if ids:
            self._tell("message", name, *ids)
            self._tell("events", name)
        return ids

    async def cancel_outbox(self, name: str, id: str) -> OutboxRow:
        """See the port."""
        row = await self._write(lambda c: waiting.cancel(c, name, id, self._new_id))
        self._tell("message", name, id)
        self._tell("events", name)
        return row

    async def outbox_listing(
        self, name: str, states: Collection[str], limit: int, before: int | None = None, *, id: str | None = None
    ) -> list[Waiting]:
        """See the port."""
        return await self._read(lambda c: waiting.listing(c, name, states, limit, earlier=before, id_=id))

    async def outbox_story(self, name: str, id: str) -> list[Step]:
        """See the port."""
        return await self._read(lambda c: waiting.story(c, name, id), brief=True)

    async def outbox_lately(self, name: str, caps: Caps) -> Lately:
        """See the port."""
        return await self._read(lambda c: waiting.lately(c, name, caps), brief=True)

    async def outbox_get(self, name: str, id: str) -> OutboxRow | None:
        """See the port."""
        return await self._read(lambda c: outbox.get(c, name, id), brief=True)

    async def outbox_counts(self, name: str) -> dict[str, int]:
        """See the port."""
        return await self._read(lambda c: outbox.counts(c, name))
