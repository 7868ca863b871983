"""The stores under test: the same suite runs on each, with a clock that tests move."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from holdfast.store import SqlStore, open_store
from tests.support.leases import take_lease
from tests.support.postgres import Postgres


@dataclass
class MovedClock:
    """`ports.clock.Clock` that stands still until a test moves it."""

    wall: float = 1_800_000_000.0
    booted: float = 1_000.0
    tokens: Iterator[int] = field(default_factory=itertools.count)

    def now(self) -> float:
        return self.wall

    def boot(self) -> float:
        return self.booted

    async def sleep(self, seconds: float) -> None:
        self.booted += seconds
        await asyncio.sleep(0)

    def random(self) -> float:
        return 0.5

    def token(self, nbytes: int) -> bytes:
        return next(self.tokens).to_bytes(nbytes, "big")


_INSTANTS = {
    "session_lock": ("locked_at", "expires_at"),
    "session_epoch": ("missing_since",),
    "instance": ("heartbeat_at",),
    "outbox": ("created_at", "updated_at", "expires_at", "send_at", "paced_at"),
    "inbox": ("done_at",),
    "event": ("at",),
    "cursor": ("until",),
    "delivery": ("since", "next_at", "updated_at"),
    "media": ("next_at", "updated_at"),
}


@dataclass
class World:
    """A store, and the power to move its time."""

    store: SqlStore
    clock: MovedClock
    url: str

    async def advance(self, seconds: float) -> None:
        """Time passes. PostgreSQL keeps its own: there everything stored becomes older instead."""
        if self.url.startswith("sqlite"):
            self.clock.booted += seconds
            return

        def older(c: Connection) -> None:
            for table, columns in _INSTANTS.items():
                for column in columns:
                    c.execute(text(f"UPDATE {table} SET {column} = {column} - :s WHERE {column} > 1e9"), {"s": seconds})

        await self.store._driver.write(older)

    async def sql(self, statement: str) -> None:
        """What an operator does by hand."""
        await self.store._driver.write(lambda c: c.execute(text(statement)).close())


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One for all tests of this process."""
    with Postgres() as server:
        yield server


@contextmanager
def _fresh(postgres: Postgres, *options: str) -> Iterator[str]:
    name = f"t{os.urandom(6).hex()}"
    postgres.run("createdb", *options, name)
    yield postgres.dsn(name)
    postgres.run("dropdb", "--force", name)


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """The URL of a fresh database."""
    with _fresh(postgres) as url:
        yield url


async def _migrate(url: str) -> None:
    store = open_store(url, MovedClock(), boot_id="boot-1")
    await store.open()
    await store.close()


@pytest.fixture(scope="session")
def template(postgres: Postgres) -> str:
    """The name of a database to copy: to migrate one for each test took longer than the test."""
    postgres.run("createdb", "template")
    asyncio.run(_migrate(postgres.dsn("template")))
    return "template"


@pytest.fixture
def migrated(postgres: Postgres, template: str) -> Iterator[str]:
    """The URL of a fresh database that was opened once."""
    with _fresh(postgres, "-T", template) as url:
        yield url


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for SQLite."""
    file = tmp_path_factory.mktemp("migrated") / "holdfast.db"
    asyncio.run(_migrate(f"sqlite:///{file}"))
    return file


@pytest.fixture(params=["inline", "sqlite", "postgres"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which store; a test of what only some have is parametrized with those."""
    return str(request.param)


@pytest.fixture
def empty_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a store of that kind will live that was never opened."""
    if kind == "postgres":
        return str(request.getfixturevalue("database"))
    return {"inline": "sqlite://", "sqlite": f"sqlite:///{tmp_path}/holdfast.db"}[kind]


@pytest.fixture
def store_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty store of that kind lives; one in memory is new whenever it is opened."""
    if kind == "postgres":
        return str(request.getfixturevalue("migrated"))
    if kind == "sqlite":
        shutil.copy(request.getfixturevalue("migrated_file"), tmp_path / "holdfast.db")
        return f"sqlite:///{tmp_path}/holdfast.db"
    return "sqlite://"


@pytest.fixture
async def world(store_url: str) -> AsyncIterator[World]:
    """One open store of each kind."""
    clock = MovedClock()
    store = open_store(store_url, clock, boot_id="boot-1")
    await store.open()
    yield World(store, clock, store_url)
    await store.close()


@pytest.fixture
async def held(world: World) -> World:
    """A world with session `a`, held by instance `one` under epoch 1."""
    await world.store.create_session("a", "baileys", {}, "running")
    lease = await take_lease(world.store, "a", "one", 15)
    assert lease is not None
    assert lease.epoch == 1
    return world
