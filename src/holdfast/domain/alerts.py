"""What an operator must know of, session by session: raised once, held while it lasts, resolved when it is over.

Two pure functions. `look` reads from a session's state what is wrong with it now; `review` takes the alerts that stand
and what was found, and answers the alerts that stand from now on. A cause that comes and goes raises one alert: it is
resolved only when its cause was away for the whole damping time. There is at most one alert of a kind in a session, so
an operator's receiver that is down for days finds no heap of them afterwards.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any, Literal

from holdfast.domain import disconnects
from holdfast.domain.rows import Unreadable
from holdfast.domain.state import Phase, State

Notice = Literal["raised", "resolved"]


class Kind(StrEnum):
    """What an alert is about."""

    NEEDS_QR = "needs_qr"
    CONFLICT = "conflict"
    TEMPORARILY_BANNED = "temporarily_banned"
    CLIENT_OUTDATED = "client_outdated"
    RESTRICTED = "restricted"
    QUEUE_OLD = "queue_old"
    UNREADABLE = "unreadable"
    WEBHOOK_DEAD = "webhook_dead"
    KEYS_GUESSED = "keys_guessed"


ABOUT_THE_LINK = frozenset({Kind.NEEDS_QR, Kind.CONFLICT, Kind.TEMPORARILY_BANNED, Kind.CLIENT_OUTDATED})
"""While one of these stands the session is not connected; only a connection proves that it is over."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Something that is wrong now. `since` is when it began, in Unix seconds."""

    kind: Kind
    code: str
    message: str
    since: float


@dataclass(frozen=True, slots=True)
class Found:
    """What a look at a session found. `unsettled`: neither connected nor stopped, so nothing is known to be over."""

    causes: tuple[Cause, ...] = ()
    unsettled: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds: how old the oldest waiting message, or event that a receiver refuses, may grow; how long a cause must be
    away before its alert is resolved.
    """

    age: float = 300.0
    damping: float = 300.0


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. Instants are Unix seconds; `instance` is who raised it."""

    id: str
    kind: Kind
    session: str
    code: str
    message: str
    since: float
    instance: str
    away_since: float | None = None
    """Since when its cause is away; None while it is there, or may be."""
    resolved_at: float | None = None
    """None while the alert is in force."""
    told: bool = False
    """Whether the operator was told that it was raised."""
    receiver: str = ""
    """The host of a webhook receiver that takes nothing, or what else is no session; `session` is empty then."""
    sessions: tuple[str, ...] = ()
    """The sessions whose events it does not take."""

    @property
    def severity(self) -> str:
        """`critical`: the session is not connected, and may stay so; `warning`: it is, and something suffers."""
        return "critical" if self.kind in ABOUT_THE_LINK else "warning"

    @property
    def notice(self) -> Notice | None:
        """What the operator is to be told of it now."""
        if not self.told:
            return "raised"
        return None if self.resolved_at is None else "resolved"

    def shown(self) -> dict[str, Any]:
        """As users see it."""
        of_receiver = self.kind is Kind.WEBHOOK_DEAD
        about = {"receiver": self.receiver, "sessions": list(self.sessions)} if of_receiver else {}
        return {
            "id": self.id,
            "kind": self.kind.value,
            "session": self.session or None,
            "severity": self.severity,
            "code": self.code,
            "message": self.message,
            "since": self.since,
            "instance": self.instance,
            **about,
        }

    def to_json(self) -> dict[str, Any]:
        """Plain JSON for the store."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Alert:
        """From the store; fields of other versions are ignored."""
        known = {key: stored[key] for key in stored.keys() & {f.name for f in fields(cls)}}
        return cls(**{**known, "kind": Kind(stored["kind"]), "sessions": tuple(stored.get("sessions", ()))})


# --- what is wrong ----------------------------------------------------------------------------------------------


def look(
    state: State, now: float, limits: Limits, *, wanted: bool, oldest: float, unreadable: Unreadable | None = None
) -> Found:
    """What is wrong with a session.

    `wanted`: nobody stopped it. `oldest`: age in seconds of its oldest waiting message. `unreadable`: the stanzas that
    were set aside.
    Dead webhook receivers are no session's trouble: see `domain.outages`.
    """
    if not wanted:
        return Found()
    link = _link(state)
    causes = [] if link is None else [link]
    if state.restricted_until is not None and state.restricted_until > now:
        causes.append(Cause(Kind.RESTRICTED, disconnects.RESTRICTED, _RESTRICTED, now))
    if oldest > limits.age:
        message = f"Messages have been waiting to be sent for more than {limits.age:.0f} s."
        causes.append(Cause(Kind.QUEUE_OLD, "queue_old", message, now - oldest))
    if unreadable is not None and now - unreadable.latest < UNREADABLE_FOR:
        message = f"{unreadable.count} received stanzas could not be stored as messages. They are kept as they came."
        causes.append(Cause(Kind.UNREADABLE, "unreadable", message, unreadable.latest))
    settled = state.phase in (Phase.WORKING, Phase.STOPPED) or state.message == disconnects.ON_PURPOSE
    return Found(tuple(causes), unsettled=link is None and not settled)


UNREADABLE_FOR = 86_400.0
"""Seconds for which the newest stanza that was set aside is worth an alert."""
_RESTRICTED = "WhatsApp lets this account write to no new people for now. Write less to strangers."


def _link(state: State) -> Cause | None:
    """Why the session is not connected, where that is more than a passing fault. What was never linked lost nothing."""
    kind = None
    if state.phase is Phase.TERMINAL and state.phone and state.message != disconnects.ON_PURPOSE:
        kind = Kind.NEEDS_QR
    elif state.code in disconnects.IN_CONFLICT:
        kind = Kind.CONFLICT
    elif state.code == disconnects.TEMPORARILY_BANNED.code:
        kind = Kind.TEMPORARILY_BANNED
    elif state.code == disconnects.CLIENT_OUTDATED.code and state.failed:
        kind = Kind.CLIENT_OUTDATED
    return None if kind is None else Cause(kind, state.code, state.message, state.since)


# --- what follows -----------------------------------------------------------------------------------------------


def review(
    alerts: Sequence[Alert], found: Found, *, session: str, instance: str, now: float, damping: float
) -> tuple[Alert, ...]:
    """The alerts of `session` that stand after a look at `now`. Those that were resolved and told of as raised stay
    until the operator was told of that, too; what nobody was told of just goes.
    """
    causes = {cause.kind: cause for cause in found.causes}
    after = [_judge(alert, causes.get(alert.kind), found, now, damping) for alert in alerts]
    known = {alert.kind for alert in alerts}
    after += [_raise(cause, session, instance) for cause in found.causes if cause.kind not in known]
    return tuple(alert for alert in after if alert.resolved_at is None or alert.told)


def _judge(alert: Alert, cause: Cause | None, found: Found, now: float, damping: float) -> Alert:
    if cause is not None:
        return replace(alert, code=cause.code, message=cause.message, away_since=None, resolved_at=None)
    if alert.resolved_at is not None:
        return alert
    if found.unsettled and alert.kind in ABOUT_THE_LINK:
        return replace(alert, away_since=None)
    away_since = now if alert.away_since is None else alert.away_since
    resolved_at = now if now - away_since >= damping else None
    return replace(alert, away_since=away_since, resolved_at=resolved_at)


def _raise(cause: Cause, session: str, instance: str) -> Alert:
    name = _id(session, cause.kind, cause.since)
    return Alert(name, cause.kind, session, cause.code, cause.message, cause.since, instance)


def _id(*about: object) -> str:
    """Follows from what the alert is about, so that two instances that find the same give the same."""
    return f"alert_{hashlib.sha256(repr(about).encode()).hexdigest()[:24]}"


def told(alerts: Sequence[Alert], id_: str, notice: Notice) -> tuple[Alert, ...]:
    """The alerts after the operator was told `notice` of one of them. What is over and told of is forgotten; what came
    back while that was being told is raised anew.
    """
    after = []
    for alert in alerts:
        if alert.id != id_:
            after.append(alert)
        elif notice == "raised":
            after.append(replace(alert, told=True))
        elif alert.resolved_at is None:
            after.append(replace(alert, id=_id(alert.id), told=False))
    return tuple(after)


def in_force(alerts: Collection[Alert]) -> list[Alert]:
    """Those that are not resolved, the oldest first."""
    return sorted((alert for alert in alerts if alert.resolved_at is None), key=lambda alert: (alert.since, alert.id))
