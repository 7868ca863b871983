"""Holdfast as a user starts it, over a strict little WAHA that goes wrong on order: what the checks of `waha` share."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.support.little_waha import KEY as WAHA_KEY
from tests.support.little_waha import LittleWaha
from tests.support.processes import Holdfast, Receiver
from verify.harness import alone

PHONE = "40712345678"
CHAT = "40722000111@c.us"
HOOK_KEY = "hooks-of-waha"
USER = "6828510b49ea27a15a2226c0"
CONNECT = 15.0
"""Seconds from Connect to the QR that the field report was promised."""
SCALED = 0.1
Body = dict[str, Any]


@dataclass
class Rig:
    """A WAHA, and Holdfast that knows it as `main`; `log` is what Holdfast wrote."""

    waha: LittleWaha
    holdfast: Holdfast
    hook: Receiver

    async def make(self, name: str = "shop") -> None:
        """A session that lives on that WAHA, started."""
        config = {**self.hook.config(), "holdfast": {"engine": "waha", "server": "main"}}
        await self.holdfast.ask("POST", "/api/sessions", {"name": name, "start": True, "config": config})

    async def link(self, name: str = "shop") -> None:
        """Make it, and scan its QR."""
        await self.make(name)
        await self.until(name, "SCAN_QR_CODE")
        self.waha.sessions.scan(name, PHONE)
        await self.holdfast.until_working(name)

    async def until(self, name: str, status: str, timeout: float = 60.0) -> Body:
        """Wait for a public status."""
        return await self.holdfast.until(name, lambda view: view["status"] == status, timeout)

    async def told(self, method: str, path: str, body: Body | None = None, **query: str) -> tuple[int, Any]:
        """Status and body, whatever they are."""
        async with self.holdfast.http.request(method, self.holdfast.url + path, json=body, params=query) as answer:
            return answer.status, await answer.json(content_type=None)

    async def recovery(self, method: str, what: str, session: str = "shop") -> Body:
        """What `/api/v1/waha` answers, after checking that it succeeded."""
        status, found = await self.told(method, f"/api/v1/waha/{what}", session=session)
        assert (status, found["success"]) == (200, True), found
        data: Body = found["data"]
        return data

    async def send(self, text: str, name: str = "shop") -> tuple[int, Any]:
        """A text to the friend."""
        return await self.told("POST", "/api/sendText", {"session": name, "chatId": CHAT, "text": text})

    async def insist(self, method: str, path: str, body: Body, headers: dict[str, str]) -> None:
        """Ask until it is accepted, as a client does that knows what 422 and 503 mean."""
        while True:
            async with self.holdfast.http.request(
                method, self.holdfast.url + path, json=body, headers=headers
            ) as answer:
                if answer.status < 300:
                    return
                assert answer.status in (422, 503), await answer.text()
            await asyncio.sleep(0.2)

    async def connect(self, name: str = "shop") -> float:
        """Connect, as the dashboard does, and show the QR; seconds that took."""
        began = time.monotonic()
        await self.holdfast.ask("POST", f"/api/sessions/{name}/start")
        await self.until(name, "SCAN_QR_CODE", CONNECT)
        assert await self.holdfast.qr(name) == self.waha.sessions.all[name].qr
        return time.monotonic() - began

    async def seen(self, holds: Callable[[], bool], what: str, timeout: float = 30.0) -> None:
        """Wait for something at WAHA."""
        end = time.monotonic() + timeout
        while not holds():
            assert time.monotonic() < end, f"not in {timeout:.0f} s: {what}"
            await asyncio.sleep(0.02)

    async def steps(self, name: str = "shop") -> list[tuple[str, str]]:
        """(status, code) of the timeline, oldest first."""
        rows = await self.holdfast.ask("GET", f"/api/holdfast/sessions/{name}/timeline", limit="500")
        return [(str(row["status"]), str(row["code"])) for row in reversed(rows)]

    def log(self) -> list[Body]:
        """Lines of Holdfast's log."""
        lines = (self.holdfast.folder / "holdfast.log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def troubles(self) -> list[Body]:
        """Lines that say that something went wrong with us."""
        return [line for line in self.log() if line.get("level") in ("error", "critical")]


Check = Callable[[Rig], Awaitable[str]]


@asynccontextmanager
async def rig(**env: str) -> AsyncIterator[Rig]:
    """All of it, fresh."""
    nowhere: Any = SimpleNamespace(
        url="wss://127.0.0.1:1/ws/chat", root_key="", admin="http://127.0.0.1:1/admin", ca_file="-"
    )
    async with LittleWaha() as waha, Receiver() as hook:
        with tempfile.TemporaryDirectory(prefix="holdfast-verify-") as name:
            servers = {"main": {"url": waha.url, "api_key": WAHA_KEY, "webhook_key": HOOK_KEY}}
            settings = {"HOLDFAST_WAHA_SERVERS": json.dumps(servers), **env}
            async with Holdfast(nowhere, Path(name), **settings) as holdfast:
                yield Rig(waha, holdfast, hook)


def check(id: str, what: str, **env: str) -> Callable[[Check], Check]:
    """Register a check; `env` are Holdfast's settings without their prefix."""

    def register(body: Check) -> Check:
        async def run() -> str:
            async with rig(**{f"HOLDFAST_{name}": value for name, value in env.items()}) as r:
                return await body(r)

        alone(id, what)(run)
        return body

    return register
