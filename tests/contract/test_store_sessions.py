"""Sessions, orders, decisions, aliases, settings and credentials."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.domain.accounts import AccountRow
from holdfast.domain.errors import SessionExists, SessionNotFound, StaleEpoch
from holdfast.domain.rows import AddonRow, EngineWrite, NewEvent, Processed
from tests.contract.conftest import World
from tests.contract.rows import entry, message, outgoing, received, told
from tests.support.leases import take_lease


async def test_created_session_is_found_and_listed_by_name(world: World) -> None:
    made = await world.store.create_session("b", "waha", {"x": {"y": ["ü", None]}}, "stopped")
    await world.store.create_session("a", "baileys", {}, "running")
    assert (made.engine, made.config, made.desired) == ("waha", {"x": {"y": ["ü", None]}}, "stopped")
    assert (made.command, made.state, made.me, made.epoch) == ({}, {}, {}, 0)
    assert (made.has_credentials, made.verified_at) == (False, None)
    assert made.created_at == pytest.approx(await world.store.now(), abs=5.0)
    assert [row.name for row in await world.store.sessions()] == ["a", "b"]
    assert await world.store.session("b") == made
    assert await world.store.session("c") is None


async def test_name_is_taken_once(world: World) -> None:
    answers = await asyncio.gather(
        *(world.store.create_session("a", "baileys", {"n": n}, "running") for n in range(5)), return_exceptions=True
    )
    assert sum(isinstance(answer, SessionExists) for answer in answers) == 4


async def test_config_is_replaced(world: World) -> None:
    await world.store.create_session("a", "baileys", {"x": 1}, "running")
    assert (await world.store.update_config("a", {"y": 2})).config == {"y": 2}
    with pytest.raises(SessionNotFound):
        await world.store.update_config("b", {})


async def test_orders_are_numbered_and_change_only_what_they_say(world: World) -> None:
    await world.store.create_session("a", "baileys", {}, "running")
    first = await world.store.order("a", None, {"kind": "restart", "seq": 99})
    assert (first.desired, first.command) == ("running", {"kind": "restart", "seq": 1})
    second = await world.store.order("a", "stopped", None)
    assert (second.desired, second.command) == ("stopped", {"kind": "restart", "seq": 1})
    third = await world.store.order("a", "running", {"kind": "pair"})
    assert (third.desired, third.command) == ("running", {"kind": "pair", "seq": 2})
    with pytest.raises(SessionNotFound):
        await world.store.order("b", "running", {"kind": "pair"})


async def test_decision_is_stored_with_its_timeline_events_and_account(held: World) -> None:
    store = held.store
    await store.save_state(
        "a",
        1,
        {"phase": "working"},
        me={"phone": "40"},
        timeline=entry(),
        events=[NewEvent("session.status", {"n": 1})],
    )
    await store.save_state("a", 1, {"phase": "waiting"}, me=None, timeline=entry("connection_lost", 60.0))
    row = await store.session("a")
    assert row is not None
    assert (row.state, row.me) == ({"phase": "waiting"}, {"phone": "40"})
    lines = await store.timeline("a", 10)
    assert [(line.code, line.at, line.detail) for line in lines] == [
        ("connection_lost", 60.0, {"x": 1}),
        ("connected", 50.0, {"x": 1}),
    ]
    assert [line.code for line in await store.timeline("a", 10, before=lines[0].seq)] == ["connected"]
    assert len(await store.timeline("a", 1)) == 1
    assert [(event.kind, event.payload) for event in await store.events(0, 10)] == [("session.status", {"n": 1})]


async def test_logout_clears_credentials_and_nothing_else(held: World) -> None:
    store = held.store
    await store.write_engine("a", 1, EngineWrite({("creds", ""): b"c", ("session", "1"): b"k"}))
    await store.apply_inbox("a", 1, Processed(messages=[message()]))
    await store.save_state("a", 1, {"phase": "terminal"}, me=None, timeline=None, clear_credentials=True)
    row = await store.session("a")
    assert row is not None
    assert not row.has_credentials
    assert await store.read_keys("a", [("creds", ""), ("session", "1")]) == {}
    assert [found.id for found in await store.messages("a", None, 10, 0)] == ["m1"]


async def test_proofs_of_life_are_stored_in_bulk_under_their_epochs(held: World) -> None:
    await held.store.create_session("b", "baileys", {}, "running")
    await held.store.note_verified({"a": (1, 123.5), "b": (9, 124.0), "gone": (1, 1.0)})
    await held.store.note_verified({})
    assert [(row.name, row.verified_at) for row in await held.store.sessions()] == [("a", 123.5), ("b", None)]


async def test_alias_finds_the_session_and_cannot_be_taken(world: World) -> None:
    store = world.store
    await store.create_session("a", "baileys", {}, "running")
    await store.create_session("b", "baileys", {}, "running")
    await store.add_alias("old", "a")
    await store.add_alias("old", "a")
    found = await store.session("old")
    assert found is not None
    assert found.name == "a"
    assert await store.aliases("a") == ["old"]
    for other in ("old", "a"):
        with pytest.raises(SessionExists):
            await store.add_alias(other, "b")
    with pytest.raises(SessionExists):
        await store.create_session("old", "baileys", {}, "running")
    with pytest.raises(SessionNotFound):
        await store.add_alias("x", "nobody")
    await store.delete_session("a")
    assert await store.session("old") is None


async def test_deletion_takes_everything_but_the_other_session(held: World) -> None:
    store = held.store
    await store.create_session("b", "baileys", {}, "running")
    await store.write_engine("a", 1, EngineWrite({("creds", ""): b"c"}, [received()]))
    await store.apply_inbox("a", 1, Processed(messages=[message()], events=[told(message())]))
    await store.enqueue(outgoing(), "f")
    await store.save_state("a", 1, {}, me=None, timeline=entry())
    await store.append_events("b", [NewEvent("session.status", {})])
    assert await store.delete_session("a")
    assert not await store.delete_session("a")
    assert [row.name for row in await store.sessions()] == ["b"]
    assert [event.session for event in await store.events(0, 10)] == ["b"]
    assert await store.inbox_find("a", "k1") is None
    assert await store.outbox_get("a", "o1") is None
    assert await store.messages("a", None, 10, 0) == []
    assert await store.chats("a", 10, 0) == []
    assert await store.timeline("a", 10) == []
    assert await store.read_keys("a", [("creds", "")]) == {}


async def test_keys_are_written_read_replaced_and_deleted(held: World) -> None:
    store = held.store
    values = {("session", str(n)): bytes([n]) * n for n in range(40)}
    await store.write_engine("a", 1, EngineWrite({**values, ("pre-key", "1"): b"\x00\xff"}))
    assert await store.read_keys("a", [*values, ("pre-key", "1"), ("pre-key", "2")]) == {
        **values,
        ("pre-key", "1"): b"\x00\xff",
    }
    await store.write_engine("a", 1, EngineWrite({("session", "1"): b"new", ("session", "2"): None}))
    assert await store.read_keys("a", [("session", "1"), ("session", "2")]) == {("session", "1"): b"new"}
    assert await store.read_keys("a", []) == {}
    assert await store.read_keys("b", [("session", "1")]) == {}


async def test_one_thousand_keys_at_once(held: World) -> None:
    values = {("pre-key", str(n)): b"v%d" % n for n in range(1000)}
    await held.store.write_engine("a", 1, EngineWrite(values))
    assert await held.store.read_keys("a", list(values)) == values


async def test_waiting_writes_fail_one_by_one(held: World) -> None:
    """Group commit: those of a stale holder are refused, the others of the same moment stand."""
    store = held.store
    await store.create_session("b", "baileys", {}, "running")
    await take_lease(store, "b", "one", 15)
    writes = []
    for n in range(60):
        name, epoch = ("a", 1) if n % 3 == 0 else ("b", 1) if n % 3 == 1 else ("a", 77)
        writes.append(store.write_engine(name, epoch, EngineWrite({("k", str(n)): b"x"})))
    answers = await asyncio.gather(*writes, return_exceptions=True)
    assert [isinstance(answer, StaleEpoch) for answer in answers] == [n % 3 == 2 for n in range(60)]
    every = [("k", str(n)) for n in range(60)]
    assert {int(key) for _, key in await store.read_keys("a", every)} == set(range(0, 60, 3))
    assert {int(key) for _, key in await store.read_keys("b", every)} == set(range(1, 60, 3))


async def test_clear_auth_fences_the_holder_first(held: World) -> None:
    await held.store.write_engine("a", 1, EngineWrite({("creds", ""): b"c", ("x", "1"): b"c"}))
    assert await held.store.clear_credentials("a") == 2
    with pytest.raises(StaleEpoch):
        await held.store.write_engine("a", 1, EngineWrite({("creds", ""): b"back"}))
    assert await held.store.renew("one", {"a": 1}, 15) == {"a": False}
    with pytest.raises(SessionNotFound):
        await held.store.clear_credentials("nobody")


async def test_settings(world: World) -> None:
    assert await world.store.setting("k") is None
    assert await world.store.put_setting("k", "1", only_if_absent=True) == "1"
    assert await world.store.put_setting("k", "2", only_if_absent=True) == "1"
    assert await world.store.put_setting("k", "3") == "3"
    assert await world.store.setting("k") == "3"


async def test_a_change_of_number_puts_conversations_apart_and_sends_nothing_old(held: World) -> None:
    store = held.store
    thumb = AddonRow(message().chat, "M1", "reaction", message().chat, False, "R1", 1.0, "👍")
    await store.apply_inbox("a", 1, Processed(messages=[message("M1")], addons=[thumb]))
    row, _ = await store.enqueue(outgoing(), "f")
    await store.save_state(
        "a", 1, {"phase": "working", "phone": "40712345678"}, me={"phone": "40712345678"}, timeline=None
    )
    changed = {"phase": "authenticated", "phone": "49"}
    await store.save_state("a", 1, changed, me={"phone": "49"}, timeline=None, put_apart="a_until_1")
    assert await store.messages("a", None, 10, 0) == []
    assert await store.chats("a", 10, 0) == []
    [apart] = await store.messages("a_until_1", None, 10, 0)
    assert (apart.id, apart.body["reactions"][0]["text"]) == ("M1", "👍")
    failed = await store.outbox_get("a_until_1", row.id)
    assert failed is not None
    assert failed.state == "failed"
    kept = await store.session("a_until_1")
    assert kept is not None
    assert (kept.desired, kept.me["phone"], kept.epoch) == ("stopped", "40712345678", 0)
    assert "40712345678" not in kept.state["message"]
    now = await store.session("a")
    assert now is not None
    assert now.me == {"phone": "49"}


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_an_account_goes_with_its_session_to_the_new_number(held: World, elsewhere: bool) -> None:
    """Unless that number is another account's: one phone has one account."""
    store, old, new = held.store, "40712345678", "40712345699"
    await store.save_account(AccountRow("a", "c1", phone=old), "baileys")
    if elsewhere:
        await store.save_account(AccountRow("b", "c2", phone=new), "baileys")
    changed = {"phase": "authenticated", "phone": new}
    await store.save_state("a", 1, changed, me={"phone": new}, timeline=None, put_apart="a_until_1")
    mine = AccountRow("a", "c1", phone=None if elsewhere else new)
    assert await store.account(AccountRow("a")) == mine
    assert await store.account(AccountRow("", phone=old)) is None
    found = await store.account(AccountRow("", phone=new))
    assert found == (AccountRow("b", "c2", phone=new) if elsewhere else mine)
