"""The table of disconnects: every code, every tag, and what users are told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.disconnects import ALL, NETWORK, Kind, ban_seconds, classify

TERMINAL_CODES = {401: "logged_out", 403: "forbidden", 406: "account_gone", 411: "multidevice_mismatch"}
TAGS = ["device_removed", "credentials", "upgrade", "dns", "tls", "refused", "liveness", "engine",
        "engine_unavailable", "grant", "memory"]  # fmt: skip


@given(st.integers(-1, 1000), st.sampled_from(["", "failure", "socket", "replaced", "unheard of"]))
def test_only_four_codes_cost_the_credentials_and_a_code_never_proves_them_damaged(code: int, tag: str) -> None:
    row = classify(code, tag)
    assert (row.kind is Kind.TERMINAL) == (code in TERMINAL_CODES)
    assert row.code == TERMINAL_CODES.get(code, row.code)
    assert row.kind is not Kind.BROKEN


@given(st.integers(-1, 1000), st.sampled_from(TAGS))
def test_a_tag_says_more_than_a_code(code: int, tag: str) -> None:
    assert classify(code, tag) == classify(0, tag)


@pytest.mark.parametrize("tag", TAGS)
def test_what_a_tag_means_for_the_credentials(tag: str) -> None:
    kinds = {"device_removed": Kind.TERMINAL, "credentials": Kind.BROKEN}
    assert classify(401, tag).kind is kinds.get(tag, Kind.RETRY)


def test_what_is_not_known_is_a_lost_connection() -> None:
    assert [classify(code, "unheard of").code for code in (0, 418, 777)] == ["connection_lost"] * 3


@pytest.mark.parametrize("row", ALL, ids=lambda row: row.code)
def test_every_row_explains_itself(row: object) -> None:
    assert row in ALL
    code, sentence, advice, message = (getattr(row, name) for name in ("code", "sentence", "advice", "message"))
    assert code.replace("_", "").islower()
    assert sentence.endswith(".")
    assert message == (f"{sentence} {advice}" if advice else sentence)
    if getattr(row, "kind", None) is Kind.TERMINAL:
        assert "link" in advice.lower(), "a person must be told what to do"


def test_one_sessions_success_says_nothing_of_anothers_engine_lease_or_account() -> None:
    alone = {row.code for row in ALL} - NETWORK
    assert {"engine_crashed", "engine_unavailable", "grant_lapsed", "replaced", "temporarily_banned"} <= alone
    assert all(row.kind is Kind.RETRY for row in ALL if row.code in NETWORK)


@pytest.mark.parametrize(
    ("expire", "seconds"),
    [("5400", 5400.0), ("1.5", 1.5), ("0", 3600.0), ("-5", 3600.0), ("", 3600.0), ("soon", 3600.0),
     ("nan", 3600.0), ("inf", 3600.0), ("1e12", 3600.0)],
)  # fmt: skip
def test_a_bans_length_is_believed_within_reason(expire: str, seconds: float) -> None:
    assert ban_seconds({"expire": expire}) == seconds
    assert ban_seconds({}) == 3600.0
