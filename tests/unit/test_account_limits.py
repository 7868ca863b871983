"""What WhatsApp forbids an account is kept, shown in WAHA's shapes, and reported when it changes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from waha.generated import models

from holdfast.domain import state as s
from holdfast.domain.account_limits import changed, limits, quota, timelock
from holdfast.domain.rows import EventRow
from holdfast.domain.session import decide
from holdfast.domain.waha import me_info, waha_events
from tests.support.waha_models import fits

NOW = 1_800_000_000.0
TIMES = s.Times()
WORKING = s.State(phase=s.Phase.WORKING, code="working", connection=3, live=True, verified_at=NOW, phone="40712345678")


QUOTA = quota({
    "capping_status": "FIRST_WARNING", "total_quota": 1000, "used_quota": "640", "cycle_start_timestamp": "1782874800",
    "cycle_end_timestamp": "1785553199", "mv_status": "NOT_ELIGIBLE", "ote_status": "NOT_ELIGIBLE",
})  # fmt: skip


def after(before: s.State, *events: s.Event) -> s.State:
    for event in events:
        before = decide(before, event, NOW, 0.5, TIMES).state
    return before


def test_a_restriction_is_shown_as_waha_shows_it() -> None:
    assert (timelock(WORKING), limits(WORKING)) == (None, {})
    held = after(WORKING, s.Restricted(3, NOW + 60, "WEB_COMPANION_ONLY"))
    lock = {"enforcementType": "WEB_COMPANION_ONLY", "isActive": True, "timeEnforcementEnds": int(NOW) + 60}
    assert limits(held) == {"reachoutTimelock": lock}
    lifted = after(held, s.Restricted(3, None))
    assert timelock(lifted) == {**lock, "isActive": False, "timeEnforcementEnds": None}
    assert timelock(after(WORKING, s.Restricted(3, NOW + 60)))["enforcementType"] == "DEFAULT"  # type: ignore[index]
    assert s.State.from_json(json.loads(json.dumps(held.to_json()))) == held


@pytest.mark.parametrize(
    ("first", "then", "reported"),
    [
        (s.Restricted(3, NOW + 60), s.Restricted(3, NOW + 90), True),
        (s.Restricted(3, NOW + 60), s.Restricted(3, NOW + 60), False),
        (s.Restricted(3, NOW + 60), s.Restricted(3, None), True),
        (s.Capped(3, {"usedQuota": 1}), s.Capped(3, {"usedQuota": 2}), True),
        (s.Capped(3, {"usedQuota": 1}), s.Capped(3, {"usedQuota": 1}), False),
    ],
)
def test_each_change_is_reported_once(first: s.Event, then: s.Event, reported: bool) -> None:
    before = after(WORKING, first)
    assert changed(WORKING, before)
    assert changed(before, after(before, then)) == reported


def test_another_number_brings_no_limits_along() -> None:
    held = after(WORKING, s.Restricted(3, NOW + 60), s.Capped(3, {"usedQuota": 1}))
    pairing = after(held, s.Ordered(9, "logout", True, new_number=True, relink=True), s.Adopted(False, True))
    paired = after(pairing, s.QrShown(pairing.connection), s.Paired(pairing.connection, "40799000111"))
    assert limits(paired) == {}
    same = after(pairing, s.QrShown(pairing.connection), s.Paired(pairing.connection, "40712345678"))
    assert limits(same) == limits(held)


def test_the_last_three_statuses_are_remembered() -> None:
    state = after(s.State(), s.Ordered(1, "start", False))
    state = after(state, s.QrShown(1), s.Paired(1, "40712345678"), s.Closed(1, 515), s.Opened(2, "40712345678"))
    assert [status for status, _ in state.recent] == ["SCAN_QR_CODE", "STARTING", "WORKING"]
    assert s.State.from_json(json.loads(json.dumps(state.to_json()))) == state


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.sampled_from(["capping_status", "total_quota", "used_quota", "cycle_end_timestamp", "x"]),
                       st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)))  # fmt: skip
def test_whatever_whatsapp_says_of_a_quota_has_the_right_types(told: dict[str, Any]) -> None:
    shown = quota(told)
    json.dumps(shown, allow_nan=False)
    assert isinstance(shown["totalQuota"], int)
    assert isinstance(shown["usedQuota"], int)
    assert isinstance(shown["cappingStatus"], str)
    assert quota(shown) == shown


def test_the_payload_of_a_status_has_wahas_fields_and_ours_apart() -> None:
    lock = {"enforcementType": "DEFAULT", "isActive": True, "timeEnforcementEnds": 1_800_000_060}
    payload = {
        "status": "WORKING", "reason": "restricted", "message": "Connected, but.", "needs_qr": False, "attempt": 0,
        "next_attempt_at": None, "at": NOW, "statuses": [["STARTING", NOW - 5], ["WORKING", NOW - 1]],
        "data": {"reachoutTimelock": lock},
    }  # fmt: skip
    me = {"phone": "40712345678", "limits": {"reachoutTimelock": lock, "messageCapping": QUOTA}}
    (envelope,) = waha_events(EventRow(1, "evt_1", "shop", "session.status", "", NOW, payload), {"me": me})
    shown = envelope["payload"]
    assert shown.keys() == {"name", "status", "statuses", "data", "holdfast"}
    assert shown["statuses"] == [
        {"status": "STARTING", "timestamp": 1_799_999_995_000}, {"status": "WORKING", "timestamp": 1_799_999_999_000},
    ]  # fmt: skip
    assert shown["data"] == {"reachoutTimelock": lock}
    assert shown["holdfast"]["reason"] == "restricted"
    fits(models.WASessionStatusBody, {k: v for k, v in shown.items() if k != "holdfast"})
    fits(models.MeInfo, me_info(me))
    old = {k: v for k, v in payload.items() if k not in ("statuses", "data")}
    (envelope,) = waha_events(EventRow(1, "evt_1", "shop", "session.status", "", NOW, old), {"me": me})
    assert envelope["payload"]["statuses"] == [{"status": "WORKING", "timestamp": int(NOW * 1000)}]
