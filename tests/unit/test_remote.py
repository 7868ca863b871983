"""What a look at a session on a WAHA server calls for: the table, and random walks of a WAHA that does as it likes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.disconnects import BY_TAG, CONNECTION_LOST, Kind, classify
from holdfast.domain.remote import LINKED, MISSING, PASSKEY, QR, Act, Opening, RemoteTimes, Tried, next_step

TIMES = RemoteTimes()
PAIR, LOGIN = Opening(pair=True), Opening(pair=False)
OPEN = replace(LOGIN, open=True)
SHOWN, FOUND = replace(PAIR, shown=True), replace(LOGIN, shown=True)
FRESH = Tried()
STATUSES = ("STOPPED", "STARTING", "FAILED", QR, LINKED, MISSING, *sorted(PASSKEY), "SOMETHING_NEW")


def restarted(at: float, **more: int) -> Tried:
    return Tried(since=at, restarts=1, **more)


@pytest.mark.parametrize(
    ("status", "opening", "tried", "act", "tag"),
    [
        # a session that works is taken over as it is, never restarted
        (LINKED, PAIR, FRESH, Act.OPEN, ""),
        (LINKED, LOGIN, FRESH, Act.OPEN, ""),
        (LINKED, OPEN, FRESH, Act.OPEN, ""),
        # deleted behind our back: said; a person's Connect makes a new one, and so do we what we deleted ourselves
        (MISSING, LOGIN, FRESH, Act.LOST, "waha_missing"),
        (MISSING, OPEN, FRESH, Act.LOST, "waha_missing"),
        (MISSING, replace(PAIR, open=True), FRESH, Act.LOST, "waha_missing"),
        (MISSING, PAIR, FRESH, Act.CREATE, ""),
        (MISSING, LOGIN, Tried(remade=True), Act.CREATE, ""),
        # a QR is shown to whoever asked for it, and to whoever WAHA asks
        (QR, PAIR, FRESH, Act.SHOW, ""),
        (QR, LOGIN, FRESH, Act.SHOW, ""),
        (QR, OPEN, FRESH, Act.LOST, "waha_unlinked"),
        # what worked and does so no more is told, and opened anew
        ("FAILED", OPEN, FRESH, Act.LOST, "waha_failed"),
        ("STOPPED", OPEN, FRESH, Act.LOST, "waha_stopped"),
        ("STARTING", OPEN, FRESH, Act.LOST, ""),
        # FAILED: restarted; then told, with whether that was of no use; and made anew after three that were not
        ("FAILED", LOGIN, FRESH, Act.RESTART, ""),
        ("FAILED", LOGIN, restarted(90.0), Act.LOST, "waha_failed"),
        ("FAILED", LOGIN, Tried(useless=2), Act.RESTART, ""),
        ("FAILED", LOGIN, Tried(useless=3), Act.REMAKE, ""),
        ("FAILED", LOGIN, Tried(useless=3, remade=True), Act.RESTART, ""),
        # nothing is lost by making one anew that was never linked
        ("FAILED", PAIR, FRESH, Act.RESTART, ""),
        ("FAILED", PAIR, restarted(90.0), Act.REMAKE, ""),
        # QR codes that ran out are renewed for a person, and by nobody else
        ("FAILED", SHOWN, FRESH, Act.RESTART, ""),
        ("FAILED", FOUND, FRESH, Act.LOST, "pairing_expired"),
        # STARTING: asked again, restarted, told; made anew where nothing is lost by it
        ("STARTING", LOGIN, FRESH, Act.WAIT, ""),
        ("STARTING", LOGIN, Tried(since=90.0), Act.WAIT, ""),
        ("STARTING", LOGIN, Tried(since=70.0), Act.RESTART, ""),
        ("STARTING", LOGIN, restarted(70.0), Act.LOST, "waha_stuck"),
        ("STARTING", LOGIN, restarted(70.0, stuck=28), Act.LOST, "waha_stuck"),
        ("STARTING", LOGIN, restarted(70.0, stuck=29), Act.REMAKE, ""),
        ("STARTING", PAIR, restarted(70.0), Act.REMAKE, ""),
        ("STARTING", PAIR, replace(restarted(70.0), remade=True), Act.LOST, "waha_stuck"),
        # STOPPED is started, and waited for
        ("STOPPED", LOGIN, FRESH, Act.START, ""),
        ("STOPPED", PAIR, Tried(since=90.0), Act.WAIT, ""),
        ("STOPPED", PAIR, Tried(since=70.0), Act.START, ""),
        ("PASSKEY_REQUIRED", PAIR, FRESH, Act.LOST, "waha_passkey"),
        ("SOMETHING_NEW", PAIR, FRESH, Act.WAIT, ""),
    ],
)
def test_table(status: str, opening: Opening, tried: Tried, act: Act, tag: str) -> None:
    following = next_step(status, opening, tried, 100.0, TIMES)
    assert (following.act, following.tag) == (act, tag)


def test_a_restart_that_fails_late_may_be_the_networks_fault() -> None:
    soon = next_step("FAILED", LOGIN, restarted(90.0), 100.0, TIMES).tried
    late = next_step("FAILED", LOGIN, restarted(10.0), 100.0, TIMES).tried
    assert (soon.useless, late.useless) == (1, 0)
    assert soon.restarts == late.restarts == 0


def test_nothing_is_made_anew_where_the_operator_forbids_it() -> None:
    never = replace(TIMES, remake_after=0)
    for tried in (Tried(useless=99), restarted(0.0, stuck=999)):
        for status in ("FAILED", "STARTING"):
            assert next_step(status, LOGIN, tried, 100.0, never).act is not Act.REMAKE


def test_each_tag_is_in_the_table_of_disconnects() -> None:
    for opening in (PAIR, LOGIN, OPEN, SHOWN, FOUND):
        for status in STATUSES:
            for tried in (FRESH, restarted(0.0), restarted(99.0)):
                tag = next_step(status, opening, tried, 100.0, TIMES).tag
                assert not tag or tag in BY_TAG
    assert classify(428, "") is CONNECTION_LOST


@given(
    st.booleans(),
    st.lists(st.tuples(st.sampled_from(STATUSES), st.floats(0.0, 40.0)), max_size=80),
)
def test_walks(pair: bool, seen: list[tuple[str, float]]) -> None:
    """Whatever WAHA says: a link is ended once only until it works again, and never before restarts were of no use."""
    now, tried, opening = 0.0, Tried(), Opening(pair)
    restarts = remakes = 0
    for status, pause in seen:
        now += pause
        following = next_step(status, opening, tried, now, TIMES)
        tried = following.tried
        match following.act:
            case Act.OPEN:
                assert status == LINKED
                opening, restarts, remakes, tried = replace(opening, open=True), 0, 0, Tried()
            case Act.SHOW:
                assert status == QR
                opening = replace(opening, shown=True)
            case Act.LOST:
                if classify(0 if following.tag else 428, following.tag).kind is not Kind.RETRY:
                    return
                opening = Opening(pair)
            case Act.REMAKE:
                assert status in ("FAILED", "STARTING")
                remakes += 1
                assert remakes == 1
                assert restarts >= (1 if pair else TIMES.remake_after)
                tried = tried.ordered(now, following.act)
            case Act.RESTART | Act.START | Act.CREATE:
                restarts += following.act is Act.RESTART
                assert status != LINKED
                tried = tried.ordered(now, following.act)
            case Act.WAIT:
                assert status in ("STARTING", "STOPPED", "SOMETHING_NEW")
