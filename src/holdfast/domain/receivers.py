"""Where webhooks may go, and what of their addresses may be shown (pure).

Whoever may set a webhook lets this server call an address of their choosing, perhaps one that only this server can
reach. So addresses that are not public are called only where `Reach` allows it, judged by the address that is really
connected to, not by the name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from unicodedata import normalize
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit, urlunsplit

from holdfast.domain.errors import BadRequest, InvalidWebhook, MediaNotFetched

LONGEST = 2048
MASK = "***"

_SECRET = re.compile(r"key|token|secret|pass|pwd|auth|sig|code|cred|jwt|session", re.IGNORECASE)
_LONG = 20
"""A value of a query that is at least so long is taken for a secret, whatever its name."""

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_LAST_32 = (ip_network("64:ff9b::/96"), ip_network("::/96"), ip_network("::ffff:0:0:0/96"))
"""IPv6 networks whose addresses end in the IPv4 address that is meant: NAT64 (RFC 6052), IPv4-compatible (RFC 4291) and
IPv4-translated (RFC 2765)."""
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})
"""What stands before the IPv4 address in an interface identifier of ISATAP (RFC 5214)."""

NEVER: tuple[Network, ...] = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",
            "169.254.0.0/16",  # link-local; the metadata of AWS, Azure, Google, Oracle and others
            "100.100.100.200/32",  # the metadata of Alibaba Cloud
            "168.63.129.16/32",  # Azure's platform address
            "192.0.0.192/32",  # Oracle Cloud's metadata, as its older images ask for it
            "224.0.0.0/4",
            "240.0.0.0/4",
            "::/128",
            "fe80::/10",
            "fec0::/10",  # site-local (RFC 3879)
            "ff00::/8",
            "fd00:ec2::/32",  # AWS: metadata, time and names
            "fd20:ce::254/128",  # Google Cloud's metadata
            "fd00:42::42/128",  # Scaleway's metadata
        ),
    )
)
"""Addresses that must be named to be called: no receiver has one, and some hand out what they should not."""

_GLOBAL = ip_network("2000::/3")

PRIVATE: tuple[Network, ...] = tuple(
    map(
        ip_network,
        (
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.31.196.0/24",
            "192.52.193.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "192.175.48.0/24",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "::1/128",
            "64:ff9b:1::/48",
            "100::/64",
            "100:0:0:1::/64",
            "2001::/23",
            "2001:db8::/32",
            "2620:4f:8000::/48",
            "3fff::/20",
            "5f00::/16",
            "fc00::/7",
        ),
    )
)
"""Addresses that are not of the public Internet: the special-purpose registries of IANA for IPv4 and IPv6 (2025-10),
less what they call globally reachable, unless it serves a purpose that is no receiver's."""


# --- who reaches us ---------------------------------------------------------------------------------------------


class Exposure:
    """Whether anything but this machine reaches the API, as far as it is known; `why` tells in words.

    Who reaches the API may set webhooks, and so call what only this machine reaches. Listening on a loopback address
    does not settle it: a reverse proxy on this machine passes on what comes from elsewhere.
    """

    def __init__(self, why: str = "") -> None:
        """`why` it is reached from elsewhere; empty: nothing speaks for that yet."""
        self.why = why

    @property
    def local(self) -> bool:
        """Whether nothing but this machine is known to reach it."""
        return not self.why


_FORWARDING = frozenset({
    b"forwarded", b"via", b"x-real-ip", b"true-client-ip", b"x-client-ip", b"x-original-forwarded-for", b"cdn-loop",
    b"client-ip", b"fastly-client-ip", b"fly-client-ip", b"x-cluster-client-ip", b"x-envoy-external-address",
    b"x-request-start", b"x-arr-ssl", b"x-appengine-user-ip",
})  # fmt: skip
"""Headers with which reverse proxies say for whom they ask."""


def passed_on(headers: Iterable[tuple[bytes, bytes]], version: str = "1.1") -> str:
    """What tells that a request was passed on from elsewhere; empty if nothing does. Names are in lower case."""
    for name, value in headers:
        if name in _FORWARDING or name.startswith((b"x-forwarded-", b"cf-")):
            return f"a request came with the header {name.decode('latin-1')}, which reverse proxies add"
        if name == b"host" and not is_local_host(value.decode("latin-1")):
            return "a request asked for a host that is not this machine's loopback"
    return "a request came by HTTP/1.0, as reverse proxies ask" if version == "1.0" else ""


def is_local_host(authority: str) -> bool:
    """Whether a host, perhaps with a port, is a name or an address of this machine's loopback; so is none at all."""
    try:
        host = urlsplit(f"//{authority.strip()}").hostname or ""
    except ValueError:
        return False
    host = host.rstrip(".")
    return not host or host == "localhost" or host.endswith(".localhost") or Reach.is_loopback(host)


# --- which addresses --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reach:
    """Which addresses may be called. `private`: this machine's and local networks' too; `hosts`: names whose addresses
    are allowed whatever they are; `networks`: addresses that are allowed; `exposure`: allow private ones while nothing
    but this machine reaches the API.
    """

    private: bool = False
    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()
    exposure: Exposure | None = None

    @classmethod
    def parse(cls, setting: str, exposure: Exposure | None = None) -> Reach:
        """From a setting: `yes`, `no`, `auto` (as `exposure` says), or hosts and networks separated by commas.

        Raises:
            ValueError: The setting is none of these.
        """
        said = setting.strip().lower()
        if said == "auto":
            return cls(exposure=exposure)
        if said in ("yes", "no", "true", "false", "1", "0", ""):
            return cls(said in ("yes", "true", "1"))
        hosts, networks = set(), []
        for part in (part.strip() for part in said.split(",")):
            if re.fullmatch(r"[0-9a-f.:]+(/\d+)?", part) and ("." in part or ":" in part):
                networks.append(ip_network(part, strict=False))
            elif re.fullmatch(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?", part):
                hosts.add(part)
            else:
                raise ValueError(f"'{part}' is neither a host nor a network")
        return cls(False, frozenset(hosts), tuple(networks))

    @property
    def allows_private(self) -> bool:
        """Whether this machine and private networks may be called now."""
        return self.private or (self.exposure is not None and self.exposure.local)

    @staticmethod
    def is_loopback(host: str) -> bool:
        """Whether it is an address that only this machine reaches."""
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return False

    def allows(self, host: str, address: str) -> bool:
        """Whether `address`, found under the name `host`, may be connected to."""
        try:
            forms = _forms(ip_address(address.partition("%")[0]))
        except ValueError:
            return False
        if host.lower().rstrip(".") in self.hosts or _among(forms, self.networks):
            return True
        if _among(forms, NEVER) or not all(_is_assigned(form) for form in forms):
            return False  # never by `private` alone: clouds hand out a machine's credentials under such addresses
        return self.allows_private or not _among(forms, PRIVATE)


def _forms(address: Address) -> list[Address]:
    """The address, and the IPv4 address that it leads to: it is judged by both."""
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped:
        return [address.ipv4_mapped]
    inner = address.sixtofour or (address.teredo[1] if address.teredo else None)
    in_last = any(address in network for network in _LAST_32) and int(address) > 0xFFFF
    if in_last or int(address) >> 32 & 0xFFFFFFFF in _ISATAP:
        inner = IPv4Address(int(address) & 0xFFFFFFFF)
    return [address] if inner is None else [address, inner]


def _among(forms: Iterable[Address], networks: Iterable[Network]) -> bool:
    return any(form in network for network in networks for form in forms)


def _is_assigned(address: Address) -> bool:
    """Whether it is of a kind that receivers may have: of IPv6, one part is given out as global addresses."""
    return address.version == 4 or _among([address], (_GLOBAL, *_LAST_32, *PRIVATE))


# --- which URLs -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Called:
    """What is called: its URL and its callers in words, the setting that lets them, and the error for a bad URL."""

    url: str
    callers: str
    setting: str
    error: type[BadRequest]


HOOK = Called("A webhook's url", "webhooks", "HOLDFAST_WEBHOOK_ALLOW_PRIVATE", InvalidWebhook)
FILE = Called("A file's url", "files", "HOLDFAST_MEDIA_ALLOW_PRIVATE", MediaNotFetched)


def check_url(url: str, reach: Reach | None = None, called: Called = HOOK) -> None:
    """Raises `called.error` with the reason for a URL that can never be called. Names are not looked up: what they
    lead to is judged at every connection.
    """
    if problem := _problem(url):
        raise called.error(f"{called.url} {problem}.")
    host = urlsplit(url).hostname or ""
    if reach is not None and not may_lead_out(host, reach):
        raise called.error(
            f"'{host}' is an address of this machine or of a private network, which {called.callers} may not call "
            f"here. If it is meant, the operator can allow it by {called.setting}."
        )


def _problem(url: str) -> str:
    if len(url) > LONGEST:
        return f"may have at most {LONGEST} characters"
    if re.search(r"[\x00-\x20\x7f]", url):
        return "must not hold spaces or control characters: write them as %20 and so on"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        return f"is not valid: {_reason(error)}"
    if parts.scheme not in ("http", "https"):
        return "must begin with http:// or https://"
    if not host:
        return "names no host"
    return "names port 0, which cannot be called" if port == 0 else ""


def _reason(error: ValueError) -> str:
    return "its port is no number up to 65535" if "ort" in str(error) else "its host cannot be read"


def may_lead_out(host: str, reach: Reach) -> bool:
    """Whether a host may be called as far as it can be told without looking it up."""
    plain = normalize("NFKC", host).partition("%")[0].rstrip(".").lower()
    if plain == "localhost" or plain.endswith(".localhost"):
        return reach.allows(host, "127.0.0.1") or reach.allows(host, "::1")
    address = _written_address(plain)
    return address is None or reach.allows(host, str(address))


def _written_address(host: str) -> Address | None:
    """The address that a host is, in each spelling that resolvers take for one: `127.1`, `0x7f.0.0.1`, `2130706433`."""
    try:
        return ip_address(host)
    except ValueError:
        parts = [_number(part) for part in host.split(".")]
    *first, last = parts
    if len(parts) > 4 or last is None or not all(part is not None and part < 256 for part in first):
        return None
    if last >= 256 ** (5 - len(parts)):
        return None
    return IPv4Address(sum((part or 0) << 24 - 8 * at for at, part in enumerate(first)) + last)


def _number(part: str) -> int | None:
    base = 16 if part.startswith("0x") else 8 if part.startswith("0") else 10
    try:
        return int(part, base) if part.isalnum() and part.isascii() else None
    except ValueError:
        return None


def receiver(url: str) -> str:
    """Host and port, which tell a person which one it is; the rest of a URL may hold secrets."""
    return urlsplit(url).netloc.rpartition("@")[2] or "?"


# --- what is shown ----------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def masked(url: str) -> str:
    """The URL with its password, and whatever in its query looks like a secret, as `***`."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return MASK
    return urlunsplit(
        SplitResult(parts.scheme, _masked_user(parts.netloc), parts.path, _masked_query(parts.query), parts.fragment)
    )


def _masked_user(netloc: str) -> str:
    user, at, host = netloc.rpartition("@")
    if not at:
        return netloc
    name, colon, _ = user.partition(":")
    return f"{name if colon else MASK}{colon and ':' + MASK}@{host}"


def _masked_query(query: str) -> str:
    pairs = parse_qsl(query, keep_blank_values=True)
    if not any(_is_secret(name, value) for name, value in pairs):
        return query
    return "&".join(
        f"{quote(name)}={MASK if _is_secret(name, value) else quote(value, safe='')}" for name, value in pairs
    )


def _is_secret(name: str, value: str) -> bool:
    return bool(value) and (len(value) >= _LONG or _SECRET.search(name) is not None)
