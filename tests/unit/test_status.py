"""The status that users read: computed, never remembered (G5)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain import state as s
from holdfast.domain.session import RESTORING
from holdfast.domain.status import Status, status_now

NOW = 1_800_000_000.0
LIVE = {s.Phase.CONNECTING, s.Phase.PAIRING, s.Phase.AUTHENTICATED, s.Phase.WORKING}


def state(phase: s.Phase, **facts: object) -> s.State:
    base = s.State(phase=phase, code=phase.value, message="As stored.", since=NOW - 100, live=phase in LIVE)
    return replace(base, **facts)  # type: ignore[arg-type]


def read(stored: s.State, *, desired: bool = True, credentials: bool = True, held: bool = True) -> Status:
    return status_now(stored, desired_running=desired, has_credentials=credentials, held=held, now=NOW, deadline=30.0)


@pytest.mark.parametrize(
    ("phase", "facts", "held", "credentials", "status", "reason"),
    [
        (s.Phase.WORKING, {"verified_at": NOW - 30}, True, True, "WORKING", "working"),
        (s.Phase.WORKING, {"verified_at": NOW - 30.1}, True, True, "STARTING", "unverified"),
        (s.Phase.WORKING, {"verified_at": None}, True, True, "STARTING", "unverified"),
        (s.Phase.WORKING, {"verified_at": NOW}, False, True, "STARTING", "restoring"),
        (s.Phase.WORKING, {"verified_at": NOW, "live": False}, True, True, "STARTING", "restoring"),
        (s.Phase.WORKING, {"verified_at": NOW}, False, False, "STARTING", "starting"),
        (s.Phase.AUTHENTICATED, {}, False, False, "STARTING", "starting"),
        (s.Phase.PAIRING, {}, True, False, "SCAN_QR_CODE", "pairing"),
        (s.Phase.PAIRING, {}, False, False, "STARTING", "starting"),
        (s.Phase.CONNECTING, {}, True, True, "STARTING", "connecting"),
        (s.Phase.CONNECTING, {"failed": True}, True, True, "FAILED", "connecting"),
        (s.Phase.AUTHENTICATED, {}, True, True, "STARTING", "authenticated"),
        (s.Phase.WAITING, {}, True, True, "STARTING", "waiting"),
        (s.Phase.WAITING, {"failed": True}, True, True, "FAILED", "waiting"),
        (s.Phase.WAITING, {"failed": True}, False, True, "STARTING", "restoring"),
        (s.Phase.TERMINAL, {}, True, False, "FAILED", "terminal"),
        (s.Phase.TERMINAL, {}, False, False, "FAILED", "terminal"),
        (s.Phase.STOPPED, {}, False, True, "STARTING", "restoring"),
        (s.Phase.STOPPED, {}, False, False, "STARTING", "starting"),
    ],
)
def test_what_is_said_of_a_session_that_should_run(
    phase: s.Phase, facts: dict[str, object], held: bool, credentials: bool, status: str, reason: str
) -> None:
    said = read(state(phase, **facts), held=held, credentials=credentials)
    assert (said.status, said.reason) == (status, reason)
    assert said.message


@pytest.mark.parametrize("phase", list(s.Phase))
def test_what_is_said_of_a_session_that_was_stopped_while_nobody_held_it(phase: s.Phase) -> None:
    said = read(state(phase, verified_at=NOW), desired=False, held=False)
    assert said.status == ("FAILED" if phase is s.Phase.TERMINAL else "STOPPED")


def test_a_restore_has_the_sentence_that_users_know() -> None:
    said = read(state(s.Phase.WORKING, verified_at=NOW), held=False)
    assert said.message == RESTORING == "Restoring connection from saved session..."


def test_the_dates_come_with_it() -> None:
    stored = state(s.Phase.WAITING, next_attempt_at=NOW + 4, attempt=3, verified_at=NOW - 9)
    said = read(stored)
    assert (said.next_attempt_at, said.attempt, said.verified_at, said.since) == (NOW + 4, 3, NOW - 9, NOW - 100)


@given(
    st.sampled_from(list(s.Phase)), st.booleans(), st.booleans(), st.booleans(), st.booleans(), st.booleans(),
    st.none() | st.floats(NOW - 1000, NOW),
)  # fmt: skip
def test_working_is_never_said_without_lease_connection_and_fresh_proof(
    phase: s.Phase, live: bool, failed: bool, desired: bool, credentials: bool, held: bool, verified: float | None
) -> None:
    stored = state(phase, live=live, failed=failed, verified_at=verified)
    said = read(stored, desired=desired, credentials=credentials, held=held)
    assert said.status in {"STOPPED", "STARTING", "SCAN_QR_CODE", "WORKING", "FAILED"}
    assert said.needs_qr == (phase is s.Phase.TERMINAL)
    if said.status == "WORKING":
        assert held
        assert verified is not None
        assert NOW - verified <= 30.0
        assert live or not desired
    if said.status == "SCAN_QR_CODE":
        assert held
