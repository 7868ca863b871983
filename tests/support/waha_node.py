"""An instance in this process, with settings as a user gives them, over a little WAHA. Its Baileys is scripted."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from holdfast.app import _node_settings, server
from holdfast.config import Settings
from holdfast.domain.access import key_hash
from holdfast.engines.waha.engine import WahaEngine
from holdfast.ground import bind
from holdfast.ports.gateway import SessionView
from holdfast.ports.store import Store
from holdfast.remotes import waha_options
from holdfast.runtime.access import AccessSettings
from holdfast.runtime.clock import SystemClock
from holdfast.runtime.node import Node
from holdfast.store import open_store
from tests.support.little_waha import KEY as WAHA_KEY
from tests.support.little_waha import LittleWaha
from tests.support.scripted_engine import ScriptedEngine

KEY = "test-key-of-the-api"
HOOK_KEY = "hooks-of-waha"
PHONE = "40712345678"
CHAT = "40722000111@c.us"
FACTOR = 0.05
"""A look every 0.75 s, 1.5 s for an answer, 3 s of rest."""
Json = dict[str, Any]


@dataclass
class OnWaha:
    """What a test has in hand; `http` carries the key."""

    waha: LittleWaha
    url: str
    http: httpx.AsyncClient
    node: Node
    store: Store
    scripted: ScriptedEngine
    """In place of Baileys."""

    async def make(self, name: str = "shop", server: str = "main", **config: Any) -> httpx.Response:
        """A session that lives on that WAHA, started."""
        body = {"name": name, "start": True, "config": {**config, "holdfast": {"engine": "waha", "server": server}}}
        return await self.http.post("/api/sessions", json=body)

    async def link(self, name: str = "shop", server: str = "main", waha: LittleWaha | None = None) -> None:
        """Make it, and scan its QR."""
        made = await self.make(name, server)
        assert made.status_code == 201, made.text
        await self.until(name, "SCAN_QR_CODE")
        (waha or self.waha).sessions.scan(name, PHONE)
        await self.until(name, "WORKING")

    async def adopt(self, name: str = "shop") -> None:
        """One that worked at WAHA before we came."""
        self.waha.sessions.have(name, PHONE)
        made = await self.make(name)
        assert made.status_code == 201, made.text
        await self.until(name, "WORKING")

    async def view(self, name: str = "shop") -> SessionView:
        """As users see it now."""
        return await self.node.gateway.session(name)

    async def until(self, name: str, status: str, timeout: float = 20.0) -> SessionView:
        """Wait for a public status."""
        view = await self.node.gateway.wait_status(name, until=frozenset({status}), timeout=timeout)
        assert view.status == status, f"{view.status} {view.reason}: {view.message}"
        return view

    async def holds(self, holds: Callable[[SessionView], bool], name: str = "shop") -> SessionView:
        """Wait until the session is so."""
        async with asyncio.timeout(20):
            while not holds(view := await self.view(name)):
                await asyncio.sleep(0.01)
            return view

    async def seen(self, holds: Callable[[], bool]) -> None:
        """Wait for something at WAHA."""
        async with asyncio.timeout(20):
            while not holds():
                await asyncio.sleep(0.005)

    async def send(self, text: str, name: str = "shop", **more: Any) -> httpx.Response:
        """A text to the friend."""
        return await self.http.post("/api/sendText", json={"session": name, "chatId": CHAT, "text": text, **more})

    async def texts(self, name: str = "shop") -> list[str]:
        """The friend's chat as we have it, oldest first."""
        rows = await self.node.gateway.messages(name, CHAT.replace("@c.us", "@s.whatsapp.net"), 50, 0, {})
        return [row.text for row in reversed(rows)]

    async def has(self, *texts: str, name: str = "shop") -> None:
        """Wait until the friend's chat is exactly that; WAHA tells times in seconds, so the order is not known."""
        async with asyncio.timeout(20):
            while sorted(found := await self.texts(name)) != sorted(texts):
                assert len(found) <= len(texts), found
                await asyncio.sleep(0.01)

    async def codes(self, name: str = "shop") -> list[str]:
        """Of the timeline, oldest first."""
        return [row.code for row in reversed(await self.node.gateway.timeline(name, 500))]


@asynccontextmanager
async def on_waha(
    folder: Path,
    *,
    waha: LittleWaha | None = None,
    servers: Json | None = None,
    factor: float = FACTOR,
    **settings: Any,
) -> AsyncIterator[OnWaha]:
    """Both of them; `servers` are more WAHAs by name, or other facts of `main`."""
    async with contextlib.AsyncExitStack() as stack:
        little = waha or await stack.enter_async_context(LittleWaha())
        known = {"main": {"url": little.url, "api_key": WAHA_KEY, "webhook_key": HOOK_KEY}, **(servers or {})}
        listener = bind("127.0.0.1", 0)
        stack.callback(listener.close)
        port = int(listener.getsockname()[1])
        made = Settings(
            _env_file=None,
            data_dir=folder,
            port=port,
            waha_servers=json.dumps(known),
            time_factor=factor,
            lease_ttl=15.0 / factor,
            lease_renew=5.0 / factor,
            whatsapp_url="wss://127.0.0.1:1/ws/chat",
            send_wait=2.0,
            **settings,
        )
        clock, scripted, url = SystemClock(), ScriptedEngine(latency=0.01), f"http://127.0.0.1:{port}"
        store = open_store(made.url, clock)
        engines = {"baileys": scripted, "waha": WahaEngine(waha_options(made, url), store, clock)}
        node = Node(store, engines, clock, _node_settings(made, url), instance="test-instance")
        await stack.enter_async_context(node)
        web = await server(node, made, node.access(AccessSettings(key_hash(KEY))))
        web.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
        serving = asyncio.create_task(web.serve(sockets=[listener]))

        async def stop() -> None:
            web.should_exit = True
            await serving

        stack.push_async_callback(stop)
        http = httpx.AsyncClient(base_url=url, headers={"X-Api-Key": KEY}, timeout=30, verify=False)
        yield OnWaha(little, url, await stack.enter_async_context(http), node, store, scripted)


def since() -> float:
    """Now, for `LittleWaha.called`."""
    return time.time()
