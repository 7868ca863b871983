"""A whole instance behind its real HTTP server on a free port; only WhatsApp is scripted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from holdfast.api.app import build
from holdfast.api.connections import Connections, Server
from holdfast.api.http_connection import http_config
from holdfast.domain.access import key_hash
from holdfast.domain.connection_limits import ConnectionLimits
from holdfast.domain.receivers import Reach
from holdfast.ground import bind
from holdfast.ports.store import Store
from holdfast.runtime.access import AccessSettings
from holdfast.runtime.clock import SystemClock
from holdfast.runtime.media import MediaSettings
from holdfast.runtime.node import Node, NodeSettings
from holdfast.store import open_store
from holdfast.store.files.folder import Folder
from tests.support.scripted_engine import ScriptedEngine

KEY = "test-key-of-the-api"
METRICS_KEY = "test-key-of-the-metrics"
KEYS = AccessSettings(key_hash(KEY), key_hash(METRICS_KEY))
BODY_LIMIT = 300_000
PAGE_LIMIT = 100
MEDIA_LIMIT = 1_000_000
LIMITS = ConnectionLimits()
MEDIA_REACH = Reach.parse("127.0.0.2/32")
"""Files are fetched from one address of this machine only."""


@dataclass
class Served:
    """What a test has in hand; `http` carries the key."""

    url: str
    http: httpx.AsyncClient
    engine: ScriptedEngine
    node: Node
    store: Store

    async def until(self, name: str, status: str, timeout: float = 10.0) -> dict[str, object]:
        """Wait until the API says so."""
        view = await self.node.gateway.wait_status(name, until=frozenset({status}), timeout=timeout)
        assert view.status == status, f"{view.status} {view.reason}: {view.message}"
        answer: dict[str, object] = (await self.http.get(f"/api/sessions/{name}")).json()
        assert answer["status"] == status
        return answer

    async def linked(self, name: str = "shop") -> None:
        """Make a session and link it by QR."""
        made = await self.http.post("/api/sessions", json={"name": name, "start": True})
        assert made.status_code == 201, made.text
        await self.until(name, "SCAN_QR_CODE")
        self.engine.scan(name)
        await self.until(name, "WORKING")


@asynccontextmanager
async def serving(
    node: Node,
    port: int = 0,
    limits: ConnectionLimits = LIMITS,
    *,
    keys: AccessSettings = KEYS,
    public_url: str = "",
    base: str = "",
    origins: Collection[str] = (),
) -> AsyncIterator[str]:
    """Serve a started instance's API on that port, or on a free one; its URL."""
    access = node.access(keys)
    await access.start()
    app = build(
        node.gateway,
        access,
        metrics=node.metrics.render,
        alerts=node.alerts.in_force,
        peers=node,
        public_url=public_url,
        base=base,
        origins=origins,
        accounts=node.accounts,
        body_limit=BODY_LIMIT,
        page_limit=PAGE_LIMIT,
        send_wait=5.0,
    )
    listener = bind("127.0.0.1", port)
    connections = Connections(limits, node.metrics.refused)
    config = http_config(app, connections)
    config.timeout_graceful_shutdown = 1
    server = Server(config, connections)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await running
        listener.close()


@asynccontextmanager
async def served(
    folder: Path, limits: ConnectionLimits = LIMITS, *, base: str = "", origins: Collection[str] = ()
) -> AsyncIterator[Served]:
    """Start it, and stop it in order."""
    clock, engine = SystemClock(), ScriptedEngine(latency=0.01)
    store = open_store(f"sqlite:///{folder / 'test.sqlite3'}", clock)
    async with (
        Node(
            store,
            {"baileys": engine},
            clock,
            NodeSettings(version="test", media=MediaSettings(limit=MEDIA_LIMIT, reach=MEDIA_REACH, factor=0.02)),
            instance="test-instance",
            files=Folder(folder / "media"),
        ) as node,
        serving(node, limits=limits, base=base, origins=origins) as url,
        httpx.AsyncClient(base_url=url, headers={"X-Api-Key": KEY}, timeout=20) as http,
    ):
        yield Served(url, http, engine, node, store)


def check(folder: Path, body: Callable[[Served], Awaitable[None]]) -> None:
    """Run a test's body against a fresh instance."""

    async def main() -> None:
        async with served(folder) as it:
            await body(it)

    asyncio.run(main())
