"""A PostgreSQL that stops, hangs, restarts, fails over, refuses: what is done once, what is unknown, what is said."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from time import monotonic

import asyncpg
import pytest
from sqlalchemy import Connection

from holdfast.domain.errors import HoldfastError, StaleEpoch, StoreUnavailable
from holdfast.domain.rows import EngineWrite, Holder, Lease, NewEvent
from holdfast.store import SqlStore, open_store, urls
from holdfast.store.drivers.postgres import PostgresDriver
from holdfast.store.facade import SqlStore as Store
from tests.contract.conftest import MovedClock
from tests.support.leases import take_lease
from tests.support.postgres import Postgres
from tests.support.wire import Wire

TTL = 600.0


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """One that tests may ill-treat; they leave it running."""
    with Postgres() as running:
        yield running


@pytest.fixture
def name(server: Postgres) -> Iterator[str]:
    """A fresh database on it."""
    fresh = f"t{os.urandom(6).hex()}"
    server.run("createdb", fresh)
    yield fresh
    server.run("dropdb", "--force", fresh)


@asynccontextmanager
async def opened(url: str, *, timeout: float = 20.0, idle: float = 5.0) -> AsyncIterator[SqlStore]:
    """A store with session `a`, held by `one` under epoch 1."""
    store = Store(PostgresDriver(urls.postgres(url), timeout=timeout, idle=idle), MovedClock())
    await store.open()
    try:
        if await store.session("a") is None:
            await store.create_session("a", "baileys", {}, "running")
            assert isinstance(await take_lease(store, "a", "one", TTL), Lease)
        yield store
    finally:
        await store.close()


def counting(c: Connection) -> int:
    """A write that shows how often it was done."""
    c.exec_driver_sql("INSERT INTO setting VALUES ('n', '0', 0) ON CONFLICT DO NOTHING")
    return int(
        c.exec_driver_sql("UPDATE setting SET value = value::int + 1 WHERE key = 'n' RETURNING value").scalar_one()
    )


async def counted(url: str) -> int:
    """How often it was done, asked past everything."""
    connection = await asyncpg.connect(url)
    found = await connection.fetchval("SELECT value FROM setting WHERE key = 'n'")
    await connection.close()
    return int(found or 0)


# --- lost connections ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("mode", ["immediate", "fast"])
async def test_restart_between_transactions_is_not_noticed(server: Postgres, name: str, mode: str) -> None:
    async with opened(server.dsn(name)) as store:
        await asyncio.gather(*(store.now() for _ in range(10)))  # the pool is full of connections that will be dead
        server.stop(mode)
        server.start()
        assert await store.renew("one", {"a": 1}, TTL) == {"a": True}
        await asyncio.gather(*(store.write_engine("a", 1, EngineWrite({("k", str(n)): b"v"})) for n in range(20)))


async def test_while_it_is_down_it_is_said_at_once_and_afterwards_it_works(server: Postgres, name: str) -> None:
    async with opened(server.dsn(name)) as store:
        server.stop()
        began = monotonic()
        for call in (store.renew("one", {"a": 1}, TTL), store.session("a"), take_lease(store, "a", "two", TTL)):
            with pytest.raises(StoreUnavailable, match="cannot be reached"):
                await call
        assert monotonic() - began < 5
        server.start()
        assert await store.renew("one", {"a": 1}, TTL) == {"a": True}
        assert isinstance(await take_lease(store, "a", "two", TTL), Holder)


@pytest.mark.parametrize("statement", [b"BEGIN", b"INSERT INTO setting", b"UPDATE setting"])
async def test_lost_before_commit_is_repeated_and_done_once(server: Postgres, name: str, statement: bytes) -> None:
    async with Wire(server) as wire:
        for count, cut in enumerate((wire.cut_before, wire.cut_after), start=1):
            async with opened(wire.dsn(name)) as store:  # nothing is prepared yet: the wire sees the words
                cut(statement)
                assert await store._driver.write(counting) == count
            assert wire.cuts == count
        assert await counted(server.dsn(name)) == 2


@pytest.mark.parametrize(("done", "times"), [(True, 1), (False, 0)])
async def test_lost_at_commit_is_unknown_and_never_repeated(
    server: Postgres, name: str, done: bool, times: int
) -> None:
    async with Wire(server) as wire, opened(wire.dsn(name)) as store:
        (wire.cut_after if done else wire.cut_before)(b"COMMIT;")
        with pytest.raises(StoreUnavailable, match=r"while it committed.*unknown"):
            await store._driver.write(counting)
        assert await counted(server.dsn(name)) == times
        assert await store._driver.write(counting) == times + 1, "the next transaction finds a connection that works"


@pytest.mark.parametrize("statement", [b"BEGIN", b"SELECT", b"ROLLBACK"])
async def test_a_read_is_repeated_wherever_it_was_lost(server: Postgres, name: str, statement: bytes) -> None:
    async with Wire(server) as wire, opened(wire.dsn(name)) as store:
        await store._driver._set_direct(False)  # type: ignore[attr-defined] # as behind a pooler: reads are transactions
        wire.cut_after(statement)
        row = await store.session("a")
        assert row is not None
        assert wire.cuts == 1


async def test_a_read_without_a_transaction_is_repeated_as_well(server: Postgres, name: str) -> None:
    async with Wire(server) as wire, opened(wire.dsn(name)) as store:
        wire.cut_after(b"FROM credential")
        assert await store.read_keys("a", [("creds", "")]) == {}
        assert wire.cuts == 1


async def test_claim_whose_answer_was_lost_is_unknown_and_the_next_one_is_fenced(server: Postgres, name: str) -> None:
    async with Wire(server) as wire, opened(wire.dsn(name)) as store:
        await store.release("a", "one", 1)
        wire.cut_after(b"COMMIT;")
        with pytest.raises(StoreUnavailable):
            await take_lease(store, "a", "two", TTL)
        assert isinstance(await take_lease(store, "a", "three", TTL), Holder)
        lease = await take_lease(store, "a", "two", TTL)
        assert isinstance(lease, Lease)
        assert lease.epoch == 3
        with pytest.raises(StaleEpoch):
            await store.write_engine("a", 2, EngineWrite({("k", ""): b"v"}))


# --- silence ------------------------------------------------------------------------------------------------------
async def test_frozen_server_holds_nobody_longer_than_it_wants_to_wait(server: Postgres, name: str) -> None:
    async with opened(server.dsn(name)) as store:
        server.freeze()
        try:
            for _ in range(12):  # more than there are connections
                began = monotonic()
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(store.renew("one", {"a": 1}, TTL), 0.2)
                assert monotonic() - began < 1.0
        finally:
            server.thaw()
        async with asyncio.timeout(15):
            assert await store.renew("one", {"a": 1}, TTL) == {"a": True}


async def test_silence_is_unknown_after_the_drivers_own_time(server: Postgres, name: str) -> None:
    async with opened(server.dsn(name), timeout=1.0) as store:
        server.freeze()
        try:
            began = monotonic()
            answers = await asyncio.gather(*(store._driver.write(counting) for _ in range(30)), return_exceptions=True)
            assert monotonic() - began < 8
        finally:
            server.thaw()
        assert all(isinstance(answer, StoreUnavailable) for answer in answers)
        async with asyncio.timeout(15):
            while True:
                try:
                    assert await store._driver.write(counting) >= 1
                    break
                except StoreUnavailable:
                    await asyncio.sleep(0)


async def test_connections_that_lead_nowhere_cost_one_renewal_not_one_each(server: Postgres, name: str) -> None:
    """As after a failover that moved the address: old connections are silent for ever, new ones work."""
    async with Wire(server) as wire, opened(wire.dsn(name)) as store:
        await asyncio.gather(*(store.now() for _ in range(10)))
        wire.go_dead()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(store.renew("one", {"a": 1}, TTL), 0.5)
        async with asyncio.timeout(4):  # the pool's end is found out within the time for tidying
            held = False
            while not held:
                with suppress(TimeoutError):
                    held = (await asyncio.wait_for(store.renew("one", {"a": 1}, TTL), 0.5))["a"]


@pytest.mark.parametrize("statement", [b"INSERT INTO event", b"COMMIT;"])
async def test_an_instance_that_froze_in_the_middle_of_a_write_holds_nobody_up(
    server: Postgres, name: str, statement: bytes
) -> None:
    """It has locked the session's epoch, and announced an event that nobody may overtake. When it wakes, what surely
    did not happen is done anew, and what may have happened is told as unknown.
    """
    async with Wire(server) as wire, opened(server.dsn(name)) as store, opened(wire.dsn(name), idle=0.5) as frozen:
        lost, following = (NewEvent("session.status", {"n": n}) for n in (1, 2))
        wire.hold_at(statement)
        stuck = asyncio.create_task(frozen.save_state("a", 1, {}, me=None, timeline=None, events=[lost]))
        await wire.held.wait()
        async with asyncio.timeout(5):
            assert isinstance(await take_lease(store, "a", "two", TTL), Holder)
            (told,) = await store.append_events("a", [following])
            while not (found := await store.events(0, 10)):
                await asyncio.sleep(0.05)
        assert found == [told]
        wire.flow()
        if statement == b"COMMIT;":
            with pytest.raises(StoreUnavailable):
                await stuck
        else:
            await stuck
        assert len(await store.events(0, 10)) == (1 if statement == b"COMMIT;" else 2)


# --- refusals -----------------------------------------------------------------------------------------------------
async def test_deadlock_is_repeated_until_both_are_done(server: Postgres, name: str) -> None:
    async with opened(server.dsn(name)) as store:
        for key in "xy":
            await store.put_setting(key, "0")
        met = asyncio.Barrier(2)
        first = {"xy": True, "yx": True}

        def both(order: str) -> Callable[[Connection], None]:
            def run(c: Connection) -> None:
                from sqlalchemy.util import await_only

                for key in order:
                    c.exec_driver_sql("UPDATE setting SET value = value::int + 1 WHERE key = $1", (key,))
                    if first[order]:
                        first[order] = False
                        await_only(met.wait())

            return run

        await asyncio.wait_for(asyncio.gather(*(store._driver.write(both(order)) for order in first)), 30)
        assert [await store.setting(key) for key in "xy"] == ["2", "2"]


async def test_connection_ended_by_an_administrator_is_repeated(server: Postgres, name: str) -> None:
    async with opened(server.dsn(name)) as store:
        ended = False

        def once(c: Connection) -> int:
            nonlocal ended
            if not ended:
                ended = True
                c.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")
            return counting(c)

        assert await store._driver.write(once) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("-c%20statement_timeout%3D100", "took too long"),
        ("-c%20lock_timeout%3D100", "lock in time"),
    ],
)
async def test_servers_own_limits_are_said_and_nothing_is_done(
    server: Postgres, name: str, options: str, said: str
) -> None:
    async with opened(server.dsn(name)):
        pass
    busy = await asyncpg.connect(server.dsn(name))
    await busy.execute("BEGIN; LOCK TABLE setting")
    async with opened(f"{server.dsn(name)}&options={options}") as store:
        with pytest.raises(StoreUnavailable, match=said):
            await store._driver.write(counting)
        await busy.execute("COMMIT")
        assert await store._driver.write(counting) == 1
    await busy.close()


async def test_no_more_connections_is_said_with_the_way_out(server: Postgres, name: str) -> None:
    async with opened(server.dsn(name)) as store:
        admin = await asyncpg.connect(server.dsn(name))
        role = f"r{os.urandom(4).hex()}"
        await admin.execute(
            f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 1; GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}"
        )
        url = server.dsn(name).replace("postgres@", f"{role}@")
        poor = Store(PostgresDriver(urls.postgres(url)), MovedClock())
        await poor.open()
        answers = await asyncio.gather(*(poor._driver.read(_slow) for _ in range(3)), return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, HoldfastError)]
        assert len(refused) == 2
        assert all("connection_limit=" in answer.sentence for answer in refused)
        await poor.close()
        within = Store(PostgresDriver(urls.postgres(f"{url}&connection_limit=1")), MovedClock())
        await within.open()
        await asyncio.gather(*(within._driver.read(_slow) for _ in range(3)))
        await within.close()
        await admin.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
        await admin.close()
        assert await store.session("a") is not None


def _slow(c: Connection) -> None:
    c.exec_driver_sql("SELECT pg_sleep(0.2)")


# --- standby and failover -----------------------------------------------------------------------------------------
async def test_standby_is_named_and_failover_loses_nothing_that_was_confirmed() -> None:
    """A real standby with synchronous commit: URL with both hosts, the primary dies, the standby is promoted."""
    with Postgres("synchronous_commit=remote_apply") as primary, primary.standby() as standby:
        admin = await asyncpg.connect(primary.dsn("postgres"))
        await admin.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        await admin.execute("SELECT pg_reload_conf()")
        await admin.close()
        both = (
            f"postgresql://postgres@/postgres?host={standby.socket},{primary.socket}"
            f"&port={standby.port},{primary.port}&target_session_attrs=primary"
        )
        async with opened(both) as store:
            for n in range(20):
                await store.write_engine("a", 1, EngineWrite({("k", str(n)): b"v"}))
            only = open_store(standby.dsn("postgres"), MovedClock())
            await only.open()
            with pytest.raises(StoreUnavailable, match=r"read-only.*standby"):
                await only.renew("one", {"a": 1}, TTL)
            assert await only.session("a") is not None
            await only.close()
            primary.stop()
            with pytest.raises(StoreUnavailable):
                await store.renew("one", {"a": 1}, TTL)
            standby.promote()
            assert await store.renew("one", {"a": 1}, TTL) == {"a": True}
            assert len(await store.read_keys("a", [("k", str(n)) for n in range(20)])) == 20
            lease = await take_lease(store, "a", "one", TTL)
            assert isinstance(lease, Lease)
            assert lease.epoch == 2


async def test_renewals_do_not_wait_behind_writers_that_wait(server: Postgres, name: str) -> None:
    """Every other connection is stuck behind a lock, and more wait for one: the lease is renewed all the same."""
    async with opened(server.dsn(name)) as store:
        busy = await asyncpg.connect(server.dsn(name))
        await busy.execute("BEGIN; LOCK TABLE setting")
        stuck = [asyncio.create_task(store._driver.write(counting)) for _ in range(40)]
        while await busy.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") < 9:
            await asyncio.sleep(0)
        for _ in range(3):
            assert await asyncio.wait_for(store.renew("one", {"a": 1}, TTL), 3) == {"a": True}
        assert not any(task.done() for task in stuck)
        await busy.execute("COMMIT")
        assert sorted(await asyncio.gather(*stuck)) == list(range(1, 41))
        await busy.close()


# --- PostgreSQL's own interleavings -------------------------------------------------------------------------------
async def test_renewal_waits_for_no_writer_and_claim_waits_for_all(server: Postgres, name: str) -> None:
    async with opened(server.dsn(name)) as store:
        await store.release("a", "one", 1)
        lease = await take_lease(store, "a", "one", TTL)
        assert isinstance(lease, Lease)
        writer = await asyncpg.connect(server.dsn(name))
        await writer.execute("BEGIN; SELECT epoch FROM session_epoch WHERE session_name = 'a' FOR SHARE")
        assert await asyncio.wait_for(store.renew("one", {"a": 2}, TTL), 5) == {"a": True}
        claiming = asyncio.create_task(take_lease(store, "a", "one", TTL))
        while not await writer.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            assert not claiming.done()
        await writer.execute("COMMIT")
        won = await asyncio.wait_for(claiming, 5)
        assert isinstance(won, Lease)
        assert won.epoch == 3
        await writer.close()
