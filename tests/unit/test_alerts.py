"""What raises an alert, what holds it, what ends it: by table, and by random walks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.alerts import ABOUT_THE_LINK, Alert, Cause, Found, Kind, Limits, in_force, look, review, told
from holdfast.domain.session import decide
from holdfast.domain.state import Ordered, Phase, State, Times

NOW = 1_800_000_000.0
LIMITS = Limits(age=300.0, damping=300.0)
LINKED = State(phase=Phase.WORKING, code="working", message="Connected.", phone="40712345678", since=NOW - 50)


def found(state: State, *, wanted: bool = True, oldest: float = 0.0) -> Found:
    return look(state, NOW, LIMITS, wanted=wanted, oldest=oldest)


def kinds(what: Found) -> list[str]:
    return [cause.kind.value for cause in what.causes]


# --- what is wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "kind"),
    [
        ({"phase": Phase.TERMINAL, "code": "logged_out"}, "needs_qr"),
        ({"phase": Phase.TERMINAL, "code": "forbidden"}, "needs_qr"),
        ({"phase": Phase.TERMINAL, "code": "pairing_expired"}, "needs_qr"),
        ({"phase": Phase.WAITING, "code": "replaced"}, "conflict"),
        ({"phase": Phase.CONNECTING, "code": "replaced"}, "conflict"),
        ({"phase": Phase.WAITING, "code": "conflict", "failed": True}, "conflict"),
        ({"phase": Phase.WAITING, "code": "temporarily_banned", "failed": True}, "temporarily_banned"),
        ({"phase": Phase.WAITING, "code": "client_outdated", "failed": True}, "client_outdated"),
    ],
)
def test_each_trouble_of_the_link_has_its_kind(facts: dict[str, object], kind: str) -> None:
    what = found(replace(LINKED, message="Why.", **facts))  # type: ignore[arg-type]
    assert kinds(what) == [kind]
    assert (what.causes[0].message, what.causes[0].since, what.unsettled) == ("Why.", LINKED.since, False)


@pytest.mark.parametrize(
    ("facts", "unsettled"),
    [
        ({}, False),
        ({"phase": Phase.STOPPED, "code": "stopped"}, False),
        ({"phase": Phase.WAITING, "code": "client_outdated"}, True),
        ({"phase": Phase.WAITING, "code": "connection_lost", "failed": True}, True),
        ({"phase": Phase.PAIRING, "code": "pairing"}, True),
        ({"phase": Phase.CONNECTING, "code": "restoring"}, True),
        ({"phase": Phase.TERMINAL, "code": "pairing_expired", "phone": ""}, True),
    ],
)
def test_what_heals_by_itself_or_is_being_set_up_is_no_alert(facts: dict[str, object], unsettled: bool) -> None:
    what = found(replace(LINKED, **facts))  # type: ignore[arg-type]
    assert (kinds(what), what.unsettled) == ([], unsettled)


def test_what_was_stopped_or_logged_out_on_purpose_is_no_alert() -> None:
    away = replace(LINKED, phase=Phase.TERMINAL, code="logged_out")
    assert found(away, wanted=False, oldest=1e6) == Found()
    logout = decide(LINKED, Ordered(1, "logout", has_credentials=True), NOW, 0.5, Times()).state
    assert (logout.phase, found(logout)) == (Phase.STOPPED, Found())


def test_a_working_session_can_suffer() -> None:
    assert kinds(found(replace(LINKED, restricted_until=NOW + 1))) == ["restricted"]
    assert kinds(found(replace(LINKED, restricted_until=NOW))) == []
    assert kinds(found(LINKED, oldest=300.0)) == []
    old = found(LINKED, oldest=301.0)
    assert kinds(old) == ["queue_old"]
    assert old.causes[0].since == NOW - 301


# --- what follows -----------------------------------------------------------------------------------------------

QR = Cause(Kind.NEEDS_QR, "logged_out", "Logged out.", NOW)
OLD = Cause(Kind.QUEUE_OLD, "queue_old", "Old.", NOW)


def looked(alerts: tuple[Alert, ...], what: Found, at: float) -> tuple[Alert, ...]:
    return review(alerts, what, session="shop", instance="one", now=NOW + at, damping=LIMITS.damping)


def step(alerts: tuple[Alert, ...], at: float, *causes: Cause, unsettled: bool = False) -> tuple[Alert, ...]:
    return looked(alerts, Found(causes, unsettled), at)


def after_telling(alerts: tuple[Alert, ...]) -> tuple[Alert, ...]:
    for alert in alerts:
        if alert.notice is not None:
            alerts = told(alerts, alert.id, alert.notice)
    return alerts


def test_an_alert_is_raised_once_held_and_resolved_when_its_cause_stays_away() -> None:
    raised = step((), 0, QR)
    assert [alert.notice for alert in raised] == ["raised"]
    assert raised[0].shown() == {
        "id": raised[0].id,
        "kind": "needs_qr",
        "session": "shop",
        "severity": "critical",
        "code": "logged_out",
        "message": "Logged out.",
        "since": NOW,
        "instance": "one",
    }
    standing = after_telling(raised)
    assert step(standing, 10, QR) == standing
    assert standing[0].notice is None
    away = step(standing, 20)
    assert step(away, 319.9)[0].notice is None
    over = step(step(away, 100), 320)
    assert over[0].notice == "resolved"
    assert in_force(over) == []
    assert after_telling(over) == ()


def test_a_cause_that_comes_and_goes_raises_one_alert() -> None:
    alerts = after_telling(step((), 0, OLD))
    for at in range(10, 3000, 250):
        alerts = step(step(alerts, at), at + 125, OLD)
        assert [alert.notice for alert in alerts] == [None]
    assert step(step(alerts, 3000), 3300)[0].notice == "resolved"


def test_connecting_proves_nothing_over_and_another_trouble_replaces_the_first() -> None:
    alerts = after_telling(step((), 0, QR))
    pairing = step(step(alerts, 10, unsettled=True), 10_000, unsettled=True)
    assert pairing == alerts
    banned = Cause(Kind.TEMPORARILY_BANNED, "temporarily_banned", "Banned.", NOW + 20)
    both = step(pairing, 20_000, banned)
    assert [(alert.kind, alert.away_since) for alert in both] == [
        (Kind.NEEDS_QR, NOW + 20_000),
        (Kind.TEMPORARILY_BANNED, None),
    ]


def test_what_is_not_about_the_link_ends_without_one() -> None:
    alerts = after_telling(step((), 0, OLD))
    assert step(step(alerts, 10, unsettled=True), 310, unsettled=True)[0].notice == "resolved"


def test_what_nobody_was_told_of_just_goes_and_what_comes_back_untold_goes_on() -> None:
    untold = step(step((), 0, QR), 10)
    assert step(untold, 310) == ()
    over = step(step(after_telling(step((), 0, QR)), 10), 310)
    back = step(over, 320, replace(QR, code="forbidden", message="Refused."))
    assert [(alert.id, alert.notice, alert.code) for alert in back] == [(over[0].id, None, "forbidden")]


def test_what_came_back_while_its_end_was_told_is_raised_anew() -> None:
    over = step(step(after_telling(step((), 0, QR)), 10), 310)
    again = told(step(over, 311, QR), over[0].id, "resolved")
    assert [alert.notice for alert in again] == ["raised"]
    assert again[0].id != over[0].id


def test_alerts_survive_storing() -> None:
    for alert in step(step((), 0, QR, OLD), 10):
        assert Alert.from_json(alert.to_json()) == alert
        assert Alert.from_json({**alert.to_json(), "new": 1}) == alert, "a later version's"


STEPS = st.lists(
    st.tuples(
        st.floats(0.0, 400.0),
        st.frozensets(st.sampled_from(sorted(Kind)), max_size=3),
        st.booleans(),
        st.sampled_from(["tell", "deaf"]),
    ),
    max_size=60,
)


@given(STEPS)
def test_walks(steps: list[tuple[float, frozenset[Kind], bool, str]]) -> None:
    """Whatever happens: one alert of a kind, each raise answered by one end, none ended before its time."""
    alerts: tuple[Alert, ...] = ()
    at, heard = 0.0, dict.fromkeys(Kind, "")
    seen_at: dict[Kind, float] = {}
    ids: set[str] = set()
    for pause, present, unsettled, receiver in steps:
        at += pause
        causes = tuple(Cause(kind, kind.value, "Why.", NOW + at) for kind in sorted(present))
        alerts = looked(alerts, Found(causes, unsettled), at)
        standing = {alert.kind for alert in in_force(alerts)}
        assert len(alerts) == len({alert.kind for alert in alerts})
        assert present <= standing
        for kind in Kind:
            if kind in present or (unsettled and kind in ABOUT_THE_LINK and kind in standing):
                seen_at[kind] = at
        for alert in alerts if receiver == "tell" else ():
            if (notice := alert.notice) is None:
                continue
            alerts = told(alerts, alert.id, notice)
            if notice == "raised":
                assert heard[alert.kind] == ""
                assert alert.id not in ids
                ids.add(alert.id)
                heard[alert.kind] = alert.id
            else:
                assert heard[alert.kind] == alert.id
                assert at - seen_at[alert.kind] >= LIMITS.damping - 1e-3
                heard[alert.kind] = ""
    for end in (1.0, 2.0, 400.0):
        alerts = after_telling(looked(alerts, Found(), at + end))
    assert alerts == ()
