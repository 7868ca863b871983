"""Connections through a session's proxy: its address, judged and looked up here, and HTTP requests through it.

What lies behind the proxy is never looked up here: the proxy is given names.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from holdfast.domain.proxies import Proxy, Routes

if TYPE_CHECKING:
    import aiohttp


class ProxyFailed(Exception):
    """The proxy cannot be used. `why`: see `domain.proxies.explained`."""

    def __init__(self, proxy: Proxy, why: str) -> None:
        super().__init__(why)
        self.proxy, self.why = proxy, why


LOOKUP = 10.0
"""Seconds in which the proxy's name must be resolved."""
_LOOKUPS = ThreadPoolExecutor(16, "proxy-lookup")
"""Threads of its own: names that tenants chose, and that nobody resolves, must not hold up any other work."""


async def resolve(proxy: Proxy, routes: Routes) -> list[str]:
    """The addresses of the proxy that may be connected to. Raises `ProxyFailed`: `dns` or `private`."""
    try:
        addresses = [str(ip_address(proxy.host))]
    except ValueError:
        addresses = await _looked_up(proxy)
    allowed = [one for one in addresses if proxy.trusted or routes.reach.allows(proxy.host, one)]
    if not allowed:
        raise ProxyFailed(proxy, "private" if addresses else "dns")
    return allowed


async def _looked_up(proxy: Proxy) -> list[str]:
    look = partial(socket.getaddrinfo, proxy.host, proxy.port, type=socket.SOCK_STREAM)
    try:
        async with asyncio.timeout(LOOKUP):
            found = await asyncio.get_running_loop().run_in_executor(_LOOKUPS, look)
    except (OSError, UnicodeError) as error:  # TimeoutError is one
        raise ProxyFailed(proxy, "dns") from error
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class _Named(ssl.SSLContext):
    """Verifies the certificate for the proxy's name, though the connection is made to an address."""

    name: str

    def wrap_bio(self, *args: Any, **kwargs: Any) -> Any:
        """See the class."""
        return super().wrap_bio(*args, **{**kwargs, "server_hostname": self.name})


def client(proxy: Proxy, addresses: list[str], **options: Any) -> aiohttp.ClientSession:
    """An HTTP client whose connections all go through the proxy; its requests may raise `ProxyFailed`. `options` are
    those of aiohttp's session.
    """
    import aiohttp  # noqa: PLC0415 - slow to load, and hardly ever needed
    from aiohttp_socks import (  # noqa: PLC0415
        ProxyConnectionError,
        ProxyConnector,
        ProxyError,
        ProxyTimeoutError,
        ProxyType,
    )

    class Through(ProxyConnector):
        async def _wrap_create_connection(self, *args: Any, **kwargs: Any) -> Any:
            why = "unreachable"
            for address in addresses:
                self._proxy_host = address
                try:
                    return await super()._wrap_create_connection(*args, **kwargs)
                except ProxyConnectionError as error:
                    refused = getattr(error.__cause__, "errno", None) == errno.ECONNREFUSED
                    why = "refused" if refused else why
                except ProxyTimeoutError:
                    raise ProxyFailed(proxy, "silent") from None
                except ProxyError as error:
                    raise ProxyFailed(proxy, _refusal(error.error_code, str(error).lower())) from None
            raise ProxyFailed(proxy, why)

    secure: _Named | None = None
    if proxy.scheme == "https":
        secure = _Named(ssl.PROTOCOL_TLS_CLIENT)
        secure.load_default_certs()
        secure.name = proxy.host
    connector = Through(
        host=addresses[0],
        port=proxy.port,
        proxy_type=ProxyType.SOCKS5 if proxy.scheme == "socks5" else ProxyType.HTTP,
        username=proxy.username or None,
        password=proxy.password if proxy.username else None,
        rdns=True,
        proxy_ssl=secure,
        force_close=True,
    )
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), **options)


def _refusal(code: int | None, said: str) -> str:
    """What a proxy's own answer means; python-socks gives HTTP's status or SOCKS5's reply as the code."""
    if code in (401, 407) or "auth" in said:
        return "auth"
    return "forbidden" if code in (2, 403) else "target"
