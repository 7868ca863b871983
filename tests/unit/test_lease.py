"""A holder lets go before anyone else may claim (G1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.lease import Held, LeaseTimes, give_up_at, may_act, renew_at, valid_for

TIMES = LeaseTimes()
HELD = Held(epoch=4, sent_at=1000.0)


def test_the_lease_counts_from_before_the_renewal_was_sent() -> None:
    assert (renew_at(HELD, TIMES), give_up_at(HELD, TIMES)) == (1005.0, 1013.0)
    assert may_act(HELD, TIMES, 1012.999)
    assert not may_act(HELD, TIMES, 1013.0)


@pytest.mark.parametrize(("now", "left"), [(1000.0, 13.0), (1012.5, 0.5), (1013.0, 0.0), (5000.0, 0.0)])
def test_a_grant_never_outlives_the_lease(now: float, left: float) -> None:
    assert valid_for(HELD, TIMES, now) == left


@pytest.mark.parametrize(
    ("ttl", "renew", "margin"), [(15, 13, 2), (15, 20, 2), (15, 0, 2), (15, -1, 2), (2, 1, 2), (10, 5, 5)]
)
def test_times_that_would_lose_the_lease_are_refused(ttl: float, renew: float, margin: float) -> None:
    with pytest.raises(ValueError, match=r"lease\.renew must be shorter"):
        LeaseTimes(ttl, renew, margin)


@given(
    sent=st.floats(0, 1e7),
    travel=st.floats(0, 60),
    ttl=st.floats(3, 300),
    margin=st.floats(0.01, 2),
    now=st.floats(0, 1e7),
)
def test_the_holder_stops_before_the_database_lets_another_claim(
    sent: float, travel: float, ttl: float, margin: float, now: float
) -> None:
    """`travel`: how long the renewal took to reach the database, which dates the expiry from then."""
    times = LeaseTimes(ttl, (ttl - margin) / 2, margin)
    held = Held(1, sent)
    expires = sent + travel + ttl
    assert give_up_at(held, times) < expires
    assert renew_at(held, times) < give_up_at(held, times)
    if may_act(held, times, now):
        assert now < expires
        assert now + valid_for(held, times, now) == pytest.approx(give_up_at(held, times))
    else:
        assert valid_for(held, times, now) == 0
