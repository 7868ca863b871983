"""Where webhooks may go, and what of their addresses may be shown (pure).

Whoever may set a webhook lets this server call an address of their choosing, perhaps one that only this server can
reach. So addresses that are not public are called only where `Reach` allows it, judged by the address that is really
connected to, not by the name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit, urlunsplit

from holdfast.domain.errors import BadRequest, InvalidWebhook, MediaNotFetched

LONGEST = 2048
MASK = "***"

_SECRET = re.compile(r"key|token|secret|pass|pwd|auth|sig|code|cred|jwt|session", re.IGNORECASE)
_LONG = 20
"""A value of a query that is at least so long is taken for a secret, whatever its name."""

_NAT64 = ip_network("64:ff9b::/96")

Address = IPv4Address | IPv6Address


# --- which addresses --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reach:
    """Which addresses may be called. `private`: this machine's and local networks' too; `hosts`: names whose addresses
    are allowed whatever they are; `networks`: addresses that are allowed.
    """

    private: bool = False
    hosts: frozenset[str] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def parse(cls, setting: str, *, at_home: bool) -> Reach:
        """From a setting: `yes`, `no`, `auto` (what `at_home` says: only this machine's own programs can set webhooks),
        or hosts and networks separated by commas. Raises `ValueError`.
        """
        said = setting.strip().lower()
        if said in ("auto", "yes", "no", "true", "false", "1", "0", ""):
            return cls(at_home if said == "auto" else said in ("yes", "true", "1"))
        hosts, networks = set(), []
        for part in (part.strip() for part in said.split(",")):
            if re.fullmatch(r"[0-9a-f.:]+(/\d+)?", part) and ("." in part or ":" in part):
                networks.append(ip_network(part, strict=False))
            elif re.fullmatch(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?", part):
                hosts.add(part)
            else:
                raise ValueError(f"'{part}' is neither a host nor a network")
        return cls(False, frozenset(hosts), tuple(networks))

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
            found = _plain(ip_address(address.partition("%")[0]))
        except ValueError:
            return False
        if host.lower().rstrip(".") in self.hosts or any(found in network for network in self.networks):
            return True
        if found.is_loopback:
            return self.private
        if found.is_link_local or found.is_multicast or found.is_unspecified or found.is_reserved:
            return False  # never by `private` alone: clouds hand out a machine's credentials under such addresses
        return self.private or found.is_global


def _plain(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, if it does."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


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
    if reach is not None and not _may_lead_out(host, reach):
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


def _may_lead_out(host: str, reach: Reach) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return reach.allows(host, "127.0.0.1") or reach.allows(host, "::1")
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return True
    return reach.allows(host, host)


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


def masked_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A session's configuration as it is shown."""
    hooks = config.get("webhooks")
    if not hooks:
        return dict(config)
    return {**config, "webhooks": [{**hook, "url": masked(str(hook.get("url", "")))} for hook in hooks]}


def unmasked_config(config: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration that somebody changed after it was shown to them: a URL that is still masked means the one that
    was set before.
    """
    hooks: Sequence[Mapping[str, Any]] = config.get("webhooks") or ()
    known = {masked(url): url for hook in before.get("webhooks") or () if (url := str(hook.get("url", "")))}
    if not hooks:
        return dict(config)
    return {**config, "webhooks": [{**hook, "url": known.get(str(hook["url"]), hook["url"])} for hook in hooks]}
