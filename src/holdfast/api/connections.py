"""The connections of the HTTP server: how many there may be, how long each may take, and who goes when there are too
many.

Every connection is checked once per `tick`; each knows its own deadlines (`http_connection`). The listening socket is
read here instead of by the event loop's own server: uvloop closes a listening socket for good, and without a word, when
the process has no file descriptor left.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import socket
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import structlog
import uvicorn

from holdfast.domain.connection_limits import ConnectionLimits

log = structlog.get_logger(__name__)

MOST_CONNECTIONS = 2_000
"""Connections at the same time where file descriptors would allow more."""
LEAST_CONNECTIONS = 8
ROOM = 48
"""File descriptors that are left to the engine, the database and webhooks, at least."""
ACCEPTS_PER_TURN = 64
OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
RETRY_ACCEPT = 0.2
"""Seconds until the listening socket is read again after the process ran out of file descriptors."""
LOG_EVERY = 60.0
"""Seconds between two log lines about the same reason."""
BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 5\r\n"
    b"content-length: 98\r\nconnection: close\r\n\r\n"
    b'{"message": "Too many connections. Try again.", "error": "Service Unavailable", "statusCode": 503}'
)


class Checked(Protocol):
    """A connection as `Connections` sees it."""

    client: tuple[str, int] | None
    opened_at: float

    @property
    def evictable(self) -> bool:
        """Whether it may be closed to make room: nobody waits for an answer on it."""
        ...

    def check(self, now: float) -> None:
        """Close it if one of its deadlines has passed; `now` is the loop's time."""
        ...

    def evict(self) -> None:
        """Close it at once."""
        ...


class Connections:
    """Counts, checks and, where there are too many, closes connections."""

    def __init__(self, limits: ConnectionLimits, count: Callable[[str], None] = lambda reason: None) -> None:
        """`count` is called with the reason of each connection that is refused or closed."""
        self.limits = limits
        self.most = limits.connections or derived_limit()
        self.open: set[Any] = set()
        """uvicorn's set of the connections, once the server has started."""
        self._count = count
        self._logged: dict[str, tuple[float, int]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._expected = 0.0

    def start(self, connections: set[Any]) -> None:
        """Begin to check."""
        self.open = connections
        self._again()

    def stop(self) -> None:
        """Check no longer."""
        if self._timer is not None:
            self._timer.cancel()

    def refused(self, reason: str) -> None:
        """Count a connection that was refused or closed; log the first, then at most one line a minute."""
        self._count(reason)
        now = asyncio.get_running_loop().time()
        at, since = self._logged.get(reason, (-LOG_EVERY, 0))
        if now - at < LOG_EVERY:
            self._logged[reason] = (at, since + 1)
            return
        self._logged[reason] = (now, 0)
        log.warning(
            "HTTP connection refused or closed", action="http", code=reason, more=since, open=len(self.open),
            most=self.most,
        )  # fmt: skip

    def make_room(self) -> bool:
        """Close one connection on which nobody waits for an answer; False if there is none.

        The address with the most of them loses its oldest one, so that one peer's silent connections do not shut out
        others.
        """
        candidates: list[Checked] = [one for one in self.open if one.evictable]
        if not candidates:
            return False
        victim = oldest_of_the_busiest(candidates)
        self.open.discard(victim)
        victim.evict()
        return True

    def _again(self) -> None:
        loop, tick = asyncio.get_running_loop(), self.limits.tick
        self._timer = loop.call_later(tick, self._again)
        now = loop.time()
        late, self._expected = now - self._expected > tick, now + tick
        if late:  # the loop was held up: what was sent meanwhile is read first
            return
        for one in list(self.open):
            one.check(now)


def oldest_of_the_busiest(candidates: Iterable[Checked]) -> Checked:
    """The oldest connection of the address that has the most among the candidates."""
    known = list(candidates)
    counts = Counter(one.client[0] if one.client else "" for one in known)
    return max(known, key=lambda one: (counts[one.client[0] if one.client else ""], -one.opened_at))


def derived_limit(allowed: int | None = None, in_use: int | None = None) -> int:
    """How many connections leave a third of the free file descriptors, and at least `ROOM`, to everything else."""
    if allowed is None:
        allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if allowed == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    if in_use is None:
        in_use = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 64
    free = allowed - in_use
    return max(LEAST_CONNECTIONS, min(MOST_CONNECTIONS, free - max(ROOM, free // 3)))


class Listener:
    """Accepts connections on a listening socket. uvicorn takes it for an asyncio server."""

    def __init__(self, listener: socket.socket, factory: Callable[[], asyncio.Protocol], known: Connections) -> None:
        self._socket = listener
        self._factory = factory
        self._known = known
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[Any]] = set()
        self._retry: asyncio.TimerHandle | None = None
        self._loop.add_reader(listener, self._ready)

    def close(self) -> None:
        """Accept no more."""
        if self._retry is not None:
            self._retry.cancel()
        self._loop.remove_reader(self._socket)

    async def wait_closed(self) -> None:
        """Nothing is left to wait for but connections, which uvicorn waits for itself."""

    def _ready(self) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                accepted, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in OUT_OF_RESOURCES:
                    self._exhausted()
                    return
                continue  # the peer is gone already
            self._take(accepted)

    def _exhausted(self) -> None:
        """Close a connection that nobody needs, and leave the others in the queue of the kernel for a moment."""
        self._known.refused("no_file_descriptor")
        self._known.make_room()
        self._loop.remove_reader(self._socket)
        self._retry = self._loop.call_later(RETRY_ACCEPT, self._loop.add_reader, self._socket, self._ready)

    def _take(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        if len(self._known.open) + len(self._opening) >= self._known.most:
            self._known.refused("too_many_connections")
            if not self._known.make_room():
                with contextlib.suppress(OSError):
                    accepted.send(BUSY)
                accepted.close()
                return
        task = self._loop.create_task(self._open(accepted))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._factory, accepted)
        except OSError:
            accepted.close()


class Server(uvicorn.Server):
    """uvicorn's server, with our listener and our checks."""

    def __init__(self, config: uvicorn.Config, connections: Connections) -> None:
        super().__init__(config)
        self._connections = connections

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen on the given sockets."""
        await self.lifespan.startup()
        self._connections.start(self.server_state.connections)
        self.servers: list[Any] = [Listener(one, self._connection, self._connections) for one in sockets or []]
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close every connection in order."""
        await super().shutdown(sockets)
        self._connections.stop()

    def _connection(self) -> asyncio.Protocol:
        made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made
