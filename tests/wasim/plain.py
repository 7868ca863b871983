"""Drives ``plain_client.mjs``, the npm Baileys without Holdfast, from a test."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from wasim.server import WasimServer

HERE = Path(__file__).parent
VENV_NODE = HERE.parents[1] / ".venv/bin/node"

Event = dict[str, Any]


class PlainClient:
    """One Node process with one Baileys client; its events are kept until a test asks for them."""

    def __init__(
        self, wasim: WasimServer, *, auth: Path | None = None, folder: Path | None = None, keepalive_ms: int = 30_000
    ) -> None:
        self._wasim = wasim
        self._auth = auth
        self._folder = folder
        self._keepalive = keepalive_ms
        self._events: deque[Event] = deque(maxlen=10_000)
        self._grown = asyncio.Event()
        self._ids = itertools.count(1)

    async def __aenter__(self) -> Self:
        node = str(VENV_NODE) if VENV_NODE.exists() else shutil.which("node") or "node"
        command = [node, str(HERE / "plain_client.mjs"), "--url", self._wasim.url, "--root", self._wasim.root_key_hex]
        command += ["--keepalive", str(self._keepalive)] + (["--auth", str(self._auth)] if self._auth else [])
        command += ["--folder", str(self._folder)] if self._folder else []
        environment = dict(os.environ)
        if self._wasim.ca_file is not None:
            environment["NODE_EXTRA_CA_CERTS"] = str(self._wasim.ca_file)
        self._process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=environment, limit=1 << 22
        )
        self._reader = asyncio.create_task(self._read())
        await self.until("ready")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 5)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._reader

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self._events.append(json.loads(line))
            self._grown.set()

    def do(self, name: str, **facts: Any) -> None:
        """Send a command whose result is not waited for."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": name, **facts}).encode() + b"\n")

    async def ask(self, name: str, **facts: Any) -> Any:
        """Send a command and give its value; its error is raised."""
        number = next(self._ids)
        self.do(name, id=number, **facts)
        event = await self.until("result", id=number)
        if "error" in event:
            raise RuntimeError(f"{name}: {event['error']} ({event.get('code')})")
        return event["value"]

    async def until(self, on: str, timeout: float = 30.0, **facts: Any) -> Event:
        """Take the first event ``on`` with these facts, waiting for it; earlier other events stay."""
        async with asyncio.timeout(timeout):
            while True:
                for event in self._events:
                    if event["on"] == on and all(event.get(key) == value for key, value in facts.items()):
                        self._events.remove(event)
                        return event
                self._grown.clear()
                await self._grown.wait()

    async def until_status(self, message_id: str, status: int, timeout: float = 30.0) -> None:
        """Wait until our message has that status: Baileys tells of it apart, or with the message if it held both."""
        async with asyncio.timeout(timeout):
            while not any(
                event["on"] in ("update", "message")
                and event["key"]["id"] == message_id
                and event.get("status") == status
                for event in self._events
            ):
                self._grown.clear()
                await self._grown.wait()

    def seen(self, on: str) -> list[Event]:
        """Give the events ``on`` that were not taken."""
        return [event for event in self._events if event["on"] == on]

    async def pair(self, phone: str) -> Event:
        """Link to ``phone`` by QR and log in; give the ``open`` event."""
        self.do("connect")
        await self._wasim.pairings.scan((await self.until("qr"))["qr"], phone)
        assert (await self.until("close"))["code"] == 515
        return await self.connect()

    async def connect(self) -> Event:
        """Log in; give the ``open`` event."""
        self.do("connect")
        return await self.until("open")
