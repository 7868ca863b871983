"""One HTTP connection: the limits of a request's head, and the deadlines of head, body and answer.

uvicorn parses whatever comes, as long as it takes. Here a request is fed to its parser in slices: too long a head is
refused (431) before the next slice is looked at, and a request that was sent before the last one is answered waits.
"""

from __future__ import annotations

import asyncio
import json
from enum import Enum, auto
from functools import partial
from http import HTTPStatus
from typing import Any, cast

import httptools
import uvicorn
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from holdfast.api.connections import Connections
from holdfast.api.wire import OneWrite
from holdfast.domain.connection_limits import ConnectionLimits

HEAD_LIMIT = 65_536
"""Bytes of a request line and headers."""
HEADERS_LIMIT = 100
TARGET_LIMIT = 16_384
"""Bytes of a request's path and query."""
PATH_LIMIT = 2_048
SLICE = 8_192
"""Bytes of a body that are parsed at once."""
HEAD_SLICE = 1_024
"""Bytes of heads that are parsed at once: few requests that were sent ahead begin before the first is answered."""
OVERHEAD = 65_536
"""Bytes that chunk headers and trailers may take beside an eighth of the body."""
HELD_LIMIT = 524_288
"""Bytes of further requests that a client may send before it has its answer."""
LINGER = 2.0
"""Seconds, and bytes, that are still read of a body that was refused, so that its sender can read why."""
LINGER_BYTES = 4_194_304
WS_MESSAGE_LIMIT = 65_536
WS_FRAGMENTS = 256
WS_SLICE = 2_048
"""Bytes of frames that are parsed at once; the smallest frame has two."""
KNOWN = "holdfast.known"
"""In a request's `state`: it came with a valid key, so its connection is not closed to make room."""


class Refused(Exception):
    """Raised in a callback of the parser, to stop it."""


class Phase(Enum):
    """What the parser waits for."""

    HEAD = auto()
    BODY = auto()


class HttpConnection(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 connection, within limits."""

    transport: OneWrite  # type: ignore[assignment]

    def __init__(self, *, connections: Connections, **settings: Any) -> None:
        super().__init__(**settings)
        self.timeout_keep_alive = connections.limits.idle  # type: ignore[assignment]
        self.opened_at = self.loop.time()
        self._all = connections
        self._phase = Phase.HEAD
        self._deadline: float | None = self.opened_at + connections.limits.head
        self._head_size = 0
        self._fields_size = 0
        self._body_since = 0.0
        self._body_size = 0
        self._wire_size = 0
        self._refusal: tuple[int, str, str] | None = None
        self._deaf = False
        self._held = b""
        self._upgraded = False
        self._lingers = 0
        self._closing_since: float | None = None
        self._unwritten_until: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See the base class."""
        made = OneWrite(cast(asyncio.Transport, transport), self._linger)
        super().connection_made(cast(asyncio.Transport, made))

    def connection_lost(self, exc: Exception | None) -> None:
        """See the base class."""
        self._held = b""
        super().connection_lost(exc)
        self.transport.release()

    # --- what comes in ------------------------------------------------------------------------------------------
    def data_received(self, data: bytes) -> None:
        """See the base class."""
        if self.transport.is_closing():
            self._discard(len(data))
            return
        if self._deaf:
            return
        self._unset_keepalive_if_required()
        if self._held:
            self._hold(data)
            return
        at = 0
        while at < len(data):
            if self._answering():
                self._hold(data[at:])
                return
            end = at + (HEAD_SLICE if self._phase is Phase.HEAD else SLICE)
            if not self._feed(data[at:end]):
                return
            at = end

    def _feed(self, part: bytes) -> bool:
        """Parse a slice; False if nothing more is to be parsed."""
        if self._phase is Phase.HEAD:
            if self._deadline is None:
                self._deadline = self.loop.time() + self._all.limits.head
            self._head_size += len(part)
        else:
            self._wire_size += len(part)
        try:
            self.parser.feed_data(part)
        except httptools.HttpParserUpgrade:
            if self._should_upgrade():
                self.handle_websocket_upgrade()
            return False
        except httptools.HttpParserError:
            self._refuse(*(self._refusal or (400, "The request is not valid HTTP.", "invalid_http")))
            return False
        if self._phase is Phase.HEAD and self._head_size > HEAD_LIMIT:
            self._refuse(431, "The request's head is too large.", "head_too_large")
        elif self._phase is Phase.BODY and self._wire_size - self._body_size > OVERHEAD + self._body_size // 8:
            self._refuse(400, "The chunks of the request's body are too small.", "chunks_too_small")
        else:
            return True
        return False

    def _answering(self) -> bool:
        """Whether a whole request is being answered, so that what follows it must wait."""
        if self._phase is Phase.BODY or self.cycle is None:
            return False
        return bool(self.pipeline) or not self.cycle.response_complete

    def _hold(self, data: bytes) -> None:
        self._held += data
        self.flow.pause_reading()
        if len(self._held) > HELD_LIMIT:
            self._all.refused("too_much_ahead")
            self.transport.abort()

    def _discard(self, size: int) -> None:
        self._lingers += size
        if self._lingers > LINGER_BYTES:
            self.transport.abort()

    def on_response_complete(self) -> None:
        """See the base class."""
        super().on_response_complete()
        if self._held and not self._answering() and not self.transport.is_closing():
            self._unset_keepalive_if_required()
            self.loop.call_soon(self._resume)

    def _resume(self) -> None:
        if self.transport.is_closing():
            return
        held, self._held = self._held, b""
        self.data_received(held)

    # --- callbacks of the parser --------------------------------------------------------------------------------
    def on_message_begin(self) -> None:
        """See the base class."""
        super().on_message_begin()
        self._fields_size = 0

    def on_url(self, url: bytes) -> None:
        """See the base class."""
        super().on_url(url)
        if len(self.url) > TARGET_LIMIT:
            self._stop(414, "The request's path and query are too long.", "target_too_long")

    def on_header(self, name: bytes, value: bytes) -> None:
        """See the base class. Trailers are ignored."""
        if self._phase is Phase.BODY:
            return
        self._fields_size += len(name) + len(value) + 4
        if len(self.headers) >= HEADERS_LIMIT or self._fields_size > HEAD_LIMIT:
            self._stop(431, "The request's head is too large.", "head_too_large")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """See the base class."""
        if len(self.url.partition(b"?")[0]) > PATH_LIMIT:
            self._stop(414, "The request's path is too long.", "target_too_long")
        self._phase = Phase.BODY
        self._body_since = self.loop.time()
        self._body_size = self._wire_size = self._head_size = 0
        self._deadline = None
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """See the base class."""
        self._body_size += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """See the base class."""
        self._phase = Phase.HEAD
        super().on_message_complete()

    def _stop(self, status: int, message: str, reason: str) -> None:
        self._refusal = (status, message, reason)
        raise Refused

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        super()._start_asgi_task(cycle, partial(_closing_where_unread, app, cycle))

    # --- going out ----------------------------------------------------------------------------------------------
    def _refuse(self, status: int, message: str, reason: str) -> None:
        """Answer without the application, and close."""
        self._all.refused(reason)
        if self._answering():  # a request before this one gets its answer first
            self._deaf = True
            self.cycle.keep_alive = False
            return
        if self._phase is Phase.BODY and self.cycle is not None and not self.cycle.response_complete:
            started, self.cycle.disconnected = self.cycle.response_started, True
            self.cycle.message_event.set()
            if started:
                self.transport.abort()
                return
        self.transport.write(answer(status, message))
        self._phase = Phase.BODY  # whatever comes is not read any more
        self.transport.close()

    def _linger(self) -> bool:
        """Let the client read our answer to a body that it still sends: closing at once would reset the connection."""
        if self._upgraded or self._phase is Phase.HEAD:
            return False
        self.flow.resume_reading()
        self.transport.write_eof()
        return True

    def handle_websocket_upgrade(self) -> None:
        """See the base class."""
        self._upgraded = True
        self.transport.release()
        super().handle_websocket_upgrade()

    # --- deadlines ----------------------------------------------------------------------------------------------
    @property
    def evictable(self) -> bool:
        """See `Checked`."""
        if self._phase is Phase.HEAD or self.transport.is_closing():
            return not self._answering()
        return KNOWN not in self.scope["state"]

    def evict(self) -> None:
        """See `Checked`."""
        self.transport.abort()

    def check(self, now: float) -> None:
        """See `Checked`."""
        limits = self._all.limits
        if self.transport.is_closing():
            self._closing_since = self._closing_since or now
            if now > self._closing_since + (LINGER if self._phase is Phase.BODY else limits.write):
                self.transport.abort()
        elif self._is_unread(now):
            self._all.refused("answer_not_read")
            self.transport.abort()
        elif self._phase is Phase.BODY:
            if self.flow.read_paused:
                self._body_since += limits.tick
            elif now > self._body_since + limits.body + self._body_size / limits.rate:
                self._refuse(408, "The request's body did not come in time.", "body_timeout")
        elif self._answering():
            self._deadline = None
        elif self._deadline is not None and now > self._deadline:
            self._late_head()

    def _late_head(self) -> None:
        if self._head_size:
            self._refuse(408, "The request's head did not come in time.", "head_timeout")
        else:
            self._all.refused("head_timeout")
            self.transport.abort()

    def _is_unread(self, now: float) -> bool:
        self._unwritten_until = unwritten_until(
            self.flow.write_paused, self.transport, self._unwritten_until, now, self._all.limits
        )
        return self._unwritten_until is not None and now > self._unwritten_until


class WebSocketConnection(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, within limits. What clients send is ignored, so messages are small."""

    def __init__(self, *, connections: Connections, **settings: Any) -> None:
        super().__init__(**settings)
        self.opened_at = self.loop.time()
        self._all = connections
        self._closing_since: float | None = None
        self._unwritten_until: float | None = None
        self._fragments = 0
        self._unparsed = b""

    evictable = False

    def evict(self) -> None:
        """See `Checked`."""
        self.transport.abort()

    def check(self, now: float) -> None:
        """See `Checked`."""
        limits = self._all.limits
        self._unwritten_until = unwritten_until(
            not self.writable.is_set(), self.transport, self._unwritten_until, now, limits
        )
        if self._unwritten_until is not None and now > self._unwritten_until:
            self._all.refused("answer_not_read")
            self.transport.abort()
        elif self.transport.is_closing():
            self._closing_since = self._closing_since or now
            if now > self._closing_since + limits.write:
                self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """See the base class. Thousands of frames at once are parsed over several turns of the loop."""
        if not self._unparsed and len(data) <= WS_SLICE:
            super().data_received(data)
            return
        if not self._unparsed:
            self.loop.call_soon(self._parse_more)
        self._unparsed += data
        self.transport.pause_reading()

    def _parse_more(self) -> None:
        part, self._unparsed = self._unparsed[:WS_SLICE], self._unparsed[WS_SLICE:]
        if self.transport.is_closing():
            return
        super().data_received(part)
        if self._unparsed:
            self.loop.call_soon(self._parse_more)
        elif self.writable.is_set() and not self.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()

    def pause_writing(self) -> None:
        """See the base class. A client that does not read gets no answer to further pings."""
        super().pause_writing()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """See the base class."""
        super().resume_writing()
        if not self.read_paused and not self._unparsed and not self.transport.is_closing():
            self.transport.resume_reading()

    def handle_cont(self, event: Frame) -> None:
        """See the base class. Fragments without content would otherwise be gathered without end."""
        self._fragments = 0 if event.fin else self._fragments + 1
        if self._fragments > WS_FRAGMENTS:
            if self.transport.is_closing():
                return
            self._all.refused("too_many_fragments")
            self.transport.abort()
            return
        super().handle_cont(event)


async def _closing_where_unread(
    app: ASGIApp, cycle: RequestResponseCycle, scope: Scope, receive: Receive, send: Send
) -> None:
    """The application; an answer that comes before the whole request says that the connection ends with it."""

    async def sent(message: Message) -> None:
        if cycle.more_body and message["type"] == "http.response.start":
            cycle.keep_alive = False
        await send(message)

    await app(scope, receive, sent)


def unwritten_until(
    paused: bool, transport: Any, until: float | None, now: float, limits: ConnectionLimits
) -> float | None:
    """When a client must have read what waits for it; None while nothing waits."""
    if not paused:
        return None
    return until or now + limits.write + transport.get_write_buffer_size() / limits.rate


def answer(status: int, message: str) -> bytes:
    """An answer that ends the connection, in WAHA's shape."""
    phrase = HTTPStatus(status).phrase
    body = json.dumps({"message": message, "error": phrase, "statusCode": status}).encode()
    head = (
        f"HTTP/1.1 {status} {phrase}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        "x-content-type-options: nosniff\r\ncache-control: no-store\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


def http_config(app: Any, connections: Connections) -> uvicorn.Config:
    """How uvicorn serves the application."""
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=5,
        server_header=False,
        ws=cast(Any, partial(WebSocketConnection, connections=connections)),
        ws_max_size=WS_MESSAGE_LIMIT,
        http=cast(Any, partial(HttpConnection, connections=connections)),
    )
