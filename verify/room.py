"""G3 and G4 where the database takes no writes: a full disk, a lock that another program keeps, a database that is
read-only. Receipts are withheld, status and answers say why, and all is well after it, without a restart.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.arena import until
from tests.support.cluster import cluster
from tests.support.postgres import Postgres
from tests.support.processes import Holdfast, Receiver, Wasim
from verify.harness import alone

SHOP, ANA = "40712345678", "40712345601"
TTL = {"HOLDFAST_LEASE_TTL": "6", "HOLDFAST_LEASE_RENEW": "2"}


class Scene:
    """An instance with a linked session, on a database that is about to take no writes."""

    def __init__(self, wasim: Wasim, holdfast: Holdfast, hook: Receiver) -> None:
        self.wasim, self.holdfast, self.hook = wasim, holdfast, hook

    async def inject(self, text: str) -> str:
        """A phone writes."""
        return str((await self.wasim.post("inject", {"from": ANA, "to": SHOP, "text": text}))["id"])

    async def send(self, text: str) -> tuple[int, dict[str, Any]]:
        """Status and answer of a send."""
        body = {"session": "shop", "chatId": f"{ANA}@c.us", "text": text}
        url, patience = f"{self.holdfast.url}/api/sendText", aiohttp.ClientTimeout(total=60)
        async with self.holdfast.http.post(url, json=body, timeout=patience) as answer:
            return answer.status, await answer.json()

    async def receipted(self, message: str) -> bool:
        """Whether WhatsApp was told, in any way, what became of it."""
        log = await self.wasim.get("log", kind="receipt,client-ack", limit=100_000)
        return any(entry.get("id") == message and str(entry["jid"]).startswith(f"{SHOP}:") for entry in log)

    async def suffers(self, begin: Callable[[], Any], end: Callable[[], Any], code: str, status: int) -> str:
        """Before, during and after: `code` is what the session says, `status` what a send is answered."""
        assert (await self.send("before"))[0] == 201
        await self.inject("before")
        await self.hook.until(lambda: self.hook.texts() == ["before"])
        await asyncio.to_thread(begin)
        try:
            message = await self.inject("meanwhile")
            answered, said = await self.send("refused")
            assert answered == status, (answered, said)
            view = await self.holdfast.until("shop", lambda view: view["reason"] == code, timeout=30)
            assert view["message"].endswith("."), view
            async with self.holdfast.http.get(f"{self.holdfast.url}/api/status") as ready:
                assert ready.status == 503, "ready, though nothing can be stored"
            await self.holdfast.until("shop", lambda view: view["status"] != "WORKING", timeout=30)
            assert not await self.receipted(message), "receipted, though it could not be stored"
        finally:
            await asyncio.to_thread(end)
        began = time.monotonic()
        await self.holdfast.until_working("shop", timeout=60)
        back = time.monotonic() - began
        await self.hook.until(lambda: self.hook.texts() == ["before", "meanwhile"], timeout=60)

        async def told() -> bool:
            return await self.receipted(message)

        await until(told, 30, "never receipted")
        assert (await self.send("after"))[0] == 201
        seen = (await self.wasim.get(f"phones/{ANA}/messages"))["messages"]
        shown = [m["text"] for m in seen if not m["from_me"]]
        assert shown == ["before", "after"], f"what was refused was sent: {shown}"
        return f"{answered}, “{said['message']}” WORKING {back:.1f} s after"


@asynccontextmanager
async def on_a_file(*, small: bool) -> AsyncIterator[tuple[Scene, Path]]:
    """On SQLite, with its data folder; if `small`, that is a file system of its own, of 24 MB."""
    with tempfile.TemporaryDirectory(prefix="holdfast-verify-") as name:
        folder = Path(name)
        data = folder / "data"
        data.mkdir()
        async with (
            Wasim(folder) as wasim,
            Receiver() as hook,
            (Small if small else Holdfast)(wasim, data, **TTL) as holdfast,
        ):
            await holdfast.link(wasim, "shop", SHOP, hook.config("message"))
            await wasim.post("phones", {"phone": ANA})
            yield Scene(wasim, holdfast, hook), Path(f"/proc/{holdfast.child.pid}/root{data}" if small else data)


class Small(Holdfast):
    """Holdfast in a mount namespace of its own, where `small` is a small file system, which goes when it ends."""

    def __init__(self, wasim: Wasim, small: Path, **env: str) -> None:
        super().__init__(wasim, small, **env)
        self._log = small.with_name("holdfast.log")
        mount = f"mount -t tmpfs -o size=24m none {small} && exec {' '.join(self.argv)}"
        unshare = shutil.which("unshare")
        assert unshare is not None, "needs util-linux"
        self.argv = [unshare, "--user", "--map-root-user", "--mount", "sh", "-c", mount]


def fill(folder: Path) -> None:
    """No byte is left on that file system."""
    with (folder / "ballast").open("wb") as ballast, contextlib.suppress(OSError):
        while True:
            os.write(ballast.fileno(), b"\0" * 4096)


@alone("G3.disk_full", "the disk is full: no receipt, the status says so, sends 507; all well once there is room")
async def disk_full() -> str:
    async with on_a_file(small=True) as (scene, folder):
        return await scene.suffers(lambda: fill(folder), (folder / "ballast").unlink, "store_full", 507)


@alone(
    "G3.locked", "another program keeps the database file locked: no receipt, status and answers say so; all well after"
)
async def locked() -> str:
    async with on_a_file(small=False) as (scene, folder):
        other = sqlite3.connect(folder / "holdfast.sqlite3", isolation_level=None, check_same_thread=False)
        return await scene.suffers(
            lambda: other.execute("BEGIN IMMEDIATE"), lambda: other.execute("ROLLBACK"), "store_unavailable", 503
        )


@asynccontextmanager
async def on_postgres() -> AsyncIterator[tuple[Scene, Postgres]]:
    """On PostgreSQL."""
    with tempfile.TemporaryDirectory(prefix="holdfast-verify-") as folder:
        async with cluster(Path(folder), postgres=True) as world, Receiver() as hook:
            assert world.database is not None
            holdfast = await world.start(**TTL)
            await holdfast.link(world.wasim, "shop", SHOP, hook.config("message"))
            await world.wasim.post("phones", {"phone": ANA})
            yield Scene(world.wasim, holdfast, hook), world.database


@alone("G3.read_only", "PostgreSQL is read-only: no receipt, status and answers say so; all well once it takes writes")
async def read_only() -> str:
    async with on_postgres() as (scene, database):

        def become(value: str) -> None:
            writable = "SET default_transaction_read_only = off"
            changed = f"ALTER DATABASE holdfast SET default_transaction_read_only = {value}"
            database.run("psql", "-q", "-d", "holdfast", "-c", writable, "-c", changed)
            ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'holdfast'"
            database.run("psql", "-q", "-o", os.devnull, "-d", "postgres", "-c", ended)

        return await scene.suffers(lambda: become("on"), lambda: become("off"), "store_read_only", 503)


_FULL = """
CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END$$;
DO $$DECLARE t text; BEGIN
  FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
    EXECUTE format('CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON %I EXECUTE FUNCTION full_disk()', t);
  END LOOP;
END$$
"""


@alone(
    "G3.server_full",
    "PostgreSQL's disk is full: no receipt, the status says so, sends 507; all well once there is room",
)
async def server_full() -> str:
    async with on_postgres() as (scene, database):

        def psql(text: str) -> None:
            database.run("psql", "-q", "-d", "holdfast", "-v", "ON_ERROR_STOP=1", "-c", text)

        return await scene.suffers(
            lambda: psql(_FULL),
            lambda: psql("SET client_min_messages = warning; DROP FUNCTION full_disk CASCADE"),
            "store_full",
            507,
        )
