"""A dead webhook receiver is one alert, whoever finds it, and however often."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.alerts import Limits
from holdfast.domain.outages import STALE, Outage, Sighting, after_telling, look, telling

NOW = 1_800_000_000.0
LIMITS = Limits(age=300.0, damping=300.0)
NONE = Outage("hooks.test")


def seen(at: float, *sessions: str, failing_for: float = 400.0) -> Sighting:
    return Sighting(NOW + at, NOW + at - failing_for, sessions)


def at(outage: Outage, when: float, mine: Sighting | None = None, instance: str = "one") -> Outage:
    return look(outage, mine, instance=instance, now=NOW + when, limits=LIMITS)


def test_two_instances_and_three_sessions_raise_one() -> None:
    first = at(NONE, 0, seen(0, "a", "b"))
    both = at(first, 1, seen(1, "c"), "two")
    assert first.alert is not None
    assert both.alert is not None
    assert both.alert.id == first.alert.id
    assert both.alert.shown() == {
        "id": first.alert.id,
        "kind": "webhook_dead",
        "session": None,
        "severity": "warning",
        "code": "webhook_failed",
        "message": "No event of 3 sessions was delivered for more than 300 s to the webhook at hooks.test.",
        "since": NOW - 400,
        "instance": "one",
        "receiver": "hooks.test",
        "sessions": ["a", "b", "c"],
    }
    other = at(Outage("other.test"), 0, seen(0, "a"))
    assert other.alert is not None
    assert other.alert.id != first.alert.id


def test_what_fails_for_less_is_noted_and_no_alert() -> None:
    young = at(NONE, 0, seen(0, "a", failing_for=300.0))
    assert (young.alert, young.over) == (None, False)
    assert at(young, 5).over


def test_it_is_over_when_nobody_sees_it_for_the_damping_time() -> None:
    first = after(at(NONE, 0, seen(0, "a")), "raised")
    both = at(first, 1, seen(1, "c"), "two")
    one_left = at(both, 10)
    refuses_again = at(one_left, 50, seen(50, "c", failing_for=5.0), "two").alert
    assert refuses_again is not None
    assert (refuses_again.away_since, refuses_again.sessions) == (None, ("c",))
    away = at(one_left, 1 + STALE)  # instance two was not heard of any more
    assert away.seen == {}
    assert at(away, STALE + 300).alert is not None
    over = at(away, STALE + 302)
    assert over.alert is not None
    assert (over.alert.notice, over.may_tell("two", NOW + STALE + 302)) == ("resolved", True)
    assert after(over, "resolved").over


def after(outage: Outage, notice: str) -> Outage:
    assert outage.alert is not None
    assert outage.alert.notice == notice
    return after_telling(outage, outage.alert.id, outage.alert.notice)


def test_one_instance_tells_and_another_only_when_that_one_is_not_heard_of() -> None:
    raised = at(NONE, 0, seen(0, "a"))
    assert raised.may_tell("two", NOW)
    mine = telling(raised, "one", NOW)
    assert (mine.may_tell("one", NOW + 5), mine.may_tell("two", NOW + 5)) == (True, False)
    assert mine.may_tell("two", NOW + STALE + 1)
    heard = after(mine, "raised")
    assert (heard.may_tell("one", NOW), heard.teller) == (False, "")


def test_a_look_that_finds_the_same_changes_nothing_until_its_sign_of_life_is_due() -> None:
    first = at(NONE, 0, seen(0, "a"))
    assert at(first, 10, seen(10, "a", failing_for=410.0)) == first
    assert at(first, 30, seen(30, "a", failing_for=430.0)) != first
    again = at(first, 10, seen(10, "a", failing_for=2.0))
    assert again.seen["one"].since == NOW + 8, "it had taken something in between"


STEPS = st.lists(
    st.tuples(
        st.floats(0.1, 100.0),
        st.sampled_from(["one", "two", "three"]),
        st.frozensets(st.sampled_from("abc"), max_size=2),
        st.sampled_from([1.0, 299.0, 301.0, 5000.0]),
        st.booleans(),
    ),
    max_size=60,
)


@given(STEPS)
def test_walks(steps: list[tuple[float, str, frozenset[str], float, bool]]) -> None:
    """Whatever is seen: raises and ends alternate, each end after a quiet damping time, and nothing is left behind."""
    outage, when, told, last_seen = NONE, 0.0, [], float("-inf")
    for pause, instance, sessions, failing_for, tells in steps:
        when += pause
        mine = seen(when, *sorted(sessions), failing_for=failing_for) if sessions else None
        outage = at(outage, when, mine, instance)
        assert Outage.from_json(outage.to_json()) == outage
        if outage.seen:
            last_seen = when
        if outage.alert is not None and outage.may_tell(instance, NOW + when) and tells:
            notice = outage.alert.notice
            assert notice is not None
            told.append((notice, outage.alert.id))
            if notice == "resolved":
                assert when - last_seen > 0
            outage = after_telling(telling(outage, instance, NOW + when), outage.alert.id, notice)
    for later in (STALE + 1, STALE + 2, STALE + 400, STALE + 800):
        outage = at(outage, when + later, None)
        if outage.alert is not None and outage.alert.notice is not None:
            told.append((outage.alert.notice, outage.alert.id))
            outage = after_telling(outage, outage.alert.id, outage.alert.notice)
    assert outage.over
    assert [notice for notice, _ in told] == ["raised", "resolved"] * (len(told) // 2)
    assert all(one[1] == end[1] for one, end in zip(told[::2], told[1::2], strict=True))
