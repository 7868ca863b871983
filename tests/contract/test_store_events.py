"""The event log: in order, without gaps that fill in later."""

from __future__ import annotations

import asyncio

import asyncpg
from sqlalchemy import Connection

from holdfast.domain.rows import NewEvent
from holdfast.store import events as log
from holdfast.store import open_store
from tests.contract.conftest import MovedClock, World


def event(n: int, chat: str = "") -> NewEvent:
    return NewEvent("message", {"n": n}, chat)


async def test_events_are_numbered_dated_and_read_in_order(world: World) -> None:
    store = world.store
    first = await store.append_events("a", [event(1, "c@g.us"), event(2)])
    await store.append_events("b", [event(3)])
    assert await store.append_events("a", []) == []
    every = await store.events(0, 10)
    assert every[:2] == first
    assert [(e.session, e.payload["n"], e.chat) for e in every] == [("a", 1, "c@g.us"), ("a", 2, ""), ("b", 3, "")]
    assert [e.seq for e in every] == sorted({e.seq for e in every})
    assert len({e.id for e in every}) == 3
    assert [e.payload["n"] for e in await store.events(every[0].seq, 1)] == [2]
    assert [e.payload["n"] for e in await store.events(0, 10, "b")] == [3]
    assert await store.log_end() == every[-1].seq


async def test_reader_among_concurrent_writers_misses_nothing(world: World) -> None:
    store, total = world.store, 240
    seen: list[int] = []

    async def write(writer: int) -> None:
        for n in range(total // 8):
            await store.append_events(f"s{writer}", [event(writer * 1000 + n)])

    writers = [asyncio.create_task(write(n)) for n in range(8)]
    after = 0
    async with asyncio.timeout(60):
        while len(seen) < total:
            for row in await store.events(after, 7):
                assert row.seq > after
                after = row.seq
                seen.append(row.payload["n"])
            await asyncio.sleep(0)
    await asyncio.gather(*writers)
    assert sorted(seen) == sorted(writer * 1000 + n for writer in range(8) for n in range(total // 8))


async def test_postgresql_withholds_what_a_commit_in_flight_may_precede(database: str) -> None:
    store = open_store(database, MovedClock())
    await store.open()
    driver = store._driver
    engine = driver._engine  # type: ignore[attr-defined]

    def append(c: Connection, n: int) -> None:
        log.append(c, "a", [event(n)], lambda: f"evt{n}")

    async with engine.connect() as slow:
        transaction = await slow.begin()
        await slow.run_sync(append, 1)
        await store.append_events("b", [event(2)])
        assert await store.events(0, 10) == []
        assert await store.log_end() == 0
        await transaction.commit()
    assert [row.payload["n"] for row in await store.events(0, 10)] == [1, 2]
    await store.close()


async def test_postgresql_publishes_before_it_numbers(database: str) -> None:
    """Kept from publishing it has no number yet: else a reader could pass over it."""
    store = open_store(database, MovedClock())
    await store.open()
    (first,) = await store.append_events("a", [event(1)])
    other = await asyncpg.connect(database)
    await other.execute("SELECT pg_advisory_lock($1::int, $2::int)", log._CLASS, first.seq)
    late = asyncio.create_task(store.append_events("a", [event(2)]))
    async with asyncio.timeout(10):
        while not await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            assert not late.done(), late
    assert await other.fetchval("SELECT last_value FROM event_seq_seq") == first.seq
    await other.close()
    assert [row.seq for row in await late] == [first.seq + 1]
    await store.close()
