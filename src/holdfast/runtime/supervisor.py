"""Leases: which sessions this instance runs. One actor per lease that is held, none without.

The supervisor claims what should run and nobody holds, renews all of its leases in one statement, passes the right to
run on to the engine with every renewal, and ends what it lost or could not renew in time (G1).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace

import structlog

from holdfast.domain import state as s
from holdfast.domain.errors import StoreUnavailable
from holdfast.domain.lease import Held, may_act
from holdfast.ports.store import Holder, Lease, SessionRow
from holdfast.runtime.actor import Actor, Deps

log = structlog.get_logger(__name__)


class Supervisor:
    """Owns the actors. `actors` maps session names to those that this instance holds now."""

    def __init__(
        self,
        deps: Deps,
        *,
        sweep_every: float,
        on_adopt: Callable[[Actor], None],
        on_halt: Callable[[str], None],
        proved_dead: Callable[[str], bool],
    ) -> None:
        self.actors: dict[str, Actor] = {}
        self._deps = deps
        self._sweep_every = sweep_every
        self._on_adopt = on_adopt
        self._on_halt = on_halt
        self._proved_dead = proved_dead
        self._runs: dict[str, asyncio.Task[None]] = {}
        self._claiming: dict[str, asyncio.Lock] = {}
        self._loops: list[asyncio.Task[None]] = []
        self._stopping = False
        self._passive: set[str] = set()

    # --- life ---------------------------------------------------------------------------------------------------
    async def start(self) -> None:
        """Begin to claim and renew; returns at once (the restore of all sessions runs meanwhile)."""
        self._loops = [asyncio.create_task(self._sweeps()), asyncio.create_task(self._renewals())]

    async def stop(self) -> None:
        """Close every connection, give every lease back, so that the next instance connects at once."""
        self._stopping = True
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await asyncio.gather(*(self.end(name) for name in list(self.actors)))

    async def _sweeps(self) -> None:
        while True:
            try:
                rows = await self._deps.store.sessions()
                await self._claim_all(row for row in rows if self._wanted(row))
            except StoreUnavailable as error:
                log.error("cannot look for sessions", action="sweep", code=error.code, error=error.sentence)
            await self._deps.clock.sleep(self._sweep_every)

    def _wanted(self, row: SessionRow) -> bool:
        if row.name in self.actors:
            return False
        state = s.State.from_json(row.state)
        ordered = int(row.command.get("seq", 0)) > state.command_seq
        return ordered or (row.desired == "running" and state.phase is not s.Phase.TERMINAL)

    async def _claim_all(self, rows: Iterable[SessionRow]) -> None:
        await asyncio.gather(*(self.claim(row.name) for row in rows))

    # --- claiming -----------------------------------------------------------------------------------------------
    async def claim(self, name: str) -> Actor | None:
        """Take the lease if it can be had, and run the session. The actor, or None while another instance holds it."""
        async with self._claiming.setdefault(name, asyncio.Lock()):
            if self._stopping or name in self.actors:
                return self.actors.get(name)
            sent_at = self._deps.clock.boot()
            won = await self._try_claim(name)
            if not isinstance(won, Lease):
                self._say_passive(name, won)
                return None
            row = await self._deps.store.session(name)
            if row is None:
                return None
            self._passive.discard(name)
            log.info("lock acquired", session=row.name, action="lease", code="acquired", epoch=won.epoch)
            return self._adopt(row, Held(won.epoch, sent_at))

    async def _try_claim(self, name: str) -> Lease | Holder | None:
        """Claim; a holder that is proved dead on this machine need not be waited for."""
        store, instance, ttl = self._deps.store, self._deps.instance, self._deps.lease.ttl
        won = await store.claim(name, instance, ttl)
        if isinstance(won, Holder) and self._proved_dead(won.instance):
            freed = await store.expire_instance(won.instance)
            log.info("a dead instance's locks are free", action="lease", code="expired", count=len(freed))
            won = await store.claim(name, instance, ttl)
        return won

    def _say_passive(self, name: str, holder: Holder | None) -> None:
        if holder is None or not holder.instance or name in self._passive:
            return
        self._passive.add(name)
        log.info(
            "could not acquire lock: another instance holds it",
            session=name,
            action="lease",
            code="passive",
            holder=holder.instance,
            until=holder.expires_at,
        )

    def _adopt(self, row: SessionRow, held: Held) -> Actor:
        actor = Actor(row, held, self._deps)
        self.actors[row.name] = actor
        self._on_adopt(actor)
        self._runs[row.name] = asyncio.create_task(self._run(actor))
        return actor

    async def _run(self, actor: Actor) -> None:
        try:
            await actor.run()
        finally:
            if self.actors.get(actor.name) is actor:
                del self.actors[actor.name]
                self._runs.pop(actor.name, None)
            self._on_halt(actor.name)

    # --- orders -------------------------------------------------------------------------------------------------
    async def poke(self, row: SessionRow) -> None:
        """An order was stored: tell the actor, or claim the session for it."""
        if (actor := self.actors.get(row.name)) is not None:
            actor.ordered(row)
        elif self._wanted(row):
            await self.claim(row.name)

    async def end(self, name: str) -> None:
        """Close the session's connection, then give its lease back."""
        actor = self.actors.get(name)
        if actor is None:
            return
        actor.halt()
        await actor.halted.wait()
        try:
            await self._deps.store.release(name, self._deps.instance, actor.held.epoch)
        except StoreUnavailable as error:
            log.warning("lock not released, it will expire", session=name, action="lease", code=error.code)
        else:
            log.info("lock released", session=name, action="lease", code="released", epoch=actor.held.epoch)

    # --- renewing -----------------------------------------------------------------------------------------------
    async def _renewals(self) -> None:
        clock, lease = self._deps.clock, self._deps.lease
        while True:
            await clock.sleep(lease.renew)
            self._end_lapsed()
            actors = dict(self.actors)
            if actors:
                await self._renew(actors)

    async def _renew(self, actors: dict[str, Actor]) -> None:
        deps = self._deps
        sent_at = deps.clock.boot()
        try:
            held = await asyncio.wait_for(
                deps.store.renew(deps.instance, {n: a.held.epoch for n, a in actors.items()}, deps.lease.ttl),
                deps.lease.renew,
            )
        except (StoreUnavailable, TimeoutError):
            log.error("locks not refreshed: the database does not answer", action="lease", code="store_unavailable")
            if not deps.lease.lenient:
                return
            held = dict.fromkeys(actors, True)
        for name, actor in actors.items():
            if held.get(name):
                actor.held = replace(actor.held, sent_at=sent_at)
            else:
                log.error("lock lost", session=name, action="lease", code="lost", epoch=actor.held.epoch)
                actor.halt()
        log.debug("lock refreshed", action="lease", code="refreshed", count=sum(held.values()))
        for kind, engine in deps.engines.items():
            grants = {n: a.grant() for n, a in actors.items() if held.get(n) and a.row.engine == kind}
            if grants:
                await engine.grant(grants)

    def _end_lapsed(self) -> None:
        """Unknown counts as lost in time: what could not be renewed is closed before another may claim it."""
        for name, actor in list(self.actors.items()):
            if not may_act(actor.held, self._deps.lease, self._deps.clock.boot()):
                log.error("lock expired before it could be refreshed", session=name, action="lease", code="expired")
                actor.halt()
