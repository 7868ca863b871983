"""The outbox of `SqlStore`. The meaning of each method stands in `ports.outbox`."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from holdfast.domain.rows import MessageRow, NewEvent, OutboxRow
from holdfast.store import outbox
from holdfast.store.base import Part


class OutboxPart(Part):
    """See the port."""

    async def enqueue(self, row: OutboxRow, fingerprint: str, *, epoch: int | None = None) -> tuple[OutboxRow, bool]:
        """See the port."""
        return await self._write(lambda c: outbox.enqueue(c, row, fingerprint, epoch), brief=True)

    async def claim_outbox(
        self, name: str, epoch: int, limit: int, *, known_only: bool = False, flying: Collection[str] | None = None
    ) -> list[OutboxRow]:
        """See the port."""
        ours = None if flying is None else list(flying)
        return await self._write(
            lambda c: outbox.claim(c, name, epoch, limit, known_only=known_only, flying=ours), brief=True
        )

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
        events: Sequence[NewEvent] = (),
        sent: MessageRow | None = None,
    ) -> OutboxRow | None:
        """See the port."""
        facts = outbox.Settlement(state, error, message, retry_at, events, sent)
        row = await self._write(lambda c: outbox.settle(c, name, epoch, id, facts, new_id=self._new_id), brief=True)
        self._tell("message", name, id)
        if events:
            self._tell("events", name)
        return row

    async def outbox_get(self, name: str, id: str) -> OutboxRow | None:
        """See the port."""
        return await self._read(lambda c: outbox.get(c, name, id), brief=True)

    async def outbox_counts(self, name: str) -> dict[str, int]:
        """See the port."""
        return await self._read(lambda c: outbox.counts(c, name))
