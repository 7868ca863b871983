"""What an instance is told to look at: free sessions, orders, peers."""

from __future__ import annotations

import pytest

from holdfast.store import attention
from tests.contract.conftest import World
from tests.contract.rows import outgoing
from tests.support.leases import take_lease


async def test_free_sessions_are_those_that_should_run_and_nobody_holds(world: World) -> None:
    store = world.store
    for name, desired in (("held", "running"), ("free", "running"), ("stopped", "stopped"), ("over", "running")):
        await store.create_session(name, "baileys", {"n": name}, desired)
    await take_lease(store, "held", "one", 15.0)
    await take_lease(store, "over", "one", 15.0)
    await store.save_state("over", 1, {"phase": "terminal", "command_seq": 0}, me=None, timeline=None)
    await store.release("over", "one", 1)
    seen = await store.attention("two", 30.0)
    assert seen.free == {"free": {"n": "free"}}
    assert seen.holders == ["one"]
    assert seen.next_expiry == pytest.approx(15.0, abs=5.0)
    assert (await store.attention("one", 30.0)).next_expiry is None


async def test_an_order_calls_the_holder_or_makes_a_terminal_session_free(world: World) -> None:
    store = world.store
    await store.create_session("a", "baileys", {}, "stopped")
    await take_lease(store, "a", "one", 15.0)
    await store.order("a", None, {"kind": "logout"})
    assert (await store.attention("one", 30.0)).ordered == ["a"]
    assert (await store.attention("two", 30.0)).ordered == []
    await store.save_state("a", 1, {"phase": "terminal", "command_seq": 1}, me=None, timeline=None)
    assert (await store.attention("one", 30.0)).ordered == []
    await store.release("a", "one", 1)
    assert (await store.attention("one", 30.0)).free == {}
    await store.order("a", "running", {"kind": "pair"})
    assert list((await store.attention("one", 30.0)).free) == ["a"]


async def test_an_expired_lease_makes_its_session_free(world: World) -> None:
    await world.store.create_session("a", "baileys", {}, "running")
    await take_lease(world.store, "a", "one", 15.0)
    await world.store.expire_instance("one")
    seen = await world.store.attention("two", 30.0)
    assert (list(seen.free), seen.holders) == (["a"], [])


async def test_peers_are_those_with_a_late_sign_of_life(world: World) -> None:
    store = world.store
    await store.register_instance("one", "http://one", "1", ["eu", "b"])
    await store.register_instance("two", "http://two", "1")
    await store.create_session("a", "baileys", {}, "running")
    await take_lease(store, "a", "one", 15.0)
    peers = (await store.attention("one", 30.0)).peers
    assert [(p.id, p.url, p.labels, p.held) for p in peers] == [
        ("one", "http://one", frozenset({"b", "eu"}), 1),
        ("two", "http://two", frozenset(), 0),
    ]
    assert (await store.attention("one", -1.0)).peers == []
    await store.deregister_instance("two")
    assert [p.id for p in (await store.attention("one", 30.0)).peers] == ["one"]


async def test_messages_that_are_due_call_their_sender(held: World) -> None:
    store = held.store
    assert (await store.attention("one", 30.0)).unsent == []
    await store.enqueue(outgoing("later", "1@g.us", send_at=4e9), "f")
    assert (await store.attention("one", 30.0)).unsent == []
    await store.enqueue(outgoing("now"), "f")
    assert (await store.attention("one", 30.0)).unsent == ["a"]
    assert (await store.attention("two", 30.0)).unsent == []
    await store.claim_outbox("a", 1, 10)
    assert (await store.attention("one", 30.0)).unsent == [], "it is under way"


async def test_the_free_ones_begin_where_it_is_asked_and_go_round(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many only some are told, and how many there are."""
    for number in range(6):
        await world.store.create_session(f"s{number}", "baileys", {"n": number}, "running")

    async def names(start: float) -> list[str]:
        seen = await world.store.attention("one", 30.0, start)
        assert seen.waiting == 6
        assert all(config == {"n": int(name[1:])} for name, config in seen.free.items())
        return list(seen.free)

    assert await names(0.0) == ["s0", "s1", "s2", "s3", "s4", "s5"]
    assert await names(0.5) == ["s3", "s4", "s5", "s0", "s1", "s2"]
    assert await names(0.99) == await names(1.0) == ["s0", "s1", "s2", "s3", "s4", "s5"]
    monkeypatch.setattr(attention, "MOST", 3)
    assert await names(2 / 3) == ["s4", "s5", "s0"]
