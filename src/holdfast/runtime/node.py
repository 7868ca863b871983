"""The composition root: one instance, put together from settings, ended in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import structlog

from holdfast.domain import cluster
from holdfast.domain import state as s
from holdfast.domain.disconnects import NETWORK
from holdfast.domain.errors import MediaUnavailable, StoreUnavailable, WrongWhatsApp
from holdfast.domain.ignored_chats import NOTHING, IgnoredChats
from holdfast.domain.key_guesses import KeyGuesses
from holdfast.domain.lease import LeaseTimes
from holdfast.domain.pacing import Pace
from holdfast.domain.proxies import Routes
from holdfast.domain.receivers import Exposure
from holdfast.ports import engine as e
from holdfast.ports.clock import Clock
from holdfast.ports.media import Files
from holdfast.ports.store import Backlog, Hint, Json, Store
from holdfast.runtime.access import Access, AccessSettings
from holdfast.runtime.accounts import LocalAccounts
from holdfast.runtime.actor import Actor, Deps
from holdfast.runtime.alerts import Alerts, AlertSettings
from holdfast.runtime.delivery import Delivery, DeliverySettings
from holdfast.runtime.exposure import Exposed
from holdfast.runtime.fetching import Fetcher
from holdfast.runtime.gateway import LocalGateway
from holdfast.runtime.hub import Hub
from holdfast.runtime.inbox import Inbox
from holdfast.runtime.media import Media, MediaSettings
from holdfast.runtime.metrics import Metrics, MetricsSettings
from holdfast.runtime.pacer import Pacer
from holdfast.runtime.peer_signatures import PUBLIC_KEY
from holdfast.runtime.peers import Peers
from holdfast.runtime.sender import Sender
from holdfast.runtime.supervisor import Supervisor

log = structlog.get_logger(__name__)

DRAIN = 5.0
CLOCKS_AGREE = 2.0
"""Seconds by which this machine's clock may be another than the store's."""


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What an instance is told, already scaled to its time factor."""

    version: str
    url: str = ""
    """Where other instances reach this one; empty: nowhere."""
    labels: frozenset[str] = frozenset()
    """`key=value`: sessions that are pinned to labels run only where all of theirs are."""
    times: s.Times = field(default_factory=s.Times)
    lease: LeaseTimes = field(default_factory=LeaseTimes)
    pace: Pace = field(default_factory=Pace)
    sweep_every: float = 5.0
    verified_every: float = 10.0
    keep: float = 14 * 86_400.0
    """How long what is done with is kept, in seconds: as long as WhatsApp may redeliver it."""
    keep_events: float = 14 * 86_400.0
    keep_dead: float = 30 * 86_400.0
    """How long events are kept that every webhook took, and those that were given up."""
    tidy_every: float = 3_600.0
    send_deadline: float = 86_400.0
    """Seconds that an accepted message may wait, unless it or its session says otherwise."""
    fail_restricted: bool = False
    """Fail messages to new people while WhatsApp restricts the account, in place of holding them."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What other instances are told of the settings; see `domain.cluster`."""
    adopt_root_key: bool = True
    change_root_key: bool = False
    """See `Store.settle_root_key`."""
    greet_every: float = 30.0
    ignore: IgnoredChats = NOTHING
    """Chats that sessions ignore that do not say."""
    engine: str = "baileys"
    """Where sessions live that do not say."""
    account_namespace: str = "prod"
    """Part of the names of sessions that are made from phone numbers; the same on every instance."""
    delivery: DeliverySettings = field(default_factory=DeliverySettings)
    alerts: AlertSettings = field(default_factory=AlertSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    routes: Routes = field(default_factory=Routes)
    exposure: Exposure = field(default_factory=Exposure)
    """What is known of who reaches the API."""
    media: MediaSettings = field(default_factory=MediaSettings)
    time_factor: float = 1.0


@dataclass(slots=True)
class _Parts:
    """What runs beside an actor."""

    sender: Sender
    inbox: Inbox
    tasks: list[asyncio.Task[None]]


class Node:
    """`async with Node(...) as node:` runs an instance; `node.gateway` is its face."""

    def __init__(
        self,
        store: Store,
        engines: Mapping[str, e.Engine],
        clock: Clock,
        settings: NodeSettings,
        *,
        instance: str,
        proved_dead: Callable[[str], bool] = lambda _: False,
        put_right: Callable[[float], None] | None = None,
        files: Files | None = None,
    ) -> None:
        """`put_right` corrects the clock by some seconds, where the store's time is better than this machine's."""
        self._proved_dead, self._put_right, self._clock_ahead = proved_dead, put_right, 0.0
        self.instance, self._settings = instance, settings
        self._store, self._engines, self._clock = store, engines, clock
        self._hub, self._stack = Hub(), AsyncExitStack()
        self._leaving = False
        self.media = Media(store, files, clock, settings.media) if files is not None else None
        self._parts: dict[str, _Parts] = {}
        self._deps = deps = Deps(
            instance=self.instance,
            store=store,
            engines=engines,
            clock=clock,
            hub=self._hub,
            pacer=Pacer(settings.pace, clock),
            times=settings.times,
            lease=settings.lease,
            on_state=self._on_state,
            engine=settings.engine,
            media=self.media,
            routes=settings.routes,
            send_deadline=settings.send_deadline,
        )
        self.peers = Peers(store, clock, instance=instance, url=settings.url)
        self.supervisor = Supervisor(
            deps,
            sweep_every=settings.sweep_every,
            on_adopt=self._on_adopt,
            on_halt=self._on_halt,
            proved_dead=proved_dead,
            offer=self.peers.offer,
            on_unsent=self.wake_sender,
            labels=settings.labels,
            pace=settings.pace,
        )
        self._make_delivery()
        self._make_faces()

    def _make_delivery(self) -> None:
        self.delivery = Delivery(
            self._store,
            self._clock,
            self._settings.delivery,
            instance=self.instance,
            holds=self.supervisor.actors.__contains__,
            me=self._me,
            proved_dead=self._proved_dead,
        )
        self._hub.on_events(self.delivery.wake)

    def _make_faces(self) -> None:
        """What others ask of this instance, and what it tells of itself."""
        deps, settings = self._deps, self._settings
        self.exposed = Exposed(self._store, settings.exposure, self.instance)
        parts = (deps, self.supervisor, self.delivery, self._sender)
        self.gateway = LocalGateway(*parts, self.peers)
        self.near = LocalGateway(*parts, None)
        """Answers what peers ask: by this instance alone."""
        self.accounts = LocalAccounts(self.gateway, deps, settings.account_namespace)
        self.guesses = KeyGuesses()
        self.alerts = Alerts(deps, self.supervisor, self.delivery, settings.alerts, self.guesses)
        self.metrics = Metrics(deps, self.supervisor, self.delivery, self.gateway.sessions, settings.metrics)

    # --- life ---------------------------------------------------------------------------------------------------
    async def __aenter__(self) -> Self:
        """Start: the store first, sessions last, which are restored while the faces already answer."""
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def _start(self) -> None:
        for engine in self._engines.values():
            self._stack.push_async_callback(engine.stop)
        self._stack.push_async_callback(self._store.close)
        await _all_or_none(self._open_store(), *(engine.start(self._sink) for engine in self._engines.values()))
        if self.media is not None:
            self._stack.push_async_callback(self.media.stop)
            await self.media.start()
        self._stack.push_async_callback(self.peers.stop)
        await self.delivery.start()
        self._stack.push_async_callback(self.delivery.stop)
        beside = (self._heartbeat, self._greet, self._tidy, self._expire, self._listen)
        self._tasks = [asyncio.create_task(work()) for work in (*beside, self.alerts.run, self.metrics.run)]
        for task in self._tasks:
            task.add_done_callback(_say_if_failed)
            self._stack.callback(task.cancel)
        await self.supervisor.start()
        self._stack.push_async_callback(self._stop_sessions)
        log.info("instance started", action="start", instance=self.instance)

    async def _open_store(self) -> None:
        await self._store.open()
        await self.exposed.load()
        self._fit_in(await self._store.instances())
        await self._settle_root_key()
        await self._register()

    async def _settle_root_key(self) -> None:
        """Raises `WrongWhatsApp` if the stored credentials belong to a different one."""
        adopt, change = self._settings.adopt_root_key, self._settings.change_root_key
        before = await self._store.settle_root_key(adopt=adopt, change=change)
        if before is not None:
            now = self._settings.facts.get(cluster.WHATSAPP_URL)
            log.warning("WhatsApp URL changed", action="start", code="whatsapp_url", before=before, now=now)

    def _fit_in(self, others: list[Json]) -> None:
        """Raises `WrongWhatsApp` if this instance cannot work beside one that runs; says how else they differ."""
        ours, version = self._settings.facts, self._settings.version
        for other in others:
            alive = max(self._settings.lease.ttl, 2 * self._settings.verified_every)
            if other["seen_ago"] > alive or self._proved_dead(other["id"]):
                continue
            if said := cluster.refusal(ours, other["facts"]):
                raise WrongWhatsApp(said)
            for said in cluster.differences(ours, other["facts"]):
                log.warning("instances differ", action="start", code="differs", instance=other["id"], detail=said)
            if other["version"] != version:
                told = {"instance": other["id"], "theirs": other["version"], "ours": version}
                log.warning("instances of two versions: finish the deploy", action="start", code="versions", **told)

    async def _register(self) -> None:
        settings, began, wall = self._settings, self._clock.boot(), self._clock.now()
        facts = {**settings.facts, PUBLIC_KEY: self.peers.public_key, "clock_ahead": round(self._clock_ahead)}
        said = (settings.url, settings.version, settings.labels)
        at = await self._store.register_instance(self.instance, *said, facts)
        took = self._clock.boot() - began
        behind = at - wall - took / 2
        if self._put_right is not None and abs(behind) > max(CLOCKS_AGREE, took):
            self._put_right(behind)
            self._clock_ahead -= behind
            log.warning(
                "this machine's clock is wrong by the database's, whose time is used: let both set theirs by NTP",
                action="clock", code="clock", ahead=round(self._clock_ahead, 1),
            )  # fmt: skip

    async def _greet(self) -> None:
        """Try now and then whether the other instances can be reached."""
        while True:
            await self._clock.sleep(self._settings.greet_every)
            await self.peers.greet(self.supervisor.peers)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop: sends in flight finish, sockets close properly, leases are given back, the store closes last."""
        await self._stack.aclose()
        log.info("instance stopped", action="stop", instance=self.instance)

    async def _stop_sessions(self) -> None:
        await asyncio.gather(*(parts.sender.drain(DRAIN) for parts in self._parts.values()))
        await self.supervisor.stop()
        try:
            await self._store.deregister_instance(self.instance)
        except StoreUnavailable as error:
            log.warning("instance not deregistered, it will be forgotten", action="stop", code=error.code)

    async def _tidy(self) -> None:
        """Forget what nobody needs any more, a little at a time."""
        while True:
            try:
                kept = self._settings
                while await self._store.prune(kept.keep, events=kept.keep_events, dead=kept.keep_dead):
                    await self._clock.sleep(0)
                if self.media is not None:
                    await self.media.tidy()
            except (StoreUnavailable, MediaUnavailable) as error:
                log.error("old rows not pruned", action="prune", code=error.code)
            await self._clock.sleep(self._settings.tidy_every)

    async def _expire(self) -> None:
        """End messages whose deadline has passed, whether or not anybody runs their sessions."""
        while True:
            await self._clock.sleep(self._settings.sweep_every)
            try:
                ended = await self._store.expire_outbox()
            except StoreUnavailable as error:
                log.error("cannot look for messages to end", action="expire", code=error.code)
                continue
            for session, id_ in ended:
                log.warning("message expired", session=session, action="send", code="expired", id=id_)
                self._hub.message_settled(session, id_)
                self._hub.events_appended(session)

    async def _heartbeat(self) -> None:
        """Tell the store, now and then, that this instance lives and when its sessions were last proved alive."""
        while True:
            await self._clock.sleep(self._settings.verified_every)
            self.exposed.look_at(self.supervisor.peers)
            proofs = {
                name: (actor.held.epoch, actor.state.verified_at)
                for name, actor in self.supervisor.actors.items()
                if actor.state.phase is s.Phase.WORKING and actor.state.verified_at is not None
            }
            try:
                began = self._clock.boot()
                await self._register()
                self.metrics.committed(self._clock.boot() - began)
                if proofs:
                    await self._store.note_verified(proofs)
            except StoreUnavailable as error:
                log.error("heartbeat not stored", action="heartbeat", code=error.code)

    # --- what other instances ask -------------------------------------------------------------------------------
    async def is_peer(self, signature: str, body: bytes) -> bool:
        """Whether an instance of the same store signed that body for this one lately."""
        return await self.peers.is_signed(signature, body)

    async def answer(self, method: str, args: dict[str, Any]) -> Any:
        """A peer's request; see `LocalGateway.answer`."""
        if method == "greet":
            return self.peers.greeted(str(args["instance"]))
        return await self.near.answer(method, args)

    @property
    def leaving(self) -> bool:
        """Whether load balancers are to pass this instance over, because it stops soon."""
        return self._leaving

    def leave(self) -> None:
        """Stop being ready; everything else goes on."""
        self._leaving = True

    def access(self, settings: AccessSettings) -> Access:
        """Who judges the keys that clients of this instance present."""
        return Access(self._store, self._clock, settings, self.guesses, self.metrics.wrong_key)

    def stop_waiting(self) -> None:
        """The instance is about to stop: requests and streams that wait get their answer now."""
        self._hub.stop()

    # --- wiring -------------------------------------------------------------------------------------------------
    def _on_adopt(self, actor: Actor, backlog: Backlog) -> None:
        sender = Sender(
            actor,
            self._store,
            self._clock,
            self._hub,
            fail_restricted=self._settings.fail_restricted,
            time_factor=self._settings.time_factor,
            media=self.media,
        )
        tasks = [asyncio.create_task(sender.run())]
        on_files = None
        if self.media is not None:
            fetcher = Fetcher(actor, self._store, self._clock, self._hub, self.media, waiting=backlog.files)
            tasks.append(asyncio.create_task(fetcher.run()))
            on_files = fetcher.wake
        inbox = Inbox(
            actor, self._store, self._clock, self._hub, on_files, waiting=backlog.inbox, ignore=self._settings.ignore
        )
        tasks.append(asyncio.create_task(inbox.run()))
        self._parts[actor.name] = _Parts(sender, inbox, tasks)
        self.delivery.adopt(actor.row, known=backlog.consumers)

    def _me(self, name: str) -> Json | None:
        actor = self.supervisor.actors.get(name)
        return None if actor is None else actor.me

    def _on_halt(self, name: str) -> None:
        self.metrics.forget(name)
        if parts := self._parts.pop(name, None):
            for task in parts.tasks:
                task.cancel()

    def _on_state(self, name: str, before: s.State, after: s.State) -> None:
        self.metrics.on_state(name, before, after)
        self.alerts.wake()
        if after.phase is s.Phase.WORKING:
            self.wake_sender(name)
            if before.code in NETWORK:
                for actor in self.supervisor.actors.values():
                    actor.tell(s.Nudged())

    def _on_hint(self, hint: Hint) -> None:
        """Another instance did something: whoever waits for it here looks now, in place of at the next poll."""
        match hint.kind:
            case "freed":
                self.supervisor.look()
            case "order":
                self.supervisor.look()
                self._hub.session_changed(hint.session)
            case "outbox":
                self.wake_sender(hint.session)
            case "message":
                self._hub.message_settled(hint.session, hint.id)
            case "events":
                self._hub.appended_elsewhere()
            case "session":
                self._hub.session_changed(hint.session)

    async def _listen(self) -> None:
        await self._store.listen(self._on_hint)

    def wake_sender(self, name: str) -> None:
        """Something was accepted for sending."""
        if parts := self._parts.get(name):
            parts.sender.wake()

    def _sender(self, name: str) -> Sender | None:
        """Who sends for a session that this instance holds."""
        parts = self._parts.get(name)
        return parts.sender if parts else None

    # --- engine events ------------------------------------------------------------------------------------------
    def _sink(self, event: e.EngineEvent | e.EngineDied) -> None:
        if isinstance(event, e.EngineDied):
            log.error("engine process ended", action="engine", code="engine_crashed", detail=event.detail)
            for name, connection in event.sessions.items():
                if (actor := self.supervisor.actors.get(name)) is not None:
                    actor.tell(s.Closed(connection, 0, event.tag))
            return
        actor = self.supervisor.actors.get(event.session)
        if actor is None:
            return
        if isinstance(event, e.InboxStored):
            self._parts[event.session].inbox.wake()
        elif isinstance(event, e.Synced):
            self._parts[event.session].inbox.learn(event.kind, event.items)
        else:
            actor.engine_event(event)


def _say_if_failed(task: asyncio.Task[None]) -> None:
    """None of the instance's own tasks ends by itself: one that did had a bug, and must not be missed in silence."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a task of the instance failed", action="task", code="bug", error=type(error).__name__)


async def _all_or_none(*work: Coroutine[Any, Any, None]) -> None:
    """All beside each other. If one fails the others have ended before its error is raised: they can be closed then."""
    tasks = [asyncio.create_task(one) for one in work]
    _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    for task in tasks:
        if not task.cancelled():
            task.result()
