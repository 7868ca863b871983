"""NOTIFY between stores on one PostgreSQL: what is told, when, to whom, and who cannot hear."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from holdfast.domain.errors import SessionNotFound
from holdfast.domain.rows import EngineWrite, Hint, NewEvent, Processed
from holdfast.ports.store import Store
from holdfast.store import SqlStore, open_store
from holdfast.store.drivers import listener
from tests.contract.conftest import MovedClock, World
from tests.contract.rows import message, outgoing, received, told
from tests.support.leases import take_lease
from tests.support.pooler import PgBouncer
from tests.support.postgres import Postgres


class Ears:
    """What one store hears."""

    def __init__(self, store: SqlStore) -> None:
        self.store = store
        self.heard: list[Hint] = []
        self._more = asyncio.Event()
        self.task = asyncio.create_task(store.listen(self._hear))

    def _hear(self, hint: Hint) -> None:
        self.heard.append(hint)
        self._more.set()

    async def until(self, *hints: Hint) -> None:
        """All of them came."""
        async with asyncio.timeout(10):
            while not set(hints) <= set(self.heard):
                self._more.clear()
                await self._more.wait()

    async def ready(self, by: Store) -> None:
        """It hears what `by` does."""
        async with asyncio.timeout(20):
            while Hint("session", "probe") not in self.heard:
                await by.update_config("probe", {})
                await asyncio.sleep(0)
        self.heard.clear()


@asynccontextmanager
async def opened(url: str, direct_url: str = "") -> AsyncIterator[SqlStore]:
    store = open_store(url, MovedClock(), direct_url=direct_url)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def two(url: str, direct_url: str = "") -> AsyncIterator[tuple[SqlStore, Ears]]:
    """One that acts and one that listens (as the other does); session `a` is held by `one` under epoch 1."""
    async with opened(url, direct_url) as acts, opened(url, direct_url) as hears:
        ears, other = Ears(hears), Ears(acts)
        for name in ("probe", "a"):
            await acts.create_session(name, "baileys", {}, "running")
        await take_lease(acts, "a", "one", 60)
        await ears.ready(acts)
        yield acts, ears
        for listening in (ears, other):
            listening.task.cancel()
        await asyncio.gather(ears.task, other.task, return_exceptions=True)


TELLS: dict[str, tuple[Callable[[Store], Awaitable[object]], list[Hint]]] = {
    "release": (lambda s: s.release("a", "one", 1), [Hint("freed", "a")]),
    "expire_instance": (lambda s: s.expire_instance("one"), [Hint("freed", "a")]),
    "create": (lambda s: s.create_session("new", "baileys", {}, "running"), [Hint("order", "new")]),
    "order": (lambda s: s.order("a", "stopped", None), [Hint("order", "a")]),
    "enqueue elsewhere": (lambda s: s.enqueue(outgoing(), "f"), [Hint("outbox", "a")]),
    "enqueue by a stale holder": (lambda s: s.enqueue(outgoing(), "f", epoch=0), [Hint("outbox", "a")]),
    "save_state": (
        lambda s: s.save_state("a", 1, {}, me=None, timeline=None, events=[NewEvent("session.status", {})]),
        [Hint("session", "a"), Hint("events", "a")],
    ),
    "append": (lambda s: s.append_events("a", [NewEvent("x", {})]), [Hint("events", "a")]),
    "update_config": (lambda s: s.update_config("a", {"x": 1}), [Hint("session", "a")]),
    "delete": (lambda s: s.delete_session("a"), [Hint("session", "a")]),
}


@pytest.mark.parametrize("what", TELLS)
async def test_what_others_wait_for_is_told(database: str, what: str) -> None:
    act, hints = TELLS[what]
    async with two(database) as (acts, ears):
        await act(acts)
        await ears.until(*hints)


async def test_sent_and_received_messages_are_told(database: str) -> None:
    async with two(database) as (acts, ears):
        await acts.enqueue(outgoing(), "f", epoch=1)
        await acts.settle_outbox("a", 1, "o1", "sent", events=[NewEvent("message.ack", {})], sent=message("o1"))
        await ears.until(Hint("message", "a", "o1"), Hint("events", "a"))
        assert Hint("outbox", "a") not in ears.heard, "the holder sends it itself"
        ears.heard.clear()
        await acts.write_engine("a", 1, EngineWrite({}, [received()]))
        done = (await acts.inbox_pending("a", 1))[0].seq
        await acts.apply_inbox("a", 1, Processed([done], [message()], events=[told(message())]))
        await ears.until(Hint("events", "a"))


async def test_what_was_undone_or_is_ones_own_is_not_heard(database: str) -> None:
    async with two(database) as (acts, ears):
        await ears.store.update_config("a", {})
        with pytest.raises(SessionNotFound):
            await acts.order("nobody", "running", None)
        await acts.release("a", "two", 1)  # not its lease
        await acts.order("a", "stopped", None)
        await ears.until(Hint("order", "a"))
        assert set(ears.heard) <= {Hint("order", "a"), Hint("session", "probe")}


async def test_a_flood_is_gathered(database: str) -> None:
    async with two(database) as (acts, ears):
        await asyncio.gather(*(acts.append_events("a", [NewEvent("x", {})]) for _ in range(200)))
        await acts.order("a", "stopped", None)
        await ears.until(Hint("events", "a"), Hint("order", "a"))
        assert ears.heard.count(Hint("events", "a")) < 50


async def test_foreign_notices_are_ignored(database: str) -> None:
    async with two(database) as (acts, ears):
        stranger = await asyncpg.connect(database)
        await stranger.execute("NOTIFY holdfast, 'whatever'; NOTIFY holdfast")
        await stranger.close()
        await acts.order("a", "stopped", None)
        await ears.until(Hint("order", "a"))
        assert ears.task.done() is False


@pytest.fixture
def pooler(postgres: Postgres) -> Iterator[PgBouncer]:
    with PgBouncer(postgres) as running:
        yield running


def through(pooler: PgBouncer, database: str) -> str:
    return pooler.dsn(database.partition("@/")[2].partition("?")[0])


async def test_nothing_listens_through_a_pooler(database: str, pooler: PgBouncer) -> None:
    async with opened(through(pooler, database)) as store:
        await asyncio.wait_for(store.listen(lambda _: None), 10)
        await store.create_session("a", "baileys", {}, "running")  # told all the same, to whom can hear
        direct = await asyncpg.connect(database)
        assert await direct.fetchval("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'") == 0
        await direct.close()


async def test_direct_url_beside_a_pooler_is_listened_to(database: str, pooler: PgBouncer) -> None:
    async with two(through(pooler, database), database) as (acts, ears):
        await acts.order("a", "stopped", None)
        await acts.append_events("a", [NewEvent("x", {})])
        await ears.until(Hint("order", "a"), Hint("events", "a"))


async def test_listener_comes_back_after_the_server_did(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "RETRY_CAP", 0.05)
    with Postgres() as server:
        async with two(server.dsn("postgres")) as (acts, ears):
            server.stop()
            server.start()
            await ears.ready(acts)
            await acts.order("a", "stopped", None)
            await ears.until(Hint("order", "a"))


async def test_dead_listening_connection_is_noticed(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "RETRY_CAP", 0.05)
    async with two(database) as (acts, ears):
        direct = await asyncpg.connect(database)
        listening = "query LIKE 'LISTEN%' OR query LIKE '%unnest($2::text[])%'"
        ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        assert await direct.fetchval(f"{ended} AND datname = current_database() AND ({listening})") >= 1
        await direct.close()
        await ears.ready(acts)


@pytest.mark.parametrize("kind", ["inline", "sqlite"])
async def test_sqlite_has_no_hints(world: World) -> None:
    await asyncio.wait_for(world.store.listen(lambda _: None), 1)
    await world.store.create_session("a", "baileys", {}, "running")
