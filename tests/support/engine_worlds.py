"""The engines behind the port, each over the simulator: what the contract suite runs on."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import aiohttp
from aiohttp import web

from holdfast.domain.errors import NotConnected
from holdfast.engines.waha.engine import WahaEngine
from holdfast.engines.waha.options import WahaOptions, WahaServer
from holdfast.runtime.clock import SystemClock
from holdfast.runtime.node import Node, NodeSettings
from holdfast.store import open_store
from tests.support.baileys_world import World, baileys, running
from tests.support.served import KEY, serving
from wasim.server import WasimServer


@asynccontextmanager
async def second_holdfast(folder: Path, wasim: WasimServer) -> AsyncIterator[str]:
    """A Holdfast on the simulator, with the real sidecar, for another one to take for a WAHA server; its URL."""
    clock = SystemClock()
    store = open_store(f"sqlite:///{folder}/second.sqlite3", clock)
    engines = {"baileys": baileys(wasim, store, clock)}
    node = Node(store, engines, clock, NodeSettings(version="test"), instance="second")
    async with node, serving(node) as url:
        yield url


class WahaWorld(World):
    """Sessions of the engine `waha`, on the second Holdfast."""

    kind = "waha"
    config: Mapping[str, Any] = MappingProxyType({"holdfast": {"engine": "waha", "server": "main"}})


@asynccontextmanager
async def on_second_holdfast(folder: Path) -> AsyncIterator[World]:
    """The WAHA engine; what WAHA tells goes to it as the API would hand it over."""
    clock = SystemClock()
    store = open_store(f"sqlite:///{folder}/holdfast.sqlite3", clock)
    await store.open()
    try:
        async with (
            WasimServer(port=0) as wasim,
            second_holdfast(folder, wasim) as url,
            _Told() as told,
            aiohttp.ClientSession() as http,
        ):
            servers = {"main": WahaServer("main", url, KEY, "hook-key")}
            options = WahaOptions(servers=servers, webhook_url=told.url, look_every=1.0)
            engine = told.engine = WahaEngine(options, store, clock)
            world = WahaWorld(engine, store, wasim, http)
            await engine.start(world.events.put_nowait)
            try:
                yield world
            finally:
                await engine.stop()
    finally:
        await store.close()


class _Told:
    """Where the WAHA engine's webhooks come in."""

    engine: WahaEngine

    async def _on_post(self, request: web.Request) -> web.Response:
        body = await request.read()
        signature = request.headers.get("X-Webhook-Hmac", "")
        assert self.engine.is_genuine(request.match_info["server"], signature, body)
        envelope = json.loads(body)
        with contextlib.suppress(NotConnected):
            await self.engine.take(envelope["session"], envelope)
        return web.Response()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/api/holdfast/waha/{server}/events", self._on_post)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        server: Any = site._server
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


WORLDS: dict[str, Callable[[Path], AbstractAsyncContextManager[World]]] = {
    "baileys": running,
    "waha": on_second_holdfast,
}
