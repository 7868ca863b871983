"""B9: what a long queue of one session costs a claim, and a neighbour's sends, on both databases."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path

from sqlalchemy import Connection, text

from bench.figures import Figure, at_most, below
from bench.measures import Step
from holdfast.domain.rows import OutboxRow
from holdfast.runtime.clock import SystemClock
from holdfast.store import SqlStore, open_store
from tests.support.leases import take_lease
from tests.support.postgres import Postgres

LONG = 10_000
"""Scheduled messages in the chat, and as many that are due."""
TURNS = 60
"""Messages that are claimed and settled for a figure; the first tenth warms up."""
FAR = 1e6


@contextmanager
def _urls(postgres: bool, folder: Path):  # type: ignore[no-untyped-def]
    if not postgres:
        yield f"sqlite:///{folder}/queues.sqlite3"
        return
    with Postgres() as server:
        server.run("createdb", "queues")
        yield server.dsn("queues")


@asynccontextmanager
async def _store(url: str) -> AsyncIterator[SqlStore]:
    store = open_store(url, SystemClock())
    await store.open()
    for name in ("empty", "long", "neighbour"):
        await store.create_session(name, "baileys", {}, "running")
        await take_lease(store, name, "bench", FAR)
    yield store
    await store.close()


def _row(session: str, id: str, chat: str, now: float) -> OutboxRow:
    return OutboxRow(id, session, chat, {"text": "x"}, "queued", 0, now, now, now + FAR, 0.0, 0, "")


async def _fill(store: SqlStore) -> None:
    """The long queue: scheduled and due messages of one chat, in turn."""
    now = await store.now()
    numbers = f"WITH RECURSIVE num(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM num WHERE n < {2 * LONG})"

    def fill(c: Connection) -> None:
        c.execute(
            text(
                f"{numbers} INSERT INTO outbox (session_name, id, chat, content, state, attempts, created_at, "
                "updated_at, expires_at, send_at) SELECT 'long', 'q' || n, '1@g.us', '{\"text\": \"x\"}', 'queued', 0, "
                f"{now}, {now}, {now + FAR}, CASE n % 2 WHEN 0 THEN 0 ELSE {now + FAR / 2} END FROM num"
            )
        )

    await store._driver.write(fill)


async def _claims(store: SqlStore, session: str) -> float:
    """Median milliseconds of a claim that takes a message."""
    took, numbers = [], count()
    for _ in range(TURNS):
        if session == "empty":
            await store.enqueue(_row(session, f"e{next(numbers)}", "1@g.us", await store.now()), "f")
        began = time.perf_counter()
        (row,) = await store.claim_outbox(session, 1, 16)
        took.append((time.perf_counter() - began) * 1000)
        await store.settle_outbox(session, 1, row.id, "sent")
    return statistics.median(took[TURNS // 10 :])


async def _sends(store: SqlStore, beside: str | None) -> float:
    """Median milliseconds that the store takes for a neighbour's send; `beside`: whose queue is worked on meanwhile."""
    took = []
    for number in range(TURNS):
        if beside is not None:
            for row in await store.claim_outbox(beside, 1, 16):
                await store.settle_outbox(beside, 1, row.id, "sent")
        began = time.perf_counter()
        fresh, _ = await store.enqueue(
            _row("neighbour", f"{beside}{number}", f"{number}@g.us", await store.now()), "f", epoch=1
        )
        await store.settle_outbox("neighbour", 1, fresh.id, "sent")
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took[TURNS // 10 :])


async def queues(step: Step) -> list[Figure]:
    """Both figures on both databases."""
    figures = []
    for postgres in (False, True):
        kind = "postgres" if postgres else "sqlite"
        step(f"long queues on {kind}")
        with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as folder, _urls(postgres, Path(folder)) as url:
            async with _store(url) as store:
                alone, none = await _sends(store, None), await _claims(store, "empty")
                await _fill(store)
                long = await _claims(store, "long")
                beside = await _sends(store, "long")
        queue = f"{LONG:,} scheduled and {LONG:,} due messages in one chat"
        figures += [
            below(f"B9.claim.{kind}", f"a claim with {queue}, {kind}", "ms", long, none + 5.0, round(none, 3)),
            at_most(f"B9.neighbour.{kind}", f"a neighbour's send meanwhile, p50, {kind}", "ms", beside, alone, 2.0),
        ]
    return figures
