"""Webhooks in virtual time, over the real SQL: receivers that are down, refuse, hang and come back; owners that die."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from holdfast.domain.delivery import DAY, Refusal, Retries
from holdfast.domain.errors import InvalidWebhook
from holdfast.domain.rows import Json, NewEvent
from holdfast.ports.store import Store
from holdfast.runtime.delivery import Delivery, DeliverySettings
from holdfast.runtime.webhook import Webhook
from tests.support.instances import memory_store
from tests.support.virtual import VirtualClock, run

ALL = frozenset({"*"})
ONE = Webhook("http://one.test/", ALL)
TWO = Webhook("http://two.test/", ALL)
DOWN = Refusal("the receiver cannot be reached (ClientConnectorError)")
HOUR = 3600.0


class Receiver:
    """What one webhook does with what it is sent: takes it, unless told otherwise."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.tried: list[tuple[float, str]] = []
        self.took: list[Json] = []
        self.down = False
        self.poison: set[int] = set()
        self.takes = 0.0
        """Seconds for an answer."""
        self.refusal = DOWN
        self.now: set[str] = set()
        self.most = 0

    async def post(self, _hook: Webhook, request_id: str, envelope: Json) -> Refusal | None:
        assert request_id == envelope["id"]
        chat = envelope["payload"]["chat"]
        if "late" in envelope.get("holdfast", {}):  # its chat does not wait for it
            chat = request_id
        assert chat not in self.now, "two events of one chat at once"
        self.now.add(chat)
        self.most = max(self.most, len(self.now))
        try:
            self.tried.append((self._clock.boot(), request_id))
            await self._clock.sleep(self.takes)
            if self.down or envelope["payload"]["n"] in self.poison:
                return self.refusal
            self.took.append(envelope)
            return None
        finally:
            self.now.discard(chat)

    def numbers(self, chat: str | None = None) -> list[int]:
        """Of the events that it took, in order, each once."""
        found = [e["payload"]["n"] for e in self.took if chat in (None, e["payload"]["chat"])]
        return list(dict.fromkeys(found))


class World:
    """A store with session `shop`, and instances that deliver its events to receivers `one` and `two`."""

    def __init__(self, store: Store, clock: VirtualClock) -> None:
        self.store, self.clock = store, clock
        self.receivers = {ONE.url: Receiver(clock), TWO.url: Receiver(clock)}
        self.one, self.two = self.receivers.values()
        self.holder = ""
        self.running: dict[str, Delivery] = {}

    async def start(self, name: str, hooks: Sequence[Webhook] = (ONE, TWO)) -> Delivery:
        """A new instance."""
        settings = DeliverySettings(common=hooks)
        delivery = Delivery(self.store, self.clock, settings, instance=name, holds=lambda session: self.holder == name)

        async def post(hook: Webhook, request_id: str, envelope: Json) -> Refusal | None:
            return await self.receivers[hook.url].post(hook, request_id, envelope)

        delivery.post = post  # type: ignore[method-assign]
        await delivery.start()
        self.running[name] = delivery
        row = await self.store.session("shop")
        assert row is not None
        await delivery.configure(row)
        return delivery

    async def kill(self, name: str) -> None:
        """As kill -9: nothing is given back."""
        delivery = self.running.pop(name)
        tasks = [*delivery._loops, *(work.task for work in delivery._work.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await delivery._poster.stop()

    async def append(self, *numbers: int, chat: str = "c") -> None:
        """Events, and the hint of whoever appended them: instance `one`, if it runs."""
        await self.store.append_events("shop", [NewEvent("x", {"n": n, "chat": chat}, chat) for n in numbers])
        if "one" in self.running:
            self.running["one"].wake("shop")

    async def until(self, holds: Callable[[], bool], timeout: float = 60.0) -> float:
        """Wait in virtual time; how long it took."""
        began = self.clock.boot()
        while not holds():
            assert self.clock.boot() < began + timeout, [one.numbers() for one in self.receivers.values()]
            await self.clock.sleep(0.01)
        return self.clock.boot() - began

    async def states(self) -> dict[int, str]:
        """By number, of what is not delivered."""
        events = {event.id: event.payload["n"] for event in await self.store.events(0, 10_000)}
        return {events[row.event]: row.state for row in await self.store.deliveries(limit=10_000)}


@asynccontextmanager
async def world(clock: VirtualClock) -> AsyncIterator[World]:
    async with memory_store(clock) as store:
        await store.create_session("shop", "baileys", {}, "stopped")
        it = World(store, clock)
        try:
            yield it
        finally:
            for delivery in it.running.values():
                await delivery.stop()


def scene(body: Callable[[World], Awaitable[None]]) -> None:
    async def main(clock: VirtualClock) -> None:
        async with world(clock) as it:
            await body(it)

    run(main)


def test_chats_go_beside_each_other_in_order_and_within_bounds() -> None:
    async def body(it: World) -> None:
        await it.start("one", [ONE])
        it.one.takes = 1.0
        for n in range(5):
            for chat in range(40):
                await it.append(chat * 100 + n, chat=f"c{chat}")
        took = await it.until(lambda: len(it.one.took) == 200, 60)
        assert took == pytest.approx(200 / 16, abs=1.5)
        assert it.one.most == 16
        for chat in range(40):
            assert it.one.numbers(f"c{chat}") == [chat * 100 + n for n in range(5)]
        await it.clock.sleep(1)
        assert await it.store.deliveries() == []
        assert not it.running["one"].underway

    scene(body)


def test_nothing_is_written_for_what_goes_through_but_the_cursor_in_groups() -> None:
    async def body(it: World) -> None:
        writes: list[Any] = []
        settle = it.store.settle_deliveries

        async def counted(*args: Any) -> bool:
            writes.append(args[2])
            return await settle(*args)

        it.store.settle_deliveries = counted  # type: ignore[method-assign]
        await it.start("one", [ONE])
        for n in range(300):
            await it.append(n, chat=f"c{n % 7}")
            await it.clock.sleep(0.005)
        await it.until(lambda: len(it.one.took) == 300)
        await it.clock.sleep(1)
        assert not any(settled.rows or settled.done for settled in writes)
        assert len(writes) <= 20
        assert writes[-1].upto == await it.store.log_end()

    scene(body)


def test_a_receiver_that_is_down_for_an_hour_gets_everything_in_order_and_hinders_nobody() -> None:
    async def body(it: World) -> None:
        await it.start("one")
        it.one.down = True
        total = 0
        began = it.clock.boot()
        while it.clock.boot() - began < HOUR:
            for chat in ("a", "b", "c"):
                await it.append(total, chat=chat)
                total += 1
            await it.until(lambda total=total: len(it.two.numbers()) == total, 1.0)  # type: ignore[misc]
            await it.clock.sleep(60)
        assert it.one.took == []
        assert it.running["one"].failing()["shop"]["one.test"] == pytest.approx(HOUR, abs=120)
        assert len(it.one.tried) < 1500
        it.one.down = False
        took = await it.until(lambda: len(it.one.numbers()) == total, 400)
        assert took <= 330, "as long as one delay, and its jitter"
        for chat in ("a", "b", "c"):
            assert it.one.numbers(chat) == it.two.numbers(chat) == sorted(it.one.numbers(chat))
        assert not any("holdfast" in envelope for envelope in it.one.took), "nothing was overtaken"
        assert len({e["id"] for e in it.one.took}) == len(it.one.took) == total
        await it.clock.sleep(1)
        assert await it.store.deliveries() == []
        assert it.running["one"].failing() == {}

    scene(body)


def test_an_event_that_is_refused_holds_its_own_chat_a_while_then_is_parked_with_its_gap_told() -> None:
    async def body(it: World) -> None:
        await it.start("one", [ONE])
        it.one.poison = {1}
        it.one.refusal = Refusal("the receiver answered 500", 500)
        await it.append(0, 1, 2, 3, chat="bad")
        for n in range(100, 130):
            await it.append(n, chat="good")
            await it.until(lambda n=n: n in it.one.numbers("good"), 0.1)  # type: ignore[misc]
            await it.clock.sleep(25)
        assert it.one.numbers("bad") == [0]
        assert await it.states() == {1: "retrying", 2: "waiting", 3: "waiting"}
        held = await it.until(lambda: it.one.numbers("bad") == [0, 2, 3], 300)
        assert 30 * 25 + held == pytest.approx(900, abs=5)
        (second, third) = [e for e in it.one.took if e["payload"]["n"] in (2, 3)]
        gap = [event.id for event in await it.store.events(0, 10) if event.payload["n"] == 1]
        assert second["holdfast"] == {"gap": gap}
        assert "holdfast" not in third
        assert await it.states() == {1: "parked"}
        await it.append(4, chat="bad")
        await it.until(lambda: 4 in it.one.numbers("bad"), 1)
        it.one.poison.clear()
        await it.until(lambda: 1 in it.one.numbers("bad"), 400)
        assert it.one.took[-1]["holdfast"] == {"late": True}
        await it.clock.sleep(1)
        assert await it.states() == {}

    scene(body)


def test_what_is_refused_for_three_days_is_dead_and_can_be_replayed() -> None:
    async def body(it: World) -> None:
        delivery = await it.start("one", [ONE])
        it.one.poison = {1}
        await it.append(1, chat="bad")
        for n in range(2, 75):
            await it.clock.sleep(HOUR)
            await it.append(n, chat="bad")
        await it.until(lambda: 74 in it.one.numbers(), HOUR)
        assert await it.states() == {1: "dead"}
        tried = len(it.one.tried)
        await it.clock.sleep(DAY)
        assert len(it.one.tried) == tried, "a dead one is tried no more"
        assert tried < 74 + 1200
        (dead,) = await it.store.deliveries(states=["dead"])
        assert dead.attempts > 100
        it.one.poison.clear()
        await it.store.replay_delivery(dead.id)
        await delivery.look()
        await it.until(lambda: 1 in it.one.numbers(), 1.0)
        await it.clock.sleep(1)
        assert await it.states() == {}

    scene(body)


def test_a_webhooks_own_retries_are_honoured_and_the_gap_is_told_even_by_a_later_event() -> None:
    async def body(it: World) -> None:
        hook = replace(ONE, retries=Retries("constant", 10.0, 2))
        await it.start("one", [hook])
        it.one.poison = {1}
        await it.append(1)
        await it.until(lambda: len(it.one.tried) == 3, 60)
        await it.clock.sleep(5 * HOUR)
        times = [at for at, _ in it.one.tried]
        assert len(times) == 3
        assert all(10 <= after - before <= 12.5 for before, after in pairwise(times))
        assert await it.states() == {1: "dead"}
        await it.append(2)
        await it.until(lambda: it.one.numbers() == [2], 1)
        (dead,) = await it.store.deliveries()
        assert it.one.took[0]["holdfast"] == {"gap": [dead.event]}
        await it.append(3)
        await it.until(lambda: it.one.numbers() == [2, 3], 1)
        assert "holdfast" not in it.one.took[1]

    scene(body)


def test_a_receiver_that_asks_for_a_pause_gets_it() -> None:
    async def body(it: World) -> None:
        await it.start("one")
        it.one.down, it.one.refusal = True, Refusal("the receiver answered 429", 429, 120.0)
        await it.append(1, chat="a")
        await it.until(lambda: len(it.one.tried) == 1)
        await it.append(2, chat="b")
        await it.until(lambda: it.two.numbers() == [1, 2])
        await it.clock.sleep(110)
        assert len(it.one.tried) == 1
        it.one.down = False
        await it.until(lambda: sorted(it.one.numbers()) == [1, 2], 30)

    scene(body)


def test_a_receiver_that_hangs_hinders_nobody() -> None:
    async def body(it: World) -> None:
        await it.start("one")
        it.one.takes = 30.0
        for n in range(300):
            await it.append(n, chat=f"c{n}")
        assert await it.until(lambda: len(it.two.numbers()) == 300, 5.0) < 1
        await it.until(lambda: len(it.one.numbers()) == 300, 30 * 20)
        assert it.one.most <= 16

    scene(body)


def test_a_flood_for_one_refused_chat_neither_fills_the_memory_nor_stops_the_others() -> None:
    async def body(it: World) -> None:
        delivery = await it.start("one", [ONE])
        it.one.poison = {0}
        await it.append(*range(1000), chat="bad")
        await it.append(5000, chat="good")
        await it.until(lambda: it.one.numbers("good") == [5000], 60)
        (consumer,) = delivery._consumers.values()
        await it.clock.sleep(5)
        assert len(consumer._undone) == 0
        assert len(await it.states()) == 1000
        await it.until(lambda: len(it.one.numbers("bad")) == 999, 1000)
        assert it.one.numbers("bad") == list(range(1, 1000))

    scene(body)


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
        keep = it.store.keep_consumers

        async def unreachable(*args: Any) -> Any:
            if args[0] == "one":
                await it.clock.sleep(100)
            return await keep(*args)

        it.store.keep_consumers = unreachable  # type: ignore[method-assign]
        await it.append(1, chat="a")
        await it.clock.sleep(0.5)
        await it.start("two", [ONE])
        await it.until(lambda: len(it.one.tried) == 2, 40)
        began, again = (at for at, _ in it.one.tried)
        assert again - began >= 13, "the second began while the first was at it: Receiver.post would have noticed"
        await it.until(lambda: it.one.numbers() == [1], 40)

    scene(body)


def test_the_sessions_holder_takes_over_in_seconds_and_nothing_comes_twice() -> None:
    async def body(it: World) -> None:
        await it.start("two", [ONE])
        it.one.takes = 1.0
        await it.append(*range(10))
        await it.until(lambda: len(it.one.took) == 3, 30)
        lease = await it.store.claim("shop", "one", HOUR)
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
        from holdfast.domain.errors import StoreUnavailable

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


def test_a_changed_webhook_counts_at_once_here_and_soon_elsewhere() -> None:
    async def body(it: World) -> None:
        here = await it.start("one", [])
        there = await it.start("two", [])
        config = {"webhooks": [{"url": ONE.url, "events": ["x"]}]}
        await here.configure(await it.store.update_config("shop", config))
        await it.append(1)
        await it.until(lambda: it.one.numbers() == [1], 10)
        config = {"webhooks": [{"url": ONE.url, "events": ["other"]}]}
        await there.configure(await it.store.update_config("shop", config))
        await it.clock.sleep(20)
        await it.append(2)
        await it.clock.sleep(20)
        assert it.one.numbers() == [1]
        config = {"webhooks": [{"url": TWO.url, "events": ["*"]}]}
        await there.configure(await it.store.update_config("shop", config))
        await it.append(3)
        await it.until(lambda: it.two.numbers() == [3], 20)
        assert it.one.numbers() == [1]
        here.forget("shop")
        assert here.underway == {}

    scene(body)


def test_a_url_that_was_wrong_is_mended_without_a_loss() -> None:
    async def body(it: World) -> None:
        delivery = await it.start("one", [])
        it.one.down = True
        await delivery.configure(await it.store.update_config("shop", {"webhooks": [{"url": ONE.url}]}))
        await it.append(*range(10))
        await it.clock.sleep(HOUR)
        await delivery.configure(await it.store.update_config("shop", {"webhooks": [{"url": TWO.url}]}))
        await it.until(lambda: it.two.numbers() == list(range(10)), 400)
        assert it.one.took == []

    scene(body)


@pytest.mark.parametrize(
    "hook",
    [
        {"url": "http://127.0.0.1/"},
        {"url": "ftp://one.test/"},
        {"url": "http://one.test/", "retries": {"policy": "never"}},
        {"url": "http://one.test/", "customHeaders": [{"name": "X\r\nY", "value": "1"}]},
        {"url": "http://one.test/", "customHeaders": [{"name": "X-Y", "value": "1\r\nEvil: 1"}]},
        {"url": "http://one.test/", "customHeaders": [{"name": "Host", "value": "other.test"}]},
    ],
)
def test_webhooks_that_cannot_be_called_are_not_taken(hook: Json) -> None:
    async def main(clock: VirtualClock) -> None:
        from holdfast.domain.receivers import Reach

        async with memory_store(clock) as store:
            delivery = Delivery(store, clock, DeliverySettings(reach=Reach()), instance="one")
            with pytest.raises(InvalidWebhook):
                delivery.checked({"webhooks": [hook]}, {})
            assert delivery.checked({"webhooks": [{"url": "http://one.test/"}]}, {})["webhooks"]

    run(main)
