"""The words of the session machine: what is, what happened, what to do. `session.decide` connects them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Self

Shown = tuple[str, float]
"""A public status, and since when it was shown, in Unix seconds."""


class Phase(StrEnum):
    """Where a session stands inside Holdfast."""

    STOPPED = "stopped"
    CONNECTING = "connecting"
    """The engine is opening: with saved credentials, or to pair, before the first QR."""
    PAIRING = "pairing"
    """A QR or a pairing code is on show."""
    AUTHENTICATED = "authenticated"
    """Paired; the server is about to ask for the restart."""
    WORKING = "working"
    WAITING = "waiting"
    """No connection; the next attempt is scheduled."""
    TERMINAL = "terminal"
    """Only a human can help."""


class TimerKind(StrEnum):
    """What a timer is for. A timer belongs to the phase entry (generation) that set it; later it is stale."""

    CONNECT = "connect"
    PAIRING = "pairing"
    RETRY = "retry"
    STABLE = "stable"
    HEALTH = "health"


@dataclass(frozen=True, slots=True)
class Times:
    """Settings of the machine, in seconds (DESIGN §5)."""

    connect: float = 60.0
    pairing: float = 600.0
    health: float = 30.0
    liveness: float = 30.0
    listed: float = 600.0
    stable: float = 300.0
    failed_after: int = 3
    broken_window: float = 600.0
    outdated_retry: float = 3600.0
    quiet: float = 3600.0
    """Nothing delivered for so long: log in again, to see whether something waits on the server (0: never)."""
    factor: float = 1.0
    """For tests: scales the delays of `pacing`, as the other times were scaled already."""


@dataclass(frozen=True, slots=True)
class State:
    """All that is known of a session's life; stored as JSON with every change, so that it binds later holders.

    Instants are Unix seconds. `connection` numbers the engine's connections: 0 none; events of another are stale.
    """

    phase: Phase = Phase.STOPPED
    code: str = "stopped"
    message: str = "Not started."
    since: float = 0.0
    verified_at: float | None = None
    listed_at: float | None = None
    next_attempt_at: float | None = None
    holdoff: float | None = None
    """How many seconds the wait until `next_attempt_at` was to last: another machine's clock never makes it longer."""
    attempt: int = 0
    failed: bool = False
    """Shown as FAILED although it still heals (phase WAITING or CONNECTING)."""
    flaps: int = 0
    conflicts: int = 0
    outdated: int = 0
    broken_at: float | None = None
    working_since: float | None = None
    pairing_until: float | None = None
    pair_phone: str | None = None
    phone: str = ""
    """Digits of the account linked last; empty if never. Survives logout: re-pairing is checked against it."""
    new_number: bool = False
    """Whether a person confirmed that the next pairing may be with another number. Stays until a pairing succeeds."""
    anew: bool = False
    """Whether what is still linked somewhere is to be unlinked before the next pairing: a person wants a new QR."""
    relink: bool = False
    """Whether a person logged the session out while it ran: it is about to ask for a new QR code."""
    delivered_at: float | None = None
    """When WhatsApp last delivered something of its own accord: a message, a receipt, a notification."""
    quiet_looks: int = 0
    """How often in a row the link was renewed only because nothing was delivered: each waits longer."""
    restricted_until: float | None = None
    """Until when WhatsApp lets this account write to people it knows only."""
    enforcement: str = ""
    """WhatsApp's word for the kind of the last restriction; empty if there never was one."""
    quota: Mapping[str, Any] | None = None
    """The account's quota of new chats in WAHA's form (MessageCappingData); None while WhatsApp told none."""
    recent: tuple[Shown, ...] = ()
    """The public statuses last shown, newest last."""
    connection: int = 0
    live: bool = False
    """Whether an engine connection is wanted or open under number `connection`."""
    generation: int = 0
    command_seq: int = 0
    """The last user order that was carried out."""

    @property
    def needs_qr(self) -> bool:
        """Whether only a new pairing helps."""
        return self.phase is Phase.TERMINAL

    def moved(self, by: float) -> Self:
        """The same after the wall clock was set forward by `by` seconds: as far from now as before is what we dated.
        What WhatsApp dated itself stays.
        """
        known = {name: at for name in _DATED_BY_US if (at := getattr(self, name)) is not None}
        return replace(self, **{name: at + by for name, at in known.items()})

    def to_json(self) -> dict[str, Any]:
        """Plain JSON for the store."""
        return {name: getattr(self, name) for name in _FIELDS}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """From the store; fields of other versions are ignored, missing ones take their defaults."""
        facts = {key: value for key, value in stored.items() if key in _FIELDS}
        if "phase" in facts:
            facts["phase"] = Phase(facts["phase"])
        facts["recent"] = tuple((str(status), float(at)) for status, at in facts.get("recent", ()))
        return cls(**facts)


_FIELDS = tuple(f.name for f in fields(State))
_DATED_BY_US = (
    "since",
    "verified_at",
    "listed_at",
    "next_attempt_at",
    "broken_at",
    "working_since",
    "pairing_until",
    "delivered_at",
)


# --- what happened ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a session's machine is told."""


@dataclass(frozen=True, slots=True)
class Ordered(Event):
    """A person (or a program on their behalf) asked: `start`, `stop`, `restart`, `logout` or `pair`; or `configure`:
    the configuration is another, which changes nothing here.
    """

    seq: int
    kind: str
    has_credentials: bool
    pair_phone: str | None = None
    new_number: bool = False
    """With `pair` and `logout`: the next pairing may be with another number, and puts the old conversations apart."""
    relink: bool = False
    """With `logout`: ask for a new QR code afterwards."""


@dataclass(frozen=True, slots=True)
class Adopted(Event):
    """This instance won the lease. Whatever connection is stored belonged to an earlier holder."""

    has_credentials: bool
    desired_running: bool
    order: Ordered | None = None
    """What a user asked while nobody held the session."""


@dataclass(frozen=True, slots=True)
class Nudged(Event):
    """WhatsApp was seen to be reachable again (another session's success): no need to wait out a network delay."""


@dataclass(frozen=True, slots=True)
class Rerouted(Event):
    """The session's proxy changed: its connection has to go the new way."""


@dataclass(frozen=True, slots=True)
class TimerFired(Event):
    """A timer set under `generation` ran out."""

    kind: TimerKind
    generation: int


@dataclass(frozen=True, slots=True)
class ConnectionEvent(Event):
    """Something on engine connection number `connection`; stale if another is current."""

    connection: int


@dataclass(frozen=True, slots=True)
class QrShown(ConnectionEvent):
    """A QR or a pairing code can be shown to the user."""


@dataclass(frozen=True, slots=True)
class Paired(ConnectionEvent):
    """The phone accepted us. `phone` is digits."""

    phone: str


@dataclass(frozen=True, slots=True)
class Opened(ConnectionEvent):
    """Logged in."""

    phone: str


@dataclass(frozen=True, slots=True)
class Proved(ConnectionEvent):
    """Traffic from WhatsApp at `at` (Unix seconds); `listed`: our device was seen on the account's device list;
    `delivered_at`: when something was delivered last that we had not asked for.
    """

    at: float
    listed: bool = False
    delivered_at: float | None = None


@dataclass(frozen=True, slots=True)
class Unlisted(ConnectionEvent):
    """WhatsApp answered, and our device is not on the account's device list."""


@dataclass(frozen=True, slots=True)
class Restricted(ConnectionEvent):
    """WhatsApp lets the account write to no new people until `until` (Unix seconds); None: no longer restricted.
    `enforcement`: WhatsApp's word for the kind of restriction.
    """

    until: float | None
    enforcement: str = ""


@dataclass(frozen=True, slots=True)
class Capped(ConnectionEvent):
    """WhatsApp told how many new chats the account may begin; `quota` is WAHA's MessageCappingData."""

    quota: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Closed(ConnectionEvent):
    """The connection ended."""

    status: int
    tag: str = ""
    attrs: Mapping[str, str] = field(default_factory=dict)


# --- what to do -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Command:
    """Something that the actor does."""


@dataclass(frozen=True, slots=True)
class Open(Command):
    """Open engine connection number `connection`, within the fleet's pace. `hasty` passes the queue (515).

    The connect timeout starts when the turn has come: the actor then sets the CONNECT timer of `generation`.
    """

    connection: int
    generation: int
    pair: bool
    pair_phone: str | None = None
    hasty: bool = False
    expect_phone: str = ""
    """Pair with no other number than this; empty: with any."""
    anew: bool = False
    """Unlink first what the engine may find linked."""


@dataclass(frozen=True, slots=True)
class Close(Command):
    """Close engine connection number `connection`; `logout` unlinks the device first. `stop`: a person ordered it, so a
    session that runs elsewhere is stopped there as well; else it is only let go.
    """

    connection: int
    logout: bool = False
    stop: bool = False


@dataclass(frozen=True, slots=True)
class SetTimer(Command):
    """Send `TimerFired(kind, generation)` after `after` seconds."""

    kind: TimerKind
    after: float
    generation: int


@dataclass(frozen=True, slots=True)
class ClearCredentials(Command):
    """Delete the credentials, in the same transaction that stores the new state."""


@dataclass(frozen=True, slots=True)
class PutApart(Command):
    """Put conversations and queue of the number before apart, in the same transaction that stores the new state."""


@dataclass(frozen=True, slots=True)
class Probe(Command):
    """Ask WhatsApp for a sign of life; `listed`: whether our device is still on the list."""

    connection: int
    listed: bool


@dataclass(frozen=True, slots=True)
class RefreshVersion(Command):
    """Ask for the current WhatsApp Web version, to be used by the next attempt."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer of `decide`. `changed`: the public status, code or sentence is another, so it is told and stored."""

    state: State
    commands: tuple[Command, ...] = ()
    changed: bool = False
