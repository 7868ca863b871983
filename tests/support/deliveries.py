"""Webhooks in virtual time, over the real SQL: instances that deliver, and receivers that do as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from holdfast.domain.delivery import Refusal
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

    async def start(
        self, name: str, hooks: Sequence[Webhook] = (ONE, TWO), settings: DeliverySettings | None = None
    ) -> Delivery:
        """A new instance."""
        settings = replace(settings or DeliverySettings(), common=hooks)
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
