"""The slower looks (listed, quiet), restrictions, and pairing with another number."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from holdfast.domain import state as s
from holdfast.domain.phases import public_status
from holdfast.domain.session import decide

NOW = 1_800_000_000.0
TIMES = s.Times()
OLD, NEW = "40712345678", "40799999999"


def working(**facts: object) -> s.State:
    base = s.State(phase=s.Phase.WORKING, code="working", connection=3, live=True, generation=7, verified_at=NOW)
    return replace(base, working_since=NOW, listed_at=NOW, phone=OLD, **facts)  # type: ignore[arg-type]


def look(state: s.State, now: float) -> s.Decision:
    return decide(replace(state, verified_at=now), s.TimerFired(s.TimerKind.HEALTH, state.generation), now, 0.5, TIMES)


def test_a_device_that_is_no_longer_listed_is_no_verdict_but_a_new_login() -> None:
    lost = decide(working(), s.Unlisted(3), NOW, 0.5, TIMES)
    assert (public_status(lost.state), lost.state.code) == ("STARTING", "unlisted")
    assert s.Close(3) in lost.commands
    assert not any(isinstance(c, s.ClearCredentials) for c in lost.commands), "WhatsApp's answer decides, not ours"
    again = decide(lost.state, s.TimerFired(s.TimerKind.RETRY, lost.state.generation), NOW + 1, 0.5, TIMES).state
    refused = decide(again, s.Closed(again.connection, 401, "failure"), NOW + 2, 0.5, TIMES).state
    assert (refused.phase, refused.code) == (s.Phase.TERMINAL, "logged_out")


def test_a_link_that_delivers_nothing_is_renewed_and_each_time_later() -> None:
    state, now, waits = working(), NOW, []
    for _ in range(7):
        began = now
        while (decision := look(state, now)).state.code != "quiet":
            state, now = decision.state, now + 60
        assert decision.commands[0] == s.Close(state.connection)
        assert any(isinstance(c, s.Open) for c in decision.commands)
        waits.append(round((now - began) / 3600))
        state = decide(decision.state, s.Opened(decision.state.connection, OLD), now, 0.5, TIMES).state
    assert waits == [1, 2, 4, 8, 12, 12, 12]


@pytest.mark.parametrize(("after_login", "looks"), [(5.0, 3), (120.0, 0)])
def test_only_a_delivery_a_while_after_the_login_ends_the_quiet(after_login: float, looks: int) -> None:
    state = working(quiet_looks=3)
    heard = decide(state, s.Proved(3, NOW + after_login, delivered_at=NOW + after_login), NOW + 130, 0.5, TIMES).state
    assert heard.quiet_looks == looks
    assert heard.delivered_at == NOW + after_login


def test_the_quiet_look_can_be_switched_off() -> None:
    fired = s.TimerFired(s.TimerKind.HEALTH, 7)
    far = NOW + 1e6
    decision = decide(working(verified_at=far), fired, far, 0.5, replace(TIMES, quiet=0.0))
    assert decision.state.phase is s.Phase.WORKING


def test_no_proof_lies_in_the_future() -> None:
    """The clock may have been set back between the proof and its turn."""
    proof = s.Proved(3, NOW + 3600, listed=True, delivered_at=NOW + 3600)
    state = decide(working(), proof, NOW, 0.5, TIMES).state
    assert (state.verified_at, state.listed_at, state.delivered_at) == (NOW, NOW, NOW)


def test_what_we_dated_moves_with_the_wall_clock_and_what_whatsapp_dated_stays() -> None:
    state = working(restricted_until=NOW + 60, next_attempt_at=NOW + 5, broken_at=None)
    moved = state.moved(-3600)
    assert (moved.verified_at, moved.next_attempt_at) == (NOW - 3600, NOW - 3595)
    assert (moved.broken_at, moved.restricted_until) == (None, NOW + 60)
    assert moved.moved(3600) == state
    dated = {f.name for f in fields(s.State) if "float" in str(f.type)} - {"holdoff", "restricted_until"}
    every = replace(state, **dict.fromkeys(dated, NOW)).moved(60)
    assert {getattr(every, name) for name in dated} == {NOW + 60}, "an instant that nobody thought of"


def test_a_restriction_is_shown_while_it_lasts_and_the_session_works_on() -> None:
    told = decide(working(), s.Restricted(3, NOW + 3600), NOW, 0.5, TIMES)
    assert (public_status(told.state), told.state.code, told.changed) == ("WORKING", "restricted", True)
    assert "Fri, 15 Jan 2027 09:00:00 GMT" in told.state.message
    lost = decide(told.state, s.Closed(3, 428), NOW, 0.5, TIMES).state
    assert lost.restricted_until == NOW + 3600, "a reconnect does not lift it"
    retry = decide(lost, s.TimerFired(s.TimerKind.RETRY, lost.generation), NOW + 1, 0.5, TIMES).state
    opened = decide(retry, s.Opened(retry.connection, OLD), NOW + 2, 0.5, TIMES).state
    assert opened.code == "restricted"
    later = look(opened, NOW + 3601)
    assert (later.state.code, later.state.restricted_until, later.changed) == ("working", None, True)


def test_whatsapp_may_lift_a_restriction_early() -> None:
    told = decide(working(), s.Restricted(3, NOW + 3600), NOW, 0.5, TIMES).state
    assert decide(told, s.Restricted(3, None), NOW + 5, 0.5, TIMES).state.code == "working"


def pairing(phone: str = OLD, **facts: object) -> s.State:
    ended = s.State(phase=s.Phase.TERMINAL, code="logged_out", phone=phone)
    order = s.Ordered(1, "pair", False, **facts)  # type: ignore[arg-type]
    return decide(ended, order, NOW, 0.5, TIMES).state


def test_the_same_number_goes_on() -> None:
    paired = decide(pairing(), s.Paired(1, OLD), NOW, 0.5, TIMES)
    assert paired.state.phase is s.Phase.AUTHENTICATED
    assert not any(isinstance(c, s.PutApart) for c in paired.commands)


@pytest.mark.parametrize("event", [s.Paired(1, NEW), s.Closed(1, 0, "another_number", {"phone": NEW})])
def test_another_number_is_refused_with_both_masked(event: s.Event) -> None:
    refused = decide(pairing(), event, NOW, 0.5, TIMES)
    assert (refused.state.phase, refused.state.code) == (s.Phase.TERMINAL, "another_number")
    assert "+407****78" in refused.state.message
    assert "+407****99" in refused.state.message
    assert OLD not in refused.state.message
    assert refused.state.phone == OLD, "the session still belongs to the number before"
    assert s.ClearCredentials() in refused.commands


def test_a_confirmed_change_of_number_puts_the_conversations_before_apart() -> None:
    state = replace(pairing(new_number=True), restricted_until=NOW + 3600)
    paired = decide(state, s.Paired(1, NEW), NOW, 0.5, TIMES)
    assert s.PutApart() in paired.commands
    assert (paired.state.phone, paired.state.new_number) == (NEW, False)
    assert paired.state.restricted_until is None, "what WhatsApp forbade was forbidden to the other number"
    assert decide(replace(state, phone=NEW), s.Paired(1, NEW), NOW, 0.5, TIMES).state.restricted_until == NOW + 3600


def test_the_engine_is_told_which_number_is_expected() -> None:
    ended = s.State(phase=s.Phase.TERMINAL, code="logged_out", phone=OLD)
    for new_number, expected in ((False, OLD), (True, "")):
        order = s.Ordered(1, "pair", False, new_number=new_number)
        (opened,) = [c for c in decide(ended, order, NOW, 0.5, TIMES).commands if isinstance(c, s.Open)]
        assert opened.expect_phone == expected


def test_a_refused_pairing_code_is_not_asked_for_again_and_again() -> None:
    refused = decide(pairing(), s.Closed(1, 0, "pairing_refused"), NOW, 0.5, TIMES)
    assert (refused.state.phase, refused.state.code) == (s.Phase.TERMINAL, "pairing_refused")


def test_a_start_does_not_cut_a_ban_short_but_a_restart_does() -> None:
    banned = decide(working(), s.Closed(3, 402, "failure", {"expire": "3600"}), NOW, 0.5, TIMES).state
    assert not decide(banned, s.Ordered(1, "start", True), NOW + 5, 0.5, TIMES).commands
    assert any(isinstance(c, s.Open) for c in decide(banned, s.Ordered(1, "restart", True), NOW, 0.5, TIMES).commands)
