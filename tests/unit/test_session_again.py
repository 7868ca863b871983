"""What repeats does not become a loop, and what is forgiven is forgiven when the table says so."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain import state as s
from holdfast.domain.phases import public_status
from holdfast.domain.session import decide

NOW = 1_800_000_000.0
TIMES = s.Times()


def working(**facts: object) -> s.State:
    base = s.State(phase=s.Phase.WORKING, code="working", connection=3, live=True, generation=7, verified_at=NOW)
    return replace(base, working_since=NOW - 1000, **facts)  # type: ignore[arg-type]


def opens(decision: s.Decision) -> bool:
    return any(isinstance(command, s.Open) for command in decision.commands)


def test_a_restart_is_obeyed_at_once_but_not_for_ever() -> None:
    current, now, at_once, delays = working(), NOW, 0, []
    for _ in range(20):
        decision = decide(current, s.Closed(current.connection, 515), now, 0.5, TIMES)
        current = decision.state
        if opens(decision):
            at_once += 1
            continue
        assert current.next_attempt_at is not None
        delays.append(current.next_attempt_at - now)
        now = current.next_attempt_at
        current = decide(current, s.TimerFired(s.TimerKind.RETRY, current.generation), now, 0.5, TIMES).state
    assert at_once == 4, "the first, and three more that never led to a stable connection"
    assert delays == sorted(delays)
    assert delays[-1] == 300


def test_an_expected_restart_once_in_a_while_is_never_penalised() -> None:
    current = working()
    for _ in range(10):
        decision = decide(current, s.Closed(current.connection, 515), NOW, 0.5, TIMES)
        assert opens(decision)
        assert (decision.state.attempt, public_status(decision.state)) == (0, "STARTING")
        opened = decide(decision.state, s.Opened(decision.state.connection, "1"), NOW, 0.5, TIMES).state
        stable = s.TimerFired(s.TimerKind.STABLE, opened.generation)
        current = replace(decide(opened, stable, NOW + 300, 0.5, TIMES).state, working_since=NOW - 300)


def test_restarts_of_connections_that_open_are_flapping_too() -> None:
    current, codes = working(), []
    for _ in range(6):
        current = decide(current, s.Closed(current.connection, 515), NOW, 0.5, TIMES).state
        codes.append(current.code)
        if current.phase is s.Phase.WAITING:
            current = decide(current, s.TimerFired(s.TimerKind.RETRY, current.generation), NOW, 0.5, TIMES).state
        current = decide(current, s.Opened(current.connection, "1"), NOW, 0.5, TIMES).state
    assert codes == ["authenticated"] * 4 + ["flapping"] * 2


@pytest.mark.parametrize("phase", [s.Phase.CONNECTING, s.Phase.PAIRING])
def test_an_outdated_client_asks_for_the_version_while_pairing_too(phase: s.Phase) -> None:
    pairing = s.State(phase=phase, code="pairing", connection=3, live=True, generation=7, pairing_until=NOW + 300)
    decision = decide(pairing, s.Closed(3, 405, "failure"), NOW, 0.5, TIMES)
    assert [type(command) for command in decision.commands] == [s.RefreshVersion, s.SetTimer]
    assert (decision.state.phase, decision.state.pairing_until) == (s.Phase.WAITING, NOW + 300)
    other = decide(pairing, s.Closed(3, 503), NOW, 0.5, TIMES)
    assert not any(isinstance(command, s.RefreshVersion) for command in other.commands)


@pytest.mark.parametrize(("late", "open_again"), [(-0.001, True), (0.0, False), (60.0, False)])
def test_a_pairing_retry_does_not_outlive_the_pairing(late: float, open_again: bool) -> None:
    waiting = s.State(phase=s.Phase.WAITING, code="pairing", generation=7, pairing_until=NOW, next_attempt_at=NOW)
    decision = decide(waiting, s.TimerFired(s.TimerKind.RETRY, 7), NOW + late, 0.5, TIMES)
    assert opens(decision) == open_again
    if not open_again:
        assert (decision.state.code, decision.state.needs_qr) == ("pairing_expired", True)


@given(st.lists(st.tuples(st.floats(0, 90), st.sampled_from([0, 405, 428, 503])), max_size=60), st.floats(0, 0.999))
def test_however_pairing_is_disturbed_it_ends_at_its_ten_minutes(steps: list[tuple[float, int]], rand: float) -> None:
    begun = decide(s.State(), s.Ordered(1, "start", False), NOW, rand, TIMES).state
    current, now = decide(begun, s.QrShown(begun.connection), NOW, rand, TIMES).state, NOW
    for seconds, code in steps:
        if current.phase is s.Phase.TERMINAL:
            break
        now += seconds
        due = now if current.next_attempt_at is None else max(current.next_attempt_at, now)
        if current.live:
            current = decide(current, s.Closed(current.connection, code), now, rand, TIMES).state
        else:
            now = due
            retry = s.TimerFired(s.TimerKind.RETRY, current.generation)
            current = decide(current, retry, now, rand, TIMES).state
        if current.phase is not s.Phase.TERMINAL:
            assert current.pairing_until == NOW + TIMES.pairing
            assert now <= NOW + TIMES.pairing
            if current.next_attempt_at is not None:
                assert current.next_attempt_at <= NOW + TIMES.pairing + 1e-6
    if current.phase is s.Phase.TERMINAL:
        assert now >= NOW + TIMES.pairing
        assert current.code == "pairing_expired"


@pytest.mark.parametrize(("after", "phase"), [(400.0, s.Phase.TERMINAL), (700.0, s.Phase.WAITING)])
def test_five_stable_minutes_do_not_excuse_broken_credentials_within_ten(after: float, phase: s.Phase) -> None:
    broken = decide(working(), s.Closed(3, 0, "credentials"), NOW, 0.5, TIMES).state
    tried = decide(broken, s.TimerFired(s.TimerKind.RETRY, broken.generation), NOW, 0.5, TIMES).state
    opened = decide(tried, s.Opened(tried.connection, "1"), NOW, 0.5, TIMES).state
    stable = decide(opened, s.TimerFired(s.TimerKind.STABLE, opened.generation), NOW + 300, 0.5, TIMES).state
    again = decide(stable, s.Closed(stable.connection, 0, "credentials"), NOW + after, 0.5, TIMES).state
    assert again.phase is phase


@pytest.mark.parametrize("skew", [-3600.0, 0.0, 3600.0])
def test_a_hold_off_is_taken_over_and_another_clock_makes_it_no_longer(skew: float) -> None:
    stored = decide(replace(working(), conflicts=1), s.Closed(3, 440), NOW, 0.0, TIMES).state
    there = NOW + 20.0 + skew
    decision = decide(stored, s.Adopted(True, True), there, 0.0, TIMES)
    if skew > 0:
        assert opens(decision), "by that clock it is over"
        return
    (timer,) = [command for command in decision.commands if isinstance(command, s.SetTimer)]
    assert timer.after == (100.0 if skew == 0 else 120.0)
    assert decision.state.next_attempt_at == there + timer.after


def test_an_attempt_that_was_due_at_once_is_due_at_once_by_any_clock() -> None:
    stored = decide(working(), s.Closed(3, 0, "credentials"), NOW, 0.5, TIMES).state
    assert stored.next_attempt_at == NOW
    decision = decide(stored, s.Adopted(True, True), NOW - 3600.0, 0.5, TIMES)
    assert s.SetTimer(s.TimerKind.RETRY, 0.0, decision.state.generation) in decision.commands
