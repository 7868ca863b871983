"""PostgreSQL's own interleavings: claims, writers and renewals that meet half way, and locks taken crosswise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg
import pytest
from sqlalchemy import Connection
from sqlalchemy.util import await_only

from holdfast.domain.errors import StaleEpoch
from holdfast.domain.rows import EngineWrite, Holder, Lease, Won
from holdfast.domain.whatsapp import WhatsApp
from holdfast.store import SqlStore, keys, leases, open_store
from tests.contract.conftest import MovedClock
from tests.support.leases import take_lease

T = TypeVar("T")

TTL = 600.0
SESSIONS = [f"s{number:02d}" for number in range(20)]


@pytest.fixture
async def store(database: str) -> AsyncIterator[SqlStore]:
    """Its sessions are held by `one`, under epoch 1."""
    opened = open_store(database, MovedClock())
    await opened.open()
    for name in SESSIONS:
        await opened.create_session(name, "baileys", {}, "running")
        assert isinstance(await take_lease(opened, name, "one", TTL), Lease)
    yield opened
    await opened.close()


class Half:
    """A transaction that did its work and has not committed, until it is told to."""

    def __init__(self, store: SqlStore, work: Callable[[Connection], Any]) -> None:
        self.done, self.go = asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(store._driver.write(self._run))
        self._work = work

    def _run(self, c: Connection) -> Any:
        value = self._work(c)
        self.done.set()
        await_only(self.go.wait())
        return value

    async def commit(self) -> Any:
        self.go.set()
        return await self.task


@asynccontextmanager
async def halfway(store: SqlStore, work: Callable[[Connection], Any]) -> AsyncIterator[Half]:
    half = Half(store, work)
    await half.done.wait()
    try:
        yield half
    finally:
        half.go.set()
        await half.task


async def blocked(url: str, task: asyncio.Task[T]) -> asyncio.Task[T]:
    """Wait until it waits for a lock."""
    admin = await asyncpg.connect(url)
    async with asyncio.timeout(10):
        while not await admin.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            assert not task.done(), task
            await asyncio.sleep(0)
    await admin.close()
    return task


async def expire(store: SqlStore, name: str) -> None:
    await store._driver.write(
        lambda c: c.exec_driver_sql("UPDATE session_lock SET expires_at = 0 WHERE session_name = $1", (name,)).close()
    )


async def test_writer_that_meets_a_claim_half_way_writes_nothing(store: SqlStore, database: str) -> None:
    await expire(store, "s00")
    async with halfway(store, lambda c: leases.claim(c, ["s00"], "two", TTL, WhatsApp())) as claim:
        write = asyncio.create_task(store.write_engine("s00", 1, EngineWrite({("creds", ""): b"stale"})))
        await blocked(database, write)
        won = (await claim.commit())["s00"]
    assert isinstance(won, Lease)
    assert won.epoch == 2
    with pytest.raises(StaleEpoch):
        await write
    assert await store.read_keys("s00", [("creds", "")]) == {}


async def test_claim_that_meets_a_writer_half_way_waits_for_it_and_finds_what_it_wrote(
    store: SqlStore, database: str
) -> None:
    await expire(store, "s00")
    wrote = EngineWrite({("creds", ""): b"the last of the old holder"})
    async with halfway(store, lambda c: keys.write_engine(c, "s00", 1, wrote, WhatsApp())) as writer:
        claim = await blocked(database, asyncio.create_task(take_lease(store, "s00", "two", TTL)))
        await writer.commit()
    assert isinstance(await claim, Lease)
    assert await store.read_keys("s00", [("creds", "")]) == dict(wrote.keys)
    with pytest.raises(StaleEpoch):
        await store.write_engine("s00", 1, wrote)


async def test_renewal_that_meets_a_claim_half_way_is_told_that_it_lost(store: SqlStore, database: str) -> None:
    """It must not bring the old holder's lease back, and the others of its statement are renewed all the same."""
    await expire(store, "s00")
    async with halfway(store, lambda c: leases.claim(c, ["s00"], "two", TTL, WhatsApp())) as claim:
        renewal = asyncio.create_task(store.renew("one", dict.fromkeys(SESSIONS, 1), TTL))
        await blocked(database, renewal)
        await claim.commit()
    assert await renewal == {name: name != "s00" for name in SESSIONS}
    holder = (await store.holders(["s00"]))["s00"]
    assert (holder.instance, holder.epoch, holder.valid) == ("two", 2, True)


async def test_claim_that_meets_a_renewal_half_way_finds_the_lease_renewed(store: SqlStore, database: str) -> None:
    """The renewal came after the expiry, but before the claim: the old holder goes on, and nobody else begins."""
    await expire(store, "s00")
    async with halfway(store, lambda c: leases.renew(c, "one", {"s00": 1}, TTL)) as renewal:
        claim = await blocked(database, asyncio.create_task(take_lease(store, "s00", "two", TTL)))
        assert await renewal.commit() == {"s00": True}
    found = await claim
    assert isinstance(found, Holder)
    assert (found.instance, found.epoch) == ("one", 1)
    await store.write_engine("s00", 1, EngineWrite({("creds", ""): b"still ours"}))


async def test_of_many_a_claim_passes_over_those_that_somebody_is_at(store: SqlStore) -> None:
    """A writer that takes its time, a renewal, another claim: nobody waits for these, and all others are taken."""
    for name in SESSIONS:
        await expire(store, name)
    wrote = EngineWrite({("creds", ""): b"in no haste"})
    async with (
        halfway(store, lambda c: keys.write_engine(c, "s00", 1, wrote, WhatsApp())),
        halfway(store, lambda c: leases.renew(c, "one", {"s01": 1}, TTL)),
        halfway(store, lambda c: leases.claim(c, ["s02"], "three", TTL, WhatsApp())),
    ):
        won = await store.claim(SESSIONS, "two", TTL)
        assert won.keys() == {*SESSIONS} - {"s00", "s02"}
        assert isinstance(won.pop("s01"), Holder)
    for name, answer in won.items():
        assert isinstance(answer, Won)
        lease, row = answer.lease, answer.row
        assert (lease.session, lease.epoch, row.name, row.epoch) == (name, 2, name, 2)
    holders = await store.holders(SESSIONS)
    assert {name: (holder.instance, holder.epoch) for name, holder in holders.items()} == {
        **dict.fromkeys(SESSIONS, ("two", 2)), "s00": ("one", 1), "s01": ("one", 1), "s02": ("three", 2)
    }  # fmt: skip


async def test_many_that_claim_many_at_once_share_them(store: SqlStore) -> None:
    for name in SESSIONS:
        await expire(store, name)
    ways = [SESSIONS, SESSIONS[::-1], SESSIONS[10:] + SESSIONS[:10]] * 3
    claims = await asyncio.gather(*(store.claim(names, f"i{n}", TTL) for n, names in enumerate(ways)))
    won = [name for claim in claims for name, answer in claim.items() if isinstance(answer, Won)]
    assert len(won) == len(set(won)), "one session, two holders"
    assert {holder.epoch for holder in (await store.holders(won)).values()} == {2}


async def test_locks_taken_crosswise_are_sorted_out_and_nobody_sees_an_error(store: SqlStore) -> None:
    """Renewals of all, proofs of all, the end of all, claims and writes, from two sides and in every order."""
    ours = dict.fromkeys(SESSIONS, 1)
    backwards = dict.fromkeys(reversed(SESSIONS), 1)
    proofs = dict.fromkeys(backwards, (1, 1.0))

    async def write(name: str) -> None:
        await store.write_engine(name, 1, EngineWrite({("k", str(n)): b"v" for n in range(5)}))

    for _ in range(5):
        await asyncio.gather(
            *(store.renew("one", epochs, TTL) for epochs in (ours, backwards) * 3),
            *(store.note_verified(proofs) for _ in range(3)),
            *(write(name) for name in SESSIONS),
            *(take_lease(store, name, "two", TTL) for name in SESSIONS),
            *(store.claim(names, "two", TTL) for names in (SESSIONS, SESSIONS[::-1])),
        )
    assert all((await store.renew("one", ours, TTL)).values())
    claims = (take_lease(store, name, "two", TTL) for name in SESSIONS)
    freed, *_ = await asyncio.gather(store.expire_instance("one"), *claims, store.renew("one", ours, TTL))
    assert sorted(freed) == SESSIONS
    epochs = {holder.session: holder.epoch for holder in (await store.holders(SESSIONS)).values()}
    held = await store.renew("one", ours, TTL)
    for name in SESSIONS:
        assert held[name] == (epochs[name] == 1), "a lease that two believe to have"
