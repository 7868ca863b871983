"""Random lives of instances and receivers in virtual time: all of it comes, in order or with its gap told."""

from __future__ import annotations

import random

import pytest

from holdfast.domain.delivery import Refusal
from holdfast.domain.errors import StoreUnavailable
from holdfast.domain.rows import Json
from tests.support.deliveries import ONE, TWO, World, world
from tests.support.virtual import VirtualClock, run

CHATS = ("a", "b", "c", "")
STEPS = 40
CUT = ("settle_deliveries", "events", "keep_consumers", "take_consumer", "due_deliveries", "delivery_lane")


class Walk:
    """One seed's story."""

    def __init__(self, it: World, seed: int) -> None:
        self.it = it
        self.dice = random.Random(seed)
        self.sent: dict[str, list[int]] = {chat: [] for chat in CHATS}
        self.names = 0
        self.store_down = False

    def cut(self) -> None:
        """Let the store fail at will, before or after it did what was asked."""
        for name in CUT:
            method = getattr(self.it.store, name)

            async def guarded(*args: object, method: object = method) -> object:
                if self.store_down and self.dice.random() < 0.7:
                    if self.dice.random() < 0.5:
                        await method(*args)  # type: ignore[operator]
                    await self.it.clock.sleep(0.2)
                    raise StoreUnavailable()
                return await method(*args)  # type: ignore[operator]

            setattr(self.it.store, name, guarded)

    async def step(self) -> None:
        it, dice = self.it, self.dice
        act = dice.choice(["send"] * 6 + ["down", "poison", "slow", "kill", "start", "stop", "store", "well"])
        receiver = dice.choice([it.one, it.two])
        if act == "send":
            chat = dice.choice(CHATS)
            for _ in range(dice.choice([1, 1, 3, 30])):
                number = sum(len(numbers) for numbers in self.sent.values())
                self.sent[chat].append(number)
                await it.append(number, chat=chat)
        elif act == "down":
            receiver.down, receiver.refusal = True, Refusal("down", 503, dice.choice([None, None, 20.0]))
        elif act == "poison":
            known = [number for numbers in self.sent.values() for number in numbers]
            receiver.poison = set(dice.sample(known, min(len(known), 2))) | {len(known)}
        elif act == "slow":
            receiver.takes = dice.choice([0.05, 1.0, 20.0])
        elif act == "well":
            receiver.down, receiver.takes = False, 0.0
        elif act == "store":
            self.store_down = not self.store_down
        elif act == "start" and len(it.running) < 3:
            await self.start()
        elif act in ("kill", "stop") and it.running:
            name = dice.choice(sorted(it.running))
            await (it.kill(name) if act == "kill" else it.running.pop(name).stop())
        await it.clock.sleep(dice.choice([0.0, 0.05, 0.3, 1.0, 10.0, 30.0, 400.0]))

    async def start(self) -> None:
        """A new instance, which is sometimes told of what is appended."""
        self.names += 1
        name = "one" if "one" not in self.it.running and self.dice.random() < 0.5 else f"i{self.names}"
        await self.it.start(name)

    async def end(self) -> None:
        """All is well again: everything must come."""
        self.store_down = False
        for receiver in (self.it.one, self.it.two):
            receiver.down, receiver.takes, receiver.poison = False, 0.0, set()
        if not self.it.running:
            await self.it.start("last")
        total = sum(len(numbers) for numbers in self.sent.values())
        for receiver in (self.it.one, self.it.two):
            end = self.it.clock.boot() + 1000.0
            while len(receiver.numbers()) < total:
                assert self.it.clock.boot() < end, await self.it.states()
                await self.it.clock.sleep(1.0)
        await self.it.clock.sleep(5.0)
        assert await self.it.states() == {}

    def check(self, took: list[Json]) -> None:
        """Each chat in order, but for what came late; and what came late had been told of as missing."""
        missing: set[str] = set()
        for chat, numbers in self.sent.items():
            first: dict[int, Json] = {}
            for envelope in took:
                if envelope["payload"]["chat"] == chat:
                    first.setdefault(envelope["payload"]["n"], envelope)
                    missing.update(envelope.get("holdfast", {}).get("gap", ()))
            assert sorted(first) == numbers, "lost"
            marked = {n for n, e in first.items() if e.get("holdfast", {}).get("late")}
            assert all(first[n]["id"] in missing for n in marked), "late, and nobody had been told"
            # An owner that dies between the gap's event and its row leaves the next one to begin in order, unmarked.
            late = {n for n, e in first.items() if e["id"] in missing}
            in_time = [n for n in first if n not in late]
            assert in_time == sorted(in_time), f"chat {chat!r} out of order"


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_all_of_it_comes_in_order_or_is_told_of(seed: int) -> None:
    async def main(clock: VirtualClock) -> None:
        async with world(clock) as it:
            walk = Walk(it, seed)
            await it.start("one", (ONE, TWO))
            walk.cut()
            for _ in range(STEPS):
                await walk.step()
            await walk.end()
            walk.check(it.one.took)
            walk.check(it.two.took)

    run(main, seed=seed)
