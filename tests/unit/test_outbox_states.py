"""An outgoing message's states only move forward (G4)."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain import outbox

ALLOWED = {
    "queued": {"sending", "sent", "delivered", "read", "failed", "expired", "cancelled"},
    "sending": {"queued", "sent", "delivered", "read", "failed", "expired"},
    "sent": {"delivered", "read"},
    "delivered": {"read"},
    "read": set(),
    "failed": set(),
    "expired": set(),
    "cancelled": set(),
}


@pytest.mark.parametrize(("before", "after"), list(itertools.product(ALLOWED, ALLOWED)))
def test_every_move_is_defined(before: str, after: str) -> None:
    assert outbox.may_move(before, after) == (after in ALLOWED[before])


@given(st.lists(st.sampled_from(sorted(ALLOWED)), max_size=40))
def test_what_was_acknowledged_stays_acknowledged_and_an_end_is_an_end(wishes: list[str]) -> None:
    current, path = "queued", ["queued"]
    for wish in wishes:
        if outbox.may_move(current, wish):
            current = wish
            path.append(wish)
    acknowledged = [state in outbox.ACKNOWLEDGED for state in path]
    assert acknowledged == sorted(acknowledged), "an acknowledged message was taken back"
    assert all(state not in outbox.FINAL for state in path[:-1])


def test_the_tables_name_every_state() -> None:
    assert set(ALLOWED) == outbox.STATES == set(outbox.ACK_OF_STATE)
    assert {state for state, after in ALLOWED.items() if not after} == outbox.FINAL
    assert all(outbox.ACK_OF_STATE[state] == level for level, state in outbox.STATE_OF_ACK.items() if level < 4)
