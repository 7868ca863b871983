"""Reactions, edits and revokes, from the stanza to what is stored and told: each once, and only by whom it may be."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.domain.messages import interpret, merge
from holdfast.domain.rows import InboxRow
from tests.contract.conftest import World

ME = {"phone": "40712345678", "lid": "999999@lid"}
OWN = "40712345678@s.whatsapp.net"
ANA, ANA_LID = "40722000111@s.whatsapp.net", "111222333@lid"
DAN = "40733000222@s.whatsapp.net"
GROUP = "120363040123456789@g.us"


async def came(held: World, id: str, body: dict[str, Any], **attrs: str) -> list[tuple[str, str]]:
    """Apply one stanza; kinds and targets of the events that it made."""
    facts = {"id": id, "t": "1700000000", **{name.rstrip("_"): value for name, value in attrs.items()}}
    row = InboxRow(f"{id}-key", "message", facts, b"plain", body)
    events = await held.store.apply_inbox("a", 1, merge([interpret(row, ME)]))
    return [(event.kind, event.payload.get("target", "")) for event in events]


def changed(kind: str, **key: str) -> dict[str, Any]:
    if kind == "reaction":
        return {"reactionMessage": {"text": "+1", "key": {"id": "m1", **key}}}
    if kind == "revoked":
        return {"protocolMessage": {"type": "REVOKE", "key": {"id": "m1", **key}}}
    after = {"conversation": "after"}
    return {"protocolMessage": {"type": "MESSAGE_EDIT", "key": {"id": "m1", **key}, "editedMessage": after}}


@pytest.mark.parametrize("kind", ["reaction", "revoked", "edited"])
async def test_a_change_is_told_under_its_own_id_with_its_target(held: World, kind: str) -> None:
    await came(held, "m1", {"conversation": "before"}, from_=ANA)
    assert await came(held, "m2", changed(kind), from_=ANA) == [(f"message.{kind}", "m1")]
    found = await held.store.message("a", "m1")
    assert found is not None
    expected = {"reaction": ("text", "before"), "revoked": ("revoked", ""), "edited": ("text", "after")}
    assert (found.kind, found.text) == expected[kind]
    assert await held.store.message("a", "m2") is None


@pytest.mark.parametrize("kind", ["revoked", "edited"])
async def test_a_member_of_a_group_cannot_change_what_another_wrote(held: World, kind: str) -> None:
    await came(held, "m1", {"conversation": "before"}, from_=GROUP, participant=ANA)
    forged = changed(kind, participant=ANA)
    assert await came(held, "m2", forged, from_=GROUP, participant=DAN) == []
    found = await held.store.message("a", "m1")
    assert found is not None
    assert (found.kind, found.text) == ("text", "before")


@pytest.mark.parametrize("author", [ANA, OWN])
async def test_a_groups_admin_may_delete(held: World, author: str) -> None:
    await came(held, "m1", {"conversation": "before"}, from_=GROUP, participant=author)
    told = await came(held, "m2", changed("revoked", participant=author), from_=GROUP, participant=DAN, edit="8")
    assert told == [("message.revoked", "m1")]
    found = await held.store.message("a", "m1")
    assert found is not None
    assert (found.kind, found.text) == ("revoked", "")


async def test_the_author_is_the_same_person_under_either_address(held: World) -> None:
    await came(held, "m1", {"conversation": "before"}, from_=GROUP, participant=ANA_LID)
    edit = changed("edited")
    told = await came(held, "m2", edit, from_=GROUP, participant=ANA, participant_lid=ANA_LID)
    assert told == [("message.edited", "m1")]


async def test_a_change_that_comes_first_is_told_with_its_target(held: World) -> None:
    assert await came(held, "m2", changed("revoked"), from_=ANA) == [("message.revoked", "m1")]
    assert await held.store.message("a", "m1") is None
