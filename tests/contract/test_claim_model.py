"""Claims do what a plain model in memory does, whatever happens in between, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.domain.errors import TooLate
from holdfast.domain.rows import Processed
from holdfast.store import open_store
from tests.contract.conftest import MovedClock, World
from tests.contract.rows import message, outgoing
from tests.support.leases import take_lease

CHATS = ("1@g.us", "40700000001@s.whatsapp.net", "40700000002@s.whatsapp.net", "40700000003@s.whatsapp.net")
FAR = 1e9
"""Seconds. All times are so long that what a slow machine adds to PostgreSQL's clock does not matter."""


@dataclass
class Row:
    """A message as the model knows it; times are seconds of the model."""

    id: str
    chat: str
    send_at: float
    expires_at: float
    state: str = "queued"
    attempts: int = 0
    epoch: int = 0
    opens: bool = False


@dataclass
class Model:
    """The rules, read row by row: correct, and as slow as can be."""

    now: float = 0.0
    epoch: int = 1
    rows: list[Row] = field(default_factory=list)
    wrote: set[str] = field(default_factory=set)
    met: set[str] = field(default_factory=set)

    def open(self) -> list[Row]:
        return [row for row in self.rows if row.state in ("queued", "sending")]

    def due(self, row: Row) -> bool:
        sendable = row.send_at <= self.now if row.state == "queued" else row.epoch < self.epoch
        return sendable and row.expires_at > self.now

    def in_the_way(self, row: Row) -> bool:
        return row.expires_at > self.now and (row.state == "sending" or row.send_at <= self.now or row.attempts > 0)

    def blocked(self, row: Row) -> bool:
        others = [other for other in self.open() if other.chat == row.chat and other is not row]
        flying = any(other.state == "sending" and other.epoch >= self.epoch for other in others)
        older = [other for other in others if self.rows.index(other) < self.rows.index(row)]
        return flying or any(map(self.in_the_way, older))

    def answered(self, row: Row) -> bool:
        return row.chat.endswith("@g.us") or row.chat in self.wrote

    def opening(self, row: Row) -> bool:
        return not row.chat.endswith("@g.us") and row.chat not in self.met

    def claim(self, limit: int, who: str, new_chats: bool, paced: bool) -> list[str]:
        found = [row for row in self.open() if self.due(row) and not self.blocked(row)]
        if who:
            found = [row for row in found if self.answered(row) == (who == "known")]
        if not new_chats:
            found = [row for row in found if row.opens or not self.opening(row)]
        for row in found[:limit]:
            row.state, row.epoch, row.attempts = "sending", self.epoch, row.attempts + 1
            row.opens = row.opens or (paced and self.opening(row))
        return [row.id for row in found[:limit]]


OPERATIONS = st.one_of(
    st.tuples(
        st.just("accept"), st.sampled_from(CHATS), st.sampled_from([0.0, 0.0, 0.0, 5e3, 20e3, 60e3]),
        st.sampled_from([FAR, FAR, FAR, 10e3, 30e3]), st.booleans(),
    ),
    st.tuples(
        st.just("claim"), st.sampled_from([1, 2, 10]), st.sampled_from(["", "", "known", "strangers"]), st.booleans(),
        st.booleans(),
    ),
    st.tuples(st.just("claim"), st.just(10), st.just(""), st.just(True), st.just(False)),
    st.tuples(st.just("settle"), st.integers(0, 9), st.sampled_from(["sent", "failed"])),
    st.tuples(st.just("retry"), st.integers(0, 9), st.sampled_from([0.0, 8e3, 40e3])),
    st.tuples(st.just("pass"), st.sampled_from([1e3, 6e3, 25e3])),
    st.tuples(st.just("takeover")),
    st.tuples(st.just("cancel"), st.integers(0, 9)),
    st.tuples(st.just("receive"), st.sampled_from(CHATS), st.booleans()),
    st.tuples(st.just("receipt"), st.integers(0, 9)),
    st.tuples(st.just("sweep")),
)  # fmt: skip


class Walk:
    """One story, told to a store and to the model."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name, self.model, self.ids = world, name, Model(), count()

    async def start(self) -> float:
        await self.world.store.create_session(self.name, "baileys", {}, "running")
        self.model.epoch = await self.lease()
        return await self.world.store.now()

    async def lease(self) -> int:
        lease = await take_lease(self.world.store, self.name, "one", 1e9)
        assert lease is not None
        return lease.epoch

    async def do(self, what: str, *facts: Any) -> None:
        await getattr(self, f"do_{what}")(*facts)

    async def do_accept(self, chat: str, wait: float, lasts: float, ours: bool) -> None:
        store, model = self.world.store, self.model
        at, id_ = await store.now(), f"o{next(self.ids)}"
        row = Row(id_, chat, model.now + wait if wait else 0.0, model.now + lasts)
        asked = outgoing(id_, chat, send_at=at + wait if wait else 0.0, expires_at=at + lasts)
        fields = {name: getattr(asked, name) for name in asked.__slots__} | {"session": self.name}
        stored, _ = await store.enqueue(type(asked)(**fields), "f", epoch=model.epoch if ours else None)
        busy = any(
            other.chat == chat and (other.state == "sending" or model.in_the_way(other)) for other in model.open()
        )
        if stored.state == "sending":
            assert ours
            assert not wait
            assert not busy, "two of a chat in flight"
            row.state, row.attempts, row.epoch = "sending", 1, model.epoch
        model.rows.append(row)

    async def do_claim(self, limit: int, who: str, new_chats: bool, paced: bool) -> None:
        claimed = await self.world.store.claim_outbox(
            self.name, self.model.epoch, limit, known_only=who == "known", strangers_only=who == "strangers",
            new_chats=new_chats, paced=paced,
        )  # fmt: skip
        assert [row.id for row in claimed] == self.model.claim(limit, who, new_chats, paced)

    async def do_settle(self, which: int, state: str) -> None:
        if (row := self.pick(which, lambda row: row.state == "sending")) is None:
            return
        sent = message(row.id, row.chat, from_me=True, ack=1) if state == "sent" else None
        await self.world.store.settle_outbox(self.name, self.model.epoch, row.id, state, sent=sent)
        if sent is not None:  # its receipt comes at once
            await self.world.store.apply_inbox(self.name, self.model.epoch, Processed(acks=[(row.chat, row.id, 2)]))
        row.state = state
        if sent is not None:
            self.model.met.add(row.chat)

    async def do_retry(self, which: int, wait: float) -> None:
        if (row := self.pick(which, lambda row: row.state == "sending")) is None:
            return
        at = await self.world.store.now() + wait if wait else 0.0
        await self.world.store.settle_outbox(self.name, self.model.epoch, row.id, "queued", retry_at=at)
        row.state, row.send_at = "queued", self.model.now + wait

    async def do_pass(self, seconds: float) -> None:
        await self.world.advance(seconds + 0.001)  # not on the instant itself: PostgreSQL's clock goes on meanwhile
        self.model.now += seconds + 0.001

    async def do_takeover(self) -> None:
        self.model.epoch = await self.lease()

    async def do_cancel(self, which: int) -> None:
        if (row := self.pick(which, lambda row: True)) is None:
            return
        try:
            await self.world.store.cancel_outbox(self.name, row.id)
        except TooLate:
            assert row.state != "queued"
        else:
            row.state = "cancelled"

    async def do_receive(self, chat: str, from_me: bool) -> None:
        row = message(f"M{next(self.ids)}", chat, from_me=from_me)
        await self.world.store.apply_inbox(self.name, self.model.epoch, Processed(messages=[row]))
        self.model.met.add(chat)
        if not from_me:
            self.model.wrote.add(chat)

    async def do_receipt(self, which: int) -> None:
        row = self.pick(which, lambda row: row.attempts > 0 and row.state in ("queued", "sending"))
        if row is None:
            return
        acks = [(row.chat, row.id, 2)]
        await self.world.store.apply_inbox(self.name, self.model.epoch, Processed(acks=acks))
        row.state = "delivered"
        self.model.met.add(row.chat)

    async def do_sweep(self) -> None:
        ended = {id_ for name, id_ in await self.world.store.expire_outbox() if name == self.name}
        over = {row.id for row in self.model.open() if row.expires_at <= self.model.now}
        spared = {row.id for row in self.model.open() if row.state == "sending" and row.epoch >= self.model.epoch}
        assert ended == over - spared
        for row in self.model.rows:
            row.state = "expired" if row.id in ended else row.state

    def pick(self, which: int, fits: Callable[[Row], bool]) -> Row | None:
        found = [row for row in self.model.open() if fits(row)]
        return found[which % len(found)] if found else None


class Stage:
    """A store that stays open for all stories, each in a session of its own."""

    def __init__(self, url: str) -> None:
        self.runner, self.numbers = asyncio.Runner(), count()
        self.clock = MovedClock()
        store = open_store(url, self.clock, boot_id="boot-1")
        self.runner.run(store.open())
        self.world = World(store, self.clock, url)

    def play(self, steps: list[Any]) -> None:
        self.runner.run(self._play(steps))

    async def _play(self, steps: list[Any]) -> None:
        walk = Walk(self.world, f"s{next(self.numbers)}")
        await walk.start()
        for step in [*steps, ("claim", 10, "", True, False)]:
            await walk.do(*step)
        await self.world.store.delete_session(walk.name)

    def close(self) -> None:
        self.runner.run(self.world.store.close())
        self.runner.close()


@pytest.fixture
def stage(store_url: str) -> Iterator[Stage]:
    found = Stage(store_url)
    yield found
    found.close()


@pytest.mark.parametrize("kind", ["inline", "postgres"], indirect=True)
@settings(
    max_examples=100, deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)  # fmt: skip
@given(steps=st.lists(OPERATIONS, min_size=4, max_size=40))
def test_claims_are_those_of_the_model(stage: Stage, steps: list[Any]) -> None:
    stage.play(steps)
