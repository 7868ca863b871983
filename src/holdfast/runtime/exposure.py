"""Who reaches the API, remembered: what was noticed once counts for later starts and for other instances too."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from urllib.parse import urlsplit

import structlog

from holdfast.domain.errors import StoreUnavailable
from holdfast.domain.receivers import Exposure, is_local_host
from holdfast.domain.rows import Peer
from holdfast.ports.store import Store

log = structlog.get_logger(__name__)

KEY = "api_reached"
"""The store's fact: how it was known that others than this machine reach the API."""


class Exposed:
    """Keeps an `Exposure` true."""

    def __init__(self, store: Store, exposure: Exposure, instance: str) -> None:
        self._store, self._exposure, self._instance = store, exposure, instance
        self._tasks: set[asyncio.Task[None]] = set()

    async def load(self) -> None:
        """Take over what was noticed before. Raises `StoreUnavailable`."""
        if self._exposure.local:
            self._exposure.why = await self._store.setting(KEY) or ""

    def reached(self, why: str) -> None:
        """Somebody beyond this machine reached the API."""
        self._exposure.why = why
        log.warning("private addresses are closed to sessions", action="reach", code="closed", reason=why)
        task = asyncio.create_task(self._remember(why))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _remember(self, why: str) -> None:
        try:
            await self._store.put_setting(KEY, why, only_if_absent=True)
        except StoreUnavailable as error:
            log.warning("exposure of the API not stored", action="reach", code=error.code)

    def look_at(self, peers: Iterable[Peer]) -> None:
        """An instance on another machine is reached from there, and sets webhooks that this one delivers."""
        others = [peer for peer in peers if peer.id != self._instance and peer.url]
        if self._exposure.local and any(not is_local_host(urlsplit(peer.url).netloc) for peer in others):
            self.reached("another instance on the database runs on another machine")
