"""Which instance runs which session: a fair share each, reached gradually.

An instance claims what is free up to its share, and what stays free for a while in any case, for a session without a
holder is worse than an uneven load. Who holds more than a fair share hands idle sessions over, few at a time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

LABELS = "labels"
STEP = 20
"""Of its share, an instance hands over one in so many sessions at a time (at least one)."""


def fair_share(total: int, instances: int) -> int:
    """How many of `total` sessions one of `instances` should hold at most."""
    return -(-total // max(1, instances))


def labels_of(config: Mapping[str, object]) -> frozenset[str]:
    """The labels to which a session is pinned, as `key=value`: its configuration's `holdfast.labels`."""
    own = config.get("holdfast")
    labels = own.get(LABELS) if isinstance(own, Mapping) else None
    return frozenset(f"{key}={value}" for key, value in labels.items()) if isinstance(labels, Mapping) else frozenset()


def may_run(session: Collection[str], instance: Collection[str]) -> bool:
    """Whether an instance with those labels may run a session that is pinned to these."""
    return set(session) <= set(instance)


@dataclass(frozen=True, slots=True)
class Free:
    """A session that nobody runs. `waited`: for how many seconds it has been seen free while nobody took any."""

    name: str
    labels: frozenset[str]
    waited: float


def to_claim(
    free: Collection[Free], *, mine: int, total: int, instances: int, labels: Collection[str], patience: float
) -> list[str]:
    """Which free sessions this instance claims now: pinned ones and those that waited long at once, others up to its
    share. `total`: all sessions that should run; `patience`: seconds after which the share does not matter.
    """
    room = fair_share(total, instances) - mine
    chosen = []
    for session in free:
        if not may_run(session.labels, labels):
            continue
        if session.labels or session.waited >= patience:
            chosen.append(session.name)
        elif room > 0:
            room -= 1
            chosen.append(session.name)
    return chosen


def to_hand_over(*, mine: int, total: int, instances: int) -> int:
    """How many sessions an instance that holds `mine` should hand over now; one step too many are not worth the gap."""
    share = fair_share(total, instances)
    excess = mine - share
    return 0 if excess <= share // STEP else min(excess, max(1, share // STEP))
