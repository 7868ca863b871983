"""A real `holdfast serve` in a folder of its own, and its API as a user's program sees it."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Self

import aiohttp

from tests.support.processes import BIN, Program
from tests.support.receiver import Receiver
from tests.support.whatsapp import WhatsApp

KEY = "test-key"
_READY = re.compile(r"Holdfast is ready: (http://\S+?)/dashboard")

Json = dict[str, Any]


class Refused(AssertionError):
    """The API answered with an error; `status` and `body` tell which."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body


class Holdfast:
    """One instance; `start` and `kill` as often as a test likes, on the same folder."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self.folder = folder
        self._env = dict(env)
        self.program: Program | None = None
        self.url = ""
        self.started_at = 0.0

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(headers={"X-Api-Key": KEY}, timeout=aiohttp.ClientTimeout(total=120))
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()
        if self.program is not None and self.program.process.returncode is None:
            await self.program.stop()

    async def start(self, **more: str) -> None:
        """Start it; returns when it answers. `more`: environment of this start only."""
        self.folder.mkdir(parents=True, exist_ok=True)
        env = {
            "HOLDFAST_PORT": "0",
            "HOLDFAST_DATA_DIR": str(self.folder / "data"),
            "HOLDFAST_API_KEY": KEY,
            "HOLDFAST_LOG_FORMAT": "json",
            **self._env,
            **more,
        }
        self.started_at = time.time()
        self.program = await Program.start([BIN / "holdfast", "serve"], self.folder, env)
        line = await self.program.line(lambda text: _READY.search(text) is not None)
        found = _READY.search(line)
        assert found is not None
        self.url = found.group(1)

    @property
    def running(self) -> Program:
        """The process."""
        assert self.program is not None
        return self.program

    async def kill(self) -> None:
        """`kill -9` the instance, and nothing else."""
        await self.running.kill()

    async def stop(self) -> None:
        """SIGTERM, and wait for the end."""
        await self.running.stop()

    # --- the API
    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """A call's decoded answer. Raises `Refused`."""
        options: Json = {"headers": {"Accept": "application/json", **headers}}
        if body is not None:
            options["json"] = body
        async with self._http.request(method, self.url + path, **options) as answer:
            raw = await answer.read()
            decoded = json.loads(raw) if raw else None
            if answer.status >= 400:
                raise Refused(answer.status, decoded)
            return decoded

    async def session(self, name: str) -> Json:
        """Its status in full."""
        return dict(await self.ask("GET", f"/api/holdfast/sessions/{name}"))

    async def create(self, name: str) -> None:
        """Create and start it."""
        await self.ask("POST", "/api/sessions", {"name": name, "start": True})

    async def qr(self, name: str) -> str:
        """The QR's text; the request waits for the first one."""
        await self.until(name, {"SCAN_QR_CODE"})
        return str((await self.ask("GET", f"/api/{name}/auth/qr?format=raw"))["value"])

    async def send(self, name: str, to: str, text: str, **more: Any) -> Json:
        """Send a text and wait for WhatsApp's acknowledgement."""
        return dict(await self.ask("POST", "/api/sendText", {"session": name, "chatId": to, "text": text, **more}))

    async def timeline(self, name: str) -> list[Json]:
        """Its status changes, newest first."""
        return list(await self.ask("GET", f"/api/holdfast/sessions/{name}/timeline"))

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[AsyncIterator[Json]]:
        """The live events of all sessions, from now on."""
        timeout = aiohttp.ClientTimeout(total=None, sock_read=None)
        async with self._http.get(f"{self.url}/api/holdfast/events", timeout=timeout) as answer:
            assert answer.status == 200, await answer.text()

            async def events() -> AsyncGenerator[Json, None]:
                async for raw in answer.content:
                    if raw.startswith(b"data:"):
                        yield json.loads(raw[5:])

            async with aclosing(events()) as flow:
                yield flow

    async def until_all(
        self, names: Iterable[str], wanted: Collection[str], timeout: float = 60, reason: str | None = None
    ) -> None:
        """Return when each session has been in one of the `wanted` statuses (and for `reason`, if given)."""
        waiting, last = set(names), {}

        def note(name: str, status: str, why: str) -> None:
            last[name] = f"{status} ({why})"
            if status in wanted and reason in (None, why):
                waiting.discard(name)

        try:
            async with asyncio.timeout(timeout), self.stream() as events:
                for view in await self.ask("GET", "/api/sessions?all=true"):
                    note(view["name"], view["status"], view["holdfast"]["reason"])
                while waiting:
                    event = await anext(events)
                    if event["event"] == "session.status":
                        note(event["session"], event["payload"]["status"], event["payload"]["reason"])
        except TimeoutError:
            where = {name: last.get(name) for name in sorted(waiting)[:5]}
            raise AssertionError(
                f"{len(waiting)} sessions not {'/'.join(sorted(wanted))} within {timeout} s: {where}\n"
                f"{self.running.tail()}"
            ) from None

    async def until(self, name: str, wanted: Collection[str], timeout: float = 60, reason: str | None = None) -> None:
        """`until_all` for one session."""
        await self.until_all([name], wanted, timeout, reason)


class World:
    """A simulated WhatsApp, a webhook receiver and an instance, put together; what most scenarios start from."""

    def __init__(self, folder: Path, **env: str) -> None:
        self.folder = folder
        self._env = env

    async def __aenter__(self) -> Self:
        self.whatsapp = WhatsApp(self.folder / "whatsapp")
        self.receiver = Receiver()
        await self.whatsapp.__aenter__()
        await self.receiver.__aenter__()
        self.environment = {**self.whatsapp.environment(), **self.receiver.environment(), **self._env}
        self.holdfast = Holdfast(self.folder / "holdfast", self.environment)
        try:
            await self.holdfast.__aenter__()
        except BaseException:
            await self._close_outer()
            raise
        return self

    async def _close_outer(self) -> None:
        await self.receiver.__aexit__()
        await self.whatsapp.__aexit__()

    async def __aexit__(self, *_: object) -> None:
        await self.holdfast.__aexit__()
        await self._close_outer()

    async def link(self, name: str, phone: str) -> None:
        """Create a session and link it to a phone by QR; returns when it is WORKING."""
        await self.holdfast.create(name)
        await self.whatsapp.scan(await self.holdfast.qr(name), phone)
        await self.holdfast.until(name, {"WORKING"})

    async def link_many(self, phones: Mapping[str, str], at_once: int = 10) -> None:
        """Link many, some at a time."""
        gate = asyncio.Semaphore(at_once)

        async def one(name: str, phone: str) -> None:
            async with gate:
                await self.link(name, phone)

        async with asyncio.TaskGroup() as group:
            for name, phone in phones.items():
                group.create_task(one(name, phone))
