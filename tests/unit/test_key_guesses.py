"""Wrong keys: who must wait, what is logged, when somebody is guessing, and that none of it grows without bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.key_guesses import (
    ADDRESSES,
    ALARM,
    FORGET,
    FREE,
    FREE_TOGETHER,
    LOGGED,
    LONGEST,
    WINDOW,
    KeyGuesses,
    network_of,
)

AT = 1_000.0


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "unknown"),
        ("not an address", "unknown"),
    ],
)
def test_what_counts_as_one_address(address: str, network: str) -> None:
    assert network_of(address) == network


def test_the_wait_doubles_and_a_quiet_address_starts_afresh() -> None:
    guesses, now, waits = KeyGuesses(), AT, []
    for _ in range(FREE + 12):
        wait = guesses.wrong("203.0.113.9", now).wait
        waits.append(wait)
        now += wait
    assert waits == [0.0] * FREE + [min(2.0**n, LONGEST) for n in range(12)]
    assert guesses.wrong("203.0.113.10", now).wait == 0.0, "another address"
    assert guesses.wrong("203.0.113.9", now + FORGET + 1).wait == 0.0


def test_who_does_not_wait_waits_no_longer_for_it() -> None:
    guesses = KeyGuesses()
    for _ in range(FREE):
        guesses.wrong("203.0.113.9", AT)
    assert [guesses.wrong("203.0.113.9", AT + part).wait for part in (0.0, 0.25, 0.5)] == [1.0, 0.75, 0.5]


def test_many_addresses_are_slowed_together_and_remembered_in_bounds() -> None:
    guesses = KeyGuesses()
    waits = [guesses.wrong(f"2001:db8:{n >> 16:x}:{n & 0xFFFF:x}::1", AT).wait for n in range(2 * ADDRESSES)]
    assert waits[:FREE_TOGETHER] == [0.0] * FREE_TOGETHER
    assert all(waits[FREE_TOGETHER:])
    assert len(guesses) == ADDRESSES


def test_the_log_is_spared_and_told_how_much_it_was_spared() -> None:
    guesses = KeyGuesses()
    judged = [guesses.wrong("203.0.113.9", AT) for _ in range(LOGGED + 30)]
    assert [one.logged for one in judged] == [True] * LOGGED + [False] * 30
    later = guesses.wrong("203.0.113.9", AT + 61)
    assert (later.logged, later.unlogged) == (True, 30)


def test_guessing_is_noticed_while_it_lasts() -> None:
    guesses = KeyGuesses()
    for n in range(ALARM):
        assert guesses.under_way(AT + n) is None
        guesses.wrong(f"203.0.113.{n}", AT + n)
    assert guesses.under_way(AT + ALARM) == ALARM
    guesses.wrong("203.0.113.9", AT + ALARM)
    assert guesses.under_way(AT + 2 * ALARM) == 2 * ALARM, "it began when it began"
    assert guesses.under_way(AT + ALARM + WINDOW + 1) is None


@given(
    st.lists(
        st.tuples(st.ip_addresses().map(str) | st.sampled_from(["203.0.113.9", ""]), st.floats(0, 2000)), max_size=80
    )
)
def test_no_wait_is_longer_than_the_longest(attempts: list[tuple[str, float]]) -> None:
    guesses, now = KeyGuesses(), AT
    for address, later in attempts:
        now += later
        assert 0.0 <= guesses.wrong(address, now).wait <= LONGEST
