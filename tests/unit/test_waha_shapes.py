"""WAHA's words for our facts, by table."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.domain.errors import InvalidChatId
from holdfast.domain.rows import EventRow
from holdfast.domain.waha import from_waha_id, me_info, message, message_id, plain_message_id, to_waha_id, waha_events

ME = {"phone": "40712345678", "lid": "999999:3@lid", "push_name": "Shop"}


@pytest.mark.parametrize(
    ("given", "inside"),
    [
        ("40722000111@c.us", "40722000111@s.whatsapp.net"),
        ("40722000111@s.whatsapp.net", "40722000111@s.whatsapp.net"),
        ("40722000111:12@s.whatsapp.net", "40722000111@s.whatsapp.net"),
        (" +40 722 000-111 ", "40722000111@s.whatsapp.net"),
        ("0040722000111", "40722000111@s.whatsapp.net"),
        ("123456789012345@lid", "123456789012345@lid"),
        ("120363040123456789@g.us", "120363040123456789@g.us"),
        ("40722000111-1500000000@g.us", "40722000111-1500000000@g.us"),
        ("status@broadcast", "status@broadcast"),
    ],
)
def test_chat_ids_that_are_understood(given: str, inside: str) -> None:
    assert from_waha_id(given) == inside
    assert from_waha_id(to_waha_id(inside)) == inside


@pytest.mark.parametrize(
    "given",
    ["", "@", "@c.us", "ana", "ana@c.us", "0712345678", "40722000111@", "40722000111@gmail.com", "1@c.us",
     "40722000111@c.us@c.us", "٤٠٧٢٢٠٠٠١١١٢", "4072200\n0111@c.us", "9" * 40, "other@broadcast"],
)  # fmt: skip
def test_chat_ids_that_are_none(given: str) -> None:
    with pytest.raises(InvalidChatId):
        from_waha_id(given)


def row(**change: Any) -> dict[str, Any]:
    return {
        "id": "3EB0AA", "chat": "40722000111@s.whatsapp.net", "from_me": False,
        "sender": "40722000111@s.whatsapp.net", "timestamp": 1700000000.7, "kind": "text", "text": "hi", "ack": 2,
        "body": {}, **change,
    }  # fmt: skip


def test_a_message_from_another_and_one_of_ours() -> None:
    theirs = message(row(), ME)
    assert theirs["id"] == "false_40722000111@c.us_3EB0AA"
    assert (theirs["from"], theirs["to"], theirs["timestamp"]) == ("40722000111@c.us", "40712345678@c.us", 1700000000)
    assert (theirs["ack"], theirs["ackName"], theirs["hasMedia"], theirs["participant"]) == (2, "DEVICE", False, None)
    ours = message(row(from_me=True, ack=3), ME)
    assert ours["id"] == "true_40722000111@c.us_3EB0AA"
    assert (ours["from"], ours["to"], ours["ackName"]) == ("40712345678@c.us", "40722000111@c.us", "READ")


def test_a_group_message_names_its_sender() -> None:
    sender = "40722000111@s.whatsapp.net"
    shaped = message(row(chat="120363040123456789@g.us", body={"participant": sender}), ME)
    assert shaped["id"] == "false_120363040123456789@g.us_3EB0AA_40722000111@c.us"
    assert (shaped["from"], shaped["participant"]) == ("120363040123456789@g.us", "40722000111@c.us")


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ("true_40722000111@c.us_3EB0AA", "3EB0AA"),
        ("false_1203@g.us_3EB0AA_40722000111@c.us", "3EB0AA"),
        ("3EB0AA", "3EB0AA"),
        ("other_a_b", "other_a_b"),
    ],
)
def test_message_ids_are_taken_apart(given: str, plain: str) -> None:
    assert plain_message_id(given) == plain
    assert plain_message_id(message_id(row())) == "3EB0AA"


def test_the_account() -> None:
    assert me_info(ME) == {"id": "40712345678@c.us", "lid": "999999@lid", "pushName": "Shop"}
    assert me_info({}) is None


def test_one_entry_of_the_log_becomes_its_envelopes() -> None:
    event = EventRow(7, "evt_1", "shop", "message", "c", 1700000000.5, {"message": row()})
    facts = {"me": ME, "metadata": {"a": "b"}}
    both = list(waha_events(event, facts))
    assert [(e["id"], e["event"]) for e in both] == [("evt_1", "message"), ("evt_1.1", "message.any")]
    assert both[0]["timestamp"] == 1700000000500
    assert both[0]["metadata"] == {"a": "b"}
    assert both == list(waha_events(event, facts))
    own = EventRow(8, "evt_2", "shop", "message", "c", 1.0, {"message": row(from_me=True)})
    assert [e["event"] for e in waha_events(own, facts)] == ["message.any"]
