"""From WAHA's events and pages to inbox rows, and on to messages as the Baileys engine's become them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.messages import interpret
from holdfast.domain.remote_messages import ack_of, chats, history, inbox_rows, own_phone
from holdfast.domain.rows import MessageRow

OWN, FRIEND, GROUP = "40712345678", "40722000111@c.us", "120363000000000001@g.us"
ME = {"phone": OWN}
Json = dict[str, Any]


def told(**changes: Any) -> Json:
    """A message from the friend as WAHA tells it."""
    plain: Json = {
        "id": f"false_{FRIEND}_AAAA1111",
        "timestamp": 1_800_000_000,
        "from": FRIEND,
        "fromMe": False,
        "source": "app",
        "to": f"{OWN}@c.us",
        "participant": None,
        "body": "hello",
        "hasMedia": False,
        "media": None,
        "ack": 2,
        "location": None,
        "vCards": None,
        "replyTo": None,
        "_data": {},
    }
    return plain | changes


def message(payload: Json, event: str = "message") -> MessageRow:
    (row,) = inbox_rows(event, payload, OWN)
    (found,) = interpret(row, ME).messages
    return found


def test_a_text() -> None:
    found = message(told(_data={"pushName": "Ana"}))
    assert (found.id, found.chat, found.from_me) == ("AAAA1111", "40722000111@s.whatsapp.net", False)
    assert (found.text, found.timestamp, found.body["push_name"]) == ("hello", 1_800_000_000.0, "Ana")


def test_both_events_of_a_message_and_its_page_are_one_row() -> None:
    keys = {row.key for event in ("message", "message.any") for row in inbox_rows(event, told(), OWN)}
    assert len(keys) == 1


def test_what_we_wrote_on_the_phone() -> None:
    for id_, sender, to in (
        (f"true_{FRIEND}_BBBB2222", f"{OWN}@c.us", FRIEND),
        ("BBBB2222", f"{OWN}@c.us", FRIEND),
        ("BBBB2222", FRIEND, FRIEND),
        ("BBBB2222", FRIEND, ""),
    ):
        found = message(told(id=id_, fromMe=True, **{"from": sender}, to=to))
        ours = ("40722000111@s.whatsapp.net", True, f"{OWN}@s.whatsapp.net")
        assert (found.chat, found.from_me, found.sender) == ours


@pytest.mark.parametrize("mine", [False, True])
def test_a_group(mine: bool) -> None:
    word = "true" if mine else "false"
    ours = {
        "id": f"{word}_{GROUP}_CCCC3333_{FRIEND}",
        "from": GROUP,
        "to": GROUP,
        "participant": FRIEND,
        "fromMe": mine,
    }
    found = message(told(**ours))
    assert (found.chat, found.from_me) == (GROUP, mine)
    assert found.sender == (f"{OWN}@s.whatsapp.net" if mine else "40722000111@s.whatsapp.net")


def test_a_reply_quotes() -> None:
    found = message(told(replyTo={"id": "DDDD4444", "participant": FRIEND, "body": "before"}))
    assert found.text == "hello"
    assert found.body["quoted"]["id"] == "DDDD4444"
    assert found.body["quoted"]["text"] == "before"


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"hasMedia": True, "media": {"mimetype": "image/png", "filename": None}}, "image"),
        ({"hasMedia": True, "media": {"mimetype": "audio/ogg"}}, "audio"),
        ({"hasMedia": True, "media": None}, "document"),
        ({"location": {"latitude": "44.4", "longitude": "26.1"}}, "location"),
        ({"vCards": ["BEGIN:VCARD\nFN:Ana\nEND:VCARD"]}, "contact"),
    ],
)
def test_kinds(given: Json, kind: str) -> None:
    assert message(told(**given)).kind == kind
    (kept,) = history([told(**given)], OWN).messages
    assert kept.kind == kind


def test_a_card_s_name_stands_on_one_line() -> None:
    """A match over many lines took seconds for a card of lines `FN`."""
    card = "BEGIN:VCARD\nFN\nORG:Shop\n" + "FN\n" * 50_000 + "FN;CHARSET=UTF-8:Ana\nEND:VCARD"
    assert message(told(vCards=[card])).text == "Ana"


@pytest.mark.parametrize(("level", "ack"), [(2, 2), (3, 3), (4, 4)])
def test_acks_are_receipts(level: int, ack: int) -> None:
    ours = told(id=f"true_{FRIEND}_EEEE5555", fromMe=True, ack=level, to=FRIEND)
    (row,) = inbox_rows("message.ack", ours, OWN)
    assert interpret(row, ME).acks == (("40722000111@s.whatsapp.net", "EEEE5555", ack),)
    assert row.key.endswith(f"ack{level}")


@pytest.mark.parametrize("change", [{"ack": 1}, {"ack": 0}, {"ack": -1}, {"fromMe": False}, {"ack": None}])
def test_what_is_no_receipt(change: Json) -> None:
    assert inbox_rows("message.ack", told(id=f"true_{FRIEND}_EEEE5555", fromMe=True, ack=2) | change, OWN) == []


def test_reactions_edits_and_revokes_name_their_target() -> None:
    reaction = told(id=f"false_{FRIEND}_R1", reaction={"text": "👍", "messageId": f"true_{FRIEND}_AAAA1111"})
    edited = told(id=f"false_{FRIEND}_E1", body="better", editedMessageId="AAAA1111")
    revoked = {"revokedMessageId": "AAAA1111", "after": told(id=f"false_{FRIEND}_V1"), "before": None}
    for event, payload in (
        ("message.reaction", reaction),
        ("message.edited", edited),
        ("message.revoked", revoked),
    ):
        (row,) = inbox_rows(event, payload, OWN)
        (said, *_) = interpret(row, ME).events
        assert (said.kind, said.payload["target"]) == (event, "AAAA1111")


def test_addresses_that_hide_a_number_are_mapped_where_waha_knows_both() -> None:
    payload = told(id="false_999000111@lid_FFFF6666", **{"from": "999000111@lid"})
    payload["_data"] = {"key": {"remoteJidAlt": "40722000111@s.whatsapp.net"}}
    (row,) = inbox_rows("message", payload, OWN)
    assert interpret(row, ME).mappings == (("999000111@lid", "40722000111@s.whatsapp.net"),)


@pytest.mark.parametrize("payload", [{}, {"id": "x"}, {"id": None, "from": FRIEND}, {"id": "false_nowhere_X"}])
def test_what_has_no_id_or_chat_is_refused(payload: Json) -> None:
    with pytest.raises(ValueError, match="without an id or a chat"):
        inbox_rows("message", payload, OWN)
    assert history([payload], OWN).messages == []


def test_pages_of_chats() -> None:
    rows = chats(
        [
            {"id": FRIEND, "name": "Ana", "lastMessage": {"timestamp": 5}},
            {"id": {"_serialized": GROUP}, "conversationTimestamp": 1_800_000_000_000},
            {"id": "status@broadcast"},
            {},
        ]
    ).chats
    assert [(row.id, row.name, row.timestamp) for row in rows] == [
        ("40722000111@s.whatsapp.net", "Ana", 5.0),
        (GROUP, "", 1_800_000_000.0),
    ]


@pytest.mark.parametrize("stamp", ["inf", "nan", -1, 1e300, None, "soon", {}])
def test_times_that_are_none(stamp: object) -> None:
    (row,) = inbox_rows("message", told(timestamp=stamp), OWN)
    assert row.attrs["t"] == "0"


def test_small_facts() -> None:
    assert own_phone({"id": f"{OWN}@c.us"}) == own_phone({"id": f"{OWN}:12@s.whatsapp.net"}) == OWN
    assert own_phone(None) == own_phone({}) == ""
    assert ack_of({"fromMe": True, "ack": 3, "id": f"true_{FRIEND}_X1"}) == ("X1", 3)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**13) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = (*told(), "reaction", "editedMessageId", "revokedMessageId", "after", "before", "author")
EVENTS = ("message", "message.any", "message.ack", "message.reaction", "message.edited", "message.revoked", "else")


@given(st.sampled_from(EVENTS), st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6))
def test_whatever_waha_tells_is_read_or_refused(event: str, changes: Json) -> None:
    payload = told(**changes)
    try:
        rows = inbox_rows(event, payload, OWN)
    except ValueError:
        rows = []
    for row in rows:
        interpret(row, ME)
    history([payload], OWN)
