"""The real sidecar against the simulator in one process: what the tests of the Baileys engine share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import aiohttp

from holdfast.domain.rows import InboxRow
from holdfast.engines.baileys import BaileysEngine, BaileysOptions
from holdfast.ports import engine as port
from holdfast.runtime.clock import SystemClock
from holdfast.store import SqlStore, open_store
from tests.support.leases import take_lease
from wasim.server import WasimServer

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "tests"
"""Node's compile cache, so that each sidecar of the tests starts in a third of the time."""

PATIENCE = 30.0

LEAK = [0] * 24_000_000
"""A number takes a byte on the pipe, and eight in the sidecar's heap."""

Event = TypeVar("Event")


class World:
    """One engine, one store, one simulator; `take` waits for events in the order in which they came."""

    kind = "baileys"
    config: Mapping[str, Any] = MappingProxyType({})
    """Engine and configuration of the sessions that it makes."""

    def __init__(self, engine: port.Engine, store: SqlStore, wasim: WasimServer, http: aiohttp.ClientSession) -> None:
        self.engine, self.store, self.wasim, self._http = engine, store, wasim, http
        self.events: asyncio.Queue[port.EngineEvent | port.EngineDied] = asyncio.Queue()
        self.epochs: dict[str, int] = {}
        self.numbers: dict[str, int] = {}

    async def session(self, name: str) -> None:
        """Create a session and hold its lease."""
        await self.store.create_session(name, self.kind, dict(self.config), "running")
        lease = await take_lease(self.store, name, "tests", 3600.0)
        self.epochs[name] = getattr(lease, "epoch")  # noqa: B009 - a holder in the way has none: fail here

    def grant(self, name: str, seconds: float = 3600.0) -> port.Grant:
        return port.Grant(self.epochs[name], SystemClock().boot() + seconds)

    async def open(
        self,
        name: str,
        *,
        pair: bool = False,
        phone: str | None = None,
        expect: str = "",
        grant: port.Grant | None = None,
    ) -> int:
        """Begin a new connection and return its number."""
        number = self.numbers[name] = self.numbers.get(name, 0) + 1
        right = grant or self.grant(name)
        await self.engine.open(
            port.OpenRequest(name, number, right, pair=pair, pair_phone=phone, expect_phone=expect, options=self.config)
        )
        return number

    async def take(self, kind: type[Event], session: str | None = None, within: float = PATIENCE) -> Event:
        """The next event of that kind; those of other kinds before it are passed over, a close never is."""
        async with asyncio.timeout(within):
            while True:
                event = await self.events.get()
                if isinstance(event, kind) and (session is None or getattr(event, "session", None) == session):
                    return event
                assert not isinstance(event, port.Closed | port.EngineDied) or session not in (None, _of(event)), event

    async def pair(self, name: str, phone: str) -> int:
        """Create the session, link it to that phone by QR, and log in."""
        await self.session(name)
        await self.open(name, pair=True)
        await self.admin("mock-phone/scan-qr", (await self.take(port.QrShown, name)).qr, phone=phone)
        await self.take(port.Paired, name)
        assert (await self.take(port.Closed, name)).tag == "restart_required"
        return await self.login(name)

    async def login(self, name: str) -> int:
        """Open with the stored credentials, and wait until WhatsApp took them."""
        number = await self.open(name)
        await self.take(port.Opened, name)
        return number

    async def send(self, name: str, chat: str, text: str, message_id: str) -> port.ServerAck:
        message = port.OutgoingMessage(message_id, chat, {"type": "text", "text": text})
        return await self.engine.send(name, self.numbers[name], message)

    async def inbox(self, name: str, count: int, kind: str = "message", text: bool = True) -> list[InboxRow]:
        """The session's rows of that kind, once there are `count`; messages only those with text."""

        async def look() -> list[InboxRow] | None:
            rows = [row for row in await self.store.inbox_pending(name, 1000) if row.kind == kind]
            rows = [row for row in rows if kind != "message" or not text or text_of(row)]
            return rows if len(rows) >= count else None

        return await self.until(look)

    async def until(self, look: Callable[[], Awaitable[Any]], within: float = PATIENCE) -> Any:
        """What `look` gives, as soon as it is true."""
        async with asyncio.timeout(within):
            while not (found := await look()):
                await asyncio.sleep(0.02)
            return found

    async def admin(self, path: str, body: str | Mapping[str, Any] | None = None, **query: str) -> Any:
        """POST to the simulator's admin API, or GET without a body."""
        url = f"{self.wasim.admin_url.rstrip('/')}/{path}"
        data = body if isinstance(body, str) else None
        method = "GET" if body is None else "POST"
        request = self._http.request(
            method, url, params=query, data=data, json=None if isinstance(body, str | None) else body
        )
        async with request as response:
            answer = await response.json()
            assert response.status < 300, answer
            return answer

    async def seen(self, **wanted: Any) -> list[dict[str, Any]]:
        """Entries of the simulator's log that have all these values."""
        log = await self.admin("log", since="0")
        entries = log["entries"] if isinstance(log, dict) else log
        return [entry for entry in entries if all(entry.get(name) == value for name, value in wanted.items())]

    def leak(self) -> None:
        """The sidecar keeps what it is told as the version: 190 MB more are resident from then on."""
        [sidecar] = getattr(self.engine, "_pool").sidecars()  # noqa: B009 - the port has no such thing
        sidecar.tell("version", LEAK)

    def pid(self) -> int:
        return int(self.engine.facts()["processes"][0]["pid"])


def _of(event: port.EngineEvent | port.EngineDied) -> str:
    return getattr(event, "session", "")


def text_of(row: InboxRow) -> str:
    """The text of a received message, or empty."""
    body = row.body.get("deviceSentMessage", {}).get("message", row.body)
    return str(body.get("conversation") or body.get("extendedTextMessage", {}).get("text") or "")


def baileys(wasim: WasimServer, store: SqlStore, clock: SystemClock, **options: Any) -> BaileysEngine:
    """The real engine, on that simulator."""
    settings = BaileysOptions(
        data_dir=CACHE,
        whatsapp_url=wasim.url,
        root_key=wasim.root_key_hex,
        ca_file=wasim.ca_file,
        version_url=f"{wasim.admin_url.removesuffix('/admin')}/sw.js",
    )
    return BaileysEngine(replace(settings, **options), store, clock)


@asynccontextmanager
async def running(folder: Path, **options: Any) -> AsyncIterator[World]:
    """A world with a store in `folder`. `wasim` options are given as `wasim={...}`."""
    clock = SystemClock()
    wasim_options = options.pop("wasim", {})
    store = open_store(f"sqlite:///{folder}/holdfast.sqlite3", clock)
    await store.open()
    try:
        async with WasimServer(port=0, **wasim_options) as wasim, aiohttp.ClientSession() as http:
            engine = baileys(wasim, store, clock, **options)
            world = World(engine, store, wasim, http)
            await engine.start(world.events.put_nowait)
            try:
                yield world
            finally:
                await engine.stop()
    finally:
        await store.close()
