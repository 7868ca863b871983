"""Instances that do not fit together: other settings, another WhatsApp, another version, another time of day."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from holdfast.domain import cluster
from holdfast.domain.errors import InvalidSettings
from holdfast.ports.store import Store
from holdfast.runtime.node import Node, NodeSettings
from tests.support.instances import SETTINGS, Shared, memory_store, until
from tests.support.scripted_engine import ScriptedEngine
from tests.support.virtual import VirtualClock, run
from tests.unit.test_runtime_cluster import engines, link

FACTS: dict[str, Any] = {
    cluster.LEASE_TTL: 15.0,
    cluster.LEASE_MODE: "strict",
    cluster.NAMESPACE: "prod",
    cluster.WHATSAPP_URL: "wss://web.whatsapp.com/ws/chat",
    cluster.ROOT_KEY: "",
}
OTHERS: dict[str, Any] = {
    cluster.LEASE_TTL: 30.0,
    cluster.LEASE_MODE: "lenient",
    cluster.NAMESPACE: "test",
    cluster.WHATSAPP_URL: "wss://relay.example/ws/chat",
    cluster.ROOT_KEY: "ab" * 32,
}


def node(
    store: Store,
    clock: VirtualClock,
    engine: ScriptedEngine,
    name: str,
    put_right: Callable[[float], None] | None = None,
    **facts: Any,
) -> Node:
    settings: NodeSettings = replace(SETTINGS, facts={**FACTS, **facts})
    return Node(Shared(store), {"baileys": engine}, clock, settings, instance=name, put_right=put_right)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", list(FACTS))
def test_each_setting_that_differs_is_named_with_both_values_and_what_comes_of_it(name: str) -> None:
    (said,) = cluster.differences(FACTS, {**FACTS, name: OTHERS[name]})
    assert said.startswith(f"{name} is ")
    for value in (FACTS[name], OTHERS[name]):
        assert (f"{value:g}" if isinstance(value, float) else repr(value)) in said
    assert cluster.differences(FACTS, FACTS) == []
    assert cluster.differences(FACTS, {}) == [], "an older version tells nothing, and is not blamed for it"


def test_instances_with_other_settings_work_together_and_both_say_how_they_differ() -> None:
    async def main(clock: VirtualClock) -> None:
        one, two = engines(2)
        async with memory_store(clock) as store, AsyncExitStack() as stack:
            first = await stack.enter_async_context(node(store, clock, one, "one"))
            await link(first, one, "shop")
            facts = {name: value for name, value in OTHERS.items() if name != cluster.ROOT_KEY}
            with capture_logs() as logs:
                second = await stack.enter_async_context(node(store, clock, two, "two", **facts))
            told = [line["detail"] for line in logs if line.get("code") == "differs"]
            assert [said.split()[0] for said in told] == list(facts)
            for here, other in ((first, "two"), (second, "one")):
                rows = {row["id"]: row for row in await here.gateway.instances()}
                assert len(rows[other]["differs"]) == len(facts)
                assert rows[here.instance]["differs"] == []

    run(main)


def test_an_instance_of_another_whatsapp_is_refused_while_one_runs_and_nothing_is_left_of_it() -> None:
    async def main(clock: VirtualClock) -> None:
        one, two = engines(2)
        async with memory_store(clock) as store:
            async with node(store, clock, one, "one"):
                with pytest.raises(InvalidSettings, match=r"ROOT_KEY.*logged out.*a database of its own"):
                    await node(store, clock, two, "two", **OTHERS).__aenter__()
                assert [row["id"] for row in await store.instances()] == ["one"]
            async with node(store, clock, two, "two", **OTHERS):
                """The other one has stopped, and is in nobody's way."""

    run(main)


def test_instances_of_two_versions_work_together_and_it_is_said() -> None:
    async def main(clock: VirtualClock) -> None:
        one, two = engines(2)
        async with memory_store(clock) as store, AsyncExitStack() as stack:
            await stack.enter_async_context(node(store, clock, one, "one"))
            newer = node(store, clock, two, "two")
            newer._settings = replace(newer._settings, version="next")
            with capture_logs() as logs:
                await stack.enter_async_context(newer)
            (said,) = [line for line in logs if line.get("code") == "versions"]
            assert (said["theirs"], said["ours"], said["instance"]) == ("test", "next", "one")

    run(main)


@pytest.mark.parametrize("minutes", [-7.0, 5.0])
@pytest.mark.parametrize("corrected", [True, False])
def test_clocks_that_are_minutes_apart_are_put_right_by_the_stores(minutes: float, corrected: bool) -> None:
    """Each machine's own clock would have the other's sessions look unproved, and refuse what the other signed."""

    async def main(clock: VirtualClock) -> None:
        wrong = VirtualClock(clock._loop, 1)
        wrong.wall_jump(60 * minutes)
        one, two = engines(2)
        async with memory_store(clock) as store, AsyncExitStack() as stack:
            first = await stack.enter_async_context(
                node(store, wrong, one, "one", wrong.wall_jump if corrected else None)
            )
            await link(first, one, "shop")
            second = await stack.enter_async_context(node(store, clock, two, "two"))
            await clock.sleep(60)
            signature = first.peers._signatures.sign(second.peers.url, b"hello")
            assert await second.is_peer(signature, b"hello") is corrected
            if corrected:
                await until(second, "shop", lambda view: view.status == "WORKING", timeout=1.0)
                rows = {row["id"]: row["facts"]["clock_ahead"] for row in await second.gateway.instances()}
                assert rows == {"one": 60 * minutes, "two": 0}
                wrong.wall_jump(-60 * minutes)  # somebody sets it right
                await clock.sleep(30)
                assert abs(wrong.now() - clock.now()) < 2.0
                rows = {row["id"]: row["facts"]["clock_ahead"] for row in await second.gateway.instances()}
                assert rows == {"one": 0, "two": 0}

    run(main)


class Narrow(Shared):
    """A store that does eight claims at a time, each in a second, as a database that many start on at once."""

    def __init__(self, store: Store, clock: VirtualClock) -> None:
        super().__init__(store)
        self._clock, self._room = clock, asyncio.Semaphore(8)

    async def claim(self, sessions: Collection[str], instance: str, ttl: float) -> object:
        async with self._room:
            await self._clock.sleep(1.0)
            return await self._store.claim(sessions, instance, ttl)


def test_claims_that_wait_for_each_other_are_not_over_when_they_are_won() -> None:
    """Twenty-five seconds of claims, and leases of fifteen: each is dated when its turn comes, and kept."""

    async def main(clock: VirtualClock) -> None:
        settings = replace(SETTINGS, facts=FACTS)
        async with memory_store(clock) as store:
            narrow = Narrow(store, clock)
            async with Node(narrow, {"baileys": ScriptedEngine()}, clock, settings, instance="one") as one:  # type: ignore[arg-type]
                await clock.sleep(0.1)
                names = [f"s{number:03d}" for number in range(200)]
                rows = [await store.create_session(name, "baileys", {}, "running") for name in names]
                await asyncio.gather(*(one.supervisor.poke(row) for row in rows))
                await clock.sleep(60)
                holders = await store.holders()
                assert len(holders) == len(one.supervisor.actors) == 200
                assert {holder.epoch for holder in holders.values()} == {1}, "won, given up, and claimed again"

    run(main)
