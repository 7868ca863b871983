"""Makes messages from inbox rows: whatever was committed before a crash is found again at start (G3)."""

from __future__ import annotations

import asyncio
from collections import deque

import structlog

from holdfast.domain.errors import StaleEpoch, StoreUnavailable
from holdfast.domain.messages import interpret, merge
from holdfast.ports.clock import Clock
from holdfast.ports.store import Processed, Store
from holdfast.runtime.actor import Actor
from holdfast.runtime.hub import Hub

log = structlog.get_logger(__name__)

BATCH = 200
STORE_RETRY = 1.0


class Inbox:
    """One session's inbox; runs while its actor does."""

    def __init__(self, actor: Actor, store: Store, clock: Clock, hub: Hub) -> None:
        self._actor = actor
        self._store = store
        self._clock = clock
        self._hub = hub
        self._wake = asyncio.Event()
        self._learnt: deque[Processed] = deque()
        self._log = log.bind(session=actor.name)

    def wake(self) -> None:
        """Rows were stored."""
        self._wake.set()

    def learn(self, processed: Processed) -> None:
        """Store contacts, chats and mappings that WhatsApp told beside the messages."""
        self._learnt.append(processed)
        self._wake.set()

    async def run(self) -> None:
        """Turn rows into messages, the unprocessed ones of earlier holders first, until cancelled."""
        while True:
            self._wake.clear()
            try:
                more = await self._batch()
            except StaleEpoch:
                return
            except StoreUnavailable as error:
                self._log.error("inbox not readable", action="inbox", code=error.code)
                await self._clock.sleep(STORE_RETRY)
                continue
            if not more:
                await self._wake.wait()

    async def _batch(self) -> bool:
        while self._learnt:
            await self._store.apply_inbox(self._actor.name, self._actor.held.epoch, self._learnt[0])
            self._learnt.popleft()
        rows = await self._store.inbox_pending(self._actor.name, BATCH)
        if not rows:
            return False
        processed = merge([interpret(row, self._actor.me) for row in rows])
        events = await self._store.apply_inbox(self._actor.name, self._actor.held.epoch, processed)
        for _, message_id, _ in processed.acks:
            self._hub.message_settled(self._actor.name, message_id)
        if events:
            self._hub.events_appended(self._actor.name)
        return len(rows) == BATCH
