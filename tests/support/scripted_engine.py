"""A strict stand-in for WhatsApp below the engine port, for tests in virtual time.

It does what the Baileys engine over wasim does for the port's contract (tests/integration runs the same checks on the
real one), and it refuses what the port forbids: two live connections of one session, opening without a grant, sending
on a connection that is closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast.domain.errors import BadRequest, MediaGone, MediaTooLarge, NotConnected, SendInDoubt
from holdfast.ports import engine as e


@dataclass
class Account:
    """What WhatsApp knows of a session's device."""

    phone: str = "40712345678"
    linked: bool = False
    down: tuple[int, str, dict[str, str]] | None = None
    """While set, every login ends with this (status, tag, attributes)."""
    silent: bool = False
    """Connected, but nothing comes through."""
    ack_error: int = 0
    drop_next_send: bool = False
    unnamed: bool = False
    """Connected, but WhatsApp does not name the devices of any chat."""


@dataclass
class Live:
    connection: int
    epoch: int
    until: float
    open: bool = False


@dataclass
class ScriptedEngine:
    """See the module. `log` holds (time, what, session) in order."""

    latency: float = 0.1
    accounts: dict[str, Account] = field(default_factory=dict)
    live: dict[str, Live] = field(default_factory=dict)
    log: list[tuple[float, str, str]] = field(default_factory=list)
    sent: list[tuple[str, str, str]] = field(default_factory=list)
    version: int = 1
    present_version: int | None = None
    least_version: int = 0
    """Logins below it are refused with 405."""
    versions_asked: int = 0
    expected: dict[str, str] = field(default_factory=dict)
    """The number that each session's pairing may be with; empty: any."""
    files: dict[str, bytes] = field(default_factory=dict)
    """What was sent with each message id."""
    media: dict[str, bytes | Exception] = field(default_factory=dict)
    """What WhatsApp gives, by message id."""
    options: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """What each session was opened with last."""
    peers: list[ScriptedEngine] = field(default_factory=list)
    """Engines of other instances on the same WhatsApp."""

    def __post_init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._sink: e.EventSink | None = None

    async def start(self, sink: e.EventSink) -> None:
        self._sink = sink

    async def stop(self) -> None:
        for name in list(self.live):
            self._gone(name)
        for task in list(self._tasks):
            task.cancel()

    def account(self, session: str) -> Account:
        return self.accounts.setdefault(session, Account())

    def _note(self, what: str, session: str) -> None:
        self.log.append((asyncio.get_running_loop().time(), what, session))

    def _emit(self, event: e.EngineEvent | e.EngineDied) -> None:
        assert self._sink is not None
        self._sink(event)

    def _gone(self, session: str) -> None:
        if self.live.pop(session, None):
            self._note("closed", session)

    async def open(self, request: e.OpenRequest) -> None:
        name = request.session
        now = asyncio.get_running_loop().time()
        assert request.grant.until > now, "opened without a right to run"
        self._gone(name)
        for peer in self.peers:
            assert name not in peer.live, f"two live connections for {name}"
        live = Live(request.connection, request.grant.epoch, request.grant.until)
        self.live[name] = live
        self._note("pair" if request.pair else "login", name)
        self.expected[name] = request.expect_phone
        self.options[name] = request.options
        self._spawn(self._life(name, live, pair=request.pair))

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _life(self, name: str, live: Live, *, pair: bool) -> None:
        await asyncio.sleep(self.latency)
        if self.live.get(name) is not live:
            return
        account = self.account(name)
        if account.down is not None:
            self.close_with(name, *account.down)
        elif self.version < self.least_version:
            self.close_with(name, 405, "failure")
        elif pair:
            self._emit(e.QrShown(name, live.connection, f"qr-{name}-{live.connection}", 60.0))
        elif not account.linked:
            self.close_with(name, 401, "failure")
        else:
            live.open = True
            self._note("open", name)
            self._emit(e.Opened(name, live.connection, account.phone, f"{account.phone}1@lid", "Ana"))
        await self._lapse(name, live)

    async def _lapse(self, name: str, live: Live) -> None:
        loop = asyncio.get_running_loop()
        while self.live.get(name) is live:
            if loop.time() >= live.until:
                self.close_with(name, 0, "grant")
                return
            await asyncio.sleep(live.until - loop.time())

    # --- the world plays ---
    def scan(self, name: str, phone: str | None = None) -> None:
        """A person scans the QR."""
        live, account = self.live[name], self.account(name)
        if self.expected[name] not in ("", phone or account.phone):
            self.close_with(name, 0, "another_number", {"phone": phone or account.phone})
            return
        account.linked, account.phone = True, phone or account.phone
        self._emit(e.Paired(name, live.connection, account.phone, "", "Ana"))
        self.close_with(name, 515, "restart_required")

    def close_with(self, name: str, status: int, tag: str = "", attrs: Mapping[str, str] | None = None) -> None:
        """WhatsApp (or the network) ends the connection."""
        live = self.live.get(name)
        if live is not None:
            self._gone(name)
            self._emit(e.Closed(name, live.connection, status, tag, attrs or {}))

    # --- the rest of the port ---
    async def close(self, session: str, connection: int, *, logout: bool = False, stop: bool = False) -> None:
        live = self.live.get(session)
        if live is not None and live.connection == connection:
            await asyncio.sleep(self.latency / 10)
            if logout:
                self.account(session).linked = False
            self._gone(session)

    async def forget(self, session: str, config: Mapping[str, Any]) -> None:
        """All that there is stands in the store."""

    async def grant(self, grants: Mapping[str, e.Grant]) -> None:
        for name, grant in grants.items():
            live = self.live.get(name)
            if live is not None and live.epoch == grant.epoch:
                live.until = grant.until

    async def request_code(self, session: str, connection: int, phone: str) -> str:
        if session not in self.live:
            raise NotConnected()
        return "ABCD1234"

    async def send(self, session: str, connection: int, message: e.OutgoingMessage) -> e.ServerAck:
        live, account = self.live.get(session), self.account(session)
        if live is None or not live.open or live.connection != connection:
            raise NotConnected()
        if account.unnamed:
            self._note("unnamed", session)
            raise NotConnected()
        self.sent.append((session, message.id, str(message.content.get("text"))))
        if "path" in message.content:
            self.files[message.id] = Path(message.content["path"]).read_bytes()
        if account.drop_next_send:
            account.drop_next_send = False
            raise SendInDoubt()
        await asyncio.sleep(self.latency)
        return e.ServerAck(account.ack_error, 1_800_000_000.0)

    async def probe(self, session: str, connection: int, *, listed: bool, timeout: float) -> e.Probed:
        if session not in self.live or self.account(session).silent:
            await asyncio.sleep(timeout)
            return e.Probed.SILENT
        if listed and not self.account(session).linked:
            return e.Probed.UNLISTED
        return e.Probed.ALIVE

    async def refresh_version(self, config: Mapping[str, Any]) -> None:
        self.versions_asked += 1
        if self.present_version is not None:
            self.version = self.present_version

    async def call(self, session: str, connection: int, method: str, args: Mapping[str, Any]) -> Any:
        live = self.live.get(session)
        if live is None or not live.open or live.connection != connection:
            raise NotConnected()
        self._note(method, session)
        if method == "check_number":
            return {"exists": True, "jid": f"{args['phone']}@s.whatsapp.net"}
        if method == "download_media":
            return self._download(args)
        if method not in ("mark_read", "typing"):
            raise BadRequest(f"Unknown method '{method}'.")
        return None

    def _download(self, args: Mapping[str, Any]) -> Any:
        assert args["message"], "nothing says where the file is"
        found = self.media.get(args["id"], MediaGone())
        if isinstance(found, Exception):
            raise found
        if len(found) > args["limit"]:
            raise MediaTooLarge("The file is larger than HOLDFAST_MEDIA_LIMIT allows.")
        Path(args["path"]).write_bytes(found)
        return {"path": args["path"], "size": len(found)}

    def facts(self) -> Mapping[str, Any]:
        return {"sessions": len(self.live)}
