"""Every kind of content of the engine's protobuf is classified on purpose: message, update, system event, ignored."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.domain.content import read, unwrap
from holdfast.domain.message_types import (
    ALBUM,
    MESSAGE_TYPES,
    PARTS_OF_ANOTHER,
    PROTOCOL_TYPES,
    WRAPPERS,
    Treatment,
)
from holdfast.domain.messages import Interpreted, interpret
from holdfast.domain.rows import InboxRow
from scripts import message_schema

MESSAGES, ENUMS = message_schema.read((message_schema.PACKAGE / "WAProto/WAProto.proto").read_text("utf-8"))
message_schema.resolve(MESSAGES, ENUMS)
ME = {"phone": "40700000001", "lid": "999999@lid"}
ANA = "40700000002@s.whatsapp.net"


def filled(kind: str, depth: int = 6) -> Any:
    """Something in every field that says something, as the sidecar gives it."""
    samples: dict[str, Any] = {"string": "said", "bytes": {"$b": "AAEC"}, "bool": True}
    if kind in ENUMS:
        return list(ENUMS[kind])[-1]
    if kind not in MESSAGES:
        return samples.get(kind, 7)
    found: dict[str, Any] = {}
    for name, type_, *label in MESSAGES[kind].values():
        if depth and type_ != "Message" and name not in ("contextInfo", "messageContextInfo"):
            value = filled(type_, depth - 1)
            found[name] = [value] if label and label != ["map"] else {} if label else value
    return found


def came(body: dict[str, Any]) -> Interpreted:
    attrs = {"from": ANA, "id": "3EB0AA", "t": "1700000000"}
    return interpret(InboxRow("k", "message", attrs, b"plain", body, 7, 1.0), ME)


def test_the_tables_name_exactly_what_the_engine_knows() -> None:
    assert {field[0] for field in MESSAGES["Message"].values()} == MESSAGE_TYPES.keys()
    assert ENUMS["Message.ProtocolMessage.Type"].keys() == PROTOCOL_TYPES.keys()
    assert PARTS_OF_ANOTHER | {ALBUM} <= ENUMS["MessageAssociation.AssociationType"].keys()
    kinds = {field[0]: field[1] for field in MESSAGES["Message"].values()}
    held = {name for name, kind in kinds.items() if kind.endswith("FutureProofMessage")}
    assert set(WRAPPERS) == {name for name in held if MESSAGE_TYPES[name] is not Treatment.IGNORED}


def test_the_field_tables_are_those_of_the_engine() -> None:
    for target in message_schema.TARGETS:
        assert target.read_text("utf-8") == message_schema.table(), f"{target.name}: run scripts/message_schema.py"


@pytest.mark.parametrize("field", list(MESSAGES["Message"].values()), ids=lambda field: field[0])
def test_each_field_is_treated_as_its_table_says(field: list[Any]) -> None:
    name, kind = field[0], field[1]
    treatment = MESSAGE_TYPES[name]
    inner = {"message": {"conversation": "inside"}}
    body = {name: inner if treatment is Treatment.WRAPPER else filled(kind)}
    if name == "commentMessage":
        body = {name: inner}
    elif name == "sendPaymentMessage":
        body = {name: {"noteMessage": {"conversation": "said"}}}
    elif name == "protocolMessage":
        body = {name: {"type": "REVOKE", "key": {"id": "3EB0BB", "fromMe": True}}}
    elif name == "secretEncryptedMessage":
        body = {name: {**filled(kind), "secretEncType": "MESSAGE_EDIT"}}
    result = came(body)
    kinds = [event.kind for event in result.events]
    match treatment:
        case Treatment.MESSAGE | Treatment.WRAPPER:
            assert kinds == ["message"]
            [row] = result.messages
            assert row.kind != "unknown"
            assert row.text or row.kind in ("audio", "sticker") or "media" in row.body
        case Treatment.UPDATE:
            assert not result.messages
            assert result.addons or result.edits or result.sealed or kinds == ["message.pinned"]
        case Treatment.SYSTEM:
            assert (result.messages, kinds) == ((), ["message.system"])
        case Treatment.PLACEHOLDER:
            assert [row.kind for row in result.messages] == ["waiting"]
            assert kinds == ["message.waiting"]
        case Treatment.IGNORED:
            assert (result.messages, result.edits, result.addons, kinds) == ((), (), (), [])


@pytest.mark.parametrize(("name", "treatment"), PROTOCOL_TYPES.items())
def test_each_protocol_type_is_treated_as_its_table_says(name: str, treatment: Treatment) -> None:
    body = {"protocolMessage": {"type": name, "key": {"id": "3EB0BB"}, "editedMessage": {"conversation": "new"}}}
    result = came(body)
    kinds = [event.kind for event in result.events]
    expected = {Treatment.SYSTEM: ["message.system"], Treatment.IGNORED: []}
    if treatment is Treatment.UPDATE:
        assert kinds == [{"REVOKE": "message.revoked", "MESSAGE_EDIT": "message.edited"}[name]]
    else:
        assert (result.messages, kinds) == ((), expected[treatment])


@pytest.mark.parametrize("wrapper", ["", "viewOnceMessage", "ephemeralMessage"])
@pytest.mark.parametrize("inside", [{}, {"messageContextInfo": {}}, {"aKindOfTomorrow": {"x": 1}}])
def test_what_this_version_cannot_read_is_no_empty_message(wrapper: str, inside: dict[str, Any]) -> None:
    result = came({wrapper: {"message": inside}} if wrapper else inside)
    assert [event.kind for event in result.events] == ["message.waiting"]
    assert [row.kind for row in result.messages] == ["unknown"]


@pytest.mark.parametrize("kind", ENUMS["MessageAssociation.AssociationType"])
def test_parts_of_another_message_are_no_messages_and_albums_are_grouped(kind: str) -> None:
    association = {"associationType": kind, "parentMessageKey": {"id": "3EB0PARENT"}}
    body = {"imageMessage": {"mimetype": "image/jpeg"}, "messageContextInfo": {"messageAssociation": association}}
    result = came(body)
    assert [event.kind for event in result.events] == ([] if kind in PARTS_OF_ANOTHER else ["message"])
    assert [row.body.get("album") for row in result.messages if kind == ALBUM] == ["3EB0PARENT"] * (kind == ALBUM)


def test_an_opened_message_is_read_at_any_depth() -> None:
    body: dict[str, Any] = {"conversation": "deep"}
    for name in WRAPPERS[:7]:
        body = {name: {"message": body}}
    content = read(unwrap(body).body)
    assert content is not None
    assert content.text == "deep"
