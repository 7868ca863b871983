"""What is known of a connection that works: its proofs of life, and how long it lasted (pure)."""

from __future__ import annotations

from dataclasses import replace

from holdfast.domain.state import Proved, SetTimer, State, TimerKind, Times

QUIET = "Nothing was delivered for long; logging in again to see whether something waits."
_QUIET_AT_MOST = 12
"""Times the first wait: 12 hours of one."""


def proved(state: State, event: Proved, now: float, times: Times) -> State:
    """What comes with a login proves no delivery: only what came a while after it ends the quiet looks. No proof lies
    in the future: the clock that dated it may have been set back since.
    """
    at = min(event.at, now)
    delivered = min(max(event.delivered_at or 0.0, state.delivered_at or 0.0), now) or None
    live = delivered is not None and delivered - (state.working_since or 0.0) > times.liveness
    return replace(
        state,
        verified_at=max(at, state.verified_at or 0.0),
        listed_at=at if event.listed else state.listed_at,
        delivered_at=delivered,
        quiet_looks=0 if live else state.quiet_looks,
    )


def is_short(state: State, now: float, times: Times) -> bool:
    """Whether the connection that ended had been open, but not long enough to count as stable."""
    return state.working_since is not None and now - state.working_since < times.stable


def is_quiet(state: State, now: float, times: Times) -> bool:
    """A link can answer pings and yet deliver nothing. Only a login tells: WhatsApp then hands over what waits.

    Seen with other engines: connected, verified by pings, and deaf for hours. Each look that finds nothing doubles the
    wait until the next, so a number that is really idle is hardly ever disturbed.
    """
    heard = max(state.delivered_at or 0.0, state.working_since or 0.0)
    limit = times.quiet * min(2**state.quiet_looks, _QUIET_AT_MOST)
    return times.quiet > 0 and now - heard > limit


def look_again(state: State, times: Times) -> SetTimer:
    """Twice within the deadline, so that one lost answer does not make a live connection look dead."""
    return SetTimer(TimerKind.HEALTH, min(times.health, times.liveness) / 2, state.generation)
