"""Webhooks in virtual time, over the real SQL: instances that share the delivery, die, and lose the database."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from holdfast.domain.errors import StoreUnavailable
from tests.support.deliveries import HOUR, ONE, World, scene, world
from tests.support.leases import take_lease
from tests.support.virtual import VirtualClock, run


@pytest.mark.parametrize("seed", range(5))
def test_two_instances_deliver_each_event_once(seed: int) -> None:
    async def main(clock: VirtualClock) -> None:
        async with world(clock) as it:
            await it.start("one")
            await it.start("two")
            for n in range(200):
                await it.append(n, chat=f"c{n % 5}")
                await clock.sleep(clock.random() * 20)
            await it.until(lambda: len(it.one.numbers()) == len(it.two.numbers()) == 200, 60)
            for receiver in (it.one, it.two):
                assert len(receiver.took) == 200, "delivered twice"
                assert all(receiver.numbers(f"c{chat}") == list(range(chat, 200, 5)) for chat in range(5))

    run(main, seed=seed)


def test_a_killed_owner_is_replaced_and_ids_stay() -> None:
    async def body(it: World) -> None:
        await it.start("one", [ONE])
        it.one.poison = {3}
        it.one.takes = 0.5
        await it.append(*range(10), chat="a")
        await it.append(*range(10, 20), chat="b")
        await it.until(lambda: len(it.one.took) >= 6, 60)
        first = {e["id"] for e in it.one.took}
        await it.kill("one")
        it.one.poison.clear()
        await it.start("two", [ONE])
        took = await it.until(lambda: len(it.one.numbers()) == 20, 60)
        assert took < 35
        assert {e["id"] for e in it.one.took} >= first
        assert len({e["id"] for e in it.one.took}) == 20
        assert it.one.numbers("a") == list(range(10))
        assert it.one.numbers("b") == list(range(10, 20))
        await it.clock.sleep(1)
        assert await it.states() == {}

    scene(body)


def test_an_owner_whose_answer_comes_too_late_stops_before_another_begins() -> None:
    async def body(it: World) -> None:
        await it.start("one", [ONE])
        it.one.takes = 25.0
        await it.append(1, chat="a")
        await it.clock.sleep(0.5)

        def late(call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
            async def answered(*args: Any) -> Any:
                if "one" in args:
                    await it.clock.sleep(100)
                return await call(*args)

            return answered

        for method in ("keep_consumers", "take_consumer"):
            setattr(it.store, method, late(getattr(it.store, method)))
        await it.start("two", [ONE])
        await it.until(lambda: len(it.one.tried) == 2, 40)
        began, again = (at for at, _ in it.one.tried)
        assert again - began >= 13, "the second began while the first was at it: Receiver.post would have noticed"
        await it.until(lambda: it.one.numbers() == [1], 40)

    scene(body)


def test_a_changed_webhook_that_cannot_be_read_does_not_end_the_renewals() -> None:
    async def body(it: World) -> None:
        await it.start("one", [])
        here = it.running["one"]
        config = {"webhooks": [{"url": ONE.url, "events": ["*"]}]}
        await here.configure(await it.store.update_config("shop", config))
        it.one.takes = 25.0
        await it.append(1)
        await it.until(lambda: len(it.one.tried) == 1)
        read, refused = it.store.session, 0

        async def unreadable(name: str) -> Any:
            nonlocal refused
            refused += 1
            if refused == 1:
                raise StoreUnavailable()
            return await read(name)

        there = await it.start("two", [])
        config = {"webhooks": [{"url": ONE.url, "events": ["*", "other"]}]}
        await there.configure(await it.store.update_config("shop", config))
        it.store.session = unreadable  # type: ignore[method-assign]
        await it.until(lambda: it.one.numbers() == [1], 40)
        assert refused >= 2, "looked again"
        await it.clock.sleep(20)
        assert len(it.one.tried) == 1, "another took what was not renewed"

    scene(body)


def test_the_sessions_holder_takes_over_in_seconds_and_nothing_comes_twice() -> None:
    async def body(it: World) -> None:
        await it.start("two", [ONE])
        it.one.takes = 1.0
        await it.append(*range(10))
        await it.until(lambda: len(it.one.took) == 3, 30)
        lease = await take_lease(it.store, "shop", "one", HOUR)
        assert lease is not None
        it.holder = "one"
        await it.start("one", [ONE])
        it.running["one"].wake("shop")
        await it.until(lambda: len(it.one.took) == 10, 20)
        assert it.one.numbers() == list(range(10))
        assert len(it.one.took) == 10
        assert set(it.running["two"]._work) == set()

    scene(body)


def test_a_backlog_of_a_session_that_nobody_runs_is_found() -> None:
    async def body(it: World) -> None:
        await it.start("two", [ONE])
        await it.append(1, 2)
        assert await it.until(lambda: it.one.numbers() == [1, 2], 10) <= 5.1
        await it.running["two"].stop()
        del it.running["two"]
        await it.append(3)
        await it.start("three", [ONE])
        assert await it.until(lambda: it.one.numbers() == [1, 2, 3], 10) <= 5.1, "given back: nobody waits for a lapse"

    scene(body)


def test_a_stop_lets_what_is_under_way_be_confirmed() -> None:
    async def body(it: World) -> None:
        await it.start("one", [ONE])
        it.one.takes = 0.5
        await it.append(1, 2)
        await it.until(lambda: len(it.one.tried) == 1)
        await it.running.pop("one").stop()
        assert it.one.numbers() == [1]
        await it.start("two", [ONE])
        await it.until(lambda: it.one.numbers() == [1, 2], 30)
        assert len(it.one.took) == 2

    scene(body)


def test_the_database_goes_away_and_comes_back() -> None:
    async def body(it: World) -> None:
        await it.start("one", [ONE])
        off = False
        for name in ("settle_deliveries", "events", "keep_consumers", "take_consumer", "due_deliveries"):
            method = getattr(it.store, name)

            async def guarded(*args: Any, method: Any = method) -> Any:
                if off:
                    await it.clock.sleep(0.5)
                    raise StoreUnavailable()
                return await method(*args)

            setattr(it.store, name, guarded)
        it.one.takes = 0.3
        await it.append(*range(5))
        await it.until(lambda: len(it.one.took) == 2, 10)
        off = True
        await it.clock.sleep(120)
        off = False
        await it.append(*range(5, 10))
        await it.until(lambda: it.one.numbers() == list(range(10)), 120)

    scene(body)
