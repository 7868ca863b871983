"""HTTP to addresses that others chose: each is judged when it is connected to, so that a name which leads elsewhere
than it did a moment ago gains nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

import aiohttp

from holdfast.domain.receivers import Reach


class AddressRefused(OSError):
    """The address may not be called."""


class Clients:
    """Two HTTP clients: one for any address, one that looks at each before it connects. `timeout`: of one request."""

    def __init__(self, reach: Reach, timeout: aiohttp.ClientTimeout) -> None:
        self._reach = reach
        self._timeout = timeout
        self._clients: dict[bool, aiohttp.ClientSession] = {}

    async def start(self) -> None:
        """Open them."""
        for anywhere in (True, False):
            self._clients[anywhere] = aiohttp.ClientSession(
                timeout=self._timeout,
                connector=aiohttp.TCPConnector(limit=0, socket_factory=None if anywhere else self._socket),
                headers={"User-Agent": "Holdfast"},
                cookie_jar=aiohttp.DummyCookieJar(),
            )

    async def stop(self) -> None:
        """Close them."""
        for client in self._clients.values():
            await client.close()

    def to(self, host: str, *, trusted: bool = False) -> aiohttp.ClientSession:
        """Whom to ask for a request to `host`. `trusted`: the operator named it."""
        return self._clients[trusted or host in self._reach.hosts]

    def _socket(self, found: Sequence[Any]) -> socket.socket:
        family, kind, proto, _, address = found
        if not self._reach.allows("", str(address[0])):
            raise AddressRefused("the address is not allowed")
        return socket.socket(family, kind, proto)


def unreached(error: Exception, whose: str, setting: str) -> str:
    """Why a request got no answer, without its URL. `whose`: such as `the receiver`."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return f"{whose}'s certificate is not valid, or it does not speak TLS"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"{whose}'s name cannot be resolved"
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, AddressRefused):
        return f"{whose}'s address is private, which {setting} does not allow"
    return f"{whose} cannot be reached ({type(error).__name__})"
