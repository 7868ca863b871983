"""Faults: what goes wrong on demand, for one number, one device or all.

Some faults happen once, when they are set (``drop``, ``stream_error``, ``logout`` …); the others stay until their count
is used up, their seconds are over, or they are cleared. Connections and handlers ask this book at the places where the
fault would strike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from wasim import versions

ONCE = frozenset(
    {"drop", "stream_error", "logout", "corrupt_frame", "unknown_frame", "deaf", "unlisted", "expire_media", "mex"}
)
LASTING = frozenset(
    {
        "blackhole",
        "failure",
        "outdated",
        "refuse_upgrade",
        "refuse_code",
        "slow",
        "duplicate",
        "outage",
        "ack_error",
        "no_ack",
        "media_error",
        "garble",
        "unavailable",
        "refuse_query",
        "timelock",
        "token_required",
    }
)
KINDS = ONCE | LASTING | {"clear"}
NEEDS: dict[str, tuple[set[str], str]] = {
    "slow": ({"ms"}, "ms, the milliseconds to hold each frame back"),
    "refuse_query": ({"xmlns", "code"}, "xmlns, which queries are refused, and code"),
    "mex": ({"op", "data"}, "op, the operation's name, and data, what it says"),
}
"""Fields without which a fault of a kind means nothing."""


class FaultError(ValueError):
    """A fault that cannot be set; the message names what is wrong with it."""


@dataclass(slots=True)
class Fault:
    """One fault in force.

    ``jid`` is a phone number, an address or a device address (None: all); ``count`` how often it will strike yet
    (None: no limit); ``until`` the time it ends (None: when cleared); ``options`` the rest of the request.
    """

    id: int
    kind: str
    jid: str | None
    count: int | None
    until: float | None
    options: dict[str, Any] = field(default_factory=dict)

    def strikes(self, names: tuple[str, ...]) -> bool:
        """Tell whether it is meant for someone called any of ``names``; faults for all strike everyone."""
        return self.jid is None or self.jid in names

    def view(self) -> dict[str, Any]:
        """Give it as ``GET /admin/faults`` shows it."""
        facts = {"id": self.id, "kind": self.kind, "jid": self.jid, "count": self.count, "until": self.until}
        return {key: value for key, value in facts.items() if value is not None} | self.options


class Faults:
    """The faults in force, oldest first."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._next_id = 1
        self._active: list[Fault] = []

    def make(self, request: dict[str, Any]) -> Fault:
        """Read a request ``{kind, jid?, count?, seconds?, …}`` without putting it in force.

        :raises FaultError: for an unknown kind or a field of the wrong type
        """
        options = dict(request)
        kind = options.pop("kind", None)
        if kind not in KINDS:
            raise FaultError(f"kind must be one of {', '.join(sorted(KINDS))}; it is {kind!r}")
        jid = options.pop("jid", None)
        if jid is not None and not isinstance(jid, str):
            raise FaultError("jid must be a string: a phone number, an address or a device's address")
        count = options.pop("count", None)
        seconds = options.pop("seconds", None)
        if count is not None and (not isinstance(count, int) or count < 1):
            raise FaultError("count must be a positive whole number")
        if seconds is not None and (not isinstance(seconds, int | float) or seconds <= 0):
            raise FaultError("seconds must be a positive number")
        for name in ("ms", "code", "status", "reason"):
            if name in options and not str(options[name]).isdecimal():
                raise FaultError(f"{name} must be a number, it is {options[name]!r}")
        needed, why = NEEDS.get(kind, (set(), ""))
        if not needed <= options.keys():
            raise FaultError(f"{kind} needs {why}")
        if kind in ("logout", "unlisted") and jid is None:
            raise FaultError(f"{kind} needs jid: whose device is to be removed")
        if kind == "outdated" and versions.parse(str(options.setdefault("version", versions.NEXT_VERSION))) is None:
            raise FaultError("version must look like 2.3000.1043857760")
        if not isinstance(options.get("tag", ""), str) or options.get("tag") == "":
            raise FaultError("tag must be the name of an element")
        until = None if seconds is None else self._now() + float(seconds)
        fault = Fault(self._next_id, kind, jid, count, until, options)
        self._next_id += 1
        return fault

    def add(self, fault: Fault) -> None:
        """Put a lasting fault in force."""
        self._active.append(fault)

    def clear(self, jid: str | None = None, kind: str | None = None) -> int:
        """End the faults for ``jid`` (None: for all and everyone) of ``kind`` (None: any); give how many."""
        kept = [f for f in self._active if (jid is not None and f.jid != jid) or (kind is not None and f.kind != kind)]
        ended = len(self._active) - len(kept)
        self._active = kept
        return ended

    def active(self) -> list[Fault]:
        """Give the faults in force now."""
        now = self._now()
        self._active = [f for f in self._active if f.until is None or f.until > now]
        return list(self._active)

    def find(self, kind: str, names: tuple[str, ...] = ()) -> Fault | None:
        """Give the first fault of ``kind`` in force for someone called any of ``names``."""
        return next((f for f in self.active() if f.kind == kind and f.strikes(names)), None)

    def take(self, kind: str, names: tuple[str, ...] = ()) -> Fault | None:
        """Like ``find``, and use up one of its count."""
        fault = self.find(kind, names)
        if fault is not None and fault.count is not None:
            fault.count -= 1
            if fault.count == 0:
                self._active.remove(fault)
        return fault
