"""Notifications about groups become events, names and mappings; metadata becomes WAHA's shapes."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.domain.groups import info
from holdfast.domain.messages import interpret
from holdfast.domain.rows import InboxRow

ME = {"phone": "40712345678", "lid": "999999@lid"}
GROUP = "120363040123456789@g.us"
ANA = {"jid": "111@lid", "phone_number": "40722000111@s.whatsapp.net"}
US = {"jid": "999999@lid", "phone_number": "40712345678@s.whatsapp.net"}


def child(tag: str, *children: dict[str, Any], text: str = "", **attrs: str) -> dict[str, Any]:
    return {"tag": tag, "attrs": attrs, "text": text, "children": list(children)}


def told(*children: dict[str, Any], **attrs: str) -> list[tuple[str, dict[str, Any]]]:
    facts = {"from": GROUP, "type": "w:gp2", "t": "1700000000", "participant": "222@lid", **attrs}
    result = interpret(InboxRow("k", "group", facts, b"", {"children": list(children)}, 7), ME)
    assert all(event.chat == GROUP and event.payload["timestamp"] == 1_700_000_000 for event in result.events)
    assert all(event.payload["_data"]["author"] == "222@lid" for event in result.events)
    return [
        (event.kind, {k: v for k, v in event.payload.items() if k not in ("timestamp", "_data")})
        for event in result.events
    ]


@pytest.mark.parametrize(
    ("tag", "change", "role"),
    [("add", "join", "participant"), ("remove", "leave", "left"), ("promote", "promote", "admin"),
     ("demote", "demote", "participant")],
)  # fmt: skip
def test_changes_of_members(tag: str, change: str, role: str) -> None:
    [(kind, payload)] = told(child(tag, child("participant", **ANA)))
    assert kind == "group.v2.participants"
    member = {"id": "111@lid", "role": role, "pn": "40722000111@c.us"}
    assert payload == {"type": change, "group": {"id": GROUP}, "participants": [member]}


def test_we_join_and_leave() -> None:
    assert [kind for kind, _ in told(child("add", child("participant", **US)))][1] == "group.v2.join"
    only_number = child("remove", child("participant", jid=US["phone_number"]))
    assert told(only_number)[1] == ("group.v2.leave", {"group": {"id": GROUP}})


def test_a_new_group_is_told_whole_and_named() -> None:
    members = [child("participant", **ANA, type="superadmin"), child("participant", **US)]
    created = child("create", child("group", *members, id="120363040123456789", subject="Team", creation="5"))
    row = InboxRow("k", "group", {"from": "g.us", "t": "9"}, b"", {"children": [created]}, 7)
    result = interpret(row, ME)
    [event] = result.events
    group = event.payload["group"]
    assert (event.kind, group["id"], group["subject"], group["size"]) == ("group.v2.join", GROUP, "Team", 2)
    assert [one["role"] for one in group["participants"]] == ["superadmin", "participant"]
    assert [(chat.id, chat.name) for chat in result.chats] == [(GROUP, "Team")]
    assert set(result.mappings) == {(ANA["jid"], ANA["phone_number"]), (US["jid"], US["phone_number"])}


@pytest.mark.parametrize(
    ("change", "facts"),
    [
        (child("subject", subject="New"), {"subject": "New"}),
        (child("description", child("body", text="About")), {"description": "About"}),
        (child("description", child("delete")), {"description": ""}),
        (child("announcement"), {"membersCanSendMessages": False}),
        (child("unlocked"), {"membersCanChangeInfo": True}),
        (child("something_new"), {}),
    ],
)
def test_names_and_settings(change: dict[str, Any], facts: dict[str, Any]) -> None:
    assert told(change) == [("group.v2.update", {"group": {"id": GROUP, **facts}})]


def test_a_group_as_the_api_shows_it() -> None:
    shown = info({
        "id": GROUP, "subject": "Team", "desc": "About", "announce": True, "ownerPn": "40722000111@s.whatsapp.net",
        "owner": "111@lid", "creation": 5, "size": 2,
        "participants": [{"id": "111@lid", "phoneNumber": "40722000111@s.whatsapp.net", "admin": "admin"},
                         {"id": "40733000222@s.whatsapp.net", "lid": "333@lid", "admin": None}, {"id": "444@lid"}],
    })  # fmt: skip
    assert (shown["membersCanSendMessages"], shown["owner"], shown["description"]) == (
        False,
        "40722000111@c.us",
        "About",
    )
    assert shown["participants"] == [
        {"id": "111@lid", "role": "admin", "pn": "40722000111@c.us", "admin": "admin"},
        {"id": "333@lid", "role": "participant", "pn": "40733000222@c.us", "admin": None},
        {"id": "444@lid", "role": "participant", "admin": None},
    ]
