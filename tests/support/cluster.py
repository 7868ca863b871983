"""Several instances as real processes, on one SQLite file or on one real PostgreSQL, over one simulated WhatsApp."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.postgres import Postgres
from tests.support.processes import Holdfast, Wasim


class Cluster:
    """Instances come and go; whatever still runs is ended with the block."""

    def __init__(self, wasim: Wasim, folder: Path, stack: AsyncExitStack, database: Postgres | None) -> None:
        self.wasim, self.folder, self.database = wasim, folder, database
        self.instances: list[Holdfast] = []
        self._stack = stack
        self._numbers = itertools.count(1)

    async def start(self, **env: str) -> Holdfast:
        """One more instance. On PostgreSQL it has a data folder of its own, as on a machine of its own."""
        where = self.folder
        if self.database is not None:
            where = self.folder / f"i{next(self._numbers)}"
            where.mkdir()
            env = {"HOLDFAST_DATABASE_URL": self.database.dsn("holdfast"), **env}
        started = await self._stack.enter_async_context(Holdfast(self.wasim, where, **env))
        self.instances.append(started)
        return started

    async def connections(self, since: int) -> list[dict[str, Any]]:
        """What the simulator saw of connections: `login` and `disconnected`, in order."""
        found = await self.wasim.get("log", since=since, kind="login,disconnected", limit=100_000)
        return [entry for entry in found if entry.get("jid")]

    async def overlaps(self, since: int = 0) -> list[dict[str, Any]]:
        """Logins of a device that was still connected: two instances at once (the server ends the older with 440)."""
        open_now: set[str] = set()
        twice = []
        for entry in await self.connections(since):
            device = str(entry["jid"])
            if entry["kind"] == "login":
                if device in open_now:
                    twice.append(entry)
                open_now.add(device)
            else:
                open_now.discard(device)
        return twice

    async def away(self, since: int = 0) -> float:
        """The longest time that any device was without a connection until it logged in again, in seconds."""
        ended: dict[str, float] = {}
        longest = 0.0
        for entry in await self.connections(since):
            device, at = str(entry["jid"]), float(entry["t"])
            if entry["kind"] == "login":
                longest = max(longest, at - ended.pop(device, at))
            else:
                ended[device] = at
        return longest

    async def gap(self, since: int) -> float:
        """Seconds from the last connection's end to the next login."""
        seen = await self.connections(since)
        ended = [entry["t"] for entry in seen if entry["kind"] == "disconnected"]
        logins = [entry["t"] for entry in seen if entry["kind"] == "login"]
        assert ended, seen
        assert logins, seen
        return float(logins[0] - ended[0])


@asynccontextmanager
async def cluster(folder: Path, *, postgres: bool) -> AsyncIterator[Cluster]:
    """A simulator and a database, no instance yet."""
    async with AsyncExitStack() as stack:
        database = None
        if postgres:
            database = await asyncio.to_thread(stack.enter_context, Postgres())
            await asyncio.to_thread(database.run, "createdb", "holdfast")
        wasim = await stack.enter_async_context(Wasim(folder))
        yield Cluster(wasim, folder, stack, database)


async def owner(instance: Holdfast, name: str = "shop") -> str | None:
    """Who holds the session, as that instance sees it."""
    view = await instance.ask("GET", f"/api/holdfast/sessions/{name}")
    found: str | None = view["owner"]
    return found


async def me(instance: Holdfast) -> str:
    """The instance's id."""
    (this,) = [row for row in await instance.ask("GET", "/api/holdfast/instances") if row["this"]]
    return str(this["id"])


async def until_owner(instance: Holdfast, wanted: str, name: str = "shop", timeout: float = 60.0) -> dict[str, Any]:
    """Wait until that instance holds the session and it is WORKING."""
    end = time.time() + timeout
    while True:
        view: dict[str, Any] = await instance.ask("GET", f"/api/holdfast/sessions/{name}")
        if view["owner"] == wanted and view["status"] == "WORKING":
            return view
        assert time.time() < end, view
        await asyncio.sleep(0.02)
