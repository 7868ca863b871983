"""Several instances in virtual time: shares, handovers, labels, orders given to whoever answers."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from holdfast.domain.errors import StoreUnavailable
from holdfast.ports.store import Store
from holdfast.runtime.node import Node
from tests.support.instances import SETTINGS, Shared, instance, linked, memory_store, until
from tests.support.leases import take_lease
from tests.support.scripted_engine import ScriptedEngine
from tests.support.virtual import VirtualClock, run
from tests.unit.test_runtime_life import credentials


def engines(count: int) -> list[ScriptedEngine]:
    """Engines of as many instances on one WhatsApp, which refuses two connections of one session."""
    made = [ScriptedEngine() for _ in range(count)]
    for engine in made:
        engine.peers = [other for other in made if other is not engine]
        engine.accounts = made[0].accounts
    return made


async def link(node: Node, engine: ScriptedEngine, name: str) -> None:
    view = await linked(node, engine, name)
    await node._store.write_engine(name, view.epoch, credentials())  # type: ignore[arg-type]


async def held(nodes: list[Node], wanted: list[int], clock: VirtualClock) -> None:
    end = clock.boot() + 3600
    while sorted(len(node.supervisor.actors) for node in nodes) != wanted:
        assert clock.boot() < end, [sorted(node.supervisor.actors) for node in nodes]
        await clock.sleep(1.0)


def test_sessions_are_shared_as_instances_join_and_leave() -> None:
    async def main(clock: VirtualClock) -> None:
        one, two, three = engines(3)
        async with memory_store(clock) as store, AsyncExitStack() as stack:
            first = await stack.enter_async_context(instance(store, clock, one))
            for number in range(9):
                await link(first, one, f"s{number}")
            second = await stack.enter_async_context(instance(store, clock, two, "two"))
            await held([first, second], [4, 5], clock)
            async with instance(store, clock, three, "three") as third:
                await held([first, second, third], [3, 3, 3], clock)
                await clock.sleep(600)
                await held([first, second, third], [3, 3, 3], clock)
            await held([first, second], [4, 5], clock)
            for number in range(9):
                await until(second, f"s{number}", lambda v: v.status == "WORKING")

    run(main)


def test_instances_that_start_one_after_the_other_share_what_is_free_and_need_no_handover() -> None:
    """None takes at once what it could only open much later."""

    async def main(clock: VirtualClock) -> None:
        async with memory_store(clock) as store, AsyncExitStack() as stack:
            for number in range(600):
                await store.create_session(f"s{number:03d}", "baileys", {}, "running")
            nodes = []
            for name, engine in zip(("one", "two"), engines(2), strict=True):
                nodes.append(await stack.enter_async_context(instance(store, clock, engine, name)))
                await clock.sleep(1.0)
            await held(nodes, [300, 300], clock)
            assert {holder.epoch for holder in (await store.holders()).values()} == {1}, "claimed, and handed over"

    run(main)


class Slow(Shared):
    """A store whose looks are answered late, as where a thousand sessions open at once."""

    def __init__(self, store: Store, clock: VirtualClock) -> None:
        super().__init__(store)
        self._clock = clock

    async def attention(self, instance: str, alive_within: float, start: float) -> object:
        seen = await self._store.attention(instance, alive_within, start)
        await self._clock.sleep(9.5)
        return seen


def test_those_who_share_what_a_dead_instance_held_hand_nothing_over() -> None:
    """Each knows of its own claims at once, and of the others' with its next look."""

    async def main(clock: VirtualClock) -> None:
        one, two = engines(2)
        names = [f"s{number:02d}" for number in range(30)]
        async with memory_store(clock) as store, AsyncExitStack() as stack:
            for name in names:
                await store.create_session(name, "baileys", {}, "running")
                await take_lease(store, name, "gone", 600.0)
                await store.write_engine(name, 1, credentials())
                one.account(name).linked = True
            for name in names[10:]:
                await store.release(name, "gone", 1)
            slow: Any = Slow(store, clock)
            nodes = [await stack.enter_async_context(instance(slow, clock, one))]
            nodes.append(await stack.enter_async_context(instance(slow, clock, two, "two")))
            await held(nodes, [10, 10], clock)
            await clock.sleep(60.0)
            before = await store.holders()
            await store.renew("gone", dict.fromkeys(names[:10], 1), 16.0)
            await held(nodes, [15, 15], clock)
            await clock.sleep(60.0)
            assert [len(node.supervisor.actors) for node in nodes] == [15, 15]
            after = await store.holders()
            assert {after[name].epoch - before[name].epoch for name in names[:10]} == {1}
            assert {after[name].epoch - before[name].epoch for name in names[10:]} == {0}, "handed over meanwhile"

    run(main)


class Unanswered(Shared):
    """A store that does not answer the first claim, whether it was carried out or not."""

    def __init__(self, store: Store, *, carried_out: bool) -> None:
        super().__init__(store)
        self.claims = 0
        self._carried_out = carried_out

    async def claim(self, sessions: Collection[str], instance: str, ttl: float) -> object:
        self.claims += 1
        if self.claims > 1 or self._carried_out:
            won = await self._store.claim(sessions, instance, ttl)
        if self.claims == 1:
            raise StoreUnavailable
        return won


def test_a_claim_that_was_not_answered_is_made_again_and_not_waited_for() -> None:
    """The sessions are ours by then, for a whole lease, and nobody would run them."""

    async def main(clock: VirtualClock) -> None:
        async with memory_store(clock) as store, AsyncExitStack() as stack:
            for name in ("a", "b", "c"):
                await store.create_session(name, "baileys", {}, "running")
            lossy: Any = Unanswered(store, carried_out=True)
            node = await stack.enter_async_context(instance(lossy, clock, ScriptedEngine()))
            await clock.sleep(SETTINGS.sweep_every + 1.0)
            assert sorted(node.supervisor.actors) == ["a", "b", "c"]
            assert lossy.claims == 2

    run(main)


def test_a_session_that_was_pinned_or_stopped_since_is_not_claimed_again() -> None:
    async def main(clock: VirtualClock) -> None:
        async with memory_store(clock) as store, AsyncExitStack() as stack:
            for name in ("a", "b", "c"):
                await store.create_session(name, "baileys", {}, "running")
            lossy: Any = Unanswered(store, carried_out=False)
            node = await stack.enter_async_context(instance(lossy, clock, ScriptedEngine()))
            await clock.sleep(1.0)
            await store.update_config("a", {"holdfast": {"labels": {"region": "eu"}}})
            await store.order("b", "stopped", None)
            await clock.sleep(60.0)
            assert list(node.supervisor.actors) == ["c"]

    run(main)


@pytest.mark.parametrize("after", [0.5, 2.5, 4.5, 5.5, 7.5, 9.5])
def test_one_more_session_on_a_single_instance_hands_nothing_over(after: float) -> None:
    """It was started here since the last look."""

    async def main(clock: VirtualClock) -> None:
        engine = ScriptedEngine()
        async with memory_store(clock) as store, instance(store, clock, engine) as node:
            for number in range(10):
                await link(node, engine, f"s{number}")
            await clock.sleep(130.0 - clock.boot() % 10.0 + after)
            held = list(node.supervisor.actors.values())
            await node.gateway.create("new", {}, engine="baileys", start=True)
            await clock.sleep(40.0)
            assert list(node.supervisor.actors.values())[:-1] == held

    run(main)


def test_what_no_instance_may_run_counts_in_nobodys_share() -> None:
    async def main(clock: VirtualClock) -> None:
        one, two = engines(2)
        elsewhere = {"holdfast": {"labels": {"region": "eu"}}}
        async with memory_store(clock) as store, AsyncExitStack() as stack:
            first = await stack.enter_async_context(instance(store, clock, one))
            for number in range(10):
                await link(first, one, f"s{number}")
                await store.create_session(f"p{number}", "baileys", elsewhere, "running")
            second = await stack.enter_async_context(instance(store, clock, two, "two"))
            await held([first, second], [5, 5], clock)

    run(main)


def test_a_session_that_pairs_is_not_handed_over() -> None:
    async def main(clock: VirtualClock) -> None:
        one, two = engines(2)
        async with memory_store(clock) as store, AsyncExitStack() as stack:
            first = await stack.enter_async_context(instance(store, clock, one))
            for name in ("a", "b", "c"):
                await first.gateway.create(name, {}, engine="baileys", start=True)
                await until(first, name, lambda v: v.status == "SCAN_QR_CODE")
            await stack.enter_async_context(instance(store, clock, two, "two"))
            await clock.sleep(300)
            assert len(first.supervisor.actors) == 3

    run(main)


def test_a_proxy_that_is_changed_at_one_instance_is_taken_by_the_one_that_holds_the_session() -> None:
    async def main(clock: VirtualClock) -> None:
        one, two = engines(2)
        proxy = {"server": "proxy.example.com:3128"}
        async with memory_store(clock) as store, AsyncExitStack() as stack:
            first = await stack.enter_async_context(instance(store, clock, one))
            second = await stack.enter_async_context(instance(store, clock, two, "two"))
            await link(first, one, "shop")
            holder, engine, other = (first, one, second) if "shop" in one.live else (second, two, first)
            before = engine.live["shop"].connection
            await other.gateway.update("shop", {"metadata": {"a": "b"}})
            await clock.sleep(60)
            assert engine.live["shop"].connection == before, "nothing about its way changed"
            await other.gateway.update("shop", {"proxy": proxy})
            await until(holder, "shop", lambda v: v.status == "WORKING" and engine.live["shop"].connection > before)
            assert engine.options["shop"]["proxy"] == proxy

    run(main)


def test_a_pinned_session_runs_where_its_labels_are_or_not_at_all() -> None:
    async def main(clock: VirtualClock) -> None:
        one, two = engines(2)
        config = {"holdfast": {"labels": {"region": "eu"}}}
        async with memory_store(clock) as store, AsyncExitStack() as stack:
            first = await stack.enter_async_context(instance(store, clock, one))
            await first.gateway.create("shop", config, engine="baileys", start=False)
            asyncio.get_running_loop().create_task(first.gateway.start("shop"))
            await clock.sleep(60)
            assert (await first.gateway.session("shop")).owner is None
            european = replace(SETTINGS, labels=frozenset({"region=eu", "proxy=a"}))
            second = await stack.enter_async_context(instance(store, clock, two, "two", european))
            view = await until(first, "shop", lambda v: v.status == "SCAN_QR_CODE", 60.0)
            assert view.owner == "two"
            assert second.supervisor.actors

    run(main)


def test_an_order_given_to_another_instance_is_carried_out_once_by_the_holder() -> None:
    async def main(clock: VirtualClock) -> None:
        one, two = engines(2)
        async with memory_store(clock) as store, AsyncExitStack() as stack:
            first = await stack.enter_async_context(instance(store, clock, one))
            await link(first, one, "shop")
            second = await stack.enter_async_context(instance(store, clock, two, "two"))
            logins = len([what for _, what, _ in one.log if what == "login"])
            await second.gateway.restart("shop")
            await until(second, "shop", lambda v: v.status == "WORKING" and v.owner == "one", 30.0)
            await clock.sleep(60)
            assert len([what for _, what, _ in one.log if what == "login"]) == logins + 1
            await second.gateway.stop("shop")
            view = await until(second, "shop", lambda v: v.status == "STOPPED", 30.0)
            assert view.desired == "stopped"
            assert (one.live, two.live) == ({}, {})

    run(main)


def test_a_changed_configuration_reaches_the_holder() -> None:
    async def main(clock: VirtualClock) -> None:
        one, two = engines(2)
        async with memory_store(clock) as store, AsyncExitStack() as stack:
            first = await stack.enter_async_context(instance(store, clock, one))
            await link(first, one, "shop")
            second = await stack.enter_async_context(instance(store, clock, two, "two"))
            await second.gateway.update("shop", {"metadata": {"a": "b"}})
            await clock.sleep(10)
            assert first.supervisor.actors["shop"].row.config == {"metadata": {"a": "b"}}
            assert (await first.gateway.session("shop")).status == "WORKING"

    run(main)
