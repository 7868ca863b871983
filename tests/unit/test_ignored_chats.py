"""What comes in chats that a session ignores is neither stored nor reported, and everything else is."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.ignored_chats import NOTHING, IgnoredChats, dropped
from holdfast.domain.messages import interpret, merge
from holdfast.domain.rows import ChatRow, EngineWrite, InboxRow, Processed
from holdfast.domain.synced import synced
from holdfast.ports import engine as e
from tests.support.instances import instance, linked, memory_store
from tests.support.scripted_engine import ScriptedEngine
from tests.support.virtual import VirtualClock, run

ME = {"phone": "40712345678", "lid": "999999:3@lid"}
FRIEND, OWN = "40722000111@s.whatsapp.net", "40712345678@s.whatsapp.net"
CHATS = {
    "status": "status@broadcast", "groups": "120363040123456789@g.us", "channels": "120363040123456700@newsletter",
    "broadcast": "1700000000@broadcast", "": FRIEND,
}  # fmt: skip


@pytest.mark.parametrize("name", CHATS)
@pytest.mark.parametrize("ignored", [f.name for f in fields(IgnoredChats)])
def test_each_kind_of_chat_has_its_setting(name: str, ignored: str) -> None:
    assert IgnoredChats(**{ignored: True}).covers(CHATS[name]) == (name == ignored)
    assert not NOTHING.covers(CHATS[name])


def test_a_session_overrides_the_default_field_by_field() -> None:
    default = IgnoredChats.parse("status, groups")
    assert default == IgnoredChats(status=True, groups=True)
    assert default.overridden({}) == default
    assert default.overridden({"ignore": None}) == default
    own = {"ignore": {"status": False, "channels": True, "groups": None}}
    assert default.overridden(own) == IgnoredChats(groups=True, channels=True)
    with pytest.raises(ValueError, match="'group' is not one of status, groups"):
        IgnoredChats.parse("group")


def stanza(chat: str, kind: Any = "message", sender: str = FRIEND, body: Any = None, **more: str) -> InboxRow:
    attrs = {"id": "A1", "from": chat, "t": "1800000000", **more}
    if chat != FRIEND:
        attrs["participant"] = sender
    return InboxRow(f"{chat}||A1", kind, attrs, b"x", body or {"conversation": "hi"}, 7)


@given(
    chat=st.sampled_from(sorted(CHATS.values())),
    kind=st.sampled_from(["message", "waiting", "group", "receipt"]),
    body=st.sampled_from([
        {"conversation": "hi"},
        {"reactionMessage": {"text": "x", "key": {"id": "B2"}}},
        {"protocolMessage": {"type": "REVOKE", "key": {"id": "B2"}}},
        {"pollUpdateMessage": {"pollCreationMessageKey": {"id": "B2"}, "vote": {"encPayload": {"$b": "eA=="}}}},
    ]),
    sender=st.sampled_from([FRIEND, OWN]),
    ignored=st.builds(IgnoredChats, st.booleans(), st.booleans(), st.booleans(), st.booleans()),
)  # fmt: skip
def test_nothing_is_left_of_a_stanza_of_an_ignored_chat(
    chat: str, kind: Any, body: Any, sender: str, ignored: IgnoredChats
) -> None:
    row = stanza(chat, kind, sender, body)
    part = interpret(row, ME)
    drops = ignored.drops(row, part)
    assert drops == (kind != "receipt" and ignored.covers(chat))
    if drops:
        assert merge([dropped(part)]) == replace(merge([]), done=[7], mappings=list(part.mappings))


def test_what_the_own_phone_writes_there_is_ignored_as_well() -> None:
    row = InboxRow("k", "message", {"id": "A1", "from": OWN, "recipient": CHATS["broadcast"]}, b"x", {}, 7)
    assert IgnoredChats(broadcast=True).drops(row, interpret(row, ME))
    assert not IgnoredChats(groups=True).drops(row, interpret(row, ME))


def test_history_brings_no_ignored_chats() -> None:
    items = [{"id": chat, "name": "x"} for chat in CHATS.values()]
    kept = IgnoredChats(groups=True, broadcast=True).kept(synced("chats", items, ME))
    assert {chat.id for chat in kept.chats} == {FRIEND, CHATS["channels"]}
    assert NOTHING.kept(Processed(chats=[ChatRow(CHATS["groups"], "x", 0.0, 0)])).chats


def test_a_running_session_follows_its_configuration() -> None:
    async def main(clock: VirtualClock) -> None:
        engine = ScriptedEngine()
        async with memory_store(clock) as store, instance(store, clock, engine) as node:
            await linked(node, engine)
            gateway, seen = node.gateway, []
            for number, ignore in enumerate(({"groups": True}, {"groups": False})):
                await gateway.update("shop", {"ignore": ignore})
                epoch = (await gateway.session("shop")).epoch
                row = replace(stanza(CHATS["groups"]), key=f"g{number}")
                row = replace(row, attrs={**row.attrs, "id": f"G{number}"})
                last = replace(stanza(FRIEND), key=f"f{number}", attrs={"id": f"F{number}", "from": FRIEND})
                await store.write_engine("shop", epoch, EngineWrite(inbox=[row, last]))
                engine._emit(e.InboxStored("shop", engine.live["shop"].connection))
                while not any(one.id == f"F{number}" for one in await gateway.messages("shop", None, 50, 0)):
                    await clock.sleep(0.1)
                seen.append({one.id for one in await gateway.messages("shop", None, 50, 0)})
                told = {one.payload["message"]["id"] for one in await store.events(0, 99) if one.kind == "message"}
                assert told == seen[-1]
            assert seen == [{"F0"}, {"F0", "F1", "G1"}]
            kept = await store.inbox_find("shop", "g0")
            assert kept is not None, "the key stays: the stanza may be delivered again"
            assert (kept.attrs, kept.plaintext, kept.body) == ({}, b"", {})
            assert await store.inbox_pending("shop", 10) == []

    run(main)
