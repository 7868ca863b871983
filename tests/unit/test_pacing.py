"""Delays of one session, and the pace of a whole fleet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.pacing import Bucket, Pace, backoff, conflict_holdoff, ready, take

RAND = st.floats(0, 1, exclude_max=True)


def test_attempts_double_up_to_five_minutes() -> None:
    assert [backoff(n, 0.5) for n in range(1, 13)] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    assert backoff(0, 0.5) == backoff(-3, 0.5) == 1


@given(st.integers(-5, 10_000), RAND)
def test_every_delay_is_within_a_fifth_of_its_figure(attempt: int, rand: float) -> None:
    figure = backoff(attempt, 0.5)
    assert 0.8 * figure <= backoff(attempt, rand) <= 1.2 * figure
    assert backoff(attempt, rand) <= 360
    assert backoff(attempt + 1, rand) >= backoff(attempt, rand)


@given(st.integers(-5, 10_000), RAND)
def test_a_conflict_is_held_off_at_least_its_minutes(conflicts: int, rand: float) -> None:
    figure = min(60.0 * 2.0 ** (min(max(conflicts, 1), 20) - 1), 3600.0)
    assert figure <= conflict_holdoff(conflicts, rand) <= 1.2 * figure


def test_a_fleet_opens_its_burst_at_once_then_one_by_one() -> None:
    pace, bucket, waits = Pace(burst=3, rate=2), None, []
    for _ in range(7):
        bucket, wait = take(pace, bucket, 100.0)
        waits.append(wait)
    assert waits == [0, 0, 0, 0.5, 1.0, 1.5, 2.0]


def test_what_is_not_used_refills_but_never_above_the_burst() -> None:
    pace = Pace(burst=3, rate=2)
    bucket, _ = take(pace, Bucket(-1.0, 100.0), 101.5)
    assert bucket == Bucket(1.0, 101.5)
    bucket, _ = take(pace, Bucket(0.0, 100.0), 10_000.0)
    assert bucket == Bucket(2.0, 10_000.0)


@given(st.lists(st.floats(0, 3), min_size=1, max_size=200), st.integers(1, 20), st.floats(0.5, 50))
def test_no_pace_is_ever_exceeded_and_nobody_is_passed(gaps: list[float], burst: int, rate: float) -> None:
    pace, bucket, now, opened = Pace(float(burst), rate), None, 0.0, []
    for gap in gaps:
        now += gap
        bucket, wait = take(pace, bucket, now)
        assert wait >= 0
        opened.append(now + wait)
    assert opened == sorted(opened), "first come, first served"
    for i, start in enumerate(opened):
        within = sum(1 for at in opened[i:] if at <= start + 1.0)
        assert within <= burst + rate + 1.001


def test_two_hundred_come_back_within_seconds() -> None:
    bucket, wait = None, 0.0
    for _ in range(200):
        bucket, wait = take(Pace(), bucket, 0.0)
    assert wait == pytest.approx(3.75)


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(0, 9)), min_size=1, max_size=30))
def test_what_is_ready_never_waits_and_keeps_to_the_pace(looks: list[tuple[float, int]]) -> None:
    """Against `take`: as many as would not have had to wait."""
    pace, bucket, others, now = Pace(burst=4, rate=2), None, None, 0.0
    for after, most in looks:
        now += after
        bucket, count = ready(pace, bucket, now, most)
        assert 0 <= count <= most
        for _ in range(count):
            others, wait = take(pace, others, now)
            assert wait == 0
        assert count == most or take(pace, others, now)[1] > 0
