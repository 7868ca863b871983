"""A webhook receiver that checks every signature, keeps what came, and lets a test wait for more."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any, Self

from aiohttp import web

Event = dict[str, Any]
KEY = "a key of the receiver"


class Receiver:
    """An HTTP server on a free port of the loopback."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.at: list[float] = []
        """When each event came, by the wall clock."""
        self.bad: list[str] = []
        """What was wrong with requests that were refused; a test ends by looking that there is nothing."""
        self.answer = 200
        self._grown = asyncio.Event()

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=1 << 24)
        app.router.add_post("/hook", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}/hook"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def environment(self) -> dict[str, str]:
        """What makes a Holdfast send all its events here."""
        return {"HOLDFAST_WEBHOOK_URL": self.url, "HOLDFAST_WEBHOOK_HMAC_KEY": KEY}

    async def _take(self, request: web.Request) -> web.Response:
        at = time.time()
        body = await request.read()
        signature = hmac.new(KEY.encode(), body, hashlib.sha512).hexdigest()
        if not hmac.compare_digest(signature, request.headers.get("X-Webhook-Hmac", "")):
            self.bad.append(f"signature {request.headers.get('X-Webhook-Hmac')!r}")
            return web.Response(status=401)
        if self.answer != 200:
            return web.Response(status=self.answer)
        self.events.append(json.loads(body))
        self.at.append(at)
        self._grown.set()
        self._grown = asyncio.Event()
        return web.Response()

    def texts(self, session: str) -> list[str]:
        """Bodies of the messages from others that came for a session, each event id once, in order of arrival."""
        seen: dict[str, str] = {}
        for event in self.events:
            if event["event"] == "message" and event["session"] == session:
                seen.setdefault(event["id"], event["payload"]["body"])
        return list(seen.values())

    async def until(self, wanted: Callable[[Event], bool], *, timeout: float = 60, what: str = "the event") -> Event:
        """The first event, come or to come, that is `wanted`."""
        checked = 0
        try:
            async with asyncio.timeout(timeout):
                while True:
                    for event in self.events[checked:]:
                        if wanted(event):
                            return event
                    checked = len(self.events)
                    await self._grown.wait()
        except TimeoutError:
            raise AssertionError(f"{what} did not come within {timeout} s; {len(self.events)} others did") from None

    async def message(self, session: str, text: str, timeout: float = 60) -> Event:
        """The `message` event of a session with this text."""

        def wanted(event: Event) -> bool:
            return (
                event["event"] == "message" and event["session"] == session and bool(event["payload"]["body"] == text)
            )

        return await self.until(wanted, timeout=timeout, what=f"the message {text!r} of {session}")
