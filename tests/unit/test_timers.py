"""What a message says of its chat's timer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.messages import interpret
from holdfast.domain.rows import InboxRow
from holdfast.domain.synced import synced
from holdfast.domain.timers import LONGEST, ChatTimer, timer_of

CHAT, LID, OURS = "40722000111@s.whatsapp.net", "777@lid", "40712345678@s.whatsapp.net"
ME = {"phone": "40712345678", "lid": "888@lid"}


def context(**facts: Any) -> dict[str, Any]:
    return {"extendedTextMessage": {"text": "x", "contextInfo": facts}}


@pytest.mark.parametrize(
    ("body", "seconds", "since"),
    [
        ({"protocolMessage": {"type": "EPHEMERAL_SETTING", "ephemeralExpiration": 86_400}}, 86_400, 50.0),
        ({"protocolMessage": {"type": "EPHEMERAL_SETTING"}}, 0, 50.0),
        ({"protocolMessage": {"type": 3, "ephemeralExpiration": 60}}, 60, 50.0),
        (context(expiration=604_800), 604_800, 50.0),
        (context(expiration=604_800, ephemeralSettingTimestamp=40), 604_800, 40.0),
        (context(expiration=0, ephemeralSettingTimestamp=40), 0, 40.0),
        ({"imageMessage": {"contextInfo": {"expiration": 60}}}, 60, 50.0),
        (context(expiration=2**40), LONGEST, 50.0),
    ],
)
def test_it_is_set_changed_and_switched_off(body: dict[str, Any], seconds: int, since: float) -> None:
    assert timer_of(body, CHAT, 50.0) == ChatTimer(CHAT, seconds, since)
    assert timer_of(body, LID, 50.0) == ChatTimer(LID, seconds, since)
    assert timer_of(body, "1@g.us", 50.0) is None, "a group says it itself"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"conversation": "x"},
        context(stanzaId="A"),
        context(expiration=0),
        {"protocolMessage": {"type": "REVOKE"}},
        {"protocolMessage": {"ephemeralExpiration": 60}},
        {"extendedTextMessage": {"contextInfo": {"quotedMessage": context(expiration=60)}}},
    ],
)
def test_what_says_nothing_changes_nothing(body: dict[str, Any]) -> None:
    assert timer_of(body, CHAT, 50.0) is None


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.dictionaries(
    st.sampled_from(["protocolMessage", "contextInfo", "expiration", "ephemeralSettingTimestamp", "type", "x"]), inner,
), max_leaves=12))  # fmt: skip
def test_nothing_that_is_sent_breaks_it(body: Any) -> None:
    timer = timer_of(body if isinstance(body, dict) else {}, CHAT, 50.0)
    assert timer is None or (0 <= timer.seconds <= LONGEST and timer.since > 0)


def row(body: dict[str, Any], **attrs: str) -> InboxRow:
    return InboxRow("k", "message", {"id": "A", "t": "50", **attrs}, b"x", body)


def test_both_sides_set_it_and_wrappers_do_not_hide_it() -> None:
    setting = {"protocolMessage": {"type": "EPHEMERAL_SETTING", "ephemeralExpiration": 60}}
    theirs = interpret(row(setting, **{"from": CHAT}), ME)
    assert theirs.timers == (ChatTimer(CHAT, 60, 50.0),)
    assert theirs.messages == ()
    mine = {"deviceSentMessage": {"destinationJid": CHAT, "message": setting}}
    assert interpret(row(mine, **{"from": OURS, "recipient": CHAT}), ME).timers == (ChatTimer(CHAT, 60, 50.0),)
    wrapped = {"ephemeralMessage": {"message": context(expiration=60)}}
    found = interpret(row(wrapped, **{"from": CHAT}), ME)
    assert found.timers == (ChatTimer(CHAT, 60, 50.0),)
    assert len(found.messages) == 1


def test_the_history_of_a_new_link_brings_them() -> None:
    items = [
        {"id": CHAT, "ephemeralExpiration": 60, "ephemeralSettingTimestamp": 9},
        {"id": LID, "ephemeralExpiration": 60},
        {"id": OURS},
    ]
    assert synced("chats", items, ME).timers == [ChatTimer(CHAT, 60, 9.0)]
