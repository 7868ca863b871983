"""HTTP to addresses that others chose: each is judged when it is connected to, so that a name which leads elsewhere
than it did a moment ago gains nothing.

The client's library is loaded with the first request, as wherever Holdfast asks others by HTTP: it takes a tenth of
a second, for which no session should have to wait at a start.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from holdfast.domain.proxies import Proxy, Routes
from holdfast.domain.receivers import Reach
from holdfast.engines.proxies import client, resolve

if TYPE_CHECKING:
    import aiohttp


HEADERS = {"User-Agent": "Holdfast"}


class AddressRefused(OSError):
    """The address may not be called."""


class Clients:
    """Two HTTP clients: one for any address, one that looks at each before it connects. In seconds: `timeout` of one
    request, and `connect` of its connection, if that is to be sooner.
    """

    def __init__(self, reach: Reach, timeout: float, connect: float | None = None) -> None:
        self._reach = reach
        self._timeouts = timeout, connect
        self._clients: dict[tuple[bool, bool], aiohttp.ClientSession] = {}

    async def stop(self) -> None:
        """Close them."""
        while self._clients:
            await self._clients.popitem()[1].close()

    def to(self, host: str, *, trusted: bool = False) -> aiohttp.ClientSession:
        """Whom to ask for a request to `host`. `trusted`: the operator named it."""
        anywhere = trusted or host in self._reach.hosts
        kind = anywhere, self._reach.allows_private  # what is open already must not outlive a change of the latter
        if kind not in self._clients:
            self._clients[kind] = self._made(anywhere)
        return self._clients[kind]

    @asynccontextmanager
    async def by(self, proxy: Proxy | None, routes: Routes) -> AsyncIterator[Callable[[str], aiohttp.ClientSession]]:
        """Whom to ask for a request to a host, which goes through the proxy if there is one.

        The proxy looks names up, and decides what they lead to: here only its own address is judged. Raises
        `ProxyFailed`.
        """
        if proxy is None:
            yield self.to
            return
        addresses = await resolve(proxy, routes)
        async with client(proxy, addresses, timeout=self._timeout(), headers=HEADERS) as through:
            yield lambda _host: through

    def _timeout(self) -> aiohttp.ClientTimeout:
        import aiohttp  # noqa: PLC0415 - see the module

        total, connect = self._timeouts
        return aiohttp.ClientTimeout(total=total, sock_connect=connect)

    def _made(self, anywhere: bool) -> aiohttp.ClientSession:
        import aiohttp  # noqa: PLC0415 - see the module

        return aiohttp.ClientSession(
            timeout=self._timeout(),
            connector=aiohttp.TCPConnector(limit=0, socket_factory=None if anywhere else self._socket),
            headers=HEADERS,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    def _socket(self, found: Sequence[Any]) -> socket.socket:
        family, kind, proto, _, address = found
        if not self._reach.allows("", str(address[0])):
            raise AddressRefused("the address is not allowed")
        return socket.socket(family, kind, proto)


def unreached(error: Exception, whose: str, setting: str) -> str:
    """Why a request got no answer, without its URL. `whose`: such as `the receiver`."""
    import aiohttp  # noqa: PLC0415 - see the module

    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return f"{whose}'s certificate is not valid, or it does not speak TLS"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"{whose}'s name cannot be resolved"
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, AddressRefused):
        return f"{whose}'s address is private, which {setting} does not allow"
    return f"{whose} cannot be reached ({type(error).__name__})"
