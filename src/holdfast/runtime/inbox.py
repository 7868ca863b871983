"""Makes messages from inbox rows: whatever was committed before a crash is found again at start (G3).

A row that nothing can be made of is set aside: told in the log without its content, kept as it came, and never in the
way of those behind it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog

from holdfast.crash import point
from holdfast.domain import jids
from holdfast.domain.addons import Sealed
from holdfast.domain.errors import (
    DataDirNotWritable,
    HoldfastError,
    SessionNotFound,
    StaleEpoch,
    StoreDamaged,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
)
from holdfast.domain.ignored_chats import NOTHING, IgnoredChats, dropped
from holdfast.domain.messages import Interpreted, interpret, merge
from holdfast.domain.synced import synced
from holdfast.ports.clock import Clock
from holdfast.ports.store import InboxRow, Processed, Store
from holdfast.runtime import sealed
from holdfast.runtime.actor import Actor
from holdfast.runtime.hub import Hub

log = structlog.get_logger(__name__)

_OF_THE_STORE = (
    StaleEpoch, StoreUnavailable, StoreFull, StoreReadOnly, StoreDamaged, DataDirNotWritable, SessionNotFound,
)  # fmt: skip
"""What says nothing about the stanza: it is tried again."""
BATCH = 200
STORE_RETRY = 1.0


class Inbox:
    """One session's inbox; runs while its actor does."""

    def __init__(
        self,
        actor: Actor,
        store: Store,
        clock: Clock,
        hub: Hub,
        on_files: Callable[[], None] | None = None,
        *,
        waiting: bool = True,
        ignore: IgnoredChats = NOTHING,
    ) -> None:
        """`on_files` is called when messages with files were stored; `waiting`: whether there may be rows already;
        `ignore`: which chats sessions ignore that do not say.
        """
        self._on_files = on_files
        self._ignore = ignore
        self._actor = actor
        self._store = store
        self._clock = clock
        self._hub = hub
        self._wake = asyncio.Event()
        if waiting:
            self._wake.set()
        self._learnt: deque[tuple[str, Sequence[Mapping[str, Any]]]] = deque()
        self._own = ("", "")
        self._log = log.bind(session=actor.name)

    def wake(self) -> None:
        """Rows were stored."""
        self._wake.set()

    def learn(self, kind: str, items: Sequence[Mapping[str, Any]]) -> None:
        """Store contacts, chats and mappings that WhatsApp told beside the messages; see `ports.engine.Synced`."""
        self._learnt.append((kind, items))
        self._wake.set()

    async def run(self) -> None:
        """Turn rows into messages, those that earlier holders left first, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                if await self._batch():
                    self._wake.set()
            except StaleEpoch:
                return
            except HoldfastError as error:
                self._log.error("inbox not readable", action="inbox", code=error.code)
                await self._later()
            except Exception as error:  # whatever is wrong with the inbox, messages must go on as soon as it is right
                self._log.error("inbox not readable", action="inbox", code="bug", exc_info=error)
                await self._later()

    async def _later(self) -> None:
        self._wake.set()
        await self._clock.sleep(STORE_RETRY)

    async def _batch(self) -> bool:
        while self._learnt:
            await self._learn(*self._learnt[0])
            self._learnt.popleft()
        rows = await self._store.inbox_pending(self._actor.name, BATCH)
        if rows:
            await self._know_ourselves()
            point("inbox.taken")
            await self._take(rows)
            point("inbox.applied")
        return bool(rows)  # a message that came may have set rows back to be processed

    async def _know_ourselves(self) -> None:
        """Our own two addresses are one person's, like everybody else's: mentions of us are by number."""
        own = (jids.bare(str(self._actor.me.get("lid") or "")), f"{self._actor.me.get('phone')}@{jids.PN}")
        if own[0] and own != self._own:
            await self._store.apply_inbox(self._actor.name, self._actor.held.epoch, Processed(mappings=[own]))
            self._own = own

    async def _learn(self, kind: str, items: Sequence[Mapping[str, Any]]) -> None:
        try:
            told = self._ignored.kept(synced(kind, items, self._actor.me))
            await self._store.apply_inbox(self._actor.name, self._actor.held.epoch, told)
            if told.timers:
                self._actor.timers = None
        except HoldfastError:
            raise
        except Exception as error:  # advisory, and told again by WhatsApp: not worth a message that waits behind it
            self._log.error(
                "what WhatsApp told was left out", action="inbox", code="unreadable", kind=kind, exc_info=error
            )

    async def _take(self, rows: Sequence[InboxRow]) -> None:
        """All in one transaction; if anything in them cannot be stored, one by one, so that only that is set aside."""
        try:
            parts = [interpret(row, self._actor.me) for row in rows]
            ignored = self._ignored
            unwanted = [row.seq for row, part in zip(rows, parts, strict=True) if ignored.drops(row, part)]
            parts = [dropped(part) if part.seq in unwanted else part for part in parts]
            if len(rows) > 1 and any(part.sealed for part in parts):  # what they are about may be among them
                for row in rows:
                    await self._take([row])
                return
            opened = [await self._opened(one, part.mappings) for part in parts for one in part.sealed]
            await self._apply(replace(merge([*parts, *opened]), ignored=unwanted))
        except _OF_THE_STORE:
            raise
        except Exception as error:  # a mistake of ours with what somebody sent
            if len(rows) > 1:
                for row in rows:
                    await self._take([row])
            else:
                await self._set_aside(rows[0], error)

    @property
    def _ignored(self) -> IgnoredChats:
        """By the session's configuration as it is now."""
        return self._ignore.overridden(self._actor.row.config)

    async def _opened(self, one: Sealed, learnt: Sequence[tuple[str, str]]) -> Interpreted:
        """Only a message of the same chat is looked at: ids are made up by senders. `learnt`: who is who, by the very
        stanza.
        """
        name, chat = self._actor.name, one.message.chat
        target = await self._store.message(name, one.target, chat=dict(learnt).get(chat, chat))
        senders = await self._store.addresses(name, one.senders)
        authors = await self._store.addresses(name, one.authors)
        return sealed.opened(replace(one, senders=senders, authors=authors), target, self._actor.me)

    async def _set_aside(self, row: InboxRow, error: Exception) -> None:
        """In nobody's way, and kept for a release that can read it; an alert and a metric tell of it."""
        await self._apply(Processed(unreadable=[(row.seq, type(error).__name__)]))
        self._log.error(
            "a received stanza cannot be read, and was set aside",
            action="inbox",
            code="unreadable",
            kind=row.kind,
            seq=row.seq,
            exc_info=error,
        )

    async def _apply(self, processed: Processed) -> None:
        changes = processed.edits or processed.addons
        if changes:
            point("change.applying")
        events = await self._store.apply_inbox(self._actor.name, self._actor.held.epoch, processed)
        if changes:
            point("change.applied")
        if processed.timers:
            self._actor.timers = None
        for _, message_id, _ in processed.acks:
            self._hub.message_settled(self._actor.name, message_id)
        if self._on_files is not None and any("media" in row.body for row in processed.messages):
            self._on_files()
        if events:
            self._hub.events_appended(self._actor.name)
