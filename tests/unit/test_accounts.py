"""Accounts' names, what may be put together, and what a timeline tells of recoveries."""

from __future__ import annotations

import pytest

from holdfast.domain.accounts import (
    AccountRow,
    legacy_names,
    merged,
    new_name,
    other_name,
    recovery,
    seconds_until_again,
)
from holdfast.domain.errors import AccountTaken, HoldfastError
from holdfast.domain.identity import account_name, valid_session_name
from holdfast.domain.rows import TimelineRow

PHONE = "40712345678"


def test_the_name_is_of_the_phone_else_the_company_else_the_user() -> None:
    everything = AccountRow("", "acme", "6828510b49ea27a15a2226c0", PHONE)
    assert new_name(everything, "prod") == account_name(PHONE, "prod")
    assert new_name(everything, "eu") == account_name(PHONE, "eu") != account_name(PHONE, "prod")
    assert new_name(AccountRow("", "acme", "u"), "prod") == "acme"
    assert new_name(AccountRow("", None, "6828510b49ea27a15a2226c0"), "prod") == "u_6828510b49ea"
    with pytest.raises(HoldfastError):
        new_name(AccountRow(""), "prod")


@pytest.mark.parametrize("id", ["Ana & sons", "x" * 80, "ă", "-", "a/b", " "])
def test_an_id_that_cannot_be_a_name_is_hashed_always_alike(id: str) -> None:
    names = {new_name(AccountRow("", id), "prod"), new_name(AccountRow("", id), "other")}
    assert len(names) == 1
    assert valid_session_name(names.pop()).startswith("company_")
    assert len(valid_session_name(other_name(id))) <= 54
    assert other_name(id) != other_name(f"{id}x")


def test_older_ids_mean_the_sessions_with_their_hash() -> None:
    stable = account_name(PHONE)
    hashed = stable.rpartition("_")[2]
    for older in (f"account_dev_{hashed}", f"account_production_{hashed}", f"account_development_{hashed}ab12"):
        assert stable in legacy_names(older, "prod")
    assert f"account_eu_{hashed}" in legacy_names(f"account_dev_{hashed}", "eu")
    assert legacy_names("shop", "prod") == legacy_names("account_test_12", "prod") == []


def test_what_is_known_stays_and_what_differs_is_refused() -> None:
    known = AccountRow("s", "c1", None, PHONE, "Shop")
    assert merged(known, AccountRow("", user_id="u1")) == AccountRow("s", "c1", "u1", PHONE, "Shop")
    assert merged(known, AccountRow("", name="New")).name == "New"
    assert merged(known, known) == known
    with pytest.raises(AccountTaken, match="c1"):
        merged(known, AccountRow("", "c2"))
    with pytest.raises(AccountTaken) as raised:
        merged(known, AccountRow("", phone="40712340078"))
    assert PHONE not in raised.value.sentence


def told(*steps: tuple[str, str, int]) -> list[TimelineRow]:
    """Newest first, one entry each ten seconds, of (status, code, attempt)."""
    rows = [TimelineRow(n, "s", n * 10.0, s, c, "", a, "i", 1, {}) for n, (s, c, a) in enumerate(steps, 1)]
    return rows[::-1]


LINKED = (
    ("STARTING", "pairing", 0),
    ("SCAN_QR_CODE", "pairing", 0),
    ("STARTING", "authenticated", 0),
    ("WORKING", "working", 0),
)


@pytest.mark.parametrize(
    ("steps", "attempts", "last_at", "outcome"),
    [
        ((), 0, None, None),
        (LINKED, 0, None, None),
        ((*LINKED, ("STARTING", "connection_lost", 1)), 1, 50.0, None),
        ((*LINKED, ("STARTING", "connection_lost", 1), ("WORKING", "working", 0)), 1, 50.0, "WORKING"),
        ((*LINKED, ("STARTING", "x", 1), ("STARTING", "x", 2), ("FAILED", "x", 3)), 3, 70.0, "FAILED"),
        ((*LINKED, ("FAILED", "logged_out", 0)), 0, None, "FAILED"),
        ((*LINKED, ("FAILED", "logged_out", 0), *LINKED), 1, 60.0, "WORKING"),
        ((*LINKED, ("FAILED", "logged_out", 0), *LINKED[:2]), 1, 60.0, "SCAN_QR_CODE"),
        ((*LINKED, ("STOPPED", "stopped", 0), ("STARTING", "connecting", 0), LINKED[3]), 0, None, None),
        ((*LINKED, ("STARTING", "x", 1), LINKED[3], ("STARTING", "y", 1)), 1, 70.0, None),
        ((*LINKED, ("STARTING", "x", 1), LINKED[3], ("STOPPED", "stopped", 0)), 1, 50.0, "WORKING"),
    ],
)
def test_recovery_is_read_from_the_timeline(
    steps: tuple[tuple[str, str, int], ...], attempts: int, last_at: float | None, outcome: str | None
) -> None:
    assert recovery(told(*steps)) == {"attempts": attempts, "lastAt": last_at, "lastOutcome": outcome}


def test_when_it_may_be_done_again() -> None:
    pairing = frozenset({"pairing"})
    rows = told(*LINKED[:2])
    assert seconds_until_again(rows, pairing, 50.0, 60.0) == 30.0
    assert seconds_until_again(rows, pairing, 500.0, 60.0) == 0.0
    assert seconds_until_again(rows, frozenset({"conflict"}), 50.0, 60.0) == 0.0
    assert seconds_until_again([], pairing, 50.0, 60.0) == 0.0
    assert seconds_until_again(told(*LINKED), pairing, 50.0, 60.0) == 0.0, "it led to a link"
    assert seconds_until_again(told(*LINKED, ("FAILED", "logged_out", 0)), pairing, 60.0, 60.0) == 0.0
    again = told(*LINKED, ("FAILED", "logged_out", 0), *LINKED[:2], ("FAILED", "another_number", 0))
    assert seconds_until_again(again, pairing, 90.0, 60.0) == 40.0
