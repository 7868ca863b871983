"""`ports.engine.Engine` over remote WAHA servers: nothing is assumed of them, everything is asked, or told by webhook.

A session is known at WAHA by the same name. One server that is slow or gone holds up its own sessions only: each has
its own client, line, breaker and looks.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import structlog

from holdfast.domain import remote_messages as read
from holdfast.domain.errors import HoldfastError, NotConnected, PairingRefused, StoreUnavailable
from holdfast.domain.remote import Tried
from holdfast.domain.rows import EngineWrite, InboxRow
from holdfast.engines.waha.calls import CALLS
from holdfast.engines.waha.client import WahaClient
from holdfast.engines.waha.errors import WahaBusy, WahaRefused, WahaUnavailable
from holdfast.engines.waha.history import History
from holdfast.engines.waha.link import EVENTS, Link, Shared
from holdfast.engines.waha.looks import Looks
from holdfast.engines.waha.options import WahaOptions, WahaServer
from holdfast.engines.waha.sending import Sending, not_working
from holdfast.ports import engine as port
from holdfast.ports.clock import Clock
from holdfast.ports.store import Store

log = structlog.get_logger(__name__)

CLOSE_LIMIT = 10.0
"""`close` and `forget` return within so many seconds, whatever WAHA does."""
OVERLAP = 120.0
"""Seconds before the newest known message from which on messages are read again."""
SKEW = 30.0
"""Seconds before the link was noted from which on messages are told: clocks differ."""
Json = Mapping[str, Any]


class _Server:
    """One WAHA server, and the sessions of this instance on it."""

    def __init__(self, server: WahaServer, options: WahaOptions, clock: Clock) -> None:
        self.server = server
        self.client = WahaClient(server, options, clock)
        self.looks = Looks(self.client, options, clock)
        self.tried: dict[str, Tried] = {}


class _Hosted:
    """A connection with what belongs to it."""

    def __init__(self, link: Link, server: _Server, sending: Sending) -> None:
        self.link, self.server, self.sending = link, server, sending
        self.tasks: list[asyncio.Task[None]] = []


class WahaEngine:
    """See the module."""

    def __init__(self, options: WahaOptions, store: Store, clock: Clock) -> None:
        self._options = options
        self._store = store
        self._clock = clock
        self._sink: port.EventSink = _no_sink
        self._servers = {name: _Server(server, options, clock) for name, server in options.servers.items()}
        factor = options.time_factor
        self._times = replace(
            options.remote, stuck=options.remote.stuck * factor, prompt=options.remote.prompt * factor
        )
        self._hosted: dict[str, _Hosted] = {}
        self._opened: dict[str, asyncio.Event] = {}

    # --- life ---------------------------------------------------------------------------------------------------
    async def start(self, sink: port.EventSink) -> None:
        """See the port. No server is asked before a session needs it."""
        self._sink = sink

    async def stop(self) -> None:
        """See the port. The sessions go on at WAHA: whoever holds them next takes them over."""
        for hosted in list(self._hosted.values()):
            await self._let_go(hosted)
        for server in self._servers.values():
            await server.looks.stop()
            await server.client.stop()

    async def refresh_version(self, config: Mapping[str, Any]) -> None:
        """See the port. WAHA sees to its own."""

    # --- opening and closing ------------------------------------------------------------------------------------
    def server_of(self, config: Json) -> str:
        """See `ports.remote`: the server that the configuration names, or the first one."""
        named = str((config.get("holdfast") or {}).get("server") or "")
        return named or next(iter(self._servers), "")

    async def open(self, request: port.OpenRequest) -> None:
        """See the port."""
        if (older := self._hosted.get(request.session)) is not None:
            await self._let_go(older)
        server = self._servers.get(self.server_of(request.options))
        if server is None:
            tag, name = "waha_unknown_server", self.server_of(request.options)
            detail = f"no server '{name}' in HOLDFAST_WAHA_SERVERS"
            self._sink(port.Closed(request.session, request.connection, 0, tag, detail=detail))
            return
        ignored = self._options.ignore.overridden(request.options)
        history = History(request.session, server.client, self._store, self._options, ignored)
        link = Link(request, self._shared(server), history)
        factor = self._options.time_factor
        sending = Sending(
            link, server.client, server.looks, self._store, self._clock, wait=self._options.ack_wait, factor=factor
        )
        hosted = self._hosted[request.session] = _Hosted(link, server, sending)
        hosted.tasks.append(asyncio.create_task(link.run()))

    def _shared(self, server: _Server) -> Shared:
        return Shared(
            client=server.client,
            looks=server.looks,
            store=self._store,
            clock=self._clock,
            times=self._times,
            factor=self._options.time_factor,
            webhook=self._webhook(server.server),
            tried=server.tried,
            sink=self._sink,
            on_open=self._on_open,
            on_lost=self._on_lost,
        )

    def _webhook(self, server: WahaServer) -> Json | None:
        if not self._options.webhook_url or not server.hook_key:
            return None
        url = f"{self._options.webhook_url.rstrip('/')}/api/holdfast/waha/{quote(server.name)}/events"
        return {"url": url, "events": list(EVENTS), "hmac": {"key": server.hook_key}}

    def _on_open(self, link: Link) -> None:
        hosted = self._hosted.get(link.name)
        if hosted is not None and hosted.link is link:
            self._opened.setdefault(link.name, asyncio.Event()).set()
            hosted.tasks.append(asyncio.create_task(self._pages(hosted)))

    def _on_lost(self, link: Link) -> None:
        hosted = self._hosted.get(link.name)
        if hosted is not None and hosted.link is link:
            self._leave(hosted)

    def _leave(self, hosted: _Hosted) -> None:
        name = hosted.link.name
        hosted.link.shut()
        hosted.server.looks.remove(hosted.link)
        if self._hosted.get(name) is hosted:
            del self._hosted[name]
        if name in self._opened:
            self._opened[name].clear()
        here = asyncio.current_task()
        for task in hosted.tasks:
            if task is not here:
                task.cancel()

    async def _let_go(self, hosted: _Hosted) -> None:
        self._leave(hosted)
        await asyncio.gather(*hosted.tasks, return_exceptions=True)

    async def close(self, session: str, connection: int, *, logout: bool = False, stop: bool = False) -> None:
        """See the port. Let go, a session runs on at WAHA; logged out, it stays there, stopped and not linked."""
        hosted = self._hosted.get(session)
        if hosted is None or hosted.link.connection != connection:
            return
        await self._let_go(hosted)
        if logout or stop:
            hosted.server.tried.pop(session, None)
            path = f"/api/sessions/{quote(session)}"
            client = hosted.server.client
            with self._in_time(session, "stop"):
                async with asyncio.timeout(CLOSE_LIMIT):
                    if logout:
                        with contextlib.suppress(WahaRefused):
                            await client.post(f"{path}/logout")
                    await client.post(f"{path}/stop", again=True)

    async def forget(self, session: str, config: Json) -> None:
        """See the port. It is deleted at WAHA as well."""
        server = self._servers.get(self.server_of(config))
        if server is not None:
            server.tried.pop(session, None)
            with self._in_time(session, "delete"):
                async with asyncio.timeout(CLOSE_LIMIT):
                    await server.client.delete(f"/api/sessions/{quote(session)}")

    @contextlib.contextmanager
    def _in_time(self, session: str, what: str) -> Any:
        try:
            yield
        except (HoldfastError, TimeoutError) as error:
            code = error.code if isinstance(error, HoldfastError) else "timeout"
            log.warning("WAHA did not do what was ordered", session=session, action=f"waha_{what}", code=code)

    async def grant(self, grants: Mapping[str, port.Grant]) -> None:
        """See the port."""
        for name, grant in grants.items():
            if (hosted := self._hosted.get(name)) is not None:
                hosted.link.grant = grant
        for hosted in list(self._hosted.values()):
            if not hosted.link.may_act():
                hosted.link.lost("grant", "the grant lapsed")

    # --- asking -------------------------------------------------------------------------------------------------
    def _find(self, session: str, connection: int) -> _Hosted:
        hosted = self._hosted.get(session)
        if hosted is None or hosted.link.connection != connection or not hosted.link.may_act():
            raise NotConnected
        return hosted

    async def request_code(self, session: str, connection: int, phone: str) -> str:
        """See the port."""
        try:
            code = await self._find(session, connection).link.code(phone)
        except WahaRefused as error:
            raise PairingRefused(error.sentence) from error
        self._sink(port.CodeShown(session, connection, code, phone))
        return code

    async def send(self, session: str, connection: int, message: port.OutgoingMessage) -> port.ServerAck:
        """See the port. Also raises `InvalidMessage` for what WAHA refuses."""
        hosted = self._find(session, connection)
        if not hosted.link.is_open:
            raise NotConnected
        return await hosted.sending.send(message)

    async def probe(self, session: str, connection: int, *, listed: bool, timeout: float) -> port.Probed:
        """See the port. The next look at all sessions of the server answers, and is not made for one."""
        with contextlib.suppress(NotConnected):
            hosted = self._find(session, connection)
            if await hosted.server.looks.next(timeout) and hosted.link.is_open and hosted.link.status == "WORKING":
                return port.Probed.ALIVE
        return port.Probed.SILENT

    async def call(self, session: str, connection: int, method: str, args: Json) -> Any:
        """See the port, and `calls`. A session that WAHA says not to work is recovered, and the call made once more."""
        hosted = self._find(session, connection)
        try:
            return await CALLS.make(hosted.server.client, session, method, args)
        except WahaRefused as error:
            if not error.not_working:
                raise CALLS.failed(error) from error
            hosted.link.lost(not_working(error.body), error.sentence)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._options.recover_wait * self._options.time_factor):
                await self._opened.setdefault(session, asyncio.Event()).wait()
        if (again := self._hosted.get(session)) is None or not again.link.is_open:
            raise NotConnected("WAHA says that the session does not work; it is being recovered.")
        try:
            return await CALLS.make(again.server.client, session, method, args)
        except WahaRefused as error:
            raise CALLS.failed(error) from error

    def facts(self) -> Json:
        """See the port. `servers` by name; the rest speaks of all of them."""
        servers = {
            name: {
                **server.client.facts(),
                "version": server.looks.version,
                "engine": server.looks.engine,
                "sessions": sum(hosted.server is server for hosted in self._hosted.values()),
            }
            for name, server in self._servers.items()
        }
        return {"processes": [], "servers": servers}

    # --- what WAHA tells ----------------------------------------------------------------------------------------
    def knows(self, server: str) -> bool:
        """See `ports.remote`."""
        return server in self._servers

    def servers(self) -> list[str]:
        """See `ports.remote`."""
        return list(self._servers)

    def is_genuine(self, server: str, signature: str, body: bytes) -> bool:
        """See `ports.remote`. Without any key in the settings nothing is genuine, and messages are asked for only."""
        known = self._servers.get(server)
        if known is None or not known.server.hook_key:
            return False
        right = hmac.new(known.server.hook_key.encode(), body, hashlib.sha512).hexdigest()
        return hmac.compare_digest(right.encode(), signature.strip().lower().encode())

    async def take(self, session: str, envelope: Json, *, epoch: int = 0) -> None:
        """See `ports.remote`."""
        hosted = self._hosted.get(session)
        event, payload = str(envelope.get("event") or ""), envelope.get("payload")
        if hosted is None or not hosted.link.may_act():
            if not epoch:
                raise NotConnected
            if event != "session.status" and isinstance(payload, Mapping):
                await self._keep(session, 0, epoch, _readable(session, event, payload, _phone(envelope)))
            return
        hosted.link.heard_at = self._clock.boot()
        if event == "session.status":
            status = payload.get("status") if isinstance(payload, Mapping) else None
            log.info("webhook session.status", session=session, action="webhook", status=status)
            hosted.server.looks.now()
        elif isinstance(payload, Mapping):
            await self._store_news(hosted, event, payload, hosted.link.phone or _phone(envelope))

    async def _store_news(self, hosted: _Hosted, event: str, payload: Json, phone: str) -> None:
        link = hosted.link
        await self._keep(link.name, link.connection, link.grant.epoch, await self._rows(hosted, event, payload, phone))

    async def _keep(self, session: str, connection: int, epoch: int, rows: list[InboxRow]) -> None:
        if rows:
            await self._store.write_engine(session, epoch, EngineWrite(inbox=rows))
            self._sink(port.InboxStored(session, connection))

    async def _rows(self, hosted: _Hosted, event: str, payload: Json, phone: str) -> list[InboxRow]:
        rows = _readable(hosted.link.name, event, payload, phone)
        if not payload.get("fromMe") or not rows:
            if payload.get("fromMe") and event.startswith("message.ack"):
                await self._heard(hosted, payload)
            return rows
        if event in ("message", "message.any") and payload.get("source") != "app":
            await hosted.sending.claim(payload)
        id_, ours = await self._heard(hosted, payload)
        if event in ("message", "message.any") and await self._store.outbox_get(hosted.link.name, ours) is not None:
            return _readable(hosted.link.name, "message.ack", _renamed(payload, id_, ours), phone)
        return rows if ours == id_ else _readable(hosted.link.name, event, _renamed(payload, id_, ours), phone)

    async def _heard(self, hosted: _Hosted, payload: Json) -> tuple[str, str]:
        """Whoever waits for what became of that message hears of it. (WAHA's id of it, ours)"""
        id_, _ = read.ack_of({"ack": 0, **payload})
        ours = await hosted.sending.ours(id_)
        hosted.sending.heard(ours, payload)
        return id_, ours

    # --- what is asked for ----------------------------------------------------------------------------------------
    async def _pages(self, hosted: _Hosted) -> None:
        """While it works: its history once, if it was linked before we came, and its newest messages now and then."""
        link, factor = hosted.link, self._options.time_factor
        if link.adopted:
            await self._in_peace(link, hosted.link.history.copy(link.grant.epoch, link.phone))
        since = link.linked_at
        newest = await self._newest(link.name)
        while True:
            since = max(since, newest)
            await self._in_peace(link, self._catch_up(hosted, max(since - OVERLAP, link.linked_at - SKEW)))
            newest = await self._newest(link.name)
            every = self._options.page_every if link.heard_at is not None else self._options.look_every
            await self._clock.sleep(every * factor)

    async def _newest(self, name: str) -> float:
        with contextlib.suppress(StoreUnavailable):
            rows = await self._store.messages(name, None, 1, 0, {"from_me": False})
            return rows[0].timestamp if rows else 0.0
        return 0.0

    async def _catch_up(self, hosted: _Hosted, since: float) -> None:
        async for message in hosted.link.history.lately(since):
            for event in ("message.any", "message.ack"):
                await self._store_news(hosted, event, message, hosted.link.phone)

    async def _in_peace(self, link: Link, work: Any) -> None:
        """Reading pages is an aid: what goes wrong with it never ends a connection."""
        try:
            await work
        except (WahaUnavailable, WahaBusy, WahaRefused, StoreUnavailable) as error:
            log.info("messages could not be read", session=link.name, action="pages", code=error.code)
        except HoldfastError as error:
            log.warning("messages not stored", session=link.name, action="pages", code=error.code)
        except Exception as error:
            log.error("messages could not be read", session=link.name, action="pages", code="bug", exc_info=error)


def _renamed(payload: Json, theirs: str, ours: str) -> Json:
    return {**payload, "id": str(payload.get("id") or "").replace(theirs, ours)}


def _phone(envelope: Json) -> str:
    return read.own_phone(envelope.get("me"))


def _readable(session: str, event: str, payload: Json, phone: str) -> list[InboxRow]:
    """The rows of an event; one that cannot be read is told, and passed over: it would come again and again."""
    try:
        return read.inbox_rows(event, payload, phone)
    except ValueError as error:
        log.warning("a WAHA event cannot be read", session=session, action="waha", detail=str(error))
        return []


def _no_sink(event: port.EngineEvent | port.EngineDied) -> None:
    raise AssertionError("the engine was not started")
