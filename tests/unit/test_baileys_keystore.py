"""The key server: order, joining, epochs and lost answers, on the real store in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from holdfast.domain.errors import BadRequest, StaleEpoch, StoreUnavailable
from holdfast.engines.baileys.keystore import KeyServer
from holdfast.ports.store import EngineWrite
from holdfast.runtime.clock import SystemClock
from holdfast.store import SqlStore, open_store
from tests.support.leases import take_lease


class Counted:
    """The store, with its engine writes counted, and failing as often as told."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store
        self.writes: list[EngineWrite] = []
        self.lost_answers = 0
        self.outages = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def read_keys(self, name: str, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        if self.outages:
            self.outages -= 1
            raise StoreUnavailable
        return await self._store.read_keys(name, keys)

    async def write_engine(self, name: str, epoch: int, write: EngineWrite) -> None:
        self.writes.append(write)
        if self.outages:
            self.outages -= 1
            raise StoreUnavailable
        await asyncio.sleep(0)  # let others queue up behind this one
        await self._store.write_engine(name, epoch, write)
        if self.lost_answers:
            self.lost_answers -= 1
            raise StoreUnavailable


class World:
    def __init__(self, store: Counted, epoch: int) -> None:
        self.store, self.epoch = store, epoch
        self.stored: list[tuple[str, int]] = []
        self.server = KeyServer(
            store, SystemClock(), patience=1.0, on_inbox=lambda name, number: self.stored.append((name, number))
        )

    async def set(self, keys: dict[str, bytes | None], inbox: list[str] = [], epoch: int | None = None) -> None:  # noqa: B006
        await self.server.handle(
            "keys_set",
            {
                "session": "a",
                "connection": 4,
                "epoch": self.epoch if epoch is None else epoch,
                "keys": [["session", name, value] for name, value in keys.items()],
                "inbox": [
                    {"key": key, "kind": "message", "attrs": {"id": key}, "plaintext": key.encode(), "body": {}}
                    for key in inbox
                ],
            },
        )

    async def get(self, *names: str) -> list[bytes | None]:
        found = await self.server.handle("keys_get", {"session": "a", "keys": [["session", name] for name in names]})
        return list(found)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    store = open_store("sqlite://", SystemClock())
    await store.open()
    await store.create_session("a", "baileys", {}, "running")
    lease = await take_lease(store, "a", "here", 15.0)
    yield World(Counted(store), getattr(lease, "epoch", 0))
    await store.close()


async def test_reads_answer_in_order_with_none_for_what_is_missing(world: World) -> None:
    await world.set({"x": b"1", "y": b"2"})
    assert await world.get("y", "none", "x") == [b"2", None, b"1"]


async def test_writes_that_wait_are_joined_in_their_order(world: World) -> None:
    await asyncio.gather(*(world.set({"x": b"%d" % n, f"k{n}": b"v"}, [f"m{n}"]) for n in range(20)))
    assert await world.get("x", "k0", "k19") == [b"19", b"v", b"v"]
    assert len(world.store.writes) < 5
    assert len(await world.store.inbox_pending("a", 100)) == 20
    assert set(world.stored) == {("a", 4)}


async def test_a_deletion_after_a_value_deletes(world: World) -> None:
    await asyncio.gather(world.set({"x": b"1"}), world.set({"x": b"2"}), world.set({"x": None}))
    assert await world.get("x") == [None]


async def test_a_stale_epoch_writes_nothing_and_does_not_spoil_others(world: World) -> None:
    stale, good = await asyncio.gather(
        world.set({"x": b"stale"}, ["m"], epoch=world.epoch - 1), world.set({"y": b"good"}), return_exceptions=True
    )
    assert isinstance(stale, StaleEpoch)
    assert good is None
    assert await world.get("x", "y") == [None, b"good"]
    assert await world.store.inbox_pending("a", 10) == []
    assert world.stored == []


async def test_an_outage_is_waited_for_and_a_lost_answer_repeated(world: World) -> None:
    world.store.outages, world.store.lost_answers = 1, 1
    await world.set({"x": b"1"}, ["m"])
    assert await world.get("x") == [b"1"]
    assert [row.plaintext for row in await world.store.inbox_pending("a", 10)] == [b"m"]


async def test_a_read_waits_for_an_outage_too(world: World) -> None:
    await world.set({"x": b"1"})
    world.store.outages = 2
    assert await world.get("x") == [b"1"]


async def test_a_long_outage_is_an_error_after_patience(world: World) -> None:
    world.store.outages = 10**6
    with pytest.raises(StoreUnavailable):
        await world.set({"x": b"1"})


async def test_settled_waits_for_what_is_under_way(world: World) -> None:
    writing = asyncio.create_task(world.set({"x": b"1"}))
    await asyncio.sleep(0)
    await world.server.settled("a")
    assert await world.get("x") == [b"1"]
    await writing


async def test_what_was_stored_without_an_answer_is_told_when_it_comes_again(world: World) -> None:
    world.store.lost_answers = 10**6
    with pytest.raises(StoreUnavailable):
        await world.set({}, ["m1"])
    assert world.stored == []
    asked = {"session": "a", "connection": 5, "key": "m1"}
    assert await world.server.handle("inbox_find", asked) == b"m1"
    assert world.stored == [("a", 5)]
    assert await world.server.handle("inbox_find", {**asked, "key": "m2"}) is None
    assert world.stored == [("a", 5)]


async def test_an_unknown_request_is_refused(world: World) -> None:
    with pytest.raises(BadRequest):
        await world.server.handle("format_disk", {"session": "a"})
