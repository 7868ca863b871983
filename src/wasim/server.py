"""The simulator as one object: WhatsApp's WebSocket and the admin API on one port.

>>> async with WasimServer(port=0) as wasim:
...     wasim.url, wasim.root_key_hex, wasim.ca_file, wasim.admin_url
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import WSCloseCode, web

from wasim import admin, certs, devices
from wasim.connection import Connection
from wasim.hub import Hub
from wasim.log import peer_of
from wasim.media import MediaServer
from wasim.pairing import REF_SECONDS, Pairings
from wasim.phone import Phone
from wasim.phones import PhoneBook, PhoneFactory
from wasim.sessions import opener
from wasim.state import State

WS_PATH = "/ws/chat"
MAX_MESSAGE = 1 << 24


class WasimServer:
    """One simulator; ``async with`` starts and stops it.

    :param port: 0 picks a free one
    :param media_port: port of the TLS media server, 0 picks a free one, None runs without
    :param state: a file that survives restarts; None keeps everything in memory
    :param ref_seconds: how long each pairing ref is valid (60, then 20 each, as WhatsApp's)
    :param now: the clock, seconds since 1970
    :param seed: of all choices that are not secret; None for a new one each time
    :raises StateError: if the state file cannot be used
    :raises OSError: if the port is taken
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        media_port: int | None = 0,
        state: Path | None = None,
        ref_seconds: tuple[float, ...] = REF_SECONDS,
        now: Callable[[], float] = time.time,
        seed: int | None = None,
        phone_factory: PhoneFactory = Phone,
        journal_capacity: int = 200_000,
    ) -> None:
        self.host = host
        self.port = port
        self.media_port = media_port
        self._state_path = state
        self._ref_seconds = ref_seconds
        self._now = now
        self._rng = random.Random(seed)  # noqa: S311 - for choices that are not secret
        self._phone_factory = phone_factory
        self._journal_capacity = journal_capacity
        self.connections: set[Connection] = set()
        self.started_at = 0.0
        self.media: MediaServer | None = None

    async def __aenter__(self) -> Self:
        """Start listening."""
        async with contextlib.AsyncExitStack() as stack:
            self.state = State(self._state_path)
            stack.callback(self.state.close)
            self.hub = Hub(self.state, self._now, self._rng, self._journal_capacity)
            self.identity = certs.server_identity(self.state, self._now())
            self.phones = PhoneBook(self.hub, self._phone_factory)
            stack.push_async_callback(self.phones.close)
            self.pairings = Pairings(self.hub, self.phones.of, self._ref_seconds)
            stack.push_async_callback(self.pairings.close)
            if self.media_port is not None:
                await self._start_media(stack, self.media_port)
            for account in list(self.hub.accounts):
                await self.phones.of(account)
            await self._listen(stack)
            self.started_at = self._now()
            self.hub.journal.note("started")
            self._running = stack.pop_all()
        return self

    async def _start_media(self, stack: contextlib.AsyncExitStack, port: int) -> None:
        folder = self._state_path and self._state_path.with_name(self._state_path.name + ".media")
        self.media = MediaServer(
            self.host,
            port,
            folder=folder,
            authorised=self._may_upload,
            fault=self._media_fault,
            journal=self.hub.journal,
        )
        await self.media.start()
        stack.push_async_callback(self.media.stop)
        self.hub.media_host = f"localhost:{self.media.port}"
        self.hub.media_tls = self.media.client_tls()

    def _media_fault(self, what: str) -> int:
        fault = self.hub.faults.find("media_error")
        if fault is None or fault.options.get("on", what) != what:
            return 0
        self.hub.faults.take("media_error")
        return int(fault.options.get("status", 500))

    def _may_upload(self, auth: str) -> bool:
        return any(auth == devices.media_auth(d) for a in self.hub.accounts for d in a.devices.values())

    async def _listen(self, stack: contextlib.AsyncExitStack) -> None:
        self._open = opener(self.hub, self.pairings)
        app = web.Application(client_max_size=MAX_MESSAGE)
        app.router.add_get(WS_PATH, self._on_socket)
        admin.add_routes(app, self)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, self.host, self.port).start()
        self.port = runner.addresses[0][1]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every connection and the state file."""
        for connection in list(self.connections):
            connection.end(None, "wasim stops")
        await self._running.aclose()

    # -- addresses

    @property
    def url(self) -> str:
        """The WebSocket's address, for ``waWebSocketUrl``."""
        return f"ws://{self.host}:{self.port}{WS_PATH}"

    @property
    def admin_url(self) -> str:
        """The admin API's address."""
        return f"http://{self.host}:{self.port}/admin"

    @property
    def root_key_hex(self) -> str:
        """The public key that clients must trust."""
        return self.identity.root_public.hex()

    @property
    def ca_file(self) -> Path | None:
        """The CA of the media server, for ``NODE_EXTRA_CA_CERTS``; None without media."""
        return None if self.media is None else self.media.ca_file

    # -- the socket

    async def _on_socket(self, request: web.Request) -> web.StreamResponse:
        faults, journal = self.hub.faults, self.hub.journal
        if outage := faults.find("outage"):
            journal.note("upgrade-refused", reason="fault outage", peer=peer_of(request))
            if "status" not in outage.options and request.transport is not None:
                request.transport.abort()
            return web.Response(status=int(outage.options.get("status", 503)))
        if fault := faults.take("refuse_upgrade"):
            status = int(fault.options.get("status", 503))
            journal.note("upgrade-refused", code=status, reason="fault refuse_upgrade", peer=peer_of(request))
            return web.Response(status=status)
        socket = web.WebSocketResponse(max_msg_size=MAX_MESSAGE, compress=False, timeout=2.0, autoclose=False)
        await socket.prepare(request)
        connection = Connection(self.hub, request, socket)
        self.connections.add(connection)
        journal.note("connected", open=len(self.connections), peer=peer_of(request))
        try:
            await connection.run(self.identity, self._open)
        finally:
            self.connections.discard(connection)
            if not socket.closed:
                await socket.close(code=WSCloseCode.GOING_AWAY)
        return socket
