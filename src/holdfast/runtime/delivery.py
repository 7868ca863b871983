"""Delivers the event log to webhooks: each consumer (a webhook of a session) by one instance at a time.

The session's holder delivers its consumers; those of a session that nobody holds are delivered by whichever instance
takes them first. Owning a consumer is a short lease in the store, renewed for all in one statement while there is work;
an owner that died is replaced when its lease lapsed. An event comes at least once, and its id never changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import structlog

from holdfast.domain.delivery import Refusal, Rules
from holdfast.domain.errors import StoreUnavailable
from holdfast.domain.lease import LeaseTimes
from holdfast.domain.pacing import backoff
from holdfast.domain.presented_engine import NOWEB
from holdfast.domain.receivers import Reach
from holdfast.ports.clock import Clock
from holdfast.ports.store import ConsumerFacts, Json, SessionRow, Store, Taken
from holdfast.runtime.consumer import Consumer, Replaced, Tools
from holdfast.runtime.webhook import Poster, Webhook, check_webhooks, webhooks_of

log = structlog.get_logger(__name__)

RETRY_CAP = 300.0
GRACE = 1.0
"""Seconds that attempts under way are given when the instance stops."""


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """Times are seconds, scaled by `factor` already. `common`: receivers of every session's events."""

    common: Sequence[Webhook] = ()
    rules: Rules = field(default_factory=Rules)
    reach: Reach = field(default_factory=lambda: Reach(private=True))
    lease: LeaseTimes = field(default_factory=LeaseTimes)
    timeout: float = 30.0
    look_every: float = 5.0
    parallel: int = 16
    factor: float = 1.0
    url: str = ""
    """Where users reach this instance, for links to files."""
    presented: str = NOWEB
    """The WAHA engine whose shapes events have."""


@dataclass(frozen=True, slots=True)
class Underway:
    """What one receiver is being given. `at`: when the oldest of it was appended, in Unix seconds; `failing_since`:
    since when the receiver has taken nothing, on the boot clock.
    """

    receiver: str
    at: float
    failing_since: float | None = None


@dataclass(slots=True)
class _Work:
    session: str
    task: asyncio.Task[None]
    rows: bool = False
    again: bool = False
    """Woken before there was a consumer."""


class Delivery:
    """All webhooks of an instance. One task for each consumer with something to deliver."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        settings: DeliverySettings,
        *,
        instance: str,
        holds: Callable[[str], bool] = lambda _: False,
        me: Callable[[str], Json | None] = lambda _: None,
        proved_dead: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """`holds`: whether this instance runs a session; `me`: the account of one that it runs; `proved_dead`: of an
        instance, that it need not be waited for.
        """
        self._store = store
        self._clock = clock
        self._settings = settings
        self._instance = instance
        self._holds = holds
        self._me = me
        self._proved_dead = proved_dead
        self._poster = Poster(clock, settings.reach, settings.timeout)
        self._hooks: dict[str, dict[str, Webhook]] = {}
        self.url, self.presented = settings.url, settings.presented
        self._facts: dict[str, Json] = {}
        self._work: dict[str, _Work] = {}
        self._consumers: dict[str, Consumer] = {}
        self._loops: list[asyncio.Task[None]] = []
        self._adopting: set[asyncio.Task[None]] = set()
        self._stopping = False
        self.on_attempt: Callable[[bool, float], None] = lambda taken, age: None
        """Told of every attempt: whether the receiver took the event, and the event's age in seconds."""
        self._tools = Tools(
            store,
            clock,
            instance,
            settings.rules,
            post=self._post,
            facts=self._facts_of,
            attempted=self._attempted,
            parallel=settings.parallel,
            factor=settings.factor,
        )

    # --- life ---------------------------------------------------------------------------------------------------
    async def start(self) -> None:
        """Begin to look for what waits."""
        self._loops = [asyncio.create_task(self._looks()), asyncio.create_task(self._renewals())]

    async def stop(self) -> None:
        """Let attempts under way have their answer for a moment, then give every consumer back; what was not confirmed
        comes again.
        """
        self._stopping = True
        for task in (*self._loops, *self._adopting):
            task.cancel()
        await asyncio.gather(*self._loops, *self._adopting, return_exceptions=True)
        for consumer in self._consumers.values():
            consumer.finish()
        tasks = [work.task for work in self._work.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=GRACE * self._settings.factor)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        try:
            await self._store.leave_consumers(self._instance)
        except StoreUnavailable as error:
            log.warning("webhooks not given back, others wait", action="webhook", code=error.code)
        await self._poster.stop()

    # --- what others tell ---------------------------------------------------------------------------------------
    def check(self, config: Json) -> None:
        """Raises `InvalidWebhook` for a receiver that can never be called."""
        check_webhooks(config, self._settings.reach)

    async def configure(self, row: SessionRow, *, known: bool = True) -> None:
        """Take over a session's receivers; a new one starts at the log's present end. `known`: whether the store may
        know some.
        """
        session, config = row.name, row.config
        facts: Json = {"me": row.me, "metadata": config.get("metadata") or {}, "url": self.url}
        hooks = {hook.id: hook for hook in self._settings.common}
        for hook in webhooks_of(config):
            hooks[hook.id] = replace(hook, trusted=hook.id in hooks)
        named = {f"webhook:{session}:{hook.id}": hook for hook in hooks.values()}
        self._hooks[session], self._facts[session] = named, facts
        wanted = [ConsumerFacts(name, hook.receiver, hook.settings) for name, hook in named.items()]
        if wanted or known:
            await self._store.set_consumers(session, wanted)
        for name, consumer in list(self._consumers.items()):
            if consumer.session == session and name in named:
                consumer.hook = named[name]
            elif consumer.session == session:
                consumer.finish()

    def adopt(self, row: SessionRow, *, known: bool = True) -> None:
        """This instance runs the session from now on. `known`: see `configure`."""
        task = asyncio.create_task(self._adopt(row, known))
        self._adopting.add(task)
        task.add_done_callback(self._adopting.discard)

    async def _adopt(self, row: SessionRow, known: bool) -> None:
        try:
            await self.configure(row, known=known)
        except StoreUnavailable as error:
            log.warning("webhooks not looked at yet", session=row.name, action="webhook", code=error.code)
        self.wake(row.name)

    def forget(self, session: str) -> None:
        """The session was deleted."""
        self._facts.pop(session, None)
        for name in self._hooks.pop(session, {}):
            self._consumers.pop(name, None)
            if work := self._work.pop(name, None):
                work.task.cancel()

    def wake(self, session: str) -> None:
        """Events of the session were appended."""
        for name in self._hooks.get(session, ()):
            self._rouse(name, session)

    async def look(self) -> None:
        """Begin with what waits and is ours to deliver, though nobody said so."""
        for name, session in await self._store.waiting_consumers(self._instance):
            self._rouse(name, session, rows=True)

    # --- what is asked ------------------------------------------------------------------------------------------
    @property
    def underway(self) -> dict[tuple[str, str], Underway]:
        """What is being delivered now, by session and receiver."""
        return {
            (one.session, one.hook.id): Underway(one.hook.receiver, min(one.trying.values()), one.failing_since)
            for one in self._consumers.values()
            if one.trying
        }

    def failing(self) -> dict[str, dict[str, float]]:
        """By session: the receivers that refuse what they are given, and for how many seconds each has."""
        now, found = self._clock.boot(), dict[str, dict[str, float]]()
        for one in self._consumers.values():
            if one.failing_since is not None:
                found.setdefault(one.session, {})[one.hook.receiver] = now - one.failing_since
        return found

    async def post(self, hook: Webhook, request_id: str, envelope: Json) -> Refusal | None:
        """One attempt: None when the receiver answered 2xx, else what went wrong, without the URL."""
        return await self._poster.post(hook, request_id, envelope)

    async def _post(self, hook: Webhook, request_id: str, envelope: Json) -> Refusal | None:
        return await self.post(hook, request_id, envelope)

    def _attempted(self, taken: bool, age: float) -> None:
        self.on_attempt(taken, age)

    def _facts_of(self, session: str) -> Json:
        facts, me = (
            {**self._facts.get(session, {}), "worker": self._instance, "presented": self.presented},
            self._me(session),
        )
        return facts if me is None else {**facts, "me": me}

    # --- one consumer -------------------------------------------------------------------------------------------
    def _rouse(self, name: str, session: str, *, rows: bool = False) -> None:
        if self._stopping:
            return
        if (work := self._work.get(name)) is not None:
            work.rows |= rows
            if (consumer := self._consumers.get(name)) is not None:
                consumer.wake(rows=rows)
            else:
                work.again = True
            return
        if (known := self._consumers.get(name)) is not None and known.held_until <= self._fresh():
            del self._consumers[name]  # it was idle for long: it is taken anew
        task = asyncio.create_task(self._deliver(name, session))
        self._work[name] = _Work(session, task, rows=rows)
        task.add_done_callback(lambda _: self._done(name, task))

    def _done(self, name: str, task: asyncio.Task[None]) -> None:
        work, consumer = self._work.get(name), self._consumers.get(name)
        if work is None or work.task is not task:
            return
        del self._work[name]
        if work.again or (consumer is not None and consumer.is_wanted):  # woken in the last moment
            self._rouse(name, work.session, rows=work.rows)

    def _fresh(self) -> float:
        """A consumer that is held for no longer than until then may lapse before it is renewed."""
        return self._clock.boot() + self._settings.lease.renew

    async def _deliver(self, name: str, session: str) -> None:
        """Own the consumer while it has something to deliver."""
        failures, work = 0, self._work[name]
        while not self._stopping:
            work.again = False
            try:
                if not await self._run(name, session, work):
                    return
            except Exception as error:
                if not isinstance(error, StoreUnavailable):
                    log.exception("webhook stumbled", session=session, action="webhook", code="internal")
                self._consumers.pop(name, None)
                failures, work.again = failures + 1, True
                delay = backoff(failures, self._clock.random(), cap=self._settings.rules.cap / 10)
                await self._clock.sleep(delay * self._settings.factor)
            if not work.again:
                return

    async def _run(self, name: str, session: str, work: _Work) -> bool:
        """Deliver until nothing is left. Whether the consumer is still ours."""
        consumer = self._consumers.get(name)
        if consumer is None or consumer.finishing or consumer.held_until <= self._fresh():
            self._consumers.pop(name, None)
            consumer = await self._take(name, session)
            if consumer is None:
                return False
            self._consumers[name] = consumer
        consumer.wake(rows=work.rows)
        work.rows = False
        try:
            await consumer.run()
        except Replaced:
            log.info("webhook is another instance's", session=session, action="webhook", code="replaced")
            self._consumers.pop(name, None)
            return False
        if consumer.finishing:
            self._consumers.pop(name, None)
            await self._store.leave_consumers(self._instance, [name])
            return False
        work.again |= consumer.is_wanted
        return True

    async def _take(self, name: str, session: str) -> Consumer | None:
        """Become the owner, if nobody else is or goes first."""
        store, lease = self._store, self._settings.lease
        while not self._stopping:
            asked_at = self._clock.boot()
            taken = await store.take_consumer(name, self._instance, lease.ttl)
            if isinstance(taken, Taken):
                hook = await self._hook(name, session, taken.settings)
                if hook is None:
                    return None
                consumer = Consumer(name, session, hook, taken, self._tools)
                consumer.held_until = asked_at + lease.ttl - lease.margin
                return consumer
            if taken is None or taken.left <= 0:
                return None
            if self._proved_dead(taken.owner):
                await store.leave_consumers(taken.owner)
            elif self._holds(session):  # whoever delivers it sees soon that we hold the session, and gives way
                await self._clock.sleep(min(taken.left, lease.renew / 5))
            else:
                return None
        return None

    async def _hook(self, name: str, session: str, settings: str) -> Webhook | None:
        """The webhook as it is configured; read again if the store knows it as another than we do."""
        hook = self._hooks.get(session, {}).get(name)
        if hook is not None and hook.settings == settings:
            return hook
        row = await self._store.session(session)
        if row is None:
            return None
        await self.configure(row)
        return self._hooks.get(session, {}).get(name)

    # --- all of them --------------------------------------------------------------------------------------------
    async def _looks(self) -> None:
        """Find what waits though nobody said so: of sessions that nobody holds, or appended by another instance."""
        while True:
            try:
                await self.look()
            except StoreUnavailable as error:
                log.error("cannot look for events to deliver", action="webhook", code=error.code)
            await self._clock.sleep(self._settings.look_every)

    async def _renewals(self) -> None:
        """Keep what is being delivered; let go of what is another's, before it may be."""
        lease = self._settings.lease
        while True:
            await self._clock.sleep(lease.renew / 5)
            now = self._clock.boot()
            busy = {name: one for name in self._work if (one := self._consumers.get(name)) is not None}
            for name, one in list(busy.items()):
                if now >= one.held_until:
                    self._work[name].task.cancel()
                    del self._consumers[name], busy[name]
                    log.warning("webhook given up", session=one.session, action="webhook", code="expired")
            fresh = lease.ttl - lease.margin - lease.renew
            due = [n for n, one in busy.items() if one.held_until - now <= fresh or not self._holds(one.session)]
            if due:
                await self._renew(due)

    async def _renew(self, names: Sequence[str]) -> None:
        lease, sent_at = self._settings.lease, self._clock.boot()
        try:
            async with asyncio.timeout(lease.renew):  # `wait_for` may swallow the cancellation that ends us
                kept = await self._store.keep_consumers(self._instance, names, lease.ttl)
            changed = []
            for name in names:
                if (one := self._consumers.get(name)) is None:
                    continue
                if name not in kept:
                    one.finish()
                    continue
                one.held_until = sent_at + lease.ttl - lease.margin
                if one.hook.settings != kept[name]:
                    changed.append((name, one.session, kept[name]))
            for name, session, settings in changed:
                await self._hook(name, session, settings)
        except (StoreUnavailable, TimeoutError):
            log.error("webhooks not kept: the database does not answer", action="webhook", code="store_unavailable")
