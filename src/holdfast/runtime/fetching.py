"""Fetches the files of received messages: what was not fetched before a crash is found again at start."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import structlog

from holdfast.crash import point
from holdfast.domain.errors import CallFailed, HoldfastError, MediaGone, MediaTooLarge, NotConnected, StoreUnavailable
from holdfast.domain.media import MediaRow
from holdfast.domain.pacing import backoff
from holdfast.domain.state import Phase
from holdfast.ports.clock import Clock
from holdfast.ports.store import Store
from holdfast.runtime.actor import Actor
from holdfast.runtime.hub import Hub
from holdfast.runtime.media import Media

log = structlog.get_logger(__name__)

PARALLEL = 4
FIRST, CAP = 5.0, 3600.0
"""Seconds between tries, growing."""
TRIES = 12
OFFLINE = 5.0
"""Seconds until a session without a connection is looked at again."""
REST = 300.0


class Fetcher:
    """One session's; runs while its actor does. `wake` whenever a message with a file may have come."""

    def __init__(
        self, actor: Actor, store: Store, clock: Clock, hub: Hub, media: Media, *, waiting: bool = True
    ) -> None:
        """`waiting`: whether there may be files to fetch already."""
        self._actor = actor
        self._store = store
        self._clock = clock
        self._hub = hub
        self._media = media
        self._offline = OFFLINE * media.settings.factor
        self._wake = asyncio.Event()
        self._waiting = waiting
        self._log = log.bind(session=actor.name)

    def wake(self) -> None:
        """Look now."""
        self._wake.set()

    async def run(self) -> None:
        """Fetch until cancelled."""
        if not self._waiting:
            await self._rest(REST)
        while True:
            self._wake.clear()
            try:
                rest = await self._round()
            except StoreUnavailable as error:
                self._log.error("files to fetch cannot be read", action="media", code=error.code)
                rest = self._offline
            await self._rest(rest)

    async def _round(self) -> float:
        """Everything that is due, a few beside each other; seconds until there is something to do again."""
        ready = self._ready()
        rows, later = await self._store.media_awaited(self._actor.name, PARALLEL if ready else 1)
        if not rows:
            return REST if later is None else later
        if not ready:
            return self._offline
        async with asyncio.TaskGroup() as group:
            for row in rows:
                group.create_task(self._fetch(row))
        return 0.0

    def _ready(self) -> bool:
        state = self._actor.state
        return state.phase is Phase.WORKING and state.live and self._actor.may_act()

    async def _rest(self, seconds: float) -> None:
        waiting = asyncio.create_task(self._wake.wait())
        idling = asyncio.create_task(self._clock.sleep(min(seconds, REST)))
        try:
            await asyncio.wait({waiting, idling}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            idling.cancel()

    # --- one file -----------------------------------------------------------------------------------------------
    async def _fetch(self, row: MediaRow) -> None:
        path = self._media.files.room() / f"{self._clock.token(6).hex()}-{row.name}"
        try:
            await self._settle(row, path)
        except HoldfastError as error:
            self._log.error("a fetched file cannot be kept", action="media", code=error.code)
            await self._clock.sleep(self._offline)
        finally:
            for left in (path, path.with_name(f"{path.name}.part")):
                with contextlib.suppress(OSError):
                    await asyncio.to_thread(left.unlink, missing_ok=True)
        self._hub.file_settled(row.name)

    async def _settle(self, row: MediaRow, path: Path) -> None:
        """Raises `StoreUnavailable`, `MediaUnavailable`: then the row is as it was."""
        try:
            self._media.check_size(row.size)
            point("file.fetching")
            size = await self._download(row, path)
            point("file.fetched")
        except NotConnected:
            await self._store.media_settle(row.name, "awaited", retry_in=self._offline, counted=False)
        except (MediaGone, MediaTooLarge) as error:
            await self._store.media_settle(row.name, "lost", problem=error.sentence)
        except HoldfastError as error:
            await self._again(row, error)
        except Exception as error:  # a mistake of ours with one file: it must not keep the others waiting
            self._log.error("a file cannot be fetched", action="media", code="bug", exc_info=error)
            await self._again(row, CallFailed("Holdfast made a mistake with this file; its log says more."))
        else:
            await self._media.files.put(row.name, path)
            point("file.filed")
            await self._store.media_settle(row.name, "kept", size=size)
            point("file.settled")

    async def _download(self, row: MediaRow, path: Path) -> int:
        args = {
            "message": row.source, "path": str(path), "chat": row.chat, "id": row.message_id,
            "from_me": row.from_me, "participant": row.sender if row.chat.endswith("@g.us") else None,
            "limit": self._media.settings.limit,
        }  # fmt: skip
        answer = await self._actor.engine.call(self._actor.name, self._actor.state.connection, "download_media", args)
        return int(answer["size"])

    async def _again(self, row: MediaRow, error: HoldfastError) -> None:
        if row.attempts + 1 >= TRIES:
            self._log.warning("a file was not to be had", action="media", code=error.code)
            await self._store.media_settle(row.name, "lost", problem=error.sentence)
            return
        delay = backoff(row.attempts + 1, self._clock.random(), first=FIRST, cap=CAP) * self._media.settings.factor
        await self._store.media_settle(row.name, "awaited", problem=error.sentence, retry_in=delay)
