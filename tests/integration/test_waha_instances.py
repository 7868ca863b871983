"""Two instances and one WAHA: one acts, whichever is told passes it on, and the next holder takes over untouched."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from holdfast.app import _node_settings, server
from holdfast.config import Settings
from holdfast.domain.access import key_hash
from holdfast.engines.waha.engine import WahaEngine
from holdfast.ground import bind
from holdfast.remotes import waha_options
from holdfast.runtime.access import AccessSettings
from holdfast.runtime.clock import SystemClock
from holdfast.runtime.node import Node
from holdfast.store import open_store
from tests.support.little_waha import KEY as WAHA_KEY
from tests.support.little_waha import LittleWaha

KEY, HOOK_KEY, PHONE = "test-key-of-the-api", "hooks-of-waha", "40712345678"
CHAT = "40722000111@s.whatsapp.net"
FACTOR = 0.1


@asynccontextmanager
async def instance(folder: Path, waha: LittleWaha, name: str) -> AsyncIterator[tuple[Node, httpx.AsyncClient]]:
    """One on the folder's database, with its API."""
    listener = bind("127.0.0.1", 0)
    port = int(listener.getsockname()[1])
    url = f"http://127.0.0.1:{port}"
    servers = {"main": {"url": waha.url, "api_key": WAHA_KEY, "webhook_key": HOOK_KEY}}
    settings = Settings(
        _env_file=None,
        data_dir=folder,
        port=port,
        waha_servers=json.dumps(servers),
        waha_page_interval=100_000.0,
        time_factor=FACTOR,
    )
    clock = SystemClock()
    store = open_store(settings.url, clock)
    node = Node(
        store,
        {"waha": WahaEngine(waha_options(settings, url), store, clock)},
        clock,
        _node_settings(settings, url),
        instance=name,
    )
    with contextlib.closing(listener):
        async with node:
            web = await server(node, settings, node.access(AccessSettings(key_hash(KEY))))
            web.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
            serving = asyncio.create_task(web.serve(sockets=[listener]))
            async with httpx.AsyncClient(base_url=url, headers={"X-Api-Key": KEY}, timeout=30) as http:
                yield node, http
            web.should_exit = True
            await serving


async def has(node: Node, *texts: str) -> None:
    """Wait until the friend's chat is exactly that, oldest first."""
    async with asyncio.timeout(20):
        while True:
            rows = await node.gateway.messages("shop", CHAT, 50, 0, {})
            if [row.text for row in reversed(rows)] == list(texts):
                return
            await asyncio.sleep(0.02)


async def status(node: Node, wanted: str) -> None:
    view = await node.gateway.wait_status("shop", until=frozenset({wanted}), timeout=20)
    assert view.status == wanted, view


async def test_whoever_is_told_passes_it_on_and_the_next_holder_disturbs_nothing(tmp_path: Path) -> None:
    async with LittleWaha() as waha, instance(tmp_path, waha, "second") as (second, _):
        async with instance(tmp_path, waha, "first") as (first, http):
            body = {"name": "shop", "engine": "waha", "config": {"metadata": {"a": "b"}}}
            assert (await http.post("/api/sessions", json=body)).status_code == 201
            await status(first, "SCAN_QR_CODE")
            waha.sessions.scan("shop", PHONE)
            await status(first, "WORKING")
            holder, other = (first, second) if "shop" in first.supervisor.actors else (second, first)
            assert "shop" not in other.supervisor.actors

            waha.sessions.all["shop"].config = {}
            waha.hook(f"{other.gateway.url}/api/holdfast/waha/main/events", HOOK_KEY)
            waha.receive("shop", "through the other one")
            await has(holder, "through the other one")
            assert waha.hooks.answers[-1][1] == 200

            changed = {"config": {"metadata": {"a": "c"}}}
            told = (await http.put("/api/sessions/shop", json=changed)).json()["config"]
            assert told["holdfast"] == {"engine": "waha", "server": "main"}
            elsewhere = {"config": {"holdfast": {"engine": "baileys"}}}
            assert (await http.put("/api/sessions/shop", json=elsewhere)).status_code == 400

            calls = len(waha.calls)
            if holder is second:
                await second.supervisor.end("shop")
                second.supervisor.look()
        await status(second, "WORKING")
        assert "shop" in second.supervisor.actors
        orders = [call.path for call in waha.calls[calls:] if call.method != "GET"]
        assert orders == [], "it was disturbed"
        sent = await second.gateway.send("shop", CHAT, {"type": "text", "text": "still here"})
        assert sent.state in ("sent", "delivered")
        await has(second, "through the other one", "still here")
