"""Why a message waits: one reason, the first that is true."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.domain.caps import Allowance
from holdfast.domain.rows import Waiting
from holdfast.domain.waiting import Circumstances, why
from tests.contract.rows import outgoing

NOW = 1_800_000_000.0
FREE = Waiting(outgoing(send_at=0.0), behind=False, answered=True, new=False)
FINE = Circumstances(NOW, working=True, said="Connected.")
STRANGER = replace(FREE, answered=False, new=True)


def row(**facts: object) -> Waiting:
    return replace(FREE, row=outgoing(**facts))


@pytest.mark.parametrize(
    ("waiting", "at", "code", "until"),
    [
        (FREE, FINE, "due", None),
        (row(state="sending", attempts=1), FINE, "sending", None),
        (row(send_at=NOW + 60), FINE, "scheduled", NOW + 60),
        (row(send_at=NOW + 60), replace(FINE, working=False), "scheduled", NOW + 60),
        (row(send_at=NOW + 4, attempts=2), FINE, "retry", NOW + 4),
        (row(expires_at=NOW), FINE, "expiring", NOW),
        (FREE, replace(FINE, working=False), "session", None),
        (row(state="sending", attempts=1), replace(FINE, working=False), "session", None),
        (replace(FREE, behind=True), FINE, "order", None),
        (FREE, replace(FINE, restricted_until=NOW + 9), "due", None),
        (STRANGER, replace(FINE, restricted_until=NOW + 9), "restricted", NOW + 9),
        (FREE, replace(FINE, allowed=Allowance(NOW + 7, 1, NOW + 8, 1)), "pacing", NOW + 7),
        (FREE, replace(FINE, allowed=Allowance(NOW, 1, NOW + 8, 1)), "due", None),
        (STRANGER, replace(FINE, allowed=Allowance(NOW, 1, NOW + 8, 1)), "new_chats", NOW + 8),
    ],
)
def test_reasons(waiting: Waiting, at: Circumstances, code: str, until: float | None) -> None:
    reason = why(waiting, at)
    assert reason is not None
    assert (reason.code, reason.until) == (code, until)
    assert reason.message.endswith(".")


@pytest.mark.parametrize("state", ["sent", "delivered", "read", "failed", "expired", "cancelled"])
def test_what_is_through_waits_for_nothing(state: str) -> None:
    assert why(row(state=state), FINE) is None
