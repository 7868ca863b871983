"""The public status, computed when it is read (G5): stored state, lease and time of the reading.

A dead writer leaves no WORKING behind: without a valid lease, or past the liveness deadline, WORKING is not said.
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.domain.disconnects import WAHA_UNLINKED
from holdfast.domain.phases import public_status
from holdfast.domain.session import RESTORING
from holdfast.domain.state import Phase, State


@dataclass(frozen=True, slots=True)
class Status:
    """What users are told now. Times are Unix seconds."""

    status: str
    reason: str
    message: str
    since: float
    verified_at: float | None
    next_attempt_at: float | None
    attempt: int
    needs_qr: bool


def status_now(
    state: State, *, desired_running: bool, has_credentials: bool, held: bool, now: float, deadline: float
) -> Status:
    """The status at time `now`. `held`: a valid lease exists, and `state` was written under it; `deadline`: how old a
    proof of WORKING may be, in seconds.
    """
    status, code, message = public_status(state), state.code, state.message
    if desired_running and not (held and (state.live or state.phase is not Phase.WORKING)) and not state.needs_qr:
        status, code, message = _unheld(has_credentials)
    elif not desired_running and not held and state.phase is not Phase.TERMINAL:
        status, code, message = "STOPPED", "stopped", state.message if state.phase is Phase.STOPPED else "Stopped."
    elif state.phase is Phase.WORKING and now - (state.verified_at or 0.0) > deadline:
        status, code, message = "STARTING", "unverified", "No sign of life from WhatsApp lately; looking."
    return Status(
        status=status,
        reason=code,
        message=message,
        since=state.since,
        verified_at=state.verified_at,
        next_attempt_at=state.next_attempt_at,
        attempt=state.attempt,
        needs_qr=asks_for_qr(state),
    )


def asks_for_qr(state: State) -> bool:
    """Whether users are told that a person must scan a QR code: also while a WAHA server shows one by itself."""
    return state.needs_qr or (state.phase is Phase.PAIRING and state.code == WAHA_UNLINKED.code)


def _unheld(has_credentials: bool) -> tuple[str, str, str]:
    """A session that should run and that no instance runs: it starts as soon as one claims it."""
    if has_credentials:
        return "STARTING", "restoring", RESTORING
    return "STARTING", "starting", "Starting; waiting for an instance to take this session."
