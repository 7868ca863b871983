"""WhatsApp, and the sidecars through which the instances reach it.

A sidecar is a process of its own: it goes on while its instance is paused, ends its connections when their grants
lapse, and dies with its instance. Its pipe to the instance is short, and what the instance does not read waits there.
Keys are written by the instance's real key server, through its link to the store.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from holdfast.domain.errors import HoldfastError, NotConnected, SendInDoubt, StaleEpoch, StoreUnavailable
from holdfast.engines.baileys.keystore import KeyServer
from holdfast.ports import engine as e
from tests.simulation.database import Database, Link
from tests.simulation.loop import WORLD, Process, SimulatedLoop
from tests.simulation.watch import Watch
from tests.support.virtual import VirtualClock

PIPE = 0.001
CREDS = ("creds", "")


@dataclass
class Account:
    """What WhatsApp knows of a session's device."""

    phone: str
    linked: bool = True
    down: int = 0
    """While set, every login is refused with this status."""


@dataclass(eq=False)
class Socket:
    """One connection of a sidecar to WhatsApp."""

    sidecar: Sidecar
    session: str
    connection: int
    epoch: int
    deadline: float
    pair: bool
    open: bool = False
    shows_qr: bool = False

    def __str__(self) -> str:
        return f"{self.sidecar.name}#{self.connection}"


@dataclass
class WhatsApp:
    """The one WhatsApp of a run: it knows who is connected, and holds the connections to the invariants."""

    loop: SimulatedLoop
    rand: random.Random
    watch: Watch
    database: Database
    accounts: dict[str, Account] = field(default_factory=dict)
    connected: dict[str, list[Socket]] = field(default_factory=dict)
    down: int = 0
    """While set, WhatsApp refuses everybody with this status."""

    @property
    def log(self) -> Callable[..., None]:
        return self.watch.log

    def later(self, after: float, callback: Callable[..., object], *args: object) -> None:
        self.loop.call_later(after, callback, *args, context=WORLD)

    def task(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        return self.loop.create_task(work, context=WORLD)

    def connects(self, socket: Socket) -> None:
        """A raw socket is opened: the only one of its session (G1), and the one that the stored state wants; so it is
        never one of a session that is terminal (G6) or stopped.
        """
        name = socket.session
        self.log("connect", name, str(socket), "pair" if socket.pair else "login", f"epoch {socket.epoch}")
        others = self.connected.setdefault(name, [])
        if others:
            self.watch.broke(f"two live connections of {name}: {others[0]} and {socket}")
        others.append(socket)
        ((stored,),) = self.database.rows("SELECT state FROM session WHERE name = ?", name)
        state = json.loads(stored)
        if not state["live"] or (state["connection"], state["epoch"]) != (socket.connection, socket.epoch):
            wanted = f"{state['phase']}, connection {state['connection']}, epoch {state['epoch']}"
            self.watch.broke(f"{socket} of {name} connects under epoch {socket.epoch}; the stored state is {wanted}")

    def ended(self, socket: Socket) -> None:
        """A raw socket is closed."""
        self.log("closed", socket.session, str(socket))
        self.connected[socket.session].remove(socket)

    def sockets(self) -> list[Socket]:
        """All that are open, in the order of their sessions' names."""
        return [socket for name in sorted(self.connected) for socket in self.connected[name]]

    # --- the world plays ------------------------------------------------------------------------------------------
    def drop(self, name: str, status: int, tag: str = "") -> None:
        """WhatsApp, or the network, ends a session's connection."""
        for socket in list(self.connected.get(name, ())):
            socket.sidecar.lose(socket, status, tag)

    def unlink(self, name: str) -> None:
        """A person removes the device on the phone."""
        self.log("unlinked", name)
        self.accounts[name].linked = False
        self.drop(name, 401, "device_removed")

    def scan(self, name: str) -> bool:
        """A person scans the QR code that is on show, if there is one."""
        for socket in list(self.connected.get(name, ())):
            if socket.shows_qr:
                self.task(socket.sidecar.pair(socket))
                return True
        return False

    def deliver(self, socket: Socket) -> None:
        """Somebody writes to the session: the ratchet moves on."""
        self.task(socket.sidecar.received(socket))


class Sidecar:
    """`ports.engine.Engine` of one instance, and the sidecar below it."""

    def __init__(self, name: str, whatsapp: WhatsApp, link: Link, clock: VirtualClock, process: Process) -> None:
        self.name = name
        self._whatsapp = whatsapp
        self._link = link
        self._clock = clock
        self._process = process
        self._sink: e.EventSink = lambda event: None
        self._keys = KeyServer(link, clock, patience=1.6, on_inbox=lambda session, connection: None)  # type: ignore[arg-type]
        self._hosted: dict[str, int] = {}
        self.sockets: dict[str, Socket] = {}
        """Its connections, by session."""
        self._ratchet = 0
        self._generation = 0
        """Raised with every end of the sidecar: what was asked of an earlier one is not done."""

    # --- the instance's side of the pipe --------------------------------------------------------------------------
    async def start(self, sink: e.EventSink) -> None:
        self._sink = sink

    async def stop(self) -> None:
        await asyncio.gather(*(self.close(name, number) for name, number in list(self._hosted.items())))

    async def open(self, request: e.OpenRequest) -> None:
        lapses_at = request.grant.until
        name, number = request.session, request.connection
        try:
            await self._keys.settled(name)
            creds = (await self._link.read_keys(name, [CREDS])).get(CREDS)
        except StoreUnavailable:
            self._sink(e.Closed(name, number, 0, "store"))
            return
        if request.pair and creds is not None:
            self._sink(e.Closed(name, number, 0, "has_credentials"))
        elif not request.pair and creds is None:
            self._sink(e.CredentialsBroken(name, number, "The session has no saved credentials."))
        else:
            self._hosted[name] = number
            await self._ask(self._open(request, lapses_at, self._generation))

    async def close(self, session: str, connection: int, *, logout: bool = False, stop: bool = False) -> None:
        if self._hosted.get(session) == connection:
            try:
                await self._ask(self._close(session, connection, logout))
            finally:
                if self._hosted.get(session) == connection:
                    del self._hosted[session]

    async def forget(self, session: str, config: Mapping[str, Any]) -> None:
        """All that there is stands in the store."""

    async def grant(self, grants: Mapping[str, e.Grant]) -> None:
        deadlines = {name: grant.until for name, grant in grants.items() if name in self._hosted}
        self._whatsapp.later(PIPE, self._granted, deadlines)

    async def request_code(self, session: str, connection: int, phone: str) -> str:
        raise NotConnected

    async def send(self, session: str, connection: int, message: e.OutgoingMessage) -> e.ServerAck:
        if self._hosted.get(session) != connection:
            raise NotConnected
        ack: e.ServerAck = await self._ask(self._send(session, connection, message))
        return ack

    async def probe(self, session: str, connection: int, *, listed: bool, timeout: float) -> e.Probed:
        if self._hosted.get(session) != connection:
            return e.Probed.SILENT
        found: e.Probed = await self._ask(self._probe(session, connection, listed))
        return found

    async def refresh_version(self, config: Mapping[str, Any]) -> None:
        """The version is never refused here."""

    async def call(self, session: str, connection: int, method: str, args: Mapping[str, Any]) -> Any:
        raise NotConnected

    def facts(self) -> Mapping[str, Any]:
        return {}

    async def _ask(self, work: Coroutine[Any, Any, Any]) -> Any:
        """What is asked of the sidecar goes on there, whatever becomes of who asked."""
        return await asyncio.shield(self._whatsapp.task(work))

    # --- the sidecar's side ---------------------------------------------------------------------------------------
    def _tell(self, event: e.EngineEvent | e.EngineDied) -> None:
        self._process.soon(self._take, event)

    def _take(self, event: e.EngineEvent | e.EngineDied) -> None:
        if isinstance(event, e.Closed) and self._hosted.get(event.session) == event.connection:
            del self._hosted[event.session]
        self._sink(event)

    def _current(self, session: str, connection: int) -> Socket | None:
        socket = self.sockets.get(session)
        return socket if socket is not None and socket.connection == connection else None

    def _is_on(self, socket: Socket) -> bool:
        return self.sockets.get(socket.session) is socket

    def _end(self, socket: Socket) -> None:
        if self._is_on(socket):
            del self.sockets[socket.session]
            self._whatsapp.ended(socket)

    def lose(self, socket: Socket, status: int, tag: str = "") -> None:
        """The connection ends, and the instance is told why."""
        if self._is_on(socket):
            self._end(socket)
            self._tell(e.Closed(socket.session, socket.connection, status, tag))

    async def _open(self, request: e.OpenRequest, deadline: float, generation: int) -> None:
        await asyncio.sleep(PIPE)
        name, number = request.session, request.connection
        if generation != self._generation:
            return
        if (older := self.sockets.get(name)) is not None:
            self.lose(older, 0, "superseded")
        if self._clock.boot() >= deadline:
            self._tell(e.Closed(name, number, 0, "grant"))
            return
        socket = self.sockets[name] = Socket(self, name, number, request.grant.epoch, deadline, request.pair)
        self._whatsapp.connects(socket)
        self._watch_grant(socket)
        self._whatsapp.task(self._life(socket))

    def _granted(self, deadlines: Mapping[str, float]) -> None:
        for name, deadline in deadlines.items():
            if (socket := self.sockets.get(name)) is not None:
                socket.deadline = deadline

    def _watch_grant(self, socket: Socket) -> None:
        if not self._is_on(socket):
            return
        left = socket.deadline - self._clock.boot()
        if left <= 0:
            self.lose(socket, 0, "grant")
        else:
            self._whatsapp.later(left, self._watch_grant, socket)

    async def _life(self, socket: Socket) -> None:
        whatsapp, name = self._whatsapp, socket.session
        await asyncio.sleep(0.05 + 0.25 * whatsapp.rand.random())
        account = whatsapp.accounts[name]
        if down := whatsapp.down or account.down:
            self.lose(socket, down, "stream:error")
        elif socket.pair:
            if self._is_on(socket):
                socket.shows_qr = True
                self._tell(e.QrShown(name, socket.connection, f"qr-{name}-{socket.connection}", 60.0))
        elif not account.linked:
            self.lose(socket, 401, "failure")
        elif await self._write(socket, {CREDS: self._turn()}) and self._is_on(socket):
            socket.open = True
            self._tell(e.Opened(name, socket.connection, account.phone, f"{account.phone}1@lid", "Ana"))

    async def pair(self, socket: Socket) -> None:
        """A phone scanned: credentials are stored, and WhatsApp asks for a new connection."""
        account = self._whatsapp.accounts[socket.session]
        socket.shows_qr = False
        if await self._write(socket, {CREDS: self._turn()}) and self._is_on(socket):
            account.linked = True
            self._tell(e.Paired(socket.session, socket.connection, account.phone, "", "Ana"))
            self.lose(socket, 515, "restart_required")

    async def received(self, socket: Socket) -> None:
        """A message came: its plaintext and the ratchet's advance are stored before WhatsApp gets its receipt."""
        await self._write(socket, {("session", "peer"): self._turn()})

    async def _close(self, name: str, number: int, logout: bool) -> None:
        await asyncio.sleep(PIPE + 0.2 * self._whatsapp.rand.random())
        if (socket := self._current(name, number)) is not None:
            if logout:
                self._whatsapp.accounts[name].linked = False
            self._end(socket)

    async def _send(self, name: str, number: int, message: e.OutgoingMessage) -> e.ServerAck:
        await asyncio.sleep(PIPE)
        whatsapp, rand, text = self._whatsapp, self._whatsapp.rand, str(message.content["text"])
        socket = self._current(name, number)
        if socket is None or not socket.open or not await self._write(socket, {("session", "peer"): self._turn()}):
            raise NotConnected
        if not self._is_on(socket):
            raise SendInDoubt
        whatsapp.log("stanza", name, text, message.id, str(socket))
        whatsapp.watch.sent(name, message.id, text)
        fate = rand.random()
        await asyncio.sleep(0.02 + 0.2 * rand.random())
        if fate < 0.05 or not self._is_on(socket):
            raise SendInDoubt
        if fate < 0.1:
            return e.ServerAck(463, self._clock.now())
        whatsapp.watch.acknowledged(name, message.id)
        return e.ServerAck(0, self._clock.now())

    async def _probe(self, name: str, number: int, listed: bool) -> e.Probed:
        await asyncio.sleep(0.05)
        if (socket := self._current(name, number)) is None or not socket.open:
            return e.Probed.SILENT
        return e.Probed.UNLISTED if listed and not self._whatsapp.accounts[name].linked else e.Probed.ALIVE

    def _turn(self) -> bytes:
        self._ratchet += 1
        return f"{self.name}:{self._ratchet}".encode()

    async def _write(self, socket: Socket, keys: dict[tuple[str, str], bytes]) -> bool:
        """Ask the instance to store keys; whether it did. A connection whose keys are not stored is given up."""
        args = {
            "session": socket.session,
            "connection": socket.connection,
            "epoch": socket.epoch,
            "keys": [(kind, key, value) for (kind, key), value in keys.items()],
            "inbox": [],
        }
        if not self._is_on(socket):
            return False
        try:
            await self._process.task(self._keys.handle("keys_set", args))
        except StaleEpoch:
            self.lose(socket, 0, "grant")
        except HoldfastError:
            self.lose(socket, 0, "store")
        else:
            return True
        return False

    # --- ends -----------------------------------------------------------------------------------------------------
    def crash(self) -> None:
        """The sidecar alone dies; the instance starts another."""
        hosted = dict(self._hosted)
        self.die()
        self._tell(e.EngineDied(hosted, "killed"))
        self._process.soon(self._hosted.clear)

    def die(self) -> None:
        """Its connections are gone with it."""
        self._generation += 1
        for socket in list(self.sockets.values()):
            self._end(socket)
