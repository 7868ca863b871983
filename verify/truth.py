"""G5.b: a watcher that looks at one session all the time, while everything that can break it breaks it in turn."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support.processes import Floor
from verify.harness import World, check
from verify.links import sidecars
from verify.story import SHOP, Story

FACTOR = 0.2
DEADLINE = 30 * FACTOR
EVERY = 0.02
SLACK = 0.2
"""Frames that were under way when the silence began."""

Break = Callable[[World], Awaitable[None]]
UNMOVED = frozenset({"unknown frame", "deaf", "slow"})
"""What is not noticed at once, or never."""


@dataclass
class Watcher:
    """Looks every 20 ms. A lie is a WORKING whose proof was too old when it was asked for, or of a time at which the
    simulator had long been silent.
    """

    w: World
    looks: int = 0
    lies: list[str] = field(default_factory=list)
    during: str = "nothing"
    dumb: tuple[float, float] | None = None
    """Between these times nothing can have come from the simulator for a deadline."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            asked = time.time()
            view = await self._view()
            if view is not None:
                self.looks += 1
                if view["status"] == "WORKING":
                    self._judge(view["holdfast"]["verified_at"], asked)
            await asyncio.sleep(max(0.0, EVERY - (time.time() - asked)))

    def _judge(self, verified_at: float | None, asked: float) -> None:
        age = asked - (verified_at or 0.0)
        if age > DEADLINE:
            self.lies.append(f"{self.during}: WORKING with a proof of {age:.2f} s ago")
        if self.dumb is not None and self.dumb[0] + SLACK < asked < self.dumb[1] - SLACK:
            self.lies.append(f"{self.during}: WORKING more than {DEADLINE} s after WhatsApp's last word")

    async def _view(self) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = await self.w.holdfast.ask("GET", "/api/sessions/shop")
        except (OSError, RuntimeError):
            return None  # a server that does not answer says nothing untrue
        return found


@asynccontextmanager
async def watching(w: World) -> AsyncIterator[Watcher]:
    """Watch while the block runs. Raises what ended the watcher, if it ended by itself."""
    watcher = Watcher(w)
    task = asyncio.create_task(watcher.run())
    try:
        yield watcher
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    if not task.cancelled() and (error := task.exception()):
        raise error


# --- what breaks it: each leaves the simulator sound ---------------------------------------------------------------


def fault(kind: str, **facts: Any) -> Break:
    """Strike once."""

    async def strike(w: World) -> None:
        await w.fault(kind, jid=SHOP, **facts)

    return strike


def at_login(reason: int, **facts: Any) -> Break:
    """The next login is refused, once."""

    async def strike(w: World) -> None:
        await w.fault("failure", jid=SHOP, reason=reason, count=1, **facts)
        await w.fault("drop", jid=SHOP)

    return strike


def lasting(kind: str, seconds: float, **facts: Any) -> Break:
    """It stays so for a while."""

    async def strike(w: World) -> None:
        await w.fault(kind, jid=SHOP, **facts)
        await asyncio.sleep(seconds)
        await w.fault("clear")

    return strike


def away(kind: str, **facts: Any) -> Break:
    """The server lets nobody in for a while."""

    async def strike(w: World) -> None:
        await w.fault(kind, **facts)
        await w.fault("drop", jid=SHOP)
        await asyncio.sleep(3)
        await w.fault("clear")

    return strike


def to_sidecar(number: signal.Signals) -> Break:
    """The engine's process gets a signal."""

    async def strike(w: World) -> None:
        os.kill(sidecars(w)[0], number)
        await w.holdfast.until("shop", lambda view: view["status"] != "WORKING")

    return strike


async def instance_stops(w: World) -> None:
    """The whole instance is frozen for two deadlines: what answers after it must not tell the state of before."""
    w.holdfast.child.send_signal(signal.SIGSTOP)
    await asyncio.sleep(2 * DEADLINE)
    w.holdfast.child.send_signal(signal.SIGCONT)


async def instance_killed(w: World) -> None:
    """kill -9, and started again."""
    await w.holdfast.stop(signal.SIGKILL)
    await w.holdfast.start()


async def outsider(w: World) -> None:
    """Somebody else logs in with the same credentials, and leaves."""
    copy = w.holdfast.folder / "stolen.sqlite3"
    with sqlite3.connect(w.holdfast.folder / "holdfast.sqlite3") as db, sqlite3.connect(copy) as stolen:
        db.backup(stolen)
    async with Floor(w.wasim, copy, ["shop"]) as thief:
        await thief.until("open")
        await w.holdfast.until("shop", lambda view: view["status"] != "WORKING")
        assert thief.child.stdin is not None
        thief.child.stdin.close()


async def unlisted(w: World) -> None:
    """The device is taken off the account's list in silence; WhatsApp says so at the next login."""
    await w.fault("unlisted", jid=f"{SHOP}@s.whatsapp.net")
    await w.fault("drop", jid=SHOP)


BREAKS: dict[str, Break] = {
    "drop": fault("drop"),
    "503": fault("stream_error", code=503),
    "500": fault("stream_error", code=500),
    "515": fault("stream_error", code=515),
    "unknown element": fault("stream_error", tag="xml-not-well-formed"),
    "unknown frame": fault("unknown_frame"),
    "corrupt frame": fault("corrupt_frame"),
    "deaf": fault("deaf"),
    "slow": lasting("slow", 2, ms=200),
    "half-open": lasting("blackhole", 2 * DEADLINE),
    "half-open, hard": lasting("blackhole", 2 * DEADLINE, hard=True),
    "upgrade refused": away("refuse_upgrade", status=429),
    "outage": away("outage"),
    "503 at login": at_login(503),
    "405": at_login(405),
    "402": at_login(402, expire=3),
    "replaced": outsider,
    "sidecar killed": to_sidecar(signal.SIGKILL),
    "sidecar hangs": to_sidecar(signal.SIGSTOP),
    "instance frozen": instance_stops,
    "instance killed": instance_killed,
    "device_removed": fault("stream_error", conflict="device_removed"),
    "unlisted": unlisted,
    "403": at_login(403),
    "406": at_login(406),
    "411": at_login(411),
    "logout": fault("logout"),
}


@check("G5.b", "WORKING is never said without a proof within the deadline, looked at every 20 ms through every fault",
       TIME_FACTOR=str(FACTOR), LEASE_TTL="25", LEASE_RENEW="8", CONNECT_TIMEOUT="100")  # fmt: skip
async def truth(w: World) -> str:
    await w.link()
    async with watching(w) as watcher:
        for name, strike in BREAKS.items():
            watcher.during, story = name, await Story.of(w)
            half_open = name.startswith("half-open")
            watcher.dumb = (time.time() + DEADLINE, time.time() + 2 * DEADLINE) if half_open else None
            await strike(w)
            if name not in UNMOVED:
                await _moved(story, name)
            await _works_again(w, name)
    lies = watcher.lies
    assert not lies, f"{len(lies)} of {watcher.looks} looks were lied to: {lies[0]}; {lies[-1]}"
    return f"0 of {watcher.looks} looks through {len(BREAKS)} breaks"


async def _moved(story: Story, name: str) -> None:
    end = time.time() + 60
    while not await story.rows():
        assert time.time() < end, f"{name} was not noticed"
        await asyncio.sleep(EVERY)


async def _works_again(w: World, name: str) -> None:
    """By itself; with a person's help where only that helps, or where a hold-off would take long."""
    view = await w.holdfast.until(
        "shop", lambda v: v["status"] == "WORKING" or v["needs_qr"] or (v["next_attempt_at"] or 0.0) > time.time() + 3
    )
    if view["needs_qr"]:
        await w.holdfast.ask("POST", "/api/sessions/shop/start")
        await w.holdfast.scan(w.wasim, "shop", SHOP)
    elif view["status"] != "WORKING":
        await w.holdfast.ask("POST", "/api/sessions/shop/restart")
    try:
        await w.holdfast.until_working("shop")
    except AssertionError as error:
        raise AssertionError(f"after {name}: {error}") from None
