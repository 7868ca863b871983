"""The breaker of a remote server: by the table, and by random walks against a plain count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.breaker import Breaker, BreakerTimes

TIMES = BreakerTimes()


def after(failures: int, at: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(failures):
        breaker = breaker.passing().failed(at, TIMES)
    return breaker


@pytest.mark.parametrize(
    ("failures", "later", "word"),
    [(0, 0.0, "closed"), (4, 0.0, "closed"), (5, 0.0, "open"), (5, 59.9, "open"), (5, 60.0, "half_open")],
)
def test_five_failures_open_it_for_a_minute(failures: int, later: float, word: str) -> None:
    breaker = after(failures)
    assert breaker.word(later, TIMES) == word
    assert breaker.is_open(later, TIMES) is (word == "open")


def test_one_probe_at_a_time() -> None:
    probing = after(5).passing()
    assert probing.is_open(60.0, TIMES)
    assert probing.word(60.0, TIMES) == "half_open"
    assert not probing.given_up().is_open(60.0, TIMES)
    assert probing.succeeded() == Breaker()


def test_a_failed_probe_opens_it_for_another_minute() -> None:
    again = after(5).passing().failed(61.0, TIMES)
    assert again.is_open(120.9, TIMES)
    assert not again.is_open(121.0, TIMES)


def test_a_success_forgives_all() -> None:
    assert after(4).succeeded().passing().failed(0.0, TIMES).word(0.0, TIMES) == "closed"


def test_what_was_under_way_when_it_opened_does_not_keep_it_open_longer() -> None:
    late = after(5).failed(30.0, TIMES)
    assert not late.is_open(60.0, TIMES)


@given(st.lists(st.tuples(st.sampled_from(["ok", "fail", "cancel"]), st.floats(0.0, 100.0)), max_size=60))
def test_walks(steps: list[tuple[str, float]]) -> None:
    """Never more than five requests fail in a row without a rest, and it is always tried again after one."""
    breaker, now, row, last = Breaker(), 0.0, 0, 0.0
    for outcome, pause in steps:
        now += pause
        if breaker.is_open(now, TIMES):
            assert row >= TIMES.failures
            assert now - last < TIMES.rest
            continue
        assert row < TIMES.failures or now - last >= TIMES.rest
        breaker = breaker.passing()
        if outcome == "ok":
            breaker, row = breaker.succeeded(), 0
            assert breaker == Breaker()
        elif outcome == "fail":
            breaker, row, last = breaker.failed(now, TIMES), row + 1, now
        else:
            breaker = breaker.given_up()
        assert not breaker.probing
