"""When an instance may act on a lease, must renew it, and must have let go (G1).

All times are seconds on the holder's own boot clock. The lease is counted from *before* the renewal was sent: the
database can only have dated it later, so the holder's deadline always comes first.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """Settings, in seconds. `margin` is kept back for closing the engine before another instance may claim."""

    ttl: float = 15.0
    renew: float = 5.0
    margin: float = 2.0
    lenient: bool = False
    """Keep connections while the database is away, at the price of G1: another that reaches it may claim meanwhile."""

    def __post_init__(self) -> None:
        if not 0 < self.renew < self.ttl - self.margin:
            raise ValueError("lease.renew must be shorter than lease.ttl less its margin")


@dataclass(frozen=True, slots=True)
class Held:
    """A lease as its holder sees it: the fencing number, and when the last successful renewal was *sent*."""

    epoch: int
    sent_at: float


def give_up_at(held: Held, times: LeaseTimes) -> float:
    """From then on nothing may be done under this lease, and the engine must be closed."""
    return held.sent_at + times.ttl - times.margin


def may_act(held: Held, times: LeaseTimes, now: float) -> bool:
    """Whether the holder may still act; unknown renewals do not count."""
    return now < give_up_at(held, times)


def renew_at(held: Held, times: LeaseTimes) -> float:
    """When the next renewal is due."""
    return held.sent_at + times.renew


def valid_for(held: Held, times: LeaseTimes, now: float) -> float:
    """How long a grant to the sidecar may run, in seconds from now; never negative."""
    return max(0.0, give_up_at(held, times) - now)
