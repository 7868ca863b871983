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
    assert (ours["from"], ours["to"], ours["ackName"]) == ("40722000111@c.us", "40722000111@c.us", "READ")


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


FRIEND, GROUP, OWN = "40722000111@s.whatsapp.net", "120363040123456789@g.us", "40712345678@s.whatsapp.net"


def _about(kind: str, one: dict[str, Any]) -> dict[str, Any]:
    """The payload of an event of that kind about a message."""
    if kind.startswith("message.ack"):
        member = {"participant": FRIEND} if one["chat"] == GROUP else {}
        return {"id": one["id"], "chat": one["chat"], "from_me": one["from_me"], "ack": 2, "body": {}, **member}
    about = {"target": one["id"], "target_author": one["sender"], "target_from_me": one["from_me"]}
    return {"message": one, **about, "options": ["yes"], "before": one}


def _shown_addresses(kind: str, payload: dict[str, Any]) -> list[tuple[str, str]]:
    if kind == "message.revoked":
        parts = [payload["after"], payload["before"]]
    elif kind.startswith("poll.vote"):
        parts = [payload["vote"], payload["poll"]]
    elif kind == "message.edited":
        parts = [payload, payload["_data"]["before"]]
    else:
        parts = [payload]
    return [(part["from"], part["to"]) for part in parts]


@pytest.mark.parametrize(
    ("chat", "from_me", "expected"),
    [
        (FRIEND, True, ("40722000111@c.us", "40722000111@c.us")),
        (FRIEND, False, ("40722000111@c.us", "40712345678@c.us")),
        (GROUP, True, (GROUP, GROUP)),
        (GROUP, False, (GROUP, GROUP)),
    ],
)
@pytest.mark.parametrize(
    "kind",
    ["message", "message.ack", "message.ack.group", "message.waiting", "message.reaction", "message.edited",
     "message.revoked", "poll.vote", "poll.vote.failed"],
)  # fmt: skip
def test_every_event_addresses_a_message_alike(kind: str, chat: str, from_me: bool, expected: tuple[str, str]) -> None:
    sender = OWN if from_me else FRIEND
    one = row(chat=chat, from_me=from_me, sender=sender, body={"participant": sender} if chat == GROUP else {})
    event = EventRow(7, "evt_1", "shop", kind, "c", 1.0, _about(kind, one))
    envelopes = list(waha_events(event, {"me": ME}))
    assert envelopes[-1]["event"] == ("message.any" if kind == "message" else kind)
    for envelope in envelopes:
        for addresses in _shown_addresses(kind, envelope["payload"]):
            assert addresses == expected


def test_the_presented_engine_gives_its_form_to_data() -> None:
    text = {"message": {"extendedTextMessage": {"text": "hi"}}, "push_name": "Ana", "participant": FRIEND}
    event = EventRow(7, "evt_1", "shop", "message", "c", 1.0, {"message": row(chat=GROUP, body=text)})
    (noweb, _), (gows, _) = (list(waha_events(event, {"me": ME, "presented": name})) for name in ("NOWEB", "GOWS"))
    assert (noweb["engine"], noweb["environment"]["engine"]) == ("NOWEB", "NOWEB")
    assert (gows["engine"], gows["environment"]["engine"]) == ("GOWS", "GOWS")
    data = noweb["payload"]["_data"]
    assert data["key"] == {"remoteJid": GROUP, "fromMe": False, "id": "3EB0AA", "participant": FRIEND}
    assert (data["messageTimestamp"], data["message"], "Info" in data) == (1700000000, text["message"], False)
    info = gows["payload"]["_data"]["Info"]
    assert (info["Chat"], info["Sender"], info["IsGroup"], info["ID"]) == (GROUP, FRIEND, True, "3EB0AA")
    assert (info["Timestamp"], info["PushName"]) == ("2023-11-14T22:13:20Z", "Ana")
    assert gows["payload"]["_data"]["Message"] == text["message"]
    assert "key" not in gows["payload"]["_data"]
    strip = ("_data",)
    assert {k: v for k, v in noweb["payload"].items() if k not in strip} == {
        k: v for k, v in gows["payload"].items() if k not in strip
    }
