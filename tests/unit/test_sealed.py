"""What is sealed under a message's secret: by wasim's phone code, opened by Holdfast's."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest

from holdfast.domain.messages import Interpreted, interpret
from holdfast.domain.rows import InboxRow, MessageRow
from holdfast.runtime.sealed import opened, secret_of
from wasim.phone_more import seal
from wasim.wire.messages import from_json, schema
from wasim.wire.protobuf import encode

ME = {"phone": "40700000001", "lid": "999@lid"}
OWN, OWN_LID = "40700000001@s.whatsapp.net", "999@lid"
ANA, ANA_LID = "40700000002@s.whatsapp.net", "111@lid"
SECRET = bytes(range(32))
BY_ANA = {"from": ANA_LID, "sender_pn": ANA, "id": "3EB0EDIT", "t": "1700000000", "edit": "1"}
BY_US = {"from": OWN_LID, "recipient": ANA_LID, "id": "3EB0EDIT", "t": "1700000000", "edit": "1"}


def b(data: bytes) -> dict[str, str]:
    return {"$b": base64.b64encode(data).decode()}


def message(attrs: dict[str, str], body: dict[str, Any]) -> MessageRow:
    context = {"messageContextInfo": {"messageSecret": b(SECRET)}}
    [row] = interpret(InboxRow("m", "message", {**attrs, "id": "M"}, b"x", {**body, **context}, 1), ME).messages
    return row


def edit_of(attrs: dict[str, str], author: str, sender: str, inside: dict[str, Any]) -> InboxRow:
    plain = encode(schema("Message"), from_json(schema("Message"), inside))
    sealed = {
        name: b(data) for name, data in seal(SECRET, "Message Edit", "M", plain, author=author, sender=sender).items()
    }
    key = {"remoteJid": ANA_LID, "fromMe": True, "id": "M"}
    return InboxRow(
        "e", "message", attrs, b"sealed",
        {"secretEncryptedMessage": {"targetMessageKey": key, "secretEncType": "MESSAGE_EDIT", **sealed}}, 2,
    )  # fmt: skip


def edit(text: str, target: str = "M") -> dict[str, Any]:
    key = {"remoteJid": ANA_LID, "fromMe": True, "id": target}
    return {"protocolMessage": {"type": "MESSAGE_EDIT", "key": key, "editedMessage": {"conversation": text}}}


def outcome(row: InboxRow, target: MessageRow | None) -> Interpreted:
    [sealed] = interpret(row, ME).sealed
    return opened(sealed, target, ME)


TEXT = message(BY_ANA, {"conversation": "at 6"})


@pytest.mark.parametrize("author", [ANA, ANA_LID])
@pytest.mark.parametrize("sender", [ANA, ANA_LID])
@pytest.mark.parametrize(
    "inside",
    [
        edit("at 7"),
        {"conversation": "at 7"},
        {"editedMessage": {"message": edit("at 7")}},
        {"protocolMessage": {"type": "MESSAGE_EDIT", "editedMessage": {"extendedTextMessage": {"text": "at 7"}}}},
    ],
)
def test_an_edit_is_opened_by_number_and_by_lid(author: str, sender: str, inside: dict[str, Any]) -> None:
    result = outcome(edit_of(BY_ANA, author, sender, inside), TEXT)
    [change], [event] = result.edits, result.events
    assert (change.id, change.text, change.sender, change.body["change"]) == ("M", "at 7", ANA_LID, "3EB0EDIT")
    assert (event.kind, event.payload["target"], result.awaiting) == ("message.edited", "M", ())


def test_a_caption_is_edited_and_the_file_stays() -> None:
    inside = {
        "protocolMessage": {"type": 14, "key": {"id": "M"}, "editedMessage": {"imageMessage": {"caption": "new"}}}
    }
    [change] = outcome(edit_of(BY_ANA, ANA_LID, ANA_LID, inside), TEXT).edits
    assert (change.kind, change.text) == ("image", "new")


def test_our_own_phone_edits_what_holdfast_sent() -> None:
    raw = encode(schema("Message"), {"conversation": "at 6", "messageContextInfo": {"messageSecret": SECRET}})
    sent = replace(message(BY_US, {"conversation": "at 6"}), raw=raw, body={"source": "api"})
    assert secret_of(sent) == SECRET
    for author in (OWN, OWN_LID):
        [change] = outcome(edit_of(BY_US, author, OWN_LID, edit("at 7")), sent).edits
        assert (change.text, change.from_me) == ("at 7", True)


@pytest.mark.parametrize(
    "target",
    [
        None,
        replace(TEXT, kind="waiting", body={}, raw=b""),
        replace(TEXT, body={}, raw=b"no protobuf"),
        replace(TEXT, body={}),
    ],
)
def test_what_has_no_secret_yet_waits_for_it(target: MessageRow | None) -> None:
    result = outcome(edit_of(BY_ANA, ANA_LID, ANA_LID, edit("at 7")), target)
    assert [event.kind for event in result.events] == ["message.waiting"]
    assert [(row.target, row.body) for row in result.awaiting] == [("M", {"inbox": 2})]
    assert result.messages == result.edits == ()


def test_what_does_not_open_is_told_and_changes_nothing() -> None:
    wrong = replace(TEXT, body={"secret": base64.b64encode(bytes(32)).decode()})
    others = edit_of({**BY_ANA, "from": "222@lid", "sender_pn": ""}, ANA_LID, "333@lid", edit("at 7"))
    another = edit_of(BY_ANA, ANA_LID, ANA_LID, edit("at 7", target="N"))
    revoke = edit_of(BY_ANA, ANA_LID, ANA_LID, {"protocolMessage": {"type": "REVOKE", "key": {"id": "M"}}})
    for row, target in (
        (edit_of(BY_ANA, ANA_LID, ANA_LID, edit("at 7")), wrong), (others, TEXT), (another, TEXT), (revoke, TEXT),
    ):  # fmt: skip
        result = outcome(row, target)
        assert [event.kind for event in result.events] == ["message.waiting"]
        assert result.edits == result.messages == result.awaiting == ()


def sealed_as(use: str, field: str, kind: str, inside: dict[str, Any]) -> InboxRow:
    plain = encode(schema(kind), from_json(schema(kind), inside))
    boxed = {name: b(data) for name, data in seal(SECRET, use, "M", plain, author=ANA_LID, sender=OWN_LID).items()}
    name = "eventCreationMessageKey" if use == "Event Response" else "targetMessageKey"
    body = {field: {name: {"remoteJid": ANA_LID, "fromMe": False, "id": "M"}, **boxed}}
    return InboxRow("e", "message", BY_US, b"sealed", body, 2)


def test_reactions_comments_and_answers_are_opened() -> None:
    reaction = outcome(sealed_as("Enc Reaction", "encReactionMessage", "Message.ReactionMessage", {"text": "👍"}), TEXT)
    assert [(row.kind, row.target, row.text) for row in reaction.addons] == [("reaction", "M", "👍")]
    assert [event.kind for event in reaction.events] == ["message.reaction"]
    comment = outcome(sealed_as("Enc Comment", "encCommentMessage", "Message", {"conversation": "me too"}), TEXT)
    assert [(row.text, row.body["quoted"]["id"]) for row in comment.messages] == [("me too", "M")]
    party = message(BY_ANA, {"eventMessage": {"name": "Party", "description": "at ours"}})
    assert party.text == "Party\nat ours"
    facts = {"response": "GOING", "extraGuestCount": 2}
    answer = outcome(
        sealed_as("Event Response", "encEventResponseMessage", "Message.EventResponseMessage", facts), party
    )
    assert [(event.kind, event.payload["response"]["extraGuestCount"]) for event in answer.events] == [
        ("event.response", 2)
    ]
    assert [(row.kind, row.body["response"]) for row in answer.addons] == [("answer", "GOING")]
