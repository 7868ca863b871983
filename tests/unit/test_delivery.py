"""When refused events are tried again, whom they hold, and what is parked or given up: tables, and random receivers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.domain.delivery import DAY, Refusal, Retries, Round, Rules, is_dead, parked_again, pause, probe_in, wait
from holdfast.domain.rows import EventRow, Undelivered

RULES = Rules()
NO = Refusal("the receiver answered 500", 500)


def event(seq: int) -> EventRow:
    return EventRow(seq, f"e{seq}", "shop", "message", "c", 0.0, {})


def row(seq: int = 1, attempts: int = 1, failing_for: float = 0.0) -> Undelivered:
    return Undelivered(event(seq), "retrying", attempts, failing_for)


def waiting(seq: int) -> Undelivered:
    return Undelivered(event(seq))


# --- when -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (None, None),
        ({}, None),
        ({"attempts": 3}, Retries("constant", 2.0, 3)),
        ({"policy": "linear", "delaySeconds": 5, "attempts": 2}, Retries("linear", 5.0, 2)),
        ({"policy": None, "delaySeconds": 0.5, "attempts": None}, Retries("constant", 0.5, 15)),
    ],
)
def test_wahas_retries_are_read(config: dict[str, object] | None, found: Retries | None) -> None:
    assert Retries.of(config) == found


@pytest.mark.parametrize(
    "config",
    [
        {"policy": "sometimes"},
        {"delaySeconds": -1},
        {"delaySeconds": "2"},
        {"delaySeconds": float("nan")},
        {"delaySeconds": 1e9},
        {"attempts": -1},
        {"attempts": 1.5},
        {"attempts": True},
    ],
)
def test_retries_that_make_no_sense_are_refused(config: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="retries"):
        Retries.of(config)


@pytest.mark.parametrize(
    ("policy", "waits"),
    [("constant", [2, 2, 2]), ("linear", [2, 4, 6]), ("exponential", [2, 4, 8])],
)
def test_policies_of_a_webhook(policy: str, waits: list[float]) -> None:
    retries = Retries(policy, 2.0, 15)
    assert [retries.wait(attempt, 0.0, 300.0) for attempt in (1, 2, 3)] == waits
    assert [retries.wait(1, rand, 300.0) for rand in (0.0, 0.5, 1.0)] == pytest.approx([2.0, 2.2, 2.4])


def test_our_own_delays_double_up_to_the_cap_with_jitter() -> None:
    middle = [RULES.retries.wait(attempt, 0.5, RULES.cap) for attempt in range(1, 12)]
    assert middle == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert RULES.retries.wait(3, 0.0, 300.0) == pytest.approx(3.2)
    assert RULES.retries.wait(3, 1.0, 300.0) == pytest.approx(4.8)


def test_a_receivers_wish_is_granted_within_bounds() -> None:
    held = replace(RULES, hold=0.0)
    assert wait(row(), Refusal("busy", 429, 60.0), 0.5, held) == 60.0
    assert pause(Refusal("busy", 503, 60.0), RULES) == 60.0
    assert pause(Refusal("busy", 503, 1e9), RULES) == RULES.pause
    assert pause(Refusal("busy", 503, -5.0), RULES) == 0.0
    assert pause(NO, RULES) == 0.0


def test_who_says_that_it_is_gone_is_asked_seldom_but_not_given_up() -> None:
    gone = Refusal("the receiver answered 410", 410)
    assert wait(row(), gone, 0.5, RULES) == RULES.cap
    assert not is_dead(row(), RULES)


def test_no_wait_is_longer_than_the_hold() -> None:
    late = row(attempts=20, failing_for=890.0)
    assert wait(late, NO, 0.5, RULES) == 10.0
    assert wait(replace(late, failing_for=901.0), NO, 0.5, RULES) == 300.0


@pytest.mark.parametrize(
    ("attempts", "failing_for", "own", "dead"),
    [
        (1_000, 3 * DAY - 1, None, False),
        (2, 3 * DAY, None, True),
        (3, 0.0, 3, False),
        (4, 0.0, 3, True),
        (1, 0.0, 0, True),
        (3, 30 * DAY, 3, False),
    ],
)
def test_given_up_after_three_days_or_as_the_webhook_says(
    attempts: int, failing_for: float, own: int | None, dead: bool
) -> None:
    rules = RULES if own is None else replace(RULES, retries=Retries("constant", 2.0, own))
    assert is_dead(row(1, attempts, failing_for), rules) is dead


def test_a_parked_event_goes_on_alone_until_it_is_dead() -> None:
    parked = replace(row(failing_for=DAY), state="parked")
    again, seconds = parked_again(parked, NO, 1, 0.5, RULES)
    assert (again.state, again.attempts, again.part, again.status, seconds) == ("parked", 2, 1, 500, 2.0)
    dead, never = parked_again(replace(parked, failing_for=3 * DAY), NO, 0, 0.5, RULES)
    assert (dead.state, never) == ("dead", None)


# --- one chat ---------------------------------------------------------------------------------------------------


def test_a_refused_event_holds_its_chat() -> None:
    pass_ = Round([row(1), waiting(2)], [], RULES)
    assert pass_.next() == row(1)
    step = pass_.refused(NO, 0, 0.5)
    assert [(r.state, r.attempts, seconds) for r, seconds in step.rows] == [("retrying", 2, 2.0)]
    assert (pass_.next(), pass_.holds) == (None, True)


def test_after_its_hold_the_next_one_overtakes_it_and_says_so() -> None:
    pass_ = Round([row(1, 9, 901.0), waiting(2), waiting(3)], [], RULES)
    assert pass_.next() == row(1, 9, 901.0)
    assert pass_.gap == []
    pass_.refused(NO, 0, 0.5)
    assert pass_.next() == waiting(2)
    assert pass_.gap == ["e1"]
    step = pass_.taken(0.5)
    assert step.done == waiting(2)
    assert [(r.event.id, r.state, seconds) for r, seconds in step.rows] == [("e1", "parked", 300.0)]
    assert pass_.next() == waiting(3)
    assert pass_.gap == [], "said once"
    assert pass_.taken(0.5).rows == []
    assert (pass_.next(), pass_.holds) == (None, False)


def test_a_receiver_that_takes_nothing_is_overtaken_by_nothing() -> None:
    lane = [*(row(seq, 30, 9000.0 - seq) for seq in range(1, 8)), row(8, 2, 10.0), waiting(9)]
    pass_ = Round(lane, [], RULES)
    for tried in lane[:5]:
        assert pass_.next() == tried
        pass_.refused(NO, 0, 0.5)
    assert pass_.next() == lane[7], "the sixth has been refused for too long as well, and is not tried in vain"
    assert pass_.gap == ["e1", "e2", "e3", "e4", "e5", "e6", "e7"]
    step = pass_.refused(NO, 0, 0.5)
    assert [(r.event.id, r.state, seconds) for r, seconds in step.rows] == [
        ("e1", "retrying", 4.0),
        ("e8", "retrying", None),
    ]
    assert (pass_.next(), pass_.holds) == (None, True)
    # it is back: everything in order, and no gap
    pass_ = Round(lane, [], RULES)
    order = []
    while (found := pass_.next()) is not None:
        assert pass_.gap == []
        order.append(found.event.seq)
        assert not pass_.taken(0.5).rows
    assert order == list(range(1, 10))


def test_a_dead_one_is_in_the_next_ones_gap_even_if_that_comes_later() -> None:
    rules = replace(RULES, retries=Retries("constant", 2.0, 1))
    pass_ = Round([row(1)], [], rules)
    ((dead, never),) = pass_.refused(NO, 0, 0.5).rows
    assert (dead.state, dead.told, never) == ("dead", False, None)
    assert (pass_.next(), pass_.holds) == (None, False)
    pass_ = Round([waiting(2)], [dead], rules)
    assert pass_.gap == ["e1"]
    step = pass_.taken(0.5)
    assert (step.done, list(step.told)) == (waiting(2), [dead])
    assert pass_.gap == []


@dataclass
class Receiver:
    """What it took, in order, and the gaps that it was told of."""

    took: list[int] = field(default_factory=list)
    gaps: list[set[str]] = field(default_factory=list)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_a_receiver_does_order_is_kept_or_the_gap_told(data: st.DataObject) -> None:
    """One chat against a receiver of moods. The stored rows are kept as the store would keep them."""
    rules = replace(RULES, retries=Retries("constant", 10.0, data.draw(st.none() | st.integers(0, 5))))
    total = data.draw(st.integers(1, 6))
    poison = data.draw(st.sets(st.integers(1, total)))
    rows = {seq: waiting(seq) for seq in range(1, total + 1)}
    since: dict[int, float] = {}
    receiver, now = Receiver(), 0.0
    for _ in range(data.draw(st.integers(1, 12))):
        now += data.draw(st.sampled_from([1.0, 300.0, 901.0, 2 * DAY]))
        down = data.draw(st.booleans())
        open_ = [r for r in rows.values() if r.state in ("waiting", "retrying")]
        lane = [replace(r, failing_for=now - since.get(r.event.seq, now)) for r in open_]
        pass_ = Round(lane, [r for r in rows.values() if not r.told], rules)
        while (found := pass_.next()) is not None:
            seq, gap = found.event.seq, set(pass_.gap)
            missing = {r.event.id for r in rows.values() if r.event.seq < seq and r.state in ("waiting", "retrying")}
            assert missing <= gap, "overtook one without saying so"
            if down or seq in poison:
                since.setdefault(seq, now)
                step = pass_.refused(NO, 0, 0.5)
            else:
                receiver.took.append(seq)
                receiver.gaps.append(gap)
                step = pass_.taken(0.5)
                assert step.done is not None
                del rows[seq]
            for changed, _ in step.rows:
                rows[changed.event.seq] = changed
            for told in step.told:
                rows[told.event.seq] = replace(told, told=True)
    assert receiver.took == sorted(receiver.took)
    for place, (seq, gap) in enumerate(zip(receiver.took, receiver.gaps, strict=True)):
        before = receiver.took[place - 1] if place else 0
        skipped = {f"e{n}" for n in range(before + 1, seq)}
        assert gap == skipped, "the gap is exactly what did not come"
    assert {*receiver.took, *rows} == set(range(1, total + 1)), "lost"
    for held in rows.values():
        assert held.state != "parked" or held.event.seq in poison, "parked though the receiver was merely down"


@pytest.mark.parametrize(
    ("down_for", "since_last", "expected"),
    [
        (0.0, 0.0, 30.0),
        (10.0, 29.0, 1.0),
        (100.0, 30.0, 0.0),
        (100.0, 500.0, 0.0),
        (3599.0, 20.0, 10.0),
        (3600.0, 40.0, None),
    ],
)
def test_when_a_receiver_that_is_down_is_probed(down_for: float, since_last: float, expected: float | None) -> None:
    assert probe_in(down_for, since_last, Rules()) == expected


@pytest.mark.parametrize(
    ("status", "failing_for", "dead"),
    [(422, 0.0, True), (500, 0.0, True), (0, 0.0, False), (503, 3599.0, False), (0, 3600.0, True), (410, 10.0, True)],
)
def test_attempts_are_about_events_that_are_refused(status: int, failing_for: float, dead: bool) -> None:
    rules = Rules(retries=Retries("constant", 2.0, 3))
    assert is_dead(row(attempts=4, failing_for=failing_for), rules, Refusal("no", status)) is dead
