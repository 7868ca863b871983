"""Webhook receivers that take nothing: one alert for each, however many sessions and instances find it so. Guesses at
keys are watched in the same way, under the name `GUESSING`.

What is known of a receiver is one value, changed by whichever instance looks, and stored only if no other changed it
meanwhile. An instance says what it sees for itself; what it saw is forgotten when it was not heard of for a while. One
instance at a time tells the operator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from holdfast.domain.alerts import Alert, Cause, Found, Kind, Limits, Notice, review, told

STALE = 60.0
"""Seconds after which an instance that looks no more, or was about to tell, is not waited for."""
GUESSING = "(keys)"
"""Stands where a receiver's host does; no host is named so."""
_SAME = 5.0
"""Seconds within which two beginnings are one: each look counts back from its own time."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one instance saw, at Unix time `at`: since when the receiver took nothing, and of which sessions."""

    at: float
    since: float
    sessions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outage:
    """One receiver, named by its host. `seen` has an entry for each instance that finds it failing."""

    receiver: str
    seen: Mapping[str, Sighting] = field(default_factory=dict)
    alert: Alert | None = None
    teller: str = ""
    """The instance that tells the operator, since Unix time `telling_since`."""
    telling_since: float = 0.0

    @property
    def over(self) -> bool:
        """Whether there is nothing to keep."""
        return not self.seen and self.alert is None

    def may_tell(self, instance: str, now: float) -> bool:
        """Whether there is something to tell, and no other instance is about to."""
        if self.alert is None or self.alert.notice is None:
            return False
        return self.teller in ("", instance) or abs(now - self.telling_since) > STALE

    def to_json(self) -> dict[str, Any]:
        """Plain JSON for the store."""
        return {**asdict(self), "alert": None if self.alert is None else self.alert.to_json()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Outage:
        """From the store."""
        seen = {who: Sighting(one["at"], one["since"], tuple(one["sessions"])) for who, one in stored["seen"].items()}
        alert = None if stored["alert"] is None else Alert.from_json(stored["alert"])
        return cls(stored["receiver"], seen, alert, stored["teller"], stored["telling_since"])


def look(outage: Outage, mine: Sighting | None, *, instance: str, now: float, limits: Limits) -> Outage:
    """After a look of `instance`, which saw `mine`, or that the receiver takes what it is given."""
    seen = {who: one for who, one in outage.seen.items() if who != instance and abs(now - one.at) < STALE}
    if mine is not None:
        seen[instance] = _sparing(outage.seen.get(instance), mine)
    stands = outage.alert is not None and outage.alert.resolved_at is None
    failing = [one for one in seen.values() if stands or outage.receiver == GUESSING or now - one.since > limits.age]
    sessions = tuple(sorted({name for one in failing for name in one.sessions}))
    causes: tuple[Cause, ...] = ()
    if failing:
        causes = (_cause(outage.receiver, len(sessions), min(one.since for one in failing), limits),)
    standing = () if outage.alert is None else (outage.alert,)
    after = review(standing, Found(causes), session=outage.receiver, instance=instance, now=now, damping=limits.damping)
    if not after:
        return replace(outage, seen=seen, alert=None)
    about = replace(after[0], session="", receiver=outage.receiver, sessions=sessions or after[0].sessions)
    return replace(outage, seen=seen, alert=about)


def _sparing(known: Sighting | None, mine: Sighting) -> Sighting:
    """The one that is stored, while it says the same and is fresh: no write for each look."""
    if known is None or known.sessions != mine.sessions or abs(mine.since - known.since) > _SAME:
        return mine
    return known if abs(mine.at - known.at) < STALE / 3 else mine


def _cause(receiver: str, sessions: int, since: float, limits: Limits) -> Cause:
    if receiver == GUESSING:
        return Cause(Kind.KEYS_GUESSED, "wrong_keys", _GUESSED, since)
    of = "1 session" if sessions == 1 else f"{sessions} sessions"
    message = f"No event of {of} was delivered for more than {limits.age:.0f} s to the webhook at {receiver}."
    return Cause(Kind.WEBHOOK_DEAD, "webhook_failed", message, since)


_GUESSED = (
    "Somebody presents many wrong keys. The log has their addresses: block those, or correct the client that has an "
    "old key."
)


def telling(outage: Outage, instance: str, now: float) -> Outage:
    """`instance` is about to tell the operator."""
    return replace(outage, teller=instance, telling_since=now)


def after_telling(outage: Outage, id_: str, notice: Notice) -> Outage:
    """The operator heard `notice` of the alert `id_`."""
    standing = () if outage.alert is None else told((outage.alert,), id_, notice)
    return replace(outage, alert=standing[0] if standing else None, teller="", telling_since=0.0)
