"""Leases: which sessions this instance runs. One actor per lease that is held, none without.

The supervisor claims what should run and nobody holds, renews all of its leases in one statement, passes the right to
run on to the engine with every renewal, and ends what it lost or could not renew in time (G1).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

import structlog

from holdfast.domain import sharing
from holdfast.domain import state as s
from holdfast.domain.errors import StoreUnavailable, WrongWhatsApp
from holdfast.domain.lease import Held, may_act
from holdfast.domain.pacing import Pace
from holdfast.ports.store import Attention, Backlog, Holder, Peer, SessionRow, Won
from holdfast.runtime.actor import Actor, Deps
from holdfast.runtime.pacer import Pacer

log = structlog.get_logger(__name__)

PATIENCE = 2
"""After so many sweeps a session that nobody took is taken, whatever the share."""
HANDOVER = 2
"""Sweeps between two handovers."""
CLAIMS = 8
"""Claims under way at once. A lease counts from before its claim was sent: one that waits behind hundreds of others for
a connection would be over by the time it is won, and given up, and claimed again by all."""
AHEAD = 4
"""How many bursts of the pace of openings are claimed at once. What an instance cannot open soon is left to others,
which may be about to start."""
MISSED = 2
"""Renewals that an instance may miss before its share is the others': soon its leases end, and when they do nobody may
still count on it."""
BETWEEN = 0.1
"""Seconds between two looks, however many hints come: a hundred sessions that are freed are one look."""


class Supervisor:
    """Owns the actors. `actors` maps session names to those that this instance holds now."""

    def __init__(
        self,
        deps: Deps,
        *,
        sweep_every: float,
        on_adopt: Callable[[Actor, Backlog], None],
        on_halt: Callable[[str], None],
        proved_dead: Callable[[str], bool],
        offer: Callable[[Iterable[str], Iterable[Peer]], None] = lambda names, peers: None,
        on_unsent: Callable[[str], None] = lambda name: None,
        pace: Pace,
        labels: Collection[str] = (),
    ) -> None:
        self.actors: dict[str, Actor] = {}
        self._deps = deps
        self._sweep_every = sweep_every
        self._on_adopt = on_adopt
        self._on_halt = on_halt
        self._proved_dead = proved_dead
        self._offer = offer
        self._on_unsent = on_unsent
        self._labels = frozenset(labels)
        self.peers: list[Peer] = []
        """The instances that live, this one too, as of the last sweep."""
        self._blind = False
        """Whether the last look came to nothing: who else is there is not known, and nothing is handed over."""
        self._astray = False
        """Whether the last look found many that are free, of which it told some, and none of these to claim."""
        self._free_since: dict[str, float] = {}
        self._held, self._grown_at = 0, 0.0
        """How many sessions all instances held, and when that was last seen to have grown."""
        self._total = 0
        """Those, and what was free, as of the last look. Once all claim, what each held then is old; the sum is not."""
        self._given: dict[str, float] = {}
        """Sessions that were handed over, and until when (boot clock) they are left to others."""
        self._offered: dict[str, float] = {}
        """Sessions that were handed over to this instance, and until when that counts."""
        self._look = asyncio.Event()
        self._runs: dict[str, asyncio.Task[None]] = {}
        self._claiming: dict[str, asyncio.Task[None]] = {}
        self._claims = asyncio.Semaphore(CLAIMS)
        self._unanswered: set[str] = set()
        """Sessions that were claimed, perhaps with success: nobody else may run them then, nor do we."""
        self._pacer = Pacer(replace(pace, burst=pace.burst * AHEAD), deps.clock)
        self._soon = pace.burst / pace.rate / 2
        """Seconds to the next look where something is left to claim: by then the pace has room for more."""
        self._loops: list[asyncio.Task[None]] = []
        self._stopping = False
        self._passive: set[str] = set()

    # --- life ---------------------------------------------------------------------------------------------------
    async def start(self) -> None:
        """Begin to claim and renew; returns at once (the restore of all sessions runs meanwhile)."""
        loops = (self._sweeps(), self._renewals(), self._handovers())
        self._loops = [asyncio.create_task(loop) for loop in loops]

    async def stop(self) -> None:
        """Close every connection, give every lease back, so that the next instance connects at once."""
        self._stopping = True
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await asyncio.gather(*set(self._claiming.values()), return_exceptions=True)
        await asyncio.gather(*(self.end(name) for name in list(self.actors)))

    async def _sweeps(self) -> None:
        while True:
            delay = self._sweep_every
            self._look.clear()
            try:
                seen = await self._attention()
                self._blind = False
                await self._carry_out(seen.ordered)
                for name in seen.unsent:
                    self._on_unsent(name)
                await self._claim_again()
                await self._claim_paced(self._chosen(seen))
                if self._is_left(seen):
                    delay = min(delay, self._soon)
                if seen.next_expiry is not None:  # as soon as a holder that died lets go
                    delay = min(delay, max(seen.next_expiry, 0.0) + self._sweep_every / 100)
            except (StoreUnavailable, WrongWhatsApp) as error:
                self._blind = True
                log.error("cannot look for sessions", action="sweep", code=error.code, error=error.sentence)
            await self._rest(delay)

    async def _rest(self, delay: float) -> None:
        await self._deps.clock.sleep(min(delay, BETWEEN))
        looking = asyncio.create_task(self._look.wait())
        resting = asyncio.create_task(self._deps.clock.sleep(max(0.0, delay - BETWEEN)))
        try:
            await asyncio.wait({looking, resting}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            looking.cancel()
            resting.cancel()

    def look(self) -> None:
        """Something may be free, or ordered: look now."""
        self._look.set()

    async def _attention(self) -> Attention:
        """What needs a look. A holder that is proved dead on this machine need not be waited for."""
        store, deps = self._deps.store, self._deps
        start, alive = self._start(), min(deps.lease.ttl, deps.lease.renew * MISSED)
        seen = await store.attention(deps.instance, alive, start)
        dead = [holder for holder in seen.holders if self._proved_dead(holder)]
        for holder in dead:
            freed = await store.expire_instance(holder)
            log.info("a dead instance's locks are free", action="lease", code="expired", count=len(freed))
        if dead:
            seen = await store.attention(deps.instance, alive, start)
        self.peers = [peer for peer in seen.peers if not self._proved_dead(peer.id)]
        return seen

    def _start(self) -> float:
        """Where in the list of free sessions this instance begins: each elsewhere, and where the last look found many
        and none to claim, anywhere.
        """
        if self._astray:
            return self._deps.clock.random()
        ids = [peer.id for peer in self.peers]
        return ids.index(self._deps.instance) / len(ids) if self._deps.instance in ids else 0.0

    async def _carry_out(self, names: Iterable[str]) -> None:
        """Orders that came through another instance."""
        for name in names:
            if (actor := self.actors.get(name)) is not None and (row := await self._deps.store.session(name)):
                actor.ordered(row)

    def _chosen(self, seen: Attention) -> list[str]:
        now = self._deps.clock.boot()
        held = sum(peer.held for peer in self.peers)
        if held > self._held:
            self._grown_at = now
        lost = sum(not self._may_run_anywhere(sharing.labels_of(config)) for config in seen.free.values())
        self._held, self._total = held, held + seen.waiting - lost
        self._offered = {name: until for name, until in self._offered.items() if until > now}
        some = len(seen.free) < seen.waiting  # others may have been seen before, and be free still
        since = {name: self._free_since.get(name, now) for name in seen.free}
        self._free_since = {**self._free_since, **since} if some else since
        chosen = sharing.to_claim(
            [
                sharing.Free(name, sharing.labels_of(config), self._waited(name, now))
                for name, config in seen.free.items()
                if name not in self.actors and self._given.get(name, 0.0) <= now
            ],
            mine=len(self.actors),
            total=self._total,
            instances=len(self.peers),
            labels=self._labels,
            patience=self._sweep_every * PATIENCE,
        )
        self._astray = some and not chosen
        return chosen

    def _may_run_anywhere(self, labels: Collection[str]) -> bool:
        return not labels or any(sharing.may_run(labels, peer.labels) for peer in self.peers)

    def _waited(self, name: str, now: float) -> float:
        return math.inf if name in self._offered else now - max(self._free_since[name], self._grown_at)

    def _wanted(self, row: SessionRow) -> bool:
        if row.name in self.actors or not sharing.may_run(sharing.labels_of(row.config), self._labels):
            return False
        state = s.State.from_json(row.state)
        ordered = int(row.command.get("seq", 0)) > state.command_seq
        return ordered or (row.desired == "running" and state.phase is not s.Phase.TERMINAL)

    async def _claim_again(self) -> None:
        """What may be ours since a claim that was not answered: one's own lease can be claimed at once."""
        asked = sorted(self._unanswered)
        rows = [await self._deps.store.session(name) for name in asked]
        self._unanswered.difference_update(asked)
        await self.claim([row.name for row in rows if row is not None and self._wanted(row)])

    async def _claim_paced(self, names: Sequence[str]) -> None:
        """As many as can be opened soon."""
        await self.claim(names[: self._pacer.ready(len(names))])

    def _is_left(self, seen: Attention) -> bool:
        """Whether something is free that could run here: this instance looks again soon, for it may be the one that has
        room when all others have their share.
        """
        return any(
            name not in self.actors and sharing.may_run(sharing.labels_of(config), self._labels)
            for name, config in seen.free.items()
        )

    # --- sharing ------------------------------------------------------------------------------------------------
    async def _handovers(self) -> None:
        """Give up what is more than a fair share: idle sessions first, few at a time, never one that is pairing."""
        while True:
            await self._deps.clock.sleep(self._sweep_every * HANDOVER)
            mine = len(self.actors)
            others = sum(peer.held for peer in self.peers if peer.id != self._deps.instance)
            total = max(self._total, mine + others)  # claimed meanwhile: by others, or here
            count = sharing.to_hand_over(mine=mine, total=total, instances=len(self.peers))
            if count == 0 or self._blind:
                continue
            settled = [actor for actor in self.actors.values() if self._may_move(actor)]
            settled.sort(key=lambda actor: actor.state.delivered_at or 0.0)
            for actor in settled[:count]:
                self._given[actor.name] = self._deps.clock.boot() + self._deps.lease.ttl
            await asyncio.gather(*(self.end(actor.name) for actor in settled[:count]))

    def _may_move(self, actor: Actor) -> bool:
        state = actor.state
        pinned = sharing.labels_of(actor.row.config)
        steady = self._deps.clock.now() - (state.working_since or 0.0) > self._deps.lease.ttl
        return state.phase is s.Phase.WORKING and steady and not pinned

    def take(self, names: Collection[str]) -> None:
        """Another instance gave these up: claim them at once, if they may run here."""
        until = self._deps.clock.boot() + self._deps.lease.ttl
        for name in names:
            self._given.pop(name, None)
            self._offered[name] = until
        self.look()

    # --- claiming -----------------------------------------------------------------------------------------------
    async def claim(self, names: Collection[str]) -> None:
        """Take the leases that can be had, and run these sessions."""
        mine = [name for name in names if name not in self.actors and name not in self._claiming]
        if mine and not self._stopping:
            task = asyncio.create_task(self._claim(mine))  # not ours to cancel: what was won must be run, or given back
            self._claiming |= dict.fromkeys(mine, task)
            task.add_done_callback(lambda task: self._claimed(mine, task))
        for task in {self._claiming[name] for name in names if name in self._claiming}:
            await asyncio.shield(task)

    def _claimed(self, names: list[str], task: asyncio.Task[None]) -> None:
        for name in names:
            del self._claiming[name]
        if not task.cancelled():
            task.exception()  # told to whoever waits, if anybody does still

    async def _claim(self, names: list[str]) -> None:
        async with self._claims:
            if self._stopping:
                return
            sent_at, deps = self._deps.clock.boot(), self._deps
            try:
                claims = await deps.store.claim(names, deps.instance, deps.lease.ttl)
            except StoreUnavailable:
                self._unanswered.update(names)
                raise
        for name, won in claims.items():
            if isinstance(won, Holder):
                self._say_passive(name, won)
                continue
            self._passive.discard(name)
            log.info("lock acquired", session=name, action="lease", code="acquired", epoch=won.lease.epoch)
            self._adopt(won, Held(won.lease.epoch, sent_at))

    def _say_passive(self, name: str, holder: Holder) -> None:
        if not holder.instance or name in self._passive:
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

    def _adopt(self, won: Won, held: Held) -> None:
        actor = Actor(won.row, held, self._deps)
        self.actors[actor.name] = actor
        self._on_adopt(actor, won.backlog)
        self._runs[actor.name] = asyncio.create_task(self._run(actor))

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
        if self._wanted(row):
            await self.claim([row.name])
        if (actor := self.actors.get(row.name)) is not None:
            actor.ordered(row)

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
            if self._stopping or name in self._given:
                self._offer([name], self.peers)

    # --- renewing -----------------------------------------------------------------------------------------------
    async def _renewals(self) -> None:
        clock, lease = self._deps.clock, self._deps.lease
        while True:
            await clock.sleep(lease.renew)
            self._end_lapsed()
            await self._renew(dict(self.actors))

    async def _renew(self, actors: dict[str, Actor]) -> None:
        deps = self._deps
        sent_at = deps.clock.boot()
        try:
            async with asyncio.timeout(deps.lease.renew):  # `wait_for` may swallow the cancellation that ends us
                epochs = {name: actor.held.epoch for name, actor in actors.items()}
                held = await deps.store.renew(deps.instance, epochs, deps.lease.ttl)
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
