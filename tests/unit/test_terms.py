"""When a message is due and until when, from what a request says."""

from __future__ import annotations

import pytest

from holdfast.domain.errors import InvalidTime
from holdfast.domain.terms import YEAR, Terms, instant

NOW, DAY = 1_800_000_000.0, 86_400.0


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        (Terms(), (0.0, NOW + DAY)),
        (Terms(expires_in=60), (0.0, NOW + 60)),
        (Terms(expires_at=NOW + 5), (0.0, NOW + 5)),
        (Terms(send_at=NOW + 10), (NOW + 10, NOW + 10 + DAY)),
        (Terms(send_at=NOW), (NOW, NOW + DAY)),
        (Terms(send_at=NOW + 10, expires_in=60), (NOW + 10, NOW + 70)),
        (Terms(send_at=NOW + 10, expires_at=NOW + 11), (NOW + 10, NOW + 11)),
        (Terms(send_at=NOW + YEAR), (NOW + YEAR, NOW + YEAR + DAY)),
    ],
)
def test_due_and_deadline(terms: Terms, expected: tuple[float, float]) -> None:
    assert terms.instants(NOW, DAY) == expected


@pytest.mark.parametrize(
    ("terms", "says"),
    [
        (Terms(send_at=NOW - 1), "is in the past; it is 2027-01-15 08:00:00 UTC now"),
        (Terms(send_at=NOW * 1000), "Unix time is taken in seconds"),
        (Terms(send_at=1e300), "more than a year ahead"),
        (Terms(expires_in=0), "above 0"),
        (Terms(expires_in=-5), "above 0"),
        (Terms(expires_in=YEAR + 1), "at most"),
        (Terms(expires_at=NOW), "must lie after now"),
        (Terms(expires_at=1e300), "by a year at most"),
        (Terms(send_at=NOW + 10, expires_at=NOW + 5), "must lie after send_at"),
        (Terms(expires_at=NOW + 5, expires_in=5), "not both"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(terms: Terms, says: str) -> None:
    with pytest.raises(InvalidTime) as refused:
        terms.instants(NOW, DAY)
    assert says in refused.value.sentence


@pytest.mark.parametrize(
    "said", [NOW, int(NOW), "2027-01-15T08:00:00Z", "2027-01-15T10:00:00+02:00", " 2027-01-15 08:00+00:00 "]
)
def test_times_as_people_write_them(said: float | str) -> None:
    assert instant(said, "send_at") == NOW


@pytest.mark.parametrize(
    "said",
    ["", "tomorrow", "2027-01-15T08:00:00", "2027-13-01T00:00:00Z", "1800000000", float("nan"), float("inf"), -1],
)
def test_what_is_no_time_is_refused(said: float | str) -> None:
    with pytest.raises(InvalidTime, match="send_at"):
        instant(said, "send_at")
