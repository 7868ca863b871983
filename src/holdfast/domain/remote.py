"""A session that lives on a WAHA server: what is to be done there next (pure).

Its status is asked, never remembered. What Holdfast ordered there, and what came of it, is counted in `Tried`, so that
a session is asked again first, restarted then, and made anew last: that ends its link, and comes only where nothing is
lost by it, or where restarts were proved to be of no use.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

MISSING = "MISSING"
"""In place of WAHA's word: it knows no session of that name."""
PASSKEY = frozenset({"PASSKEY_REQUIRED", "PASSKEY_CONFIRMATION_REQUIRED"})
LINKED = "WORKING"
QR = "SCAN_QR_CODE"


class Act(StrEnum):
    """What follows from a look."""

    WAIT = "wait"
    CREATE = "create"
    START = "start"
    RESTART = "restart"
    REMAKE = "remake"
    """Copy what can be read, delete, create."""
    SHOW = "show"
    """Get the QR, or the pairing code, and show it."""
    OPEN = "open"
    """It works."""
    LOST = "lost"
    """The connection is over; `Next.tag` says why."""


@dataclass(frozen=True, slots=True)
class RemoteTimes:
    """Seconds, and numbers of tries."""

    stuck: float = 25.0
    """A STARTING that does not move for so long is acted upon."""
    prompt: float = 30.0
    """A restart that ends in FAILED sooner than this proves that restarts do not help: no fault of the network."""
    remake_after: int = 3
    """Such restarts in a row after which a linked session is made anew; 0: never."""
    patience: int = 10
    """A linked session that is only slow is made anew after so many times as many tries: a network may be away."""


@dataclass(frozen=True, slots=True)
class Tried:
    """What was ordered at WAHA since the session worked last. Instants are seconds of the boot clock."""

    since: float | None = None
    """Since when it has been seen, or ordered, to start."""
    restarts: int = 0
    """Restarts since it last failed to come up and was told as lost."""
    useless: int = 0
    """Restarts in a row that ended in FAILED promptly."""
    stuck: int = 0
    """Times in a row that it was lost in STARTING."""
    remade: bool = False

    def ordered(self, now: float, act: Act) -> Tried:
        """A start, restart or creation was ordered."""
        remade = self.remade or act is Act.REMAKE
        return replace(self, since=now, restarts=self.restarts + (act is Act.RESTART), remade=remade)


@dataclass(frozen=True, slots=True)
class Opening:
    """One connection of Holdfast's to a remote session. `pair`: a person asked for it to be linked."""

    pair: bool
    open: bool = False
    """It worked on this connection."""
    shown: bool = False
    """A QR was on show on this connection."""


@dataclass(frozen=True, slots=True)
class Next:
    """The answer of `next_step`; `tag` as in `domain.disconnects`, of `LOST` only."""

    act: Act
    tried: Tried
    tag: str = ""


def next_step(status: str, opening: Opening, tried: Tried, now: float, times: RemoteTimes) -> Next:
    """What WAHA's `status` of a session, seen at `now`, calls for. A status that is not known waits."""
    if status == LINKED:
        return Next(Act.OPEN, Tried())
    if status == QR:
        return Next(Act.LOST, Tried(), "waha_unlinked") if opening.open else Next(Act.SHOW, Tried(remade=tried.remade))
    if status in PASSKEY:
        return Next(Act.LOST, tried, "waha_passkey")
    if status == MISSING:
        return _missing(opening, tried)
    if opening.open:
        return Next(Act.LOST, Tried(), {"FAILED": "waha_failed", "STOPPED": "waha_stopped"}.get(status, ""))
    if status == "STOPPED":
        return _stopped(tried, now, times)
    if status == "FAILED":
        return _failed(opening, tried, now, times)
    if status == "STARTING":
        return _starting(opening, tried, now, times)
    return Next(Act.WAIT, tried)


def _missing(opening: Opening, tried: Tried) -> Next:
    """What was linked and is gone was deleted by somebody: only a person makes a new one. We may have deleted it."""
    if (opening.pair and not opening.open) or tried.remade:
        return Next(Act.CREATE, tried)
    return Next(Act.LOST, tried, "waha_missing")


def _stopped(tried: Tried, now: float, times: RemoteTimes) -> Next:
    if tried.since is not None and now - tried.since < times.stuck:
        return Next(Act.WAIT, tried)  # the order is under way
    return Next(Act.START, tried)


def _failed(opening: Opening, tried: Tried, now: float, times: RemoteTimes) -> Next:
    if opening.shown and not opening.pair:  # its QR codes ran out: they are renewed for a person, never by a look
        return Next(Act.LOST, tried, "pairing_expired")
    if tried.restarts == 0:
        due = times.remake_after > 0 and tried.useless >= times.remake_after and not tried.remade
        return Next(Act.REMAKE if due else Act.RESTART, tried)
    if opening.pair and not tried.remade:
        return Next(Act.REMAKE, tried)
    prompt = tried.since is not None and now - tried.since < times.prompt
    told = replace(tried, since=None, restarts=0, useless=tried.useless + prompt)
    return Next(Act.LOST, told, "waha_failed")


def _starting(opening: Opening, tried: Tried, now: float, times: RemoteTimes) -> Next:
    if tried.since is None:
        return Next(Act.WAIT, replace(tried, since=now))
    if now - tried.since < times.stuck:
        return Next(Act.WAIT, tried)
    if tried.restarts == 0:
        return Next(Act.RESTART, tried)
    stuck = tried.stuck + 1
    linked = times.remake_after > 0 and stuck >= times.remake_after * times.patience
    if not tried.remade and (opening.pair or linked):
        return Next(Act.REMAKE, tried)
    return Next(Act.LOST, replace(tried, since=None, restarts=0, stuck=stuck), "waha_stuck")
