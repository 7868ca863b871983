"""Proxies of sessions: what a configuration may say, and which proxy a session's connections take (pure).

`config.proxy` has WAHA's shape: `server` is `host:port` or a URL, with `username` and `password` beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from holdfast.domain.errors import BadRequest
from holdfast.domain.receivers import Reach, may_lead_out

DIRECT = "direct"
"""As `server`: no proxy, whatever the default is."""
SETTING = "HOLDFAST_PROXY_ALLOW_PRIVATE"
LONGEST = 255
"""Characters of a user name or password: SOCKS5 has one byte for their length (RFC 1929)."""

Scheme = Literal["http", "https", "socks5"]
_SCHEMES: Mapping[str, Scheme] = {"http": "http", "https": "https", "socks5": "socks5", "socks5h": "socks5"}
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?\.?")


class InvalidProxy(BadRequest):
    """The proxy is not valid."""

    code = "invalid_proxy"
    http_status = 422


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that speaks HTTP CONNECT (`http`, or `https`: over TLS) or SOCKS5. It resolves the names it is given."""

    scheme: Scheme
    host: str
    port: int
    username: str = ""
    password: str = field(default="", repr=False)
    trusted: bool = False
    """Whether the operator named it: then its address may be private."""

    @property
    def name(self) -> str:
        """Host and port, for people: it holds no secret."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Routes:
    """Which way each session's connections take. `default`: the proxy of sessions that name none; `reach`: which
    addresses the proxies of sessions may have.
    """

    default: Proxy | None = None
    reach: Reach = field(default_factory=Reach)

    def of(self, config: Mapping[str, Any]) -> Proxy | None:
        """The session's proxy, the default one, or None for a direct connection. Raises `InvalidProxy`."""
        said = config.get("proxy")
        if said is None:
            return self.default
        return parse(said)

    def check(self, config: Mapping[str, Any]) -> None:
        """Raises `InvalidProxy` for a configuration that cannot be used here."""
        proxy = self.of(config)
        if proxy is not None and not proxy.trusted and not may_lead_out(proxy.host, self.reach):
            raise InvalidProxy(
                f"config.proxy.server: '{proxy.host}' is an address of this machine or of a private network, which "
                f"proxies of sessions may not have here. If it is meant, the operator can allow it by {SETTING}."
            )


def parse(said: Mapping[str, Any]) -> Proxy | None:
    """What `config.proxy` says; None for `direct`. Raises `InvalidProxy`, naming the field."""
    if not isinstance(said, Mapping):
        raise InvalidProxy("config.proxy must be an object with `server`, and perhaps `username` and `password`.")
    if unknown := sorted(set(said) - {"server", "username", "password"}):
        raise InvalidProxy(f"config.proxy knows no '{unknown[0]}': it has `server`, `username` and `password`.")
    values = {name: said.get(name) for name in ("server", "username", "password")}
    for name, value in values.items():
        if value is not None and not isinstance(value, str):
            raise InvalidProxy(f"config.proxy.{name} must be a string.")
    username, password = str(values["username"] or ""), str(values["password"] or "")
    server = str(values["server"] or "").strip()
    if server == DIRECT:
        if username or password:
            raise InvalidProxy("config.proxy.server: `direct` means no proxy, so leave user name and password out.")
        return None
    try:
        return of_url(server, username, password)
    except ValueError as error:
        raise InvalidProxy(f"config.proxy.{error}.") from error


def of_url(server: str, username: str = "", password: str = "", *, trusted: bool = False) -> Proxy:
    """A proxy from `host:port` or a URL, which may hold user and password. Raises `ValueError`: field and reason."""
    if "://" not in server:
        server = f"http://{server}"
    if re.search(r"[\x00-\x20\x7f]", server):
        raise ValueError("server must not hold spaces or control characters")
    try:
        parts = urlsplit(server)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ValueError("server must be host:port or a URL like socks5://host:port") from error
    scheme = _SCHEMES.get(parts.scheme.lower())
    if scheme is None:
        raise ValueError(f"server: '{parts.scheme}' is not supported. Use http://, https:// or socks5://")
    if not _is_host(host):
        raise ValueError("server must be host:port or a URL like socks5://host:port")
    if not port:
        raise ValueError("server must name a port from 1 to 65535, as host:port")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("server must be an address alone, without a path or a query")
    if parts.username is not None or parts.password is not None:
        if username or password:
            raise ValueError("username is given twice: in `server` and beside it")
        username, password = unquote(parts.username or ""), unquote(parts.password or "")
    _check_login(scheme, username, password)
    return Proxy(scheme, host.lower(), port, username, password, trusted)


def _is_host(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return _HOST.fullmatch(host) is not None and not re.fullmatch(r"[0-9.]+", host)
    return True


def _check_login(scheme: Scheme, username: str, password: str) -> None:
    if password and not username:
        raise ValueError("username is missing: the proxy cannot be given a password alone")
    if scheme != "socks5" and ":" in username:
        raise ValueError("username must not hold ':' for an HTTP proxy")
    for name, value in (("username", username), ("password", password)):
        if len(value) > LONGEST:
            raise ValueError(f"{name} may have at most {LONGEST} characters")
        if not (value.isascii() and value.isprintable()):
            raise ValueError(f"{name} must consist of printable ASCII characters")


def explained(proxy: str, why: str, target: str = "WhatsApp") -> str:
    """Why a connection to `target` through the proxy (host and port) failed, as one sentence."""
    return _SENTENCES.get(why, _SENTENCES["broken"]).format(proxy=proxy, target=target)


_SENTENCES: Mapping[str, str] = {
    "unreachable": "The session's proxy {proxy} cannot be reached.",
    "refused": "Nothing answers at the session's proxy {proxy}: it refused the connection.",
    "dns": "The name of the session's proxy {proxy} cannot be resolved.",
    "tls": "The secure connection to the session's proxy {proxy} failed.",
    "auth": "The session's proxy {proxy} refused its user name or password.",
    "target": "The session's proxy {proxy} cannot reach {target}.",
    "forbidden": "The session's proxy {proxy} does not allow connections to {target}.",
    "silent": "The session's proxy {proxy} did not answer in time.",
    "private": f"The session's proxy {{proxy}} has a private address, which {SETTING} does not allow.",
    "invalid": "The session's proxy {proxy} is not configured in a way that Holdfast can use.",
    "broken": "The session's proxy {proxy} did not open a connection.",
}
"""By `attrs["why"]` of a `Closed` with the tag `proxy`."""


def same(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> bool:
    """Whether two settings of `config.proxy` name the same server for the same user."""
    try:
        first, second = parse(one or {}), parse(other or {})
    except InvalidProxy:
        return False
    if first is None or second is None:
        return False
    facts = [(proxy.scheme, proxy.host, proxy.port, proxy.username) for proxy in (first, second)]
    return facts[0] == facts[1]


def as_sent(proxy: Proxy, addresses: list[str]) -> dict[str, Any]:
    """What an engine's process is told of it. `addresses`: what its host was resolved to."""
    return {
        "scheme": proxy.scheme,
        "host": proxy.host,
        "port": proxy.port,
        "username": proxy.username,
        "password": proxy.password,
        "name": proxy.name,
        "addresses": addresses,
    }
