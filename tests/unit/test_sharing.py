"""Fair shares: everything is claimed, nobody is overloaded for good, and what is even stays where it is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.sharing import STEP, Free, fair_share, labels_of, may_run, to_claim, to_hand_over


def free(count: int, waited: float = 0.0) -> list[Free]:
    return [Free(f"s{n}", frozenset(), waited) for n in range(count)]


def claim(sessions: list[Free], mine: int, total: int, instances: int, labels: frozenset[str] = frozenset()) -> int:
    return len(to_claim(sessions, mine=mine, total=total, instances=instances, labels=labels, patience=10.0))


def test_an_instance_alone_takes_everything() -> None:
    assert claim(free(50), 0, 50, 1) == 50


def test_of_two_each_takes_half() -> None:
    assert claim(free(50), 0, 50, 2) == 25
    assert claim(free(25), 25, 50, 2) == 0


def test_what_stays_free_is_taken_whatever_the_share() -> None:
    assert claim(free(5, waited=10.0), 25, 30, 2) == 5


def test_pinned_sessions_go_where_they_may_only() -> None:
    pinned = [Free("a", frozenset({"region=eu"}), 99.0)]
    assert claim(pinned, 0, 1, 1) == 0
    assert claim(pinned, 9, 1, 1, frozenset({"region=eu", "proxy=x"})) == 1
    assert labels_of({"holdfast": {"labels": {"region": "eu"}}}) == {"region=eu"}
    assert labels_of({"holdfast": "odd"}) == labels_of({}) == frozenset()
    assert may_run((), {"region=eu"})


@given(st.lists(st.integers(0, 400), min_size=1, max_size=6))
def test_handing_over_ends_even_and_stays(held: list[int]) -> None:
    """Each round every instance hands over what it should; the least loaded take it."""
    total, rounds = sum(held), 0
    while any(to_hand_over(mine=mine, total=total, instances=len(held)) for mine in held):
        for index, mine in enumerate(held):
            count = to_hand_over(mine=mine, total=total, instances=len(held))
            held[index] -= count
            for _ in range(count):
                least = min(range(len(held)), key=held.__getitem__)
                held[least] += 1
        rounds += 1
        assert rounds < 500
    share = fair_share(total, len(held))
    assert max(held) <= share + share // STEP, "exactly even where a share is small"
    assert sum(held) == total
