"""Webhooks in virtual time, over the real SQL: receivers that are down, refuse, hang and come back."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from holdfast.domain.delivery import Refusal, Retries
from holdfast.domain.errors import InvalidWebhook
from holdfast.domain.lease import LeaseTimes
from holdfast.domain.rows import Json, NewEvent
from holdfast.runtime.delivery import Delivery, DeliverySettings
from tests.support.deliveries import HOUR, ONE, TWO, World, scene
from tests.support.instances import memory_store
from tests.support.virtual import VirtualClock, run


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
        seldom = DeliverySettings(lease=LeaseTimes(ttl=300.0, renew=100.0), look_every=100.0)  # days go by sooner
        delivery = await it.start("one", [ONE], seldom)
        it.one.poison = {1}
        await it.append(1, chat="bad")
        for n in range(2, 75):
            await it.clock.sleep(HOUR)
            await it.append(n, chat="bad")
        await it.until(lambda: 74 in it.one.numbers(), HOUR)
        assert await it.states() == {1: "dead"}
        tried = len(it.one.tried)
        await it.clock.sleep(3 * HOUR)
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
        it.one.poison, it.one.refusal = {1}, Refusal("the receiver answered 422", 422)
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


@pytest.mark.parametrize("retries", [None, Retries("constant", 3000.0, 3), Retries("linear", 900.0, 0)])
def test_the_first_success_after_a_restart_releases_all_that_waits_in_order(retries: Retries | None) -> None:
    """Whatever the webhook's own retries say: they are about an event that is refused, not about one that is away."""

    async def body(it: World) -> None:
        hook = replace(ONE, retries=retries)
        it.one.down, it.one.refusal = True, Refusal("no connection", 0)
        await it.start("one", [hook])
        for chat in "abc":
            await it.append(*range(3), chat=chat)
        await it.clock.sleep(70)
        await it.running.pop("one").stop()
        await it.start("two", [hook])
        await it.clock.sleep(1)
        it.one.down = False
        await it.store.append_events("shop", [NewEvent("x", {"n": 9, "chat": "d"}, "d")])
        it.running["two"].wake("shop")
        took = await it.until(lambda: len(it.one.took) == 10, 5)
        assert took < 2
        assert it.one.took[0]["payload"]["chat"] == "d"
        for chat in "abc":
            assert it.one.numbers(chat) == [0, 1, 2]

    scene(body)


@pytest.mark.parametrize("retries", [None, Retries("constant", 7200.0, 3), Retries("exponential", 600.0, 1)])
def test_a_receiver_that_is_down_is_probed_in_its_first_hour_and_gives_nothing_up(retries: Retries | None) -> None:
    async def body(it: World) -> None:
        it.one.down, it.one.refusal = True, Refusal("no connection", 0)
        await it.start("one", [replace(ONE, retries=retries)])
        for chat in range(50):
            await it.append(1, chat=f"c{chat}")
        await it.clock.sleep(HOUR - 60)
        times = [at for at, _ in it.one.tried]
        assert max(after - before for before, after in pairwise(times)) <= 30.5
        if retries is not None:
            assert len(times) < 300, "one event probes for all"
        it.one.down = False
        await it.until(lambda: len(it.one.took) == 50, 32)

    scene(body)


def test_an_event_on_which_a_well_receiver_breaks_off_is_not_hammered() -> None:
    async def body(it: World) -> None:
        it.one.poison, it.one.refusal = {0}, Refusal("no answer", 0)
        await it.start("one", [replace(ONE, retries=Retries("constant", 3000.0, 9))])
        await it.append(0, chat="bad")
        for n in range(1, 600):
            await it.append(n, chat="good")
            await it.clock.sleep(1)
        assert len(it.one.numbers("good")) == 599
        assert len(it.one.tried) - len(it.one.took) <= 2 * 600 / 30 + 2

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
        for n in range(100):
            await it.append(n, chat=f"c{n}")
        assert await it.until(lambda: len(it.two.numbers()) == 100, 5.0) < 1
        await it.until(lambda: len(it.one.numbers()) == 100, 30 * 7)
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
                delivery.check({"webhooks": [hook]})
            delivery.check({"webhooks": [{"url": "http://one.test/"}]})

    run(main)
