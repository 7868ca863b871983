"""Real processes for proofs and figures: the simulator, Holdfast, bare Baileys; started, asked and ended in order."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import psutil
from aiohttp import web

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
KEY = "a-key-for-proofs"
READY = 60.0


class Process:
    """A child process whose first lines are read, and which never outlives the block."""

    def __init__(self, *command: str | Path, env: dict[str, str] | None = None, log: Path | None = None) -> None:
        self.argv = [str(part) for part in command]
        self.env = {**os.environ, **(env or {})}
        """What it is started with; a change counts from the next start."""
        self._log = log
        self.started_at = 0.0

    async def start(self) -> None:
        """Start it; its standard error goes to the log file, or nowhere."""
        self.started_at = time.time()
        with self._log.open("ab") if self._log else open(os.devnull, "wb") as errors:
            self.child = await asyncio.create_subprocess_exec(
                *self.argv,
                env=self.env,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                limit=1 << 24,
            )

    async def line(self) -> str:
        """The next line of its standard output. Raises RuntimeError when it ended instead."""
        assert self.child.stdout is not None
        line = await asyncio.wait_for(self.child.stdout.readline(), READY)
        if not line:
            raise RuntimeError(f"{self.argv[0]} ended with {await self.child.wait()}")
        return line.decode().rstrip("\n")

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it and wait; it is killed if it does not end in 20 s."""
        if self.child.returncode is None:
            self.child.send_signal(number)
        try:
            await asyncio.wait_for(self.child.wait(), 20)
        except TimeoutError:
            self.child.kill()
            await self.child.wait()
        if self.child.stdin is not None:
            self.child.stdin.close()
        transport: Any = getattr(self.child, "_transport", None)
        if transport is not None:
            transport.close()  # its pipes would else be closed by the garbage collector, after the loop

    def memory(self) -> float:
        """Resident memory of the process and its children, in MB."""
        return sum(self.memories())

    def memories(self) -> tuple[float, float]:
        """Resident memory of the process, and that of its children, in MB."""
        process = psutil.Process(self.child.pid)
        children = process.children(recursive=True)
        return process.memory_info().rss / 1e6, sum(child.memory_info().rss for child in children) / 1e6

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


class Wasim(Process):
    """The simulator in a process of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(BIN / "wasim", "serve", "--port", "0", log=folder / "wasim.log")

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        facts = dict([(await self.line()).split(maxsplit=1) for _ in range(4)])
        self.url, self.root_key, self.ca_file = facts["url"], facts["root-key"], facts["ca-file"]
        self.admin = facts["admin"]
        self.http = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.http.close()
        await self.stop()

    async def get(self, path: str, **query: Any) -> Any:
        """A GET of the admin API."""
        async with self.http.get(f"{self.admin}/{path}", params={k: str(v) for k, v in query.items()}) as answer:
            return await answer.json()

    async def post(self, path: str, body: Any = None, text: str | None = None, **query: Any) -> Any:
        """A POST of the admin API."""
        data = {"data": text} if text is not None else {"json": body}
        async with self.http.post(f"{self.admin}/{path}", params=query, **data) as answer:
            found = await answer.json()
            if answer.status >= 400:
                raise RuntimeError(f"wasim: {found}")
            return found

    async def seq(self) -> int:
        """Where its log stands."""
        return int((await self.get("stats"))["seq"])

    async def until_logins(self, since: int, count: int, timeout: float = 120.0) -> list[dict[str, Any]]:
        """The first `count` records of completed logins after `since`."""
        end = time.time() + timeout
        while time.time() < end:
            found = await self.get("log", since=since, kind="offline-done", limit=100_000)
            if len(found) >= count:
                return list(found[:count])
            await self.get("wait", since=found[-1]["seq"] if found else since, kind="offline-done", timeout=1)
        raise RuntimeError(f"only {len(found)} of {count} sessions logged in")


class Holdfast(Process):
    """Holdfast, as a user starts it."""

    def __init__(self, wasim: Wasim, folder: Path, **env: str) -> None:
        self.port = free_port()
        self.folder = folder
        super().__init__(
            BIN / "holdfast",
            "serve",
            env={
                "HOLDFAST_DATA_DIR": str(folder),
                "HOLDFAST_PORT": str(self.port),
                "HOLDFAST_API_KEY": KEY,
                "HOLDFAST_WHATSAPP_URL": wasim.url,
                "HOLDFAST_WHATSAPP_ROOT_KEY": wasim.root_key,
                "HOLDFAST_WHATSAPP_VERSION_URL": f"{wasim.admin.removesuffix('/admin')}/sw.js",
                "HOLDFAST_WHATSAPP_CA_FILE": "" if wasim.ca_file == "-" else wasim.ca_file,
                "HOLDFAST_LOG_FORMAT": "json",
                **env,
            },
            log=folder / "holdfast.log",
        )
        self.url = f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start; returns when it says that it is ready."""
        await super().start()
        while "is ready" not in await self.line():
            pass

    async def __aenter__(self) -> Self:
        self.http = aiohttp.ClientSession(
            headers={"X-Api-Key": KEY}, connector=aiohttp.TCPConnector(limit=64), raise_for_status=False
        )
        await self.start()
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.http.close()
        await self.stop()

    async def ask(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        """The decoded answer. Raises RuntimeError for an error."""
        async with self.http.request(method, self.url + path, json=body, params=query) as answer:
            found = await answer.json(content_type=None)
            if answer.status >= 400:
                raise RuntimeError(f"{method} {path}: {answer.status} {found}")
            return found

    async def link(self, wasim: Wasim, name: str, phone: str, config: Any = None) -> None:
        """Create a session and link it by QR."""
        await self.ask("POST", "/api/sessions", {"name": name, "start": True, "config": config})
        await self.scan(wasim, name, phone)
        await self.until_working(name)

    async def until(self, name: str, holds: Callable[[dict[str, Any]], bool], timeout: float = 60.0) -> dict[str, Any]:
        """Wait until a session's full status satisfies `holds`. Raises AssertionError with what it is instead."""
        end = time.time() + timeout
        while True:
            view: dict[str, Any] = await self.ask("GET", f"/api/holdfast/sessions/{name}")
            if holds(view):
                return view
            assert time.time() < end, f"{name} is still {view['status']} {view['reason']}: {view['message']}"
            await asyncio.sleep(0.05)

    async def until_working(self, name: str, timeout: float = 60.0) -> None:
        """Wait until a session is WORKING."""
        await self.until(name, lambda view: view["status"] == "WORKING", timeout)

    async def qr(self, name: str) -> str:
        """The text of the QR on show."""
        answer = await self.ask("GET", f"/api/{name}/auth/qr", format="raw")
        return str(answer["value"])

    async def scan(self, wasim: Wasim, name: str, phone: str) -> None:
        """A phone scans what is on show."""
        await wasim.post("mock-phone/scan-qr", text=await self.qr(name), phone=phone)


class Floor(Process):
    """Bare Baileys: `floor.mjs` on the same accounts."""

    def __init__(self, wasim: Wasim, database: Path, sessions: list[str]) -> None:
        node = BIN / "node"
        super().__init__(
            node if node.exists() else shutil.which("node") or "node",
            "--disable-warning=ExperimentalWarning",
            ROOT / "bench/floor.mjs",
            wasim.url,
            wasim.root_key,
            database,
            ",".join(sessions),
        )

    async def until(self, on: str) -> dict[str, Any]:
        """The next event of a kind."""
        while True:
            event: dict[str, Any] = json.loads(await self.line())
            if event["on"] == on:
                return event

    async def command(self, **facts: Any) -> None:
        """Tell it to do something."""
        assert self.child.stdin is not None
        self.child.stdin.write(json.dumps(facts).encode() + b"\n")
        await self.child.stdin.drain()


class Receiver:
    """A webhook receiver on a port of its own: checks signatures, keeps envelopes in order of arrival."""

    def __init__(self, key: str = "hook-secret") -> None:
        self.key = key
        self.port = 0
        """Where it listens; 0: where it is free."""
        self.envelopes: list[dict[str, Any]] = []
        self.arrived: dict[str, float] = {}
        self.refused = 0
        """How many came with a signature that is not right."""
        self.says: Callable[[dict[str, Any]], int] = lambda envelope: 200
        """The status that it answers; what it answers with another than 200 is kept in `turned_away`."""
        self.turned_away: list[dict[str, Any]] = []
        self._grown = asyncio.Event()

    async def _on_post(self, request: web.Request) -> web.Response:
        body = await request.read()
        if not self._is_genuine(request.headers, body):
            self.refused += 1
            return web.Response(status=401)
        envelope = json.loads(body)
        if (status := self.says(envelope)) != 200:
            self.turned_away.append(envelope)
            self._grown.set()
            return web.Response(status=status)
        self.envelopes.append(envelope)
        self.arrived.setdefault(envelope["id"], time.time())
        self._grown.set()
        return web.Response()

    def _is_genuine(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Both signatures: WAHA's, and the one that covers the time."""
        said = dict(part.split("=", 1) for part in headers.get("X-Holdfast-Signature", "t=0,v1=").split(","))
        key = self.key.encode()
        fresh = hmac.new(key, f"{said['t']}.".encode() + body, hashlib.sha256).hexdigest()
        plain = hmac.new(key, body, hashlib.sha512).hexdigest()
        right = hmac.compare_digest(headers.get("X-Webhook-Hmac", ""), plain) and hmac.compare_digest(said["v1"], fresh)
        return right and abs(time.time() - int(said["t"])) < 300

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/", self._on_post)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        server: Any = site._server
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self._runner.cleanup()

    def config(self, *events: str) -> dict[str, Any]:
        """A session's configuration that sends its events here."""
        return {"webhooks": [{"url": self.url, "events": list(events) or ["*"], "hmac": {"key": self.key}}]}

    def texts(self, session: str | None = None, event: str = "message") -> list[str]:
        """Texts of the messages that came, each id once, in order of first arrival."""
        seen: dict[str, str] = {}
        for envelope in self.envelopes:
            if envelope["event"] == event and session in (None, envelope["session"]):
                seen.setdefault(envelope["payload"]["id"], envelope["payload"]["body"])
        return list(seen.values())

    async def until(self, holds: Callable[[], bool], timeout: float = 30.0) -> None:
        """Wait until what came satisfies `holds`."""
        end = time.time() + timeout
        while not holds():
            self._grown.clear()
            left = end - time.time()
            assert left > 0, f"{len(self.envelopes)} envelopes came, {self.refused} refused"
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._grown.wait(), min(left, 1.0))


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
