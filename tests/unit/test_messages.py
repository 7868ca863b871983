"""Inbox rows become messages, acks, people and events: by table, and for whatever a sender may make up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.messages import Interpreted, interpret, merge, message_to_json
from holdfast.domain.rows import InboxRow, MessageRow

ME = {"phone": "40712345678", "lid": "999999:3@lid", "push_name": "Shop"}
OWN, OWN_LID = "40712345678@s.whatsapp.net", "999999@lid"
ANA, ANA_LID = "40722000111@s.whatsapp.net", "111222333@lid"
DAN = "40733000222@s.whatsapp.net"
GROUP = "120363040123456789@g.us"


def row(body: dict[str, Any], key: str = "k", **attrs: str) -> InboxRow:
    facts = {"from": ANA, "id": "3EB0AA", "t": "1700000000", **{k.rstrip("_"): v for k, v in attrs.items()}}
    return InboxRow(key, "message", facts, b"plain", body, 7, 1_800_000_000.5)


def receipt(body: dict[str, Any], **attrs: str) -> InboxRow:
    return InboxRow("r", "receipt", {"from": ANA, "id": "m1", "t": "1700000000", **attrs}, b"", body, 8, 0.0)


def one(body: dict[str, Any], **attrs: str) -> MessageRow:
    (found,) = interpret(row(body, **attrs), ME).messages
    return found


def text(value: str = "hi", **context: Any) -> dict[str, Any]:
    return {"extendedTextMessage": {"text": value, "contextInfo": context}}


# --- what a message says ----------------------------------------------------------------------------------------

SAYS: list[tuple[dict[str, Any], str, str]] = [
    ({"conversation": "hi"}, "text", "hi"),
    (text("hi"), "text", "hi"),
    ({"imageMessage": {"caption": "look", "mimetype": "image/jpeg"}}, "image", "look"),
    ({"videoMessage": {"caption": "see"}}, "video", "see"),
    ({"ptvMessage": {}}, "video", ""),
    ({"audioMessage": {"ptt": True}}, "audio", ""),
    ({"documentMessage": {"fileName": "a.pdf"}}, "document", ""),
    ({"stickerMessage": {"mimetype": "image/webp"}}, "sticker", ""),
    ({"locationMessage": {"degreesLatitude": 44.4, "degreesLongitude": 26.1, "name": "Home"}}, "location", "Home"),
    ({"contactMessage": {"displayName": "Ion", "vcard": "BEGIN:VCARD"}}, "contact", "Ion"),
    ({"contactsArrayMessage": {"contacts": [{"displayName": "A"}, {"displayName": "B"}]}}, "contact", "A, B"),
    ({"pollCreationMessageV3": {"name": "Tea?", "options": [{"optionName": "yes"}]}}, "poll", "Tea?"),
    ({"buttonsResponseMessage": {"selectedDisplayText": "Yes"}}, "text", "Yes"),
    ({"listResponseMessage": {"title": "Two"}}, "text", "Two"),
]


@pytest.mark.parametrize(("body", "kind", "says"), SAYS)
def test_each_kind_becomes_a_message_and_an_event(body: dict[str, Any], kind: str, says: str) -> None:
    result = interpret(row(body), ME)
    (found,) = result.messages
    assert (found.kind, found.text, found.chat, found.sender) == (kind, says, ANA, ANA)
    assert (found.from_me, found.ack, found.timestamp, found.raw) == (False, 2, 1_700_000_000.0, b"plain")
    (event,) = result.events
    assert (event.kind, event.chat, event.payload) == ("message", ANA, {"message": message_to_json(found)})
    assert "raw" not in event.payload["message"]


@pytest.mark.parametrize(
    "wrapper",
    ["ephemeralMessage", "viewOnceMessage", "viewOnceMessageV2", "viewOnceMessageV2Extension", "editedMessage",
     "documentWithCaptionMessage", "groupMentionedMessage", "associatedChildMessage", "groupStatusMessageV2"],
)  # fmt: skip
@pytest.mark.parametrize(("body", "kind", "says"), SAYS)
def test_wrappers_are_opened(wrapper: str, body: dict[str, Any], kind: str, says: str) -> None:
    found = one({"messageContextInfo": {}, wrapper: {"message": {"ephemeralMessage": {"message": body}}}})
    assert (found.kind, found.text) == (kind, says)
    assert found.body.get("view_once", False) == wrapper.startswith("viewOnce")


@pytest.mark.parametrize(
    "body",
    [
        {"senderKeyDistributionMessage": {"groupId": GROUP}},
        {"senderKeyDistributionMessage": {"groupId": GROUP}, "messageContextInfo": {}},
        {"protocolMessage": {"type": "HISTORY_SYNC_NOTIFICATION", "historySyncNotification": {}}},
        {"protocolMessage": {"type": "APP_STATE_SYNC_KEY_SHARE"}},
        {"protocolMessage": {"type": "PEER_DATA_OPERATION_REQUEST_RESPONSE_MESSAGE"}},
        {"deviceSentMessage": {"destinationJid": ANA, "message": {"protocolMessage": {"type": "INITIAL_SECURITY"}}}},
    ],
)
def test_what_is_whatsapps_own_business_is_done_and_not_shown(body: dict[str, Any]) -> None:
    result = interpret(row(body), ME)
    assert (result.seq, result.messages, result.edits, result.events) == (7, (), (), ())


@pytest.mark.parametrize("body", [{}, {"messageContextInfo": {"deviceListMetadataVersion": 2}}])
def test_what_cannot_be_decoded_is_kept_as_unknown_with_its_bytes(body: dict[str, Any]) -> None:
    found = one(body)
    assert (found.kind, found.raw) == ("unknown", b"plain")


def test_the_key_part_of_a_group_message_is_not_a_message() -> None:
    assert interpret(row({"conversation": "x"}, key="a|b|c|part0"), ME).messages == ()


def test_media_facts_are_kept_and_its_keys_only_in_the_raw_message() -> None:
    found = one({
        "documentMessage": {
            "mimetype": "application/pdf", "fileLength": 1234, "fileName": "a.pdf", "mediaKey": {"$b": "c2VjcmV0"},
        }
    })  # fmt: skip
    media = dict(found.body["media"])
    assert media.pop("file").endswith(".pdf")
    assert media == {
        "mimetype": "application/pdf", "size": 1234.0, "filename": "a.pdf", "seconds": None, "voice": False,
    }  # fmt: skip
    assert "c2VjcmV0" not in repr(message_to_json(found))


def test_a_quote_mentions_and_forwarding_are_told() -> None:
    found = one(
        text(
            "yes",
            stanzaId="3EB0Q",
            participant="40733000222:4@s.whatsapp.net",
            quotedMessage={"ephemeralMessage": {"message": {"imageMessage": {"caption": "this?"}}}},
            mentionedJid=["40733000222:4@s.whatsapp.net"],
            isForwarded=True,
        )
    )
    assert found.body["quoted"] == {"id": "3EB0Q", "participant": DAN, "text": "this?", "media": True}
    assert (found.body["mentions"], found.body["forwarded"]) == ([DAN], True)


def nested(wrap: str, depth: int) -> dict[str, Any]:
    body: dict[str, Any] = {"conversation": "x"}
    for _ in range(depth):
        body = {
            "quote": text("q", stanzaId="a", quotedMessage=body),
            "wrapper": {"editedMessage": {"message": body}},
            "edit": {"protocolMessage": {"type": "MESSAGE_EDIT", "key": {"id": "a"}, "editedMessage": body}},
            "sent": {"deviceSentMessage": {"destinationJid": ANA, "message": body}},
        }[wrap]
    return body


@pytest.mark.parametrize("wrap", ["quote", "wrapper", "edit", "sent"])
def test_a_sender_cannot_stall_the_inbox_by_nesting(wrap: str) -> None:
    assert interpret(row(nested(wrap, 2000)), ME).seq == 7


# --- where and from whom ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attrs", "body", "chat", "sender", "from_me"),
    [
        ({"from_": "40722000111:12@s.whatsapp.net"}, {"conversation": "x"}, ANA, ANA, False),
        ({"from_": "111222333:2@lid"}, {"conversation": "x"}, ANA_LID, ANA_LID, False),
        ({"from_": GROUP, "participant": "40722000111:2@s.whatsapp.net"}, {"conversation": "x"}, GROUP, ANA, False),
        ({"from_": GROUP, "participant": "999999:7@lid"}, {"conversation": "x"}, GROUP, OWN, True),
        ({"from_": GROUP, "participant": OWN}, {"conversation": "x"}, GROUP, OWN, True),
        ({"from_": "status@broadcast", "participant": ANA}, {"conversation": "x"}, "status@broadcast", ANA, False),
        ({"from_": "120363@newsletter"}, {"conversation": "x"}, "120363@newsletter", "120363@newsletter", False),
        ({"from_": "40712345678:0@s.whatsapp.net", "recipient": ANA}, {"conversation": "x"}, ANA, OWN, True),
        ({"from_": "999999:5@lid", "recipient": ANA_LID}, {"conversation": "x"}, ANA_LID, OWN, True),
        (
            {"from_": OWN, "recipient": ANA},
            {"deviceSentMessage": {"destinationJid": "40722000111:0@s.whatsapp.net", "message": {"conversation": "x"}}},
            ANA,
            OWN,
            True,
        ),
        ({"from_": OWN}, {"conversation": "note to self"}, OWN, OWN, True),
    ],
)
def test_chat_and_sender(attrs: dict[str, str], body: dict[str, Any], chat: str, sender: str, from_me: bool) -> None:
    found = one(body, **attrs)
    assert (found.chat, found.sender, found.from_me) == (chat, sender, from_me)
    assert found.ack == (1 if from_me else 2)


def test_a_stranger_cannot_speak_for_us_by_wrapping() -> None:
    found = one({"deviceSentMessage": {"destinationJid": DAN, "message": {"conversation": "x"}}})
    assert (found.chat, found.from_me) == (ANA, False)


def test_before_the_account_is_known_everything_is_from_others() -> None:
    (found,) = interpret(row({"conversation": "x"}, from_="-"), {}).messages
    assert not interpret(row({"conversation": "x"}), {}).messages[0].from_me
    assert found.chat == "-"


@pytest.mark.parametrize("stamp", ["", "soon", "-1", "²", "1e9"])
def test_a_missing_or_odd_time_falls_back_to_when_it_came(stamp: str) -> None:
    assert one({"conversation": "x"}, t=stamp).timestamp == 1_800_000_000.5


# --- people -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attrs", "pairs"),
    [
        ({"sender_lid": "111222333:4@lid"}, {(ANA_LID, ANA)}),
        ({"from_": "111222333:2@lid", "sender_pn": ANA}, {(ANA_LID, ANA)}),
        ({"from_": GROUP, "participant": "111222333:2@lid", "participant_pn": ANA}, {(ANA_LID, ANA)}),
        ({"from_": GROUP, "participant": ANA, "participant_lid": ANA_LID}, {(ANA_LID, ANA)}),
        ({"from_": "999999:1@lid", "recipient": ANA_LID, "peer_recipient_pn": ANA}, {(ANA_LID, ANA)}),
        ({"from_": "999999:1@lid", "recipient": ANA_LID, "recipient_pn": ANA}, {(ANA_LID, ANA)}),
        ({"from_": OWN, "recipient": ANA, "peer_recipient_lid": ANA_LID}, {(ANA_LID, ANA)}),
        ({}, set()),
        ({"from_": GROUP, "participant": ANA}, set()),
    ],
)
def test_mappings_are_learnt_from_every_stanza(attrs: dict[str, str], pairs: set[tuple[str, str]]) -> None:
    assert set(interpret(row({"conversation": "x"}, **attrs), ME).mappings) == pairs
    silent = {"protocolMessage": {"type": "APP_STATE_SYNC_KEY_SHARE"}}
    assert set(interpret(row(silent, **attrs), ME).mappings) == pairs


def test_a_push_name_makes_a_contact_of_others_only() -> None:
    named = row({"conversation": "x"}, from_="111222333:2@lid", sender_pn=ANA, notify="Ana")
    (contact,) = interpret(named, ME).contacts
    assert (contact.id, contact.phone, contact.lid, contact.push_name) == (ANA, "40722000111", ANA_LID, "Ana")
    (hidden,) = interpret(row({"conversation": "x"}, from_="111222333:2@lid", notify="Ana"), ME).contacts
    assert (hidden.id, hidden.phone, hidden.lid) == (ANA_LID, "", ANA_LID)
    assert interpret(row({"conversation": "x"}, from_=OWN, recipient=ANA, notify="Shop"), ME).contacts == ()


# --- about another message --------------------------------------------------------------------------------------


def revoke(target: str = "old", **key: str) -> dict[str, Any]:
    return {"protocolMessage": {"type": "REVOKE", "key": {"id": target, **key}}}


def edit(target: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"protocolMessage": {"type": "MESSAGE_EDIT", "key": {"id": target}, "editedMessage": body}}


def test_a_reaction_is_told_and_changes_no_message() -> None:
    result = interpret(row({"reactionMessage": {"text": "👍", "key": {"id": "old"}}}), ME)
    assert (result.messages, result.edits) == ((), ())
    (event,) = result.events
    assert (event.kind, event.payload["target"], event.payload["message"]["text"]) == ("message.reaction", "old", "👍")


@pytest.mark.parametrize(
    "body", [edit("old", {"conversation": "new"}), {"editedMessage": {"message": edit("old", {"conversation": "new"})}}]
)
def test_an_edit_names_the_message_and_keeps_its_kind(body: dict[str, Any]) -> None:
    result = interpret(row(body), ME)
    (changed,) = result.edits
    assert (changed.id, changed.kind, changed.text, changed.body) == (
        "old",
        "text",
        "new",
        {"edited": True, "change": "3EB0AA"},
    )
    (event,) = result.events
    assert (event.kind, event.payload["target"], event.payload["message"]["id"]) == ("message.edited", "old", "3EB0AA")
    assert result.messages == ()


def test_a_revoke_empties_the_message() -> None:
    for body in (revoke(), {"protocolMessage": {"key": {"id": "old"}}}):
        result = interpret(row(body), ME)
        (changed,) = result.edits
        assert (changed.id, changed.kind, changed.text, changed.body["revoked"]) == ("old", "revoked", "", True)
        assert result.events[0].kind == "message.revoked"


@pytest.mark.parametrize(
    ("attrs", "claimed", "author", "from_me"),
    [
        ({"from_": GROUP, "participant": DAN}, ANA, DAN, False),
        ({"from_": GROUP, "participant": DAN, "edit": "7"}, ANA, DAN, False),
        ({"from_": GROUP, "participant": DAN, "edit": "8"}, "40722000111:3@s.whatsapp.net", ANA, False),
        ({"from_": GROUP, "participant": DAN, "edit": "8"}, "999999:2@lid", OWN_LID, True),
        ({"from_": GROUP, "participant": OWN, "edit": "8"}, ANA, ANA, False),
        ({"from_": DAN, "edit": "8"}, ANA, DAN, False),
        ({"from_": OWN, "recipient": ANA}, ANA, OWN, True),
    ],
)
def test_only_a_groups_admin_deletes_what_others_wrote(
    attrs: dict[str, str], claimed: str, author: str, from_me: bool
) -> None:
    (changed,) = interpret(row(revoke(participant=claimed), **attrs), ME).edits
    assert (changed.sender, changed.from_me) == (author, from_me)


def waiting(**attrs: str) -> Interpreted:
    found = row({}, **attrs)
    return interpret(InboxRow("w", "waiting", found.attrs, b"", {}, 9), ME)


def test_what_cannot_be_read_keeps_its_place() -> None:
    result = waiting(from_="111222333:2@lid", sender_pn=ANA, notify="Ana")
    (message,) = result.messages
    assert (message.kind, message.text, message.id, message.chat) == ("waiting", "", "3EB0AA", ANA_LID)
    assert (result.seq, [event.kind for event in result.events]) == (9, ["message.waiting"])
    assert result.mappings == ((ANA_LID, ANA),)
    for attrs in ({"edit": "1"}, {"type": "reaction"}, {"category": "peer", "from_": OWN}):
        assert (waiting(**attrs).messages, waiting(**attrs).events) == ((), ())
    once = InboxRow("w", "waiting", row({}).attrs, b"", {"unavailable": "view_once_unavailable_fanout"}, 9)
    assert interpret(once, ME).messages[0].body["view_once"] is True


def resent(**key: Any) -> dict[str, Any]:
    one = {"key": {"id": "3EB0R", **key}, "timestamp": 1_700_000_100, "push_name": "Ana", "participant": ANA,
           "plaintext": {"$b": "cmF3"}, "body": {"conversation": "late"}}  # fmt: skip
    return {"protocolMessage": {"type": "PEER_DATA_OPERATION_REQUEST_RESPONSE_MESSAGE"}, "resent": [one]}


@pytest.mark.parametrize(
    ("key", "chat", "sender", "from_me"),
    [
        ({"remoteJid": ANA_LID}, ANA_LID, ANA_LID, False),
        ({"remoteJid": ANA, "fromMe": True}, ANA, OWN, True),
        ({"remoteJid": GROUP, "participant": DAN}, GROUP, DAN, False),
        ({"remoteJid": GROUP}, GROUP, ANA, False),
        ({"remoteJid": GROUP, "fromMe": True}, GROUP, OWN, True),
    ],
)
def test_what_our_phone_hands_us_is_as_if_it_came_by_itself(
    key: dict[str, Any], chat: str, sender: str, from_me: bool
) -> None:
    result = interpret(row(resent(**key), from_=OWN, category="peer"), ME)
    (message,) = result.messages
    assert (message.id, message.text, message.raw, message.timestamp) == ("3EB0R", "late", b"raw", 1_700_000_100.0)
    assert (message.chat, message.sender, message.from_me) == (chat, sender, from_me)
    assert [event.kind for event in result.events] == ["message"]


def test_nobody_else_hands_us_messages() -> None:
    for attrs in ({"from_": ANA, "category": "peer"}, {"from_": OWN}):
        assert interpret(row(resent(remoteJid=DAN), **attrs), ME).messages == ()


# --- receipts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "level"),
    [("", 2), ("inactive", 2), ("read", 3), ("played", 4), ("sender", None), ("read-self", None),
     ("played-self", None), ("retry", None)],
)  # fmt: skip
def test_receipts_raise_the_ack_of_each_message_they_name(kind: str, level: int | None) -> None:
    result = interpret(receipt({"type": kind, "ids": ["m1", "m2"]}), ME)
    assert result.acks == (() if level is None else ((ANA, "m1", level), (ANA, "m2", level)))
    assert [event.payload for event in result.events] == [
        {"id": id_, "chat": ANA, "from_me": True, "participant": None, "ack": level} for _, id_, _ in result.acks
    ]


def test_a_receipt_without_a_list_names_its_own_id() -> None:
    assert interpret(receipt({}, type="read"), ME).acks == ((ANA, "m1", 3),)


def test_a_groups_receipt_names_its_reader() -> None:
    group = {"from": GROUP, "participant": "111222333:1@lid", "participant_pn": ANA}
    result = interpret(receipt({"type": "read", "ids": ["m1"]}, **group), ME)
    assert (result.acks, result.mappings) == (((GROUP, "m1", 3),), ((ANA_LID, ANA),))
    assert result.events[0].payload["participant"] == ANA_LID


# --- all together -----------------------------------------------------------------------------------------------


def test_a_batch_is_merged_in_order() -> None:
    parts = [interpret(row({"conversation": "x"}, notify="Ana", sender_lid=ANA_LID), ME),
             interpret(receipt({"type": "read"}), ME), interpret(row(revoke()), ME), Interpreted(99)]  # fmt: skip
    merged = merge(parts)
    assert merged.done == [7, 8, 7, 99]
    assert [m.text for m in merged.messages] == ["x"]
    assert merged.acks == [(ANA, "m1", 3)]
    assert [e.id for e in merged.edits] == ["old"]
    assert [e.kind for e in merged.events] == ["message", "message.ack", "message.revoked"]
    assert (len(merged.contacts), merged.mappings) == (1, [(ANA_LID, ANA)])


ADDRESSES = st.sampled_from([ANA, "40722000111:3@s.whatsapp.net", ANA_LID, OWN, "999999:2@lid", GROUP, "-", "", "@",
                             "status@broadcast", "1:²@lid", "a_b:c@d@e"])  # fmt: skip
NAMES = st.sampled_from(["participant", "recipient", "sender_lid", "sender_pn", "participant_pn", "participant_lid",
                         "peer_recipient_pn", "peer_recipient_lid", "recipient_pn"])  # fmt: skip
BODIES = st.recursive(
    st.sampled_from([body for body, _, _ in SAYS] + [revoke(), {}]),
    lambda inner: st.one_of(
        inner.map(lambda b: {"ephemeralMessage": {"message": b}}),
        inner.map(lambda b: {"deviceSentMessage": {"destinationJid": ANA, "message": b}}),
        inner.map(lambda b: text("q", stanzaId="s", quotedMessage=b)),
        inner.map(lambda b: edit("old", b)),
        st.tuples(inner, inner).map(lambda pair: {**pair[0], **pair[1]}),
    ),
    max_leaves=6,
)


@given(BODIES, st.dictionaries(NAMES, ADDRESSES), ADDRESSES, st.text(max_size=4), st.sampled_from([ME, {}]))
def test_whatever_comes_is_dealt_with_once(
    body: dict[str, Any], attrs: dict[str, str], origin: str, stamp: str, me: dict[str, str]
) -> None:
    given_row = row(body, from_=origin, t=stamp, **attrs)
    result = interpret(given_row, me)
    assert result == interpret(given_row, me)
    assert result.seq == 7
    assert len(result.messages) + len(result.edits) <= 1
    assert len(result.events) <= 1
    for found in result.messages:
        assert ":" not in found.chat.partition("@")[0], "a chat is an account, never one of its devices"
        assert found.from_me or found.chat in (found.sender, GROUP, "status@broadcast")
    for lid, phone in result.mappings:
        assert lid.partition("@")[0]
        assert phone.partition("@")[0]
    assert interpret(receipt({"type": "read"}, **{"from": origin, **attrs}), me).seq == 8


def test_a_file_is_named_by_account_and_message_and_only_where_it_can_be_fetched() -> None:
    picture = {"imageMessage": {"mimetype": "image/jpeg", "url": "https://x/y"}}
    first = one(picture).body["media"]["file"]
    assert first == one(picture).body["media"]["file"]
    assert first.endswith(".jpg")
    (other,) = interpret(row(picture), {**ME, "phone": "40799999999"}).messages
    assert other.body["media"]["file"] != first, "two of our accounts in one group have a file each"
    (remote,) = interpret(replace(row(picture), plaintext=b""), ME).messages
    assert "file" not in remote.body["media"]
