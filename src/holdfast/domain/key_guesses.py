"""Wrong keys: how long an address that presents them is refused, and when an operator must know.

A right key always passes, whatever happened at its address: behind a reverse proxy, or a company's NAT, everybody has
the same address, and a lockout there would be a way to lock the operator out. So nobody is slowed down who guesses the
right key at once; what makes guessing hopeless is the length of the key. The refusals tell a misconfigured client to
wait, and spare the log; the count raises the alert.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address

FREE = 10
"""Wrong keys from one address before it is told to wait."""
FREE_TOGETHER = 100
"""The same for all addresses together: an attacker may have many."""
LONGEST = 300.0
"""The longest wait, in seconds."""
FORGET = 900.0
"""Seconds without a wrong key after which an address starts afresh."""
ADDRESSES = 4096
"""Addresses that are remembered; the one that was quiet for longest is forgotten first."""
WINDOW = 600.0
ALARM = 50
"""So many wrong keys within `WINDOW` seconds raise an alert."""
LOGGED = 20
"""Lines a minute that the log gets about wrong keys."""


@dataclass(slots=True)
class _Source:
    count: int = 0
    until: float = 0.0
    last: float = 0.0


@dataclass(frozen=True, slots=True)
class Judged:
    """What follows from a wrong key. `wait`: seconds until the next one is judged, 0 while none is needed.
    `logged`: whether it gets a line in the log, and `unlogged` how many before it got none.
    """

    wait: float
    logged: bool
    unlogged: int = 0


def shown_address(address: str) -> str:
    """The address for the log; a proxy may have passed on what is none."""
    return "unknown" if _parsed(address) is None else address


def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(address.partition("%")[0])
    except ValueError:
        return None


def network_of(address: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 of an IPv6 address, which is one customer's."""
    parsed = _parsed(address)
    if parsed is None:
        return "unknown"
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return f"{IPv6Address(int(parsed) >> 64 << 64)}/64"
    return str(parsed)


@dataclass(slots=True)
class KeyGuesses:
    """The wrong keys that one instance saw. Times are seconds of a clock that only goes forward."""

    _sources: OrderedDict[str, _Source] = field(default_factory=OrderedDict)
    _together: _Source = field(default_factory=_Source)
    _recent: deque[float] = field(default_factory=lambda: deque(maxlen=ALARM))
    _lines: deque[float] = field(default_factory=lambda: deque(maxlen=LOGGED))
    _unlogged: int = 0
    _since: float | None = None

    def wrong(self, address: str, now: float) -> Judged:
        """Count a wrong key from `address`."""
        self._recent.append(now)
        source = self._source(network_of(address))
        wait = max(_count(source, FREE, now), _count(self._together, FREE_TOGETHER, now))
        if len(self._lines) == LOGGED and now - self._lines[0] < 60.0:
            self._unlogged += 1
            return Judged(wait, logged=False)
        self._lines.append(now)
        unlogged, self._unlogged = self._unlogged, 0
        return Judged(wait, logged=True, unlogged=unlogged)

    def under_way(self, now: float) -> float | None:
        """For how many seconds somebody has been guessing; None while there are fewer than `ALARM` recent keys."""
        if len(self._recent) < ALARM or now - self._recent[0] > WINDOW:
            self._since = None
            return None
        if self._since is None:
            self._since = self._recent[0]
        return now - self._since

    def __len__(self) -> int:
        return len(self._sources)

    def _source(self, network: str) -> _Source:
        source = self._sources.setdefault(network, _Source())
        self._sources.move_to_end(network)
        if len(self._sources) > ADDRESSES:
            self._sources.popitem(last=False)
        return source


def _count(source: _Source, free: int, now: float) -> float:
    """Seconds to wait after one more wrong key. While they last, further ones do not lengthen them."""
    if now - source.last > FORGET:
        source.count, source.until = 0, 0.0
    source.last = now
    if now < source.until:
        return source.until - now
    source.count += 1
    if source.count <= free:
        return 0.0
    wait = min(2.0 ** min(source.count - free - 1, 16), LONGEST)
    source.until = now + wait
    return wait
