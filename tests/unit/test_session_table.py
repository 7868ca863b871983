"""`decide`, row by row: every phase with every event, and every row of the table of disconnects."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.domain import state as s
from holdfast.domain.disconnects import ALL, Kind, ban_seconds, classify
from holdfast.domain.phases import public_status
from holdfast.domain.session import decide

NOW = 1_800_000_000.0
TIMES = s.Times()
PHASES = list(s.Phase)


def state(phase: s.Phase, **facts: object) -> s.State:
    live = phase in (s.Phase.CONNECTING, s.Phase.PAIRING, s.Phase.AUTHENTICATED, s.Phase.WORKING)
    base = s.State(phase=phase, code="connecting", connection=3, live=live, generation=7, since=NOW - 100)
    if phase is s.Phase.WORKING:
        base = replace(base, code="working", verified_at=NOW - 5, listed_at=NOW - 5, working_since=NOW - 1000)
    if phase is s.Phase.WAITING:
        base = replace(base, code="connection_lost", next_attempt_at=NOW + 4, attempt=3)
    if phase is s.Phase.PAIRING:
        base = replace(base, code="pairing", pairing_until=NOW + 300)
    return replace(base, **facts)  # type: ignore[arg-type]


def events() -> list[s.Event]:
    orders = [
        s.Ordered(9, kind, known)
        for kind in ("start", "stop", "restart", "logout", "pair", "configure")
        for known in (False, True)
    ]
    orders += [s.Ordered(9, "logout", True, new_number=True, relink=True)]
    timers = [s.TimerFired(kind, generation) for kind in s.TimerKind for generation in (6, 7)]
    adopted = [s.Adopted(bool(c), bool(r)) for c in (0, 1) for r in (0, 1)]
    on_connection: list[s.Event] = []
    for connection in (2, 3):
        on_connection += [
            s.QrShown(connection),
            s.Paired(connection, "40712345678"),
            s.Opened(connection, "40712345678"),
            s.Proved(connection, NOW),
            s.Proved(connection, NOW, listed=True, delivered_at=NOW),
            s.Unlisted(connection),
            s.Restricted(connection, NOW + 60),
            s.Restricted(connection, None),
            s.Capped(connection, {"cappingStatus": "CAPPED"}),
            *(s.Closed(connection, code) for code in (0, 401, 402, 403, 405, 408, 411, 428, 440, 500, 503, 515, 999)),
            *(
                s.Closed(connection, 440, tag)
                for tag in ("device_removed", "credentials", "liveness", "engine", "grant", "proxy")
            ),
        ]
    return [*orders, *timers, *adopted, s.Nudged(), s.Rerouted(), *on_connection]


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("event", events(), ids=repr)
def test_every_event_in_every_phase_is_defined_and_keeps_the_rules(phase: s.Phase, event: s.Event) -> None:
    before = state(phase)
    decision = decide(before, event, NOW, 0.5, TIMES)
    after = decision.state
    opens = [c for c in decision.commands if isinstance(c, s.Open)]
    assert len(opens) <= 1, "at most one connection is wanted"
    if opens:
        assert after.live
        assert opens[0].connection == after.connection > before.connection
    if before.phase is s.Phase.TERMINAL and not isinstance(event, s.Ordered):
        assert not opens, "nothing but an order ends a terminal state"
        assert after.phase is s.Phase.TERMINAL
    if before.live and not after.live and not isinstance(event, s.Closed | s.Adopted):
        assert any(isinstance(c, s.Close) for c in decision.commands), "a connection is closed, not forgotten"
    if after.phase is s.Phase.WAITING:
        timers = [c for c in decision.commands if isinstance(c, s.SetTimer) and c.kind is s.TimerKind.RETRY]
        assert after.next_attempt_at is not None
        if after.generation != before.generation:
            assert len(timers) == 1
            assert after.next_attempt_at == pytest.approx(NOW + timers[0].after)
    if after.phase in (s.Phase.STOPPED, s.Phase.TERMINAL):
        assert not after.live
        assert after.next_attempt_at is None
    assert all(c.generation == after.generation for c in decision.commands if isinstance(c, s.SetTimer | s.Open))
    assert s.State.from_json(after.to_json()) == after


def test_events_of_an_older_connection_or_generation_change_nothing() -> None:
    for phase in PHASES:
        before = state(phase)
        for event in (s.Closed(2, 401), s.Opened(2, "1"), s.TimerFired(s.TimerKind.RETRY, 6), s.QrShown(2)):
            assert decide(before, event, NOW, 0.5, TIMES) == s.Decision(before)


KINDS: dict[Kind, set[s.Phase]] = {
    Kind.TERMINAL: {s.Phase.TERMINAL},
    Kind.RETRY: {s.Phase.WAITING},
    Kind.NOW: {s.Phase.CONNECTING},
    Kind.CONFLICT: {s.Phase.WAITING},
    Kind.BAN: {s.Phase.WAITING},
    Kind.OUTDATED: {s.Phase.WAITING},
    Kind.BROKEN: {s.Phase.WAITING},
}


@pytest.mark.parametrize(
    ("code", "tag", "name"),
    [
        (401, "", "logged_out"),
        (440, "device_removed", "logged_out"),
        (500, "device_removed", "logged_out"),
        (403, "failure", "forbidden"),
        (406, "failure", "account_gone"),
        (411, "", "multidevice_mismatch"),
        (440, "replaced", "replaced"),
        (405, "failure", "client_outdated"),
        (402, "failure", "temporarily_banned"),
        (515, "", "restart_required"),
        (408, "", "timed_out"),
        (428, "socket", "connection_lost"),
        (500, "", "server_error"),
        (501, "", "server_error"),
        (503, "", "service_unavailable"),
        (0, "upgrade", "refused_upgrade"),
        (403, "upgrade", "refused_upgrade"),
        (0, "dns", "dns_failed"),
        (0, "tls", "tls_failed"),
        (0, "refused", "unreachable"),
        (0, "liveness", "unresponsive"),
        (0, "engine", "engine_crashed"),
        (0, "grant", "grant_lapsed"),
        (500, "credentials", "bad_session"),
        (777, "", "connection_lost"),
    ],
)
def test_what_a_close_means_and_what_follows(code: int, tag: str, name: str) -> None:
    why = classify(code, tag)
    assert why.code == name
    decision = decide(state(s.Phase.WORKING), s.Closed(3, code, tag), NOW, 0.5, TIMES)
    assert decision.state.phase in KINDS[why.kind]
    clears = any(isinstance(c, s.ClearCredentials) for c in decision.commands)
    assert clears == (why.kind is Kind.TERMINAL), "only what is terminal costs the credentials"
    assert decision.changed
    assert decision.state.message


def test_every_row_has_a_sentence_and_a_code_of_its_own() -> None:
    assert len({row.sentence for row in ALL}) == len(ALL)
    shared = {row.code for row in ALL if sum(row.code == other.code for other in ALL) > 1}
    assert shared == {"engine_crashed"}, "out of memory is a crash with a sentence of its own"
    assert all(row.sentence.endswith(".") for row in ALL)


def test_a_ban_is_waited_out_to_its_end_with_the_credentials_kept() -> None:
    decision = decide(state(s.Phase.WORKING), s.Closed(3, 402, "failure", {"expire": "5400"}), NOW, 0.5, TIMES)
    assert decision.state.next_attempt_at == NOW + 5400
    assert public_status(decision.state) == "FAILED"
    assert not decision.state.needs_qr
    assert [ban_seconds({"expire": value}) for value in ("", "x", "-1", "1e99")] == [3600.0] * 4


def test_being_replaced_is_never_answered_with_a_fight() -> None:
    now, current, delays = NOW, state(s.Phase.WORKING), []
    for _ in range(5):
        current = decide(current, s.Closed(current.connection, 440), now, 0.0, TIMES).state
        assert current.next_attempt_at is not None
        delays.append(current.next_attempt_at - now)
        now = current.next_attempt_at
        current = decide(current, s.TimerFired(s.TimerKind.RETRY, current.generation), now, 0.0, TIMES).state
        current = decide(current, s.Opened(current.connection, "1"), now, 0.0, TIMES).state
    assert delays == [60.0, 120.0, 240.0, 480.0, 960.0]


def test_the_third_conflict_in_a_row_shows_as_failed() -> None:
    current = state(s.Phase.WORKING, conflicts=2)
    after = decide(current, s.Closed(3, 440), NOW, 0.0, TIMES).state
    assert (public_status(after), after.code, after.needs_qr) == ("FAILED", "conflict", False)


def test_broken_credentials_get_one_clean_reconnect_then_are_terminal() -> None:
    first = decide(state(s.Phase.WORKING), s.Closed(3, 0, "credentials"), NOW, 0.5, TIMES).state
    assert first.phase is s.Phase.WAITING
    again = replace(first, phase=s.Phase.WORKING, live=True)
    second = decide(again, s.Closed(again.connection, 0, "credentials"), NOW + 500, 0.5, TIMES)
    assert second.state.phase is s.Phase.TERMINAL
    later = decide(again, s.Closed(again.connection, 0, "credentials"), NOW + 700, 0.5, TIMES)
    assert later.state.phase is s.Phase.WAITING


def test_attempts_wait_1_2_4_seconds_then_failed_is_shown_and_slow_tries_go_on() -> None:
    current, now, delays, shown = state(s.Phase.WORKING, working_since=NOW - 9999), NOW, [], []
    for _ in range(12):
        current = decide(current, s.Closed(current.connection, 503), now, 0.5, TIMES).state
        assert current.next_attempt_at is not None
        delays.append(round(current.next_attempt_at - now, 6))
        shown.append(public_status(current))
        now = current.next_attempt_at
        current = decide(current, s.TimerFired(s.TimerKind.RETRY, current.generation), now, 0.5, TIMES).state
    assert delays == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    assert shown == ["STARTING"] * 3 + ["FAILED"] * 9


def test_flapping_escalates_and_five_stable_minutes_forgive_it() -> None:
    current, now, codes, delays = state(s.Phase.WORKING, working_since=NOW - 9999), NOW, [], []
    for _ in range(5):
        current = decide(current, s.Closed(current.connection, 428), now, 0.5, TIMES).state
        assert current.next_attempt_at is not None
        codes.append(current.code)
        delays.append(current.next_attempt_at - now)
        now = current.next_attempt_at
        current = decide(current, s.TimerFired(s.TimerKind.RETRY, current.generation), now, 0.5, TIMES).state
        current = decide(current, s.Opened(current.connection, "1"), now, 0.5, TIMES).state
        now += 10
    assert codes == ["connection_lost"] * 3 + ["flapping"] * 2
    assert delays == [1, 1, 2, 4, 8]
    stable = decide(current, s.TimerFired(s.TimerKind.STABLE, current.generation), now + 300, 0.5, TIMES).state
    assert (stable.flaps, stable.conflicts) == (0, 0)


def test_the_connect_timeout_ends_at_the_first_qr_and_pairing_lasts_ten_minutes() -> None:
    begun = decide(s.State(), s.Ordered(1, "start", False), NOW, 0.5, TIMES)
    assert begun.state.phase is s.Phase.CONNECTING
    shown = decide(begun.state, s.QrShown(begun.state.connection), NOW + 1, 0.5, TIMES)
    assert public_status(shown.state) == "SCAN_QR_CODE"
    assert shown.commands == (s.SetTimer(s.TimerKind.PAIRING, 600.0, shown.state.generation),)
    stale = decide(shown.state, s.TimerFired(s.TimerKind.CONNECT, begun.state.generation), NOW + 60, 0.5, TIMES)
    assert stale.state == shown.state
    over = decide(shown.state, s.TimerFired(s.TimerKind.PAIRING, shown.state.generation), NOW + 601, 0.5, TIMES)
    assert (over.state.code, over.state.needs_qr) == ("pairing_expired", True)
    assert any(isinstance(c, s.Close) for c in over.commands)


def test_a_pairing_that_loses_its_connection_goes_on_until_its_deadline() -> None:
    shown = state(s.Phase.PAIRING, pairing_until=NOW + 30)
    lost = decide(shown, s.Closed(3, 428), NOW, 0.5, TIMES).state
    assert (lost.phase, lost.pairing_until, public_status(lost)) == (s.Phase.WAITING, NOW + 30, "STARTING")
    again = decide(lost, s.TimerFired(s.TimerKind.RETRY, lost.generation), NOW + 1, 0.5, TIMES)
    assert any(isinstance(c, s.Open) and c.pair for c in again.commands)
    late = decide(shown, s.Closed(3, 428), NOW + 31, 0.5, TIMES).state
    assert late.code == "pairing_expired"


def test_an_order_is_carried_out_exactly_once() -> None:
    order = s.Ordered(5, "restart", True)
    once = decide(state(s.Phase.WORKING), order, NOW, 0.5, TIMES)
    assert once.state.command_seq == 5
    twice = decide(once.state, order, NOW, 0.5, TIMES)
    assert twice.state == once.state
    assert not twice.commands


@pytest.mark.parametrize("phase", PHASES)
def test_a_logout_of_a_session_that_should_run_is_followed_by_a_pairing(phase: s.Phase) -> None:
    before = state(phase, phone="40712345678")
    out = decide(before, s.Ordered(9, "logout", True, new_number=True, relink=True), NOW, 0.5, TIMES)
    assert (out.state.phase, out.state.code) == (s.Phase.STOPPED, "logged_out")
    close = [s.Close(3, logout=True)] if before.live else []
    timer = s.SetTimer(s.TimerKind.RETRY, 0.0, out.state.generation)
    assert list(out.commands) == [*close, s.ClearCredentials(), timer]
    for follows in (s.TimerFired(s.TimerKind.RETRY, out.state.generation), s.Adopted(False, True)):
        paired = decide(out.state, follows, NOW, 0.5, TIMES)
        (opened,) = [c for c in paired.commands if isinstance(c, s.Open)]
        assert (opened.pair, opened.expect_phone, opened.anew) == (True, "", not before.live)
        assert (public_status(paired.state), paired.state.relink) == ("STARTING", False)
    shown = decide(paired.state, s.QrShown(paired.state.connection), NOW, 0.5, TIMES).state
    assert public_status(shown) == "SCAN_QR_CODE"
    other = decide(shown, s.Paired(shown.connection, "40799999999"), NOW, 0.5, TIMES)
    assert s.PutApart() in other.commands
    same = decide(shown, s.Paired(shown.connection, "40712345678"), NOW, 0.5, TIMES)
    assert s.PutApart() not in same.commands
    assert (same.state.phase, other.state.new_number) == (s.Phase.AUTHENTICATED, False)


@pytest.mark.parametrize("phase", PHASES)
def test_a_logout_of_a_session_that_should_not_run_stays_stopped(phase: s.Phase) -> None:
    out = decide(state(phase), s.Ordered(9, "logout", True), NOW, 0.5, TIMES)
    assert out.state.phase is s.Phase.STOPPED
    assert s.ClearCredentials() in out.commands
    assert not [c for c in out.commands if isinstance(c, s.SetTimer | s.Open)]
    again = decide(out.state, s.Adopted(False, False), NOW, 0.5, TIMES)
    assert (again.state.phase, again.commands) == (s.Phase.STOPPED, ())


def test_a_stop_after_a_logout_ends_the_wish_for_a_qr_code() -> None:
    out = decide(state(s.Phase.WORKING), s.Ordered(8, "logout", True, relink=True), NOW, 0.5, TIMES).state
    stopped = decide(out, s.Ordered(9, "stop", False), NOW, 0.5, TIMES)
    assert (stopped.state.phase, stopped.state.relink, stopped.commands) == (s.Phase.STOPPED, False, ())
    late = s.TimerFired(s.TimerKind.RETRY, out.generation)
    assert decide(stopped.state, late, NOW, 0.5, TIMES) == s.Decision(stopped.state)


def test_a_session_made_for_a_number_takes_that_number_only_after_a_logout() -> None:
    before = state(s.Phase.WORKING, phone="40712345678")
    out = decide(before, s.Ordered(9, "logout", True, relink=True), NOW, 0.5, TIMES).state
    paired = decide(out, s.TimerFired(s.TimerKind.RETRY, out.generation), NOW, 0.5, TIMES)
    (opened,) = [c for c in paired.commands if isinstance(c, s.Open)]
    assert opened.expect_phone == "40712345678"


def test_a_new_holder_is_bound_by_a_stored_hold_off() -> None:
    banned = decide(state(s.Phase.WORKING), s.Closed(3, 402, "", {"expire": "600"}), NOW, 0.5, TIMES).state
    stored = s.State.from_json(banned.to_json())
    adopted = decide(stored, s.Adopted(True, True), NOW + 100, 0.5, TIMES)
    assert adopted.state.phase is s.Phase.WAITING
    assert adopted.commands == (s.SetTimer(s.TimerKind.RETRY, 500.0, adopted.state.generation),)
    late = decide(stored, s.Adopted(True, True), NOW + 700, 0.5, TIMES)
    assert any(isinstance(c, s.Open) for c in late.commands)


def test_the_health_look_asks_and_a_silent_connection_is_replaced() -> None:
    working = state(s.Phase.WORKING)
    look = s.TimerFired(s.TimerKind.HEALTH, working.generation)
    asked = decide(working, look, NOW, 0.5, TIMES)
    assert any(isinstance(c, s.Probe) and not c.listed for c in asked.commands)
    listed = decide(replace(working, listed_at=NOW - 601), look, NOW, 0.5, TIMES)
    assert any(isinstance(c, s.Probe) and c.listed for c in listed.commands)
    silent = decide(replace(working, verified_at=NOW - 31), look, NOW, 0.5, TIMES)
    assert silent.state.code == "unresponsive"
    assert silent.commands[0] == s.Close(3)
