"""Operators: what the log, the figures and the alerts tell of what happened."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import tempfile
import time
from pathlib import Path

import psutil

from tests.support.processes import KEY, Holdfast, Receiver
from verify.harness import World, check

PHONE = "40712345678@s.whatsapp.net"


def grep(pattern: str, folder: Path) -> list[str]:
    """As `grep -i` on the log."""
    lines = (folder / "holdfast.log").read_text().splitlines()
    return [line for line in lines if re.search(pattern, line, re.IGNORECASE)]


async def metrics(holdfast: Holdfast) -> dict[str, float]:
    """Samples by name with labels."""
    async with holdfast.http.get(f"{holdfast.url}/metrics", headers={"X-Api-Key": KEY}) as answer:
        assert answer.status == 200, answer.status
        lines = [line for line in (await answer.text()).splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


@check(
    "S1.o",
    "grep finds in the log what happened, and memory; figures tell that of instance and sidecars; a limit is a setting",
    SIDECAR_MEMORY_MB="700",
)
async def log_and_memory(w: World) -> str:
    await w.link()
    await w.fault("logout", jid=PHONE)
    await w.holdfast.until("shop", lambda view: bool(view["needs_qr"]))
    found = [json.loads(line) for line in grep("session|failed|logout", w.holdfast.folder)]
    story = [(line.get("status"), line.get("code")) for line in found if line.get("session") == "shop"]
    assert ("WORKING", "working") in story, story
    assert ("FAILED", "logged_out") in story, story
    memory = [json.loads(line) for line in grep("memory", w.holdfast.folder)]
    assert memory[0]["instance_mb"] > 10, memory
    assert memory[0]["sidecars_mb"], memory
    samples = await metrics(w.holdfast)
    sidecars = {name: value for name, value in samples.items() if name.startswith("holdfast_sidecar_memory_bytes")}
    own = samples["holdfast_instance_memory_bytes"]
    assert min(own, *sidecars.values()) > 10_000_000, samples
    commands = [child.cmdline() for child in psutil.Process(w.holdfast.child.pid).children()]
    assert any("--max-old-space-size=700" in command for command in commands), commands
    return f"instance {own / 1e6:.0f} MB, sidecar {sum(sidecars.values()) / 1e6:.0f} MB"


@check(
    "S2.k",
    "the log says: lock acquired, refreshed, not acquired (who, until when), conflict, decryption error, online",
    LOG_LEVEL="debug",
)
async def lock_events(w: World) -> str:
    await w.link()
    while not grep('"event": ?"lock refreshed"', w.holdfast.folder):  # every 5 s; the check has an end of its own
        await asyncio.sleep(0.1)
    with tempfile.TemporaryDirectory(prefix="holdfast-verify-") as name:
        database = f"sqlite:///{w.holdfast.folder / 'holdfast.sqlite3'}"
        async with Holdfast(w.wasim, Path(name), HOLDFAST_DATABASE_URL=database) as second:
            await second.until_working("shop")
            [refused] = [json.loads(line) for line in grep("could not acquire lock", Path(name))][:1]
    first = json.loads(grep("lock acquired", w.holdfast.folder)[0])
    assert refused["holder"] == first["instance"], refused
    assert refused["until"] > time.time() - 60, refused
    await w.fault("stream_error", jid=PHONE, conflict="replaced")
    await w.holdfast.until("shop", lambda view: view["reason"] == "replaced")
    await w.holdfast.stop()
    with sqlite3.connect(w.holdfast.folder / "holdfast.sqlite3") as db:
        db.execute("UPDATE credential SET value = x'00ff' WHERE type = 'creds'")
        db.execute("UPDATE session SET state = json_set(state, '$.next_attempt_at', 0)")
    await w.holdfast.start()
    await w.holdfast.until("shop", lambda view: bool(view["needs_qr"]))
    wanted = ("lock acquired", "lock refreshed", "session conflict", "decryption error", "online")
    counts = {event: len(grep(f'"event": ?"{event}', w.holdfast.folder)) for event in wanted}
    assert all(counts.values()), counts
    return ", ".join(f"{event} {count}" for event, count in counts.items())


@check("alerts", "a logout on the phone is told to the operator once, signed; linked again: resolved, all well")
async def alerts(w: World) -> str:
    """Times shrink to a tenth; the operator's address is known only once its receiver listens, so it starts anew."""
    async with Receiver("operator-secret") as operator:
        await w.holdfast.stop()
        w.holdfast.env.update(
            HOLDFAST_ALERT_WEBHOOK_URL=operator.url,
            HOLDFAST_ALERT_WEBHOOK_SECRET=operator.key,
            HOLDFAST_ALERT_DAMPING="20",
            HOLDFAST_TIME_FACTOR="0.1",
        )
        await w.holdfast.start()
        await w.link()
        began = time.time()
        await w.fault("logout", jid=PHONE)
        await operator.until(lambda: len(operator.envelopes) == 1)
        took = time.time() - began
        alert = operator.envelopes[0]["payload"]
        assert (alert["kind"], alert["session"], alert["code"]) == ("needs_qr", "shop", "logged_out"), alert
        assert await w.holdfast.ask("GET", "/api/holdfast/alerts") == [alert]
        await w.holdfast.stop()
        await w.holdfast.start()
        await w.holdfast.ask("POST", "/api/sessions/shop/start")
        await w.holdfast.scan(w.wasim, "shop", PHONE.partition("@")[0])
        await operator.until(lambda: len(operator.envelopes) >= 3)
        told = [envelope["event"] for envelope in operator.envelopes]
        assert told == ["alert.raised", "alert.resolved", "alert.all_well"], told
        assert operator.refused == 0
        assert await w.holdfast.ask("GET", "/api/holdfast/alerts") == []
        return f"told {took:.1f} s after it; {alert['message']}"
