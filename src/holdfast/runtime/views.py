"""What an instance knows of its sessions, computed when it is asked (G5), and how it reaches whoever holds one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from holdfast.domain import state as s
from holdfast.domain.cluster import differences
from holdfast.domain.errors import HeldElsewhere, NotConnected, SessionNotFound, StoreUnavailable
from holdfast.domain.status import status_now
from holdfast.ports.gateway import SessionView
from holdfast.ports.store import EventRow, Holder, Json, SessionRow, TimelineRow
from holdfast.runtime.actor import Actor, Deps
from holdfast.runtime.delivery import Delivery
from holdfast.runtime.peers import Peers
from holdfast.runtime.sender import Sender
from holdfast.runtime.supervisor import Supervisor

T = TypeVar("T")

PAGE = 500
LOG_LOOK = 1.0
"""Seconds between looks at the event log for what other instances appended."""


class Views:
    """The reading half of `ports.gateway.Gateway`; see the port for outcomes and errors."""

    def __init__(
        self,
        deps: Deps,
        supervisor: Supervisor,
        delivery: Delivery,
        sender_of: Callable[[str], Sender | None],
        peers: Peers | None,
    ) -> None:
        """Without `peers` nothing is passed on: so are the requests of others answered."""
        self.instance = deps.instance
        self.url, self.presented = delivery.url, delivery.presented
        self.started_at = deps.clock.now()
        self._store = deps.store
        self._engines = deps.engines
        self._engine_else = deps.engine
        self._supervisor = supervisor
        self._delivery = delivery
        self._sender_of = sender_of
        self._hub = deps.hub
        self._clock = deps.clock
        self._liveness = deps.times.liveness
        self._factor = deps.times.factor
        self._send_deadline = deps.send_deadline
        self._peers = peers
        self._media = deps.media
        self._routes = deps.routes

    def now(self) -> float:
        """See the port."""
        return self._clock.now()

    # --- views --------------------------------------------------------------------------------------------------
    def _view(self, row: SessionRow, holder: Holder | None) -> SessionView:
        """The status as it is now: from our own actor while its lease is good, else from what the store says."""
        actor = self._supervisor.actors.get(row.name)
        mine = actor is not None and actor.may_act()
        state = actor.state if actor is not None and mine else s.State.from_json(row.state)
        if not mine and row.verified_at is not None:
            state = replace(state, verified_at=max(row.verified_at, state.verified_at or 0.0))
        held = mine or (holder is not None and holder.valid and holder.epoch == row.state.get("epoch"))
        linked = actor.has_credentials if actor is not None else row.has_credentials
        status = status_now(
            state,
            desired_running=row.desired == "running",
            has_credentials=linked,
            held=held,
            now=self._clock.now(),
            deadline=self._liveness,
        )
        reason, message, trouble = status.reason, status.message, self._store.trouble
        if trouble is not None and (mine or not held) and row.desired == "running" and not status.needs_qr:
            reason, message = trouble.code, trouble.sentence  # nothing can be received or sent, whatever the connection
        owner = self.instance if mine else holder.instance if holder is not None and holder.valid else None
        return SessionView(
            name=row.name,
            engine=row.engine,
            status=status.status,
            reason=reason,
            message=message,
            since=status.since or row.created_at,
            verified_at=status.verified_at,
            next_attempt_at=status.next_attempt_at,
            attempt=status.attempt,
            needs_qr=status.needs_qr,
            owner=owner,
            epoch=actor.held.epoch if actor is not None else row.epoch,
            config=row.config,
            me=actor.me if actor is not None else row.me,
            linked=linked and not status.needs_qr,
            desired=row.desired,
            created_at=row.created_at,
        )

    async def _row(self, name: str) -> SessionRow:
        row = await self._store.session(name)
        if row is None:
            raise SessionNotFound(f"There is no session '{name}'.")
        return row

    async def session(self, name: str) -> SessionView:
        """See the port."""
        actor = self._supervisor.actors.get(name)
        if actor is not None and actor.may_act():
            return self._view(actor.row, None)
        row = await self._row(name)
        if row.desired == "running" and row.name not in self._supervisor.actors and self._store.trouble is None:
            with contextlib.suppress(StoreUnavailable):  # the view says so
                await self._supervisor.poke(row)
            row = await self._row(name)
        return self._view(row, (await self._store.holders([row.name])).get(row.name))

    async def sessions(self) -> list[SessionView]:
        """See the port."""
        rows = await self._store.sessions()
        holders = await self._store.holders()
        return [self._view(row, holders.get(row.name)) for row in rows]

    async def instances(self) -> list[Json]:
        """See the port."""
        rows = await self._store.instances()
        ours: Json = next((row["facts"] for row in rows if row["id"] == self.instance), {})
        reached = {} if self._peers is None else self._peers.reached
        return [
            {
                **row,
                "this": row["id"] == self.instance,
                "reachable": reached.get(row["id"]),
                "differs": differences(ours, row["facts"]),
            }
            for row in rows
        ]

    async def wait_status(self, name: str, *, until: frozenset[str], timeout: float) -> SessionView:
        """See the port."""
        view = await self.session(name)

        async def reached() -> bool:
            nonlocal view
            view = await self.session(name)
            return view.status in until

        await self._until(f"session:{name}", reached, timeout)
        return view

    async def _until(self, topic: str, done: Any, timeout: float) -> bool:
        """Wait until `await done()` holds, woken by the hub and by a slow poll: hints of others may be missing."""
        deadline = self._clock.boot() + timeout
        with self._hub.listening(topic) as woken:
            while not await done():
                left = deadline - self._clock.boot()
                if left <= 0 or self._hub.stopping:
                    return False
                try:
                    async with asyncio.timeout(min(left, 1.0)):
                        await woken.wait()
                except TimeoutError:
                    continue
                woken.clear()
        return True

    # --- whoever holds it ---------------------------------------------------------------------------------------
    async def _live(
        self, name: str, here: Callable[[Actor], Awaitable[T]], method: str, args: Mapping[str, Any], *, timeout: float
    ) -> T | Any:
        """Do a live call here if we hold the session, else ask whoever does; the peer answers with plain JSON.

        Raises `HeldElsewhere` when the holder cannot be asked, `NotConnected` when there is none.
        """
        actor = self._supervisor.actors.get(name)
        if actor is not None and actor.may_act():
            return await here(actor)
        holder = (await self._store.holders([name])).get(name)
        if holder is None or not holder.valid or holder.instance == self.instance:
            raise NotConnected("The session is not running.")
        if self._peers is None:
            raise HeldElsewhere
        return await self._peers.ask(holder, method, args, timeout=timeout)

    async def _hint(self, name: str, method: str) -> None:
        """Tell whoever else holds the session that there is something to do for it."""
        if self._peers is None:
            return
        holder = (await self._store.holders([name])).get(name)
        if holder is not None and holder.valid and holder.instance != self.instance and holder.url:
            self._peers.hint(holder.url, method, {"session": name})

    async def timeline(self, name: str, limit: int, before: int | None = None) -> list[TimelineRow]:
        """See the port."""
        return await self._store.timeline((await self._row(name)).name, limit, before)

    # --- events and health --------------------------------------------------------------------------------------
    async def subscribe(self, session: str | None = None, after: int | None = None) -> AsyncIterator[EventRow]:
        """See the port. Hints of other instances may be missing, so the log is looked at now and then as well."""
        cursor = after
        with self._hub.listening("events") as woken:
            while not self._hub.stopping:
                woken.clear()
                try:
                    if cursor is None:
                        cursor = await self._store.log_end()
                    events = await self._store.events(cursor, PAGE, session)
                except StoreUnavailable:
                    await self._clock.sleep(LOG_LOOK)
                    continue
                for event in events:
                    yield event
                    cursor = event.seq
                if not events and not self._hub.stopping:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(LOG_LOOK):
                            await woken.wait()

    async def last_event(self) -> int:
        """See the port."""
        return await self._store.log_end()

    async def health(self) -> Json:
        """See the port."""
        if (trouble := self._store.trouble) is not None:
            raise type(trouble)(trouble.sentence)
        views = await self.sessions()
        counts: dict[str, int] = {}
        for view in views:
            counts[view.status] = counts.get(view.status, 0) + 1
        engines = {name: dict(engine.facts()) for name, engine in self._engines.items()}
        return {"ok": True, "store": {"ok": True}, "engines": engines, "sessions": counts}
