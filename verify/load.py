"""Long queues, hostile values and receivers that come back: one session's or sender's burden is nobody else's."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from tests.support.cluster import Cluster, cluster
from tests.support.processes import Holdfast, Receiver, Wasim, free_port
from verify.harness import alone

SHOP, OTHER = "40712345678", "40712345679"
ANA, BEN, EVA, IDA = "40712345601", "40712345602", "40712345603", "40712345604"
SCHEDULED, DUE = 600, 150
LEASE = 15.0
"""Seconds that a lease lasts; a send that took longer would have cost it."""


async def timed(instance: Holdfast, count: int) -> list[float]:
    """Seconds that each of the neighbour's sends took, until WhatsApp's acknowledgement."""
    took = []
    for number in range(count):
        began = time.perf_counter()
        body = {"session": "other", "chatId": f"{BEN}@c.us", "text": f"neighbour {number}"}
        answer = await instance.ask("POST", "/api/sendText", body)
        took.append(time.perf_counter() - began)
        assert answer["ack"] >= 1, answer
    return took


async def fill(instance: Holdfast, count: int, **terms: object) -> list[str]:
    """Queue so many messages of `shop` to one chat; their ids."""
    left, ids = iter(range(count)), list[str]()

    async def worker() -> None:
        for number in left:
            body = {"session": "shop", "chatId": f"{ANA}@c.us", "text": f"queued {number}", **terms}
            async with instance.http.post(f"{instance.url}/api/sendText", json=body) as answer:
                assert answer.status in (201, 202), await answer.text()
                ids.append(str((await answer.json())["holdfast"]["id"]))

    await asyncio.gather(*(worker() for _ in range(16)))
    return ids


async def crowded(world: Cluster) -> str:
    """A neighbour's sends beside one long queue, which is sent in the meantime."""
    instance = await world.start()
    await instance.link(world.wasim, "shop", SHOP)
    await instance.link(world.wasim, "other", OTHER)
    for phone in (ANA, BEN):
        await world.wasim.post("phones", {"phone": phone})
    before = await timed(instance, 15)
    await fill(instance, SCHEDULED, send_at=time.time() + 3600)
    sending = asyncio.create_task(fill(instance, DUE))
    beside = await timed(instance, 40)
    ids = await sending
    end = time.time() + 120
    while True:
        found = await instance.ask("GET", f"/api/holdfast/messages/{ids[-1]}", session="shop")
        if found["state"] in ("sent", "delivered", "read"):
            break
        assert time.time() < end, f"the queue does not drain: {found['state']}"
        await asyncio.sleep(0.1)
    assert max(beside) < LEASE / 2, f"a neighbour's send took {max(beside):.1f} s"
    for name in ("shop", "other"):
        codes = {row["code"] for row in await instance.ask("GET", f"/api/holdfast/sessions/{name}/timeline")}
        assert "lease_lost" not in codes, codes
    return f"p50 {statistics.median(before) * 1000:.0f} -> {statistics.median(beside) * 1000:.0f} ms"


@alone("A.6", f"{SCHEDULED:,} scheduled and {DUE} due messages in one chat hold no other session up, both databases")
async def long_queue() -> str:
    figures = []
    for postgres in (False, True):
        with tempfile.TemporaryDirectory(prefix="holdfast-verify-") as folder:
            async with cluster(Path(folder), postgres=postgres) as world:
                figures.append(f"{'PostgreSQL' if postgres else 'SQLite'}: {await crowded(world)}")
    return "; ".join(figures)


@alone("A.7", "a file with NUL in its type and name is not lost on PostgreSQL, nor what comes behind it")
async def hostile_values() -> str:
    with tempfile.TemporaryDirectory(prefix="holdfast-verify-") as folder:
        async with cluster(Path(folder), postgres=True) as world, Receiver() as hook:
            instance = await world.start()
            await instance.link(world.wasim, "shop", SHOP, hook.config("message"))
            await world.wasim.post("phones", {"phone": ANA})
            hostile = {
                "documentMessage": {
                    "mimetype": "application/pdf\0", "fileName": "letter\0.pdf", "caption": "a file",
                    "url": "https://mmg.whatsapp.net/none", "directPath": "/none",
                },
            }  # fmt: skip
            for message in (hostile, {"conversation": "nul \0 inside"}, {"conversation": "behind"}):
                await world.wasim.post(f"phones/{ANA}/raw", {"chat": SHOP, "message": message})
            await hook.until(lambda: "behind" in hook.texts(), 30)
            texts = hook.texts()
            assert "a file" in texts, texts
            assert len(texts) == 3, texts
            async with instance.http.get(f"{instance.url}/metrics") as answer:
                metrics = await answer.text()
            if answer.status == 200:
                assert "holdfast_inbox_unreadable 0.0" in metrics
    return "3 of 3 messages"


@alone("F.23", "a receiver back after a restart gets all that waits at its first success, in order")
async def receiver_back() -> str:
    with tempfile.TemporaryDirectory(prefix="holdfast-verify-") as name:
        folder, hook = Path(name), Receiver()
        hook.port = free_port()
        hooks = [{"url": f"http://127.0.0.1:{hook.port}/", "events": ["message"], "hmac": {"key": hook.key}}]
        async with Wasim(folder) as wasim, Holdfast(wasim, folder) as holdfast:
            await holdfast.link(wasim, "shop", SHOP, {"webhooks": hooks})

            async def inject(sender: str, text: str) -> None:
                await wasim.post("inject", {"from": sender, "to": SHOP, "text": text})

            for sender in (ANA, BEN, EVA):
                for number in (1, 2):
                    await inject(sender, f"{sender} {number}")
            await asyncio.sleep(40)  # the next tries are far apart by then
            await holdfast.stop()
            await holdfast.start()
            await holdfast.until_working("shop")
            async with hook:
                await inject(IDA, "first")
                await hook.until(lambda: "first" in hook.texts(), 35)
                came = time.time()
                await hook.until(lambda: len(hook.texts()) == 7, 10)
                took = time.time() - came
                for sender in (ANA, BEN, EVA):
                    own = [text for text in hook.texts() if text.startswith(sender)]
                    assert own == [f"{sender} 1", f"{sender} 2"], own
    return f"{took:.1f} s after the first success"
