"""One WebSocket: handshake, then stanzas in and out, with the faults that strike a connection.

Sending never waits: frames join an outgoing buffer that one task writes. A client that does not read is cut off when
the buffer holds more than ``MAX_BUFFERED`` bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from typing import Any, Protocol

from aiohttp import WSMsgType, web

from wasim.certs import ServerIdentity
from wasim.hub import Hub
from wasim.wire import nodes
from wasim.wire.login import CLIENT_PAYLOAD, HANDSHAKE
from wasim.wire.nodes import Node, NodeError
from wasim.wire.noise import Cipher, FrameReader, Handshake, NoiseError, frame
from wasim.wire.protobuf import ProtobufError, decode, encode

MAX_BUFFERED = 64 * 1024 * 1024
HANDSHAKE_SECONDS = 20.0
CLOSE_SECONDS = 5.0
GRACE_SECONDS = 1.0
"""How long a client has to close by itself after a last stanza. Baileys takes the stanza a moment after its frame; a
close that arrives within that moment would hide it (428 in place of 515)."""

logger = logging.getLogger(__name__)


class Session(Protocol):
    """What a connection became after the handshake: a login or a pairing."""

    names: tuple[str, ...]

    def on_node(self, node: Node) -> None:
        """Take one stanza."""
        ...

    def on_close(self) -> None:
        """Take the end of the connection."""
        ...


class Opener(Protocol):
    """Turns a finished handshake into a session; it may end the connection instead and give None."""

    def __call__(self, connection: Connection, noise: bytes, payload: dict[str, Any]) -> Session | None:
        """Take the client's static Noise key and its login payload."""
        ...


class Connection:
    """A socket's link (see ``hub.Link``)."""

    def __init__(self, hub: Hub, request: web.Request, socket: web.WebSocketResponse) -> None:
        self.live = False
        self.deaf = False
        self.session: Session | None = None
        self.names: tuple[str, ...] = ()
        self._hub = hub
        self._request = request
        self._socket = socket
        self._frames: deque[bytes] = deque()
        self._buffered = 0
        self._wake = asyncio.Event()
        self._cipher: Cipher | None = None
        self._ending = False
        self._last_words = False
        self._closed = asyncio.Event()
        self._corrupt_next = False

    # -- hub.Link

    def send(self, node: Node) -> None:
        """Seal a stanza and put it into the outgoing buffer."""
        if self._ending or self._cipher is None:
            return
        data = self._cipher.encrypt(nodes.encode(node))
        if self._corrupt_next:
            self._corrupt_next = False
            data = data[:-1] + bytes((data[-1] ^ 0xFF,))
        self._put(frame(data))

    def end(self, node: Node | None, reason: str) -> None:
        """Send a last stanza, then close the WebSocket in the orderly way."""
        if not self._ending:
            if node is not None:
                self.send(node)
                self._last_words = True
            self._ending = True
            self._note("ended", reason=reason)
            self._wake.set()

    def abort(self, reason: str) -> None:
        """Cut the TCP connection."""
        self._ending = True
        self._note("aborted", reason=reason)
        self._wake.set()
        if self._request.transport is not None:
            self._request.transport.abort()

    def corrupt(self) -> None:
        """Damage the next frame; if there is none within the moment, a stanza is sent for it."""
        self._corrupt_next = True
        self.send(Node("ib", {"from": "@s.whatsapp.net"}, [Node("noop")]))

    # -- running

    async def run(self, identity: ServerIdentity, opener: Opener) -> None:
        """Serve the connection until it ends."""
        writer = asyncio.create_task(self._write())
        reason = "closed by the client"
        try:
            reader = FrameReader()
            try:
                async with asyncio.timeout(HANDSHAKE_SECONDS):
                    noise, payload, rest = await self._handshake(reader, identity)
            except TimeoutError:
                raise NoiseError(f"no complete handshake within {HANDSHAKE_SECONDS:g} s") from None
            self.session = opener(self, noise, payload)
            if self.session is not None:
                self.names = self.session.names
                await self._read(reader, rest)
        except (NoiseError, NodeError, ProtobufError) as error:
            reason = str(error)
            self._note("refused", tag="frame", reason=reason)
        except _ClosedError:
            pass
        finally:
            if self.session is not None:
                self.session.on_close()
            self._note("disconnected", reason=reason)
            self._ending = True
            self._closed.set()
            self._wake.set()
            await self._finish(writer)

    async def _finish(self, writer: asyncio.Task[None]) -> None:
        """Let the last frames go out, then close."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(writer, CLOSE_SECONDS)

    async def _handshake(
        self, reader: FrameReader, identity: ServerIdentity
    ) -> tuple[bytes, dict[str, Any], list[bytes]]:
        pending: list[bytes] = []
        hello = decode(HANDSHAKE, await self._next(reader, pending)).get("clientHello", {})
        handshake = Handshake(identity.static, identity.chain)
        ephemeral, static, payload = handshake.answer(hello.get("ephemeral", b""))
        answer = {"serverHello": {"ephemeral": ephemeral, "static": static, "payload": payload}}
        self._put(frame(encode(HANDSHAKE, answer)))
        finish = decode(HANDSHAKE, await self._next(reader, pending)).get("clientFinish", {})
        noise, raw = handshake.finish(finish.get("static", b""), finish.get("payload", b""))
        self._decipher, self._cipher = handshake.split()
        return noise, decode(CLIENT_PAYLOAD, raw), pending

    async def _next(self, reader: FrameReader, pending: list[bytes]) -> bytes:
        while not pending:
            pending.extend(reader.feed(await self._receive()))
        return pending.pop(0)

    async def _receive(self) -> bytes:
        message = await self._socket.receive()
        if message.type is WSMsgType.BINARY:
            return bytes(message.data)
        if message.type is WSMsgType.TEXT:
            raise NoiseError("a text message arrived; WhatsApp speaks binary")
        await self._hold()  # a hard black hole does not answer the client's close frame either
        raise _ClosedError

    async def _read(self, reader: FrameReader, pending: list[bytes]) -> None:
        while True:
            for sealed in pending:
                node = nodes.decode(self._decipher.decrypt(sealed))
                if not self._silent() and self.session is not None and not self._ending:
                    self._take(node)
            await self._hold()
            pending = list(reader.feed(await self._receive()))

    def _take(self, node: Node) -> None:
        if self.session is None:
            return
        try:
            self.session.on_node(node)
        except (ValueError, KeyError, TypeError) as error:
            logger.exception("a handler failed on <%s>", node.tag)
            self._note("handler-failed", tag=node.tag, reason=f"{type(error).__name__}: {error}")

    async def _hold(self) -> None:
        """Wait out the faults that keep the server from reading."""
        if fault := self._hub.faults.find("slow", self.names):
            await asyncio.sleep(int(fault.options["ms"]) / 1000)
        fault = self._hub.faults.find("blackhole", self.names)
        while fault is not None and fault.options.get("hard") and not self._ending and self._connected():
            await asyncio.sleep(0.05)
            fault = self._hub.faults.find("blackhole", self.names)

    def _connected(self) -> bool:
        transport = self._request.transport
        return transport is not None and not transport.is_closing()

    def _silent(self) -> bool:
        return self._hub.faults.find("blackhole", self.names) is not None

    # -- writing

    def _put(self, data: bytes) -> None:
        self._frames.append(data)
        self._buffered += len(data)
        if self._buffered > MAX_BUFFERED:
            self.abort(f"the client left {self._buffered} bytes unread")
        self._wake.set()

    async def _write(self) -> None:
        with contextlib.suppress(ConnectionError, RuntimeError):
            while True:
                while self._frames:
                    data = self._frames.popleft()
                    self._buffered -= len(data)
                    if fault := self._hub.faults.find("slow", self.names):
                        await asyncio.sleep(int(fault.options["ms"]) / 1000)
                    if not self._silent():
                        await self._socket.send_bytes(data)
                if self._ending:
                    break
                self._wake.clear()
                await self._wake.wait()
            if self._last_words:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._closed.wait(), GRACE_SECONDS)
            if not self._silent():
                await self._socket.close()

    def _note(self, kind: str, **facts: Any) -> None:
        self._hub.journal.note(kind, jid=self.names[3] if len(self.names) > 3 else None, **facts)


class _ClosedError(Exception):
    """The WebSocket is closed."""
