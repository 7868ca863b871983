"""Several instances on one store: one holder, taken over, handed over, answering for all (G1, G2, S2, S4)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import asyncpg
import psutil

from tests.support.cluster import Cluster, cluster, me, owner, until_owner
from tests.support.commands import run, settings
from tests.support.processes import Holdfast, Receiver
from verify.harness import alone
from verify.promises import within

SHOP, ANA = "40712345678", "40712345601"


@asynccontextmanager
async def two(*, postgres: bool, **env: str) -> AsyncIterator[tuple[Cluster, Holdfast, Holdfast, Receiver]]:
    """Two instances; the first has linked the session `shop`."""
    with tempfile.TemporaryDirectory(prefix="holdfast-verify-") as folder:
        async with cluster(Path(folder), postgres=postgres) as world, Receiver() as hook:
            first = await world.start(**env)
            await first.link(world.wasim, "shop", SHOP, hook.config())
            await world.wasim.post("phones", {"phone": ANA})
            second = await world.start(**env)
            yield world, first, second, hook


async def send(instance: Holdfast, text: str) -> None:
    answer = await instance.ask("POST", "/api/sendText", {"session": "shop", "chatId": f"{ANA}@c.us", "text": text})
    assert answer["ack"] >= 1, answer


@alone("G1.b", "a second instance on one PostgreSQL is passive, and answers for all: status, QR, sending")
async def passive() -> str:
    async with two(postgres=True) as (world, first, second, _hook):
        assert await owner(second) == await me(first)
        view = await second.ask("GET", "/api/sessions/shop")
        assert view["status"] == "WORKING", view
        began = time.time()
        await send(second, "through the other instance")
        took = time.time() - began
        await second.ask("POST", "/api/sessions", {"name": "other", "start": False})
        await first.ask("POST", "/api/sessions/other/start")
        qr = await second.ask("GET", "/api/other/auth/qr", format="raw")
        assert qr["value"].count(",") >= 3, qr
        await second.ask("POST", "/api/sessions/shop/restart")
        await until_owner(second, await me(first))
        assert await world.overlaps() == []
        return f"sent through the other in {took * 1000:.0f} ms"


@alone("G1.c", "kill -9 of the holder: another instance is WORKING within ttl + 2 s, by itself")
async def killed() -> str:
    async with two(postgres=True) as (world, first, second, hook):
        await until_owner(second, await me(first))
        began = time.time()
        await first.stop(signal.SIGKILL)
        await world.wasim.post("inject", {"from": ANA, "to": SHOP, "text": "meanwhile"})
        await until_owner(second, await me(second))
        took = time.time() - began
        await hook.until(lambda: hook.texts() == ["meanwhile"])
        assert await world.overlaps() == []
        return within(took, 17.0, "takeover")


@alone("G1.d", "SIGSTOP of the holder: its sidecar lets go by itself before another connects; it wakes passive")
async def stopped() -> str:
    async with two(postgres=True) as (world, first, second, _hook):
        await send(first, "one")
        since, mine = await world.wasim.seq(), await me(second)
        os.kill(first.child.pid, signal.SIGSTOP)
        await until_owner(second, mine)
        gap = await world.gap(since)
        os.kill(first.child.pid, signal.SIGCONT)
        await send(second, "two")
        until = time.time() + 20
        while time.time() < until:
            assert await owner(second) == mine
            await asyncio.sleep(0.5)
        assert await owner(first) == mine
        assert await world.overlaps() == []
        assert gap >= 0, gap
        return f"{gap:.1f} s between the two connections"


@alone("G1.e", "rolling redeploy: the old one is told to stop, the new one goes on; never 440, gap under 0.3 s")
async def redeployed() -> str:
    gaps = []
    async with two(postgres=True) as (world, first, second, _hook):
        old, new = first, second
        for _round in range(3):
            since, mine = await world.wasim.seq(), await me(new)
            await old.stop(signal.SIGTERM)
            await until_owner(new, mine)
            gaps.append(await world.gap(since))
            old, new = new, await world.start()
        replaced = await world.wasim.get("log", since=0, kind="replaced")
        assert replaced == [], replaced
        assert await world.overlaps() == []
    return within(max(gaps), 0.3, "gap")


@alone("G1.f", "the database stands still: the holder lets go in time (strict), and all is well after")
async def frozen_database() -> str:
    async with two(postgres=True) as (world, first, _second, _hook):
        assert world.database is not None
        since, began = await world.wasim.seq(), time.time()
        world.database.freeze()
        try:
            while not [e for e in await world.connections(since) if e["kind"] == "disconnected"]:
                assert time.time() - began < 16, "still connected past the lease"
                await asyncio.sleep(0.1)
            took = time.time() - began
        finally:
            world.database.thaw()
        await first.until_working("shop")
        assert await world.overlaps() == []
        return f"let go after {took:.1f} s of a lease of 15 s"


@alone("G1.g", "sessions are shared fairly as an instance joins, gradually, and never run twice")
async def shared() -> str:
    env = {"HOLDFAST_LEASE_TTL": "3", "HOLDFAST_LEASE_RENEW": "1"}
    with tempfile.TemporaryDirectory(prefix="holdfast-verify-") as folder:
        async with cluster(Path(folder), postgres=True) as world:
            first = await world.start(**env)
            for number in range(6):
                await first.link(world.wasim, f"s{number}", f"4071000000{number}")
            await world.start(**env)
            began = time.time()
            while True:
                rows = await first.ask("GET", "/api/holdfast/instances")
                if sorted(len(row["sessions"]) for row in rows) == [3, 3]:
                    break
                assert time.time() - began < 120, rows
                await asyncio.sleep(0.2)
            took = time.time() - began
            for number in range(6):
                await first.until_working(f"s{number}")
            assert await world.overlaps() == []
            return f"3 and 3 after {took:.0f} s"


@alone("S2.a", "two processes on one SQLite file: one runs the session, the other is passive")
async def passive_on_sqlite() -> str:
    async with two(postgres=False) as (world, first, second, _hook):
        await asyncio.sleep(10)
        assert await owner(second) == await me(first)
        await send(second, "through the other")
        assert await world.overlaps() == []
        return "one connection"


@alone("S2.b", "the lock of a crashed holder is free: the next takes over by itself (one machine: at once)")
async def crashed_on_sqlite() -> str:
    async with two(postgres=False) as (world, first, second, _hook):
        began = time.time()
        await first.stop(signal.SIGKILL)
        await until_owner(second, await me(second))
        took = time.time() - began
        assert await world.overlaps() == []
        return within(took, 17.0, "takeover")


SEEDS_TABLE = """
CREATE TABLE session_lock (
    id SERIAL PRIMARY KEY,
    session_name VARCHAR(100) NOT NULL UNIQUE,
    instance_id TEXT NOT NULL,
    locked_at TIMESTAMP DEFAULT NOW(),
    expires_at TIMESTAMP NOT NULL
);
CREATE INDEX idx_session_lock_name ON session_lock(session_name);
CREATE INDEX idx_session_lock_expires ON session_lock(expires_at);
INSERT INTO session_lock (session_name, instance_id, expires_at) VALUES ('shop', 'the earlier program', NOW() + '8 s');
"""
_LOCK = "SELECT id, instance_id, locked_at, expires_at FROM session_lock WHERE session_name = 'shop'"
_INDEXES = "SELECT indexname FROM pg_indexes WHERE tablename = 'session_lock'"


@alone("S2.c", "an earlier lock table is adopted, its lock honoured, ours refreshed; psql runs `migrate --sql`")
async def adopted() -> str:
    with tempfile.TemporaryDirectory(prefix="holdfast-verify-") as folder:
        async with cluster(Path(folder), postgres=True) as world:
            assert world.database is not None
            began, url = time.time(), world.database.dsn("holdfast")
            await asyncio.to_thread(world.database.run, "psql", "-q", "-d", "holdfast", "-c", SEEDS_TABLE)
            first = await world.start()
            await first.ask("POST", "/api/sessions", {"name": "shop", "start": True})
            await first.until("shop", lambda view: view["status"] == "SCAN_QR_CODE")
            waited = time.time() - began
            assert waited >= 8, f"took over from a holder whose lock was good, after {waited:.1f} s"
            await first.scan(world.wasim, "shop", SHOP)
            await first.until_working("shop")
            rows = [await _row(url, _LOCK)]
            await asyncio.sleep(6)
            rows.append(await _row(url, _LOCK))
            assert [row["instance_id"] for row in rows] == [await me(first)] * 2, rows
            assert rows[1]["expires_at"] > rows[0]["expires_at"], "not refreshed in 6 s"
            for index in ("idx_session_lock_name", "idx_session_lock_expires"):
                assert await _row(url, f"{_INDEXES} AND indexname = '{index}'"), index
            said = await run("migrate", "--sql", env=settings(first))
            assert said.code == 0, said
            (script := Path(folder) / "schema.sql").write_text(said.out)
            script.chmod(0o644)
            await asyncio.to_thread(world.database.run, "createdb", "other")
            silent = ("-q", "-o", os.devnull, "-c", "SET client_min_messages = warning", "-v", "ON_ERROR_STOP=1")
            await asyncio.to_thread(world.database.run, "psql", "-d", "other", *silent, "-f", str(script))
            assert await _row(world.database.dsn("other"), _INDEXES)
            return f"waited {waited:.1f} s for a lock of 8 s"


async def _row(url: str, query: str) -> asyncpg.Record | None:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchrow(query)
    finally:
        await connection.close()


@alone("S2.d", "each instance has a UUID of its own: in the row of the lock, and in every line of its log")
async def named() -> str:
    async with two(postgres=False) as (world, first, second, _hook):
        ids = [await me(first), await me(second)]
        assert len({uuid.UUID(one) for one in ids}) == 2, ids
        with sqlite3.connect(world.folder / "holdfast.sqlite3", timeout=10) as db:
            holders = db.execute("SELECT instance_id FROM session_lock").fetchall()
        assert holders == [(ids[0],)], holders
        lines = [json.loads(line) for line in (world.folder / "holdfast.log").read_text().splitlines()]
        assert {line["instance"] for line in lines} == set(ids)
        return f"{len(lines)} lines, 2 instances"


@alone("S2.e", "DELETE FROM session_lock unlocks, and even that never makes two")
async def unlocked_by_hand() -> str:
    async with two(postgres=False) as (world, first, second, _hook):
        with sqlite3.connect(world.folder / "holdfast.sqlite3", timeout=10) as db:
            db.execute("DELETE FROM session_lock")
        began = time.time()
        await first.until("shop", lambda view: view["status"] != "WORKING", timeout=20)
        await first.until_working("shop")
        took = time.time() - began
        await send(second, "afterwards")
        assert await world.overlaps() == []
        return f"WORKING again after {took:.1f} s"


@alone("S2.g", "SIGTERM releases the lock: the next instance connects at once")
async def released() -> str:
    async with two(postgres=False) as (world, first, second, _hook):
        since = await world.wasim.seq()
        await first.stop(signal.SIGTERM)
        await until_owner(second, await me(second))
        assert await world.overlaps() == []
        return within(await world.gap(since), 1.0, "gap")


@alone("S2.j", "GET /api/status needs no key, tells readiness and nothing else; a passive instance is ready")
async def ready_when_passive() -> str:
    async with two(postgres=False) as (_world, _first, second, _hook):
        async with aiohttp.ClientSession() as stranger, stranger.get(f"{second.url}/api/status") as answer:
            said = await answer.json()
            assert answer.status == 200, said
        for private in (SHOP, "shop", await me(second)):
            assert private not in str(said), said
        return str(said)


@alone("S4.a", "a passive instance becomes active by itself, and stops trying at shutdown")
async def active_by_itself() -> str:
    async with two(postgres=True) as (world, first, second, _hook):
        third = await world.start()
        began = time.time()
        await third.stop(signal.SIGTERM)
        stopped = time.time() - began
        await first.stop(signal.SIGKILL)
        began = time.time()
        await until_owner(second, await me(second))
        took = time.time() - began
        assert stopped < 8, f"a passive instance took {stopped:.1f} s to stop"
        return within(took, 17.0, "activation")


@alone("S4.b", "without the lock: no connection, no restore, no sending, no QR of one's own")
async def nothing_without_the_lock() -> str:
    async with two(postgres=True) as (world, first, second, _hook):
        since = await world.wasim.seq()
        for _ in range(20):
            assert (await second.ask("GET", "/api/sessions/shop"))["status"] == "WORKING"
        await second.ask("POST", "/api/sessions/shop/start")
        await send(second, "sent by the holder")
        await asyncio.sleep(8)
        assert await owner(second) == await me(first)
        opened = await world.wasim.get("log", since=since, kind="connected")
        assert opened == [], opened
        return "no connection opened by the passive instance"


@alone("S4.c", "where nobody can serve a live call: 503, Retry-After, and the sentence")
async def says_passive() -> str:
    async with two(postgres=True) as (_world, first, second, _hook):
        await first.ask("POST", "/api/sessions", {"name": "other", "start": True})
        await first.qr("other")
        os.kill(first.child.pid, signal.SIGSTOP)
        try:
            url = f"{second.url}/api/other/auth/request-code"
            body = {"phoneNumber": "40799999999"}
            async with second.http.post(url, json=body, timeout=aiohttp.ClientTimeout(total=90)) as answer:
                said = await answer.text()
                assert answer.status == 503, (answer.status, said)
                assert int(answer.headers["Retry-After"]) > 0
        finally:
            os.kill(first.child.pid, signal.SIGCONT)
        assert "another instance holds lock; retry shortly" in said, said
        return "503 with Retry-After"


@alone("S2.g.send", "SIGTERM while a message is on its way: it gets its acknowledgement before the socket closes")
async def finishes_the_send() -> str:
    async with two(postgres=False) as (world, first, second, _hook):
        since = await world.wasim.seq()
        await world.wasim.post("fault", {"kind": "slow", "jid": SHOP, "ms": 1000})
        body = {"session": "shop", "chatId": f"{ANA}@c.us", "text": "on its way"}
        asked = asyncio.create_task(first.ask("POST", "/api/sendText", body))
        await world.wasim.get("wait", since=since, kind="message", jid=ANA, timeout=20)
        await first.stop(signal.SIGTERM)
        await world.wasim.post("fault", {"kind": "clear"})
        answer = await asked
        await until_owner(second, await me(second))
        got = [m for m in (await world.wasim.get(f"phones/{ANA}/messages"))["messages"] if m["text"] == "on its way"]
        assert len(got) == 1, got
        with sqlite3.connect(world.folder / "holdfast.sqlite3", timeout=10) as db:
            rows = db.execute("SELECT state, attempts FROM outbox").fetchall()
        assert [attempts for _, attempts in rows] == [1], f"tried again, for the answer was not awaited: {rows}"
        assert rows[0][0] in ("sent", "delivered"), rows
        assert await world.overlaps() == []
        return f"answered {answer['ackName']}"


@alone("S2.g.twice", "a second signal stops at once, sidecar included; nothing is lost, and the next one takes over")
async def stops_at_once() -> str:
    async with two(postgres=False) as (world, first, second, _hook):
        await world.wasim.post("fault", {"kind": "no_ack", "jid": SHOP})
        body = {"session": "shop", "chatId": f"{ANA}@c.us", "text": "in doubt"}
        since = await world.wasim.seq()
        asked = asyncio.create_task(first.ask("POST", "/api/sendText", body))
        await world.wasim.get("wait", since=since, kind="message", jid=ANA, timeout=20)
        family = psutil.Process(first.child.pid).children()
        first.child.send_signal(signal.SIGTERM)
        done, _ = await asyncio.wait([asyncio.create_task(first.child.wait())], timeout=1)
        assert not done, "it did not wait for the message"
        began = time.time()
        first.child.send_signal(signal.SIGTERM)
        assert await first.child.wait() == 130
        took = time.time() - began
        psutil.wait_procs(family, timeout=5)
        assert not [child for child in family if child.is_running()], "a sidecar was left behind"
        await asyncio.gather(asked, return_exceptions=True)
        await world.wasim.post("fault", {"kind": "clear"})
        await until_owner(second, await me(second))
        got = await _received_once(world, "in doubt")
        assert await world.overlaps() == []
        return f"{within(took, 0.5, 'the end')}, then sent, as 1 message in {got} tries"


async def _received_once(world: Cluster, text: str) -> int:
    """However often it was sent, it has one id."""
    end = time.time() + 30
    while True:
        messages = (await world.wasim.get(f"phones/{ANA}/messages"))["messages"]
        found = [message for message in messages if message["text"] == text]
        if found:
            assert len({message["id"] for message in found}) == 1, found
            return len(found)
        assert time.time() < end, messages
        await asyncio.sleep(0.1)
