"""A proxy that fails, and one that was changed, to the session machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.domain import state as s
from holdfast.domain.phases import public_status
from holdfast.domain.session import decide

NOW = 1_800_000_000.0
TIMES = s.Times()
FAILED = {"proxy": "p.test:1", "why": "refused"}
WORKING = s.State(phase=s.Phase.WORKING, code="working", connection=3, live=True, generation=7, verified_at=NOW)


def closed(state: s.State) -> s.Decision:
    return decide(state, s.Closed(state.connection, 0, "proxy", FAILED), NOW, 0.5, TIMES)


def fired(state: s.State) -> s.Decision:
    return decide(state, s.TimerFired(s.TimerKind.RETRY, state.generation), NOW, 0.5, TIMES)


def opens(decision: s.Decision) -> list[bool]:
    """Whether each connection that is opened begins to pair."""
    return [command.pair for command in decision.commands if isinstance(command, s.Open)]


def test_a_failing_proxy_is_told_and_tried_again_with_the_credentials() -> None:
    state = WORKING
    for attempt in range(1, 6):
        state = closed(state).state
        assert (state.phase, state.code, state.attempt) == (s.Phase.WAITING, "proxy_failed", attempt)
        assert "p.test:1" in state.message
        assert public_status(state) == ("STARTING" if attempt <= TIMES.failed_after else "FAILED")
        again = fired(state)
        assert opens(again) == [False]
        assert again.state.code == "proxy_failed", "until it is connected, nothing better is known"
        state = again.state
    assert public_status(decide(state, s.Opened(state.connection, "1"), NOW, 0.5, TIMES).state) == "WORKING"


def test_while_linking_it_is_told_too_and_the_linking_goes_on() -> None:
    first = decide(s.State(), s.Ordered(1, "start", has_credentials=False), NOW, 0.5, TIMES)
    assert opens(first) == [True]
    state = closed(first.state).state
    assert (state.code, public_status(state)) == ("proxy_failed", "STARTING")
    again = fired(state)
    assert opens(again) == [True]
    assert again.state.code == "proxy_failed"
    shown = decide(again.state, s.QrShown(again.state.connection), NOW, 0.5, TIMES).state
    assert (shown.code, public_status(shown)) == ("pairing", "SCAN_QR_CODE")
    late = replace(closed(again.state).state, pairing_until=NOW - 1)
    ended = fired(late).state
    assert (ended.code, public_status(ended)) == ("proxy_failed", "FAILED"), "there was nothing to scan"
    assert "p.test:1" in ended.message


@pytest.mark.parametrize("phase", [s.Phase.WORKING, s.Phase.CONNECTING, s.Phase.AUTHENTICATED])
def test_a_changed_proxy_closes_what_went_the_old_way_first(phase: s.Phase) -> None:
    decision = decide(replace(WORKING, phase=phase), s.Rerouted(), NOW, 0.5, TIMES)
    close, open_ = decision.commands
    assert isinstance(close, s.Close)
    assert isinstance(open_, s.Open)
    assert (close.connection, close.logout, close.stop, open_.connection, open_.pair) == (3, False, False, 4, False)
    assert decision.state.live


def test_a_changed_proxy_while_linking_shows_a_new_qr() -> None:
    pairing = replace(WORKING, phase=s.Phase.PAIRING, code="pairing", pairing_until=NOW + 100)
    decision = decide(pairing, s.Rerouted(), NOW, 0.5, TIMES)
    assert opens(decision) == [True]
    assert decision.state.pairing_until == NOW + 100


def test_a_changed_proxy_ends_the_wait_for_the_old_one_and_no_other_wait() -> None:
    assert opens(decide(closed(WORKING).state, s.Rerouted(), NOW, 0.5, TIMES)) == [False]
    banned = decide(WORKING, s.Closed(3, 402, "failure", {"expire": "600"}), NOW, 0.5, TIMES).state
    assert decide(banned, s.Rerouted(), NOW, 0.5, TIMES) == s.Decision(banned)
    for phase in (s.Phase.STOPPED, s.Phase.TERMINAL):
        idle = replace(WORKING, phase=phase, live=False)
        assert decide(idle, s.Rerouted(), NOW, 0.5, TIMES) == s.Decision(idle)
