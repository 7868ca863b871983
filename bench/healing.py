"""Time to notice and time to heal, for each fault, with one session and with fifty: `heal.<fault>@<sessions>`."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil

from bench.figures import Figure
from bench.measures import link_all, names
from tests.support.processes import Holdfast, Wasim

Step = Callable[[str], None]
Strike = Callable[[Wasim, Holdfast], Awaitable[None]]


def fault(kind: str, **facts: Any) -> Strike:
    """The simulator goes wrong, for all sessions."""

    async def strike(wasim: Wasim, _: Holdfast) -> None:
        await wasim.post("fault", {"kind": kind, **facts})

    return strike


def at_the_door(kind: str, **facts: Any) -> Strike:
    """The connections drop, and the next logins meet the fault."""

    async def strike(wasim: Wasim, _: Holdfast) -> None:
        await wasim.post("fault", {"kind": kind, **facts})
        await wasim.post("fault", {"kind": "drop"})

    return strike


def signalled(number: signal.Signals) -> Strike:
    """The sidecars get a signal."""

    async def strike(_: Wasim, holdfast: Holdfast) -> None:
        for child in psutil.Process(holdfast.child.pid).children():
            os.kill(child.pid, number)

    return strike


async def outage(wasim: Wasim, _: Holdfast) -> None:
    """All of WhatsApp is away for 3 s."""
    await wasim.post("fault", {"kind": "outage", "seconds": 3})


FAULTS: dict[str, tuple[str, Strike, float]] = {
    "drop": ("the connection drops", fault("drop"), 10.0),
    "503": ("503 in the stream", fault("stream_error", code=503), 10.0),
    "500": ("500 in the stream", fault("stream_error", code=500), 10.0),
    "515": ("515 in the stream", fault("stream_error", code=515), 10.0),
    "outage": ("an outage of 3 s", outage, 20.0),
    "blackhole": ("half-open: nothing comes through for 40 s", fault("blackhole", seconds=40), 75.0),
    "garbage": ("a frame that cannot be read", fault("corrupt_frame"), 10.0),
    "405": ("a newer client version is asked for", at_the_door("outdated", version="2.3000.1999999999"), 15.0),
    "refused": ("a proxy refuses connections for 3 s", at_the_door("refuse_upgrade", status=403, seconds=3), 20.0),
    "crash": ("kill -9 of the sidecar", signalled(signal.SIGKILL), 10.0),
    "hang": ("the sidecar hangs", signalled(signal.SIGSTOP), 40.0),
}


async def healing(count: int, step: Step) -> list[Figure]:
    """For each fault: when the last session noticed it, and when the last was WORKING again."""
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as name:
        folder = Path(name)
        async with Wasim(folder) as wasim, Holdfast(wasim, folder) as holdfast:
            await link_all(wasim, holdfast, count, step)
            for key, (what, strike, limit) in FAULTS.items():
                step(f"{what}, {count} sessions")
                noticed, healed = await _one(wasim, holdfast, count, strike)
                told = f"{what}: all noticed after {noticed:.2f} s, all WORKING after"
                bar = f"<= {limit:g} s"
                figures.append(
                    Figure(f"heal.{key}@{count}", told, "s", round(healed, 2), None, None, bar, healed <= limit)
                )
    return figures


async def _one(wasim: Wasim, holdfast: Holdfast, count: int, strike: Strike) -> tuple[float, float]:
    for name in names(count):  # a person's restart forgives the faults before: else they would count as flapping
        await holdfast.ask("POST", f"/api/sessions/{name}/restart")
    for name in names(count):
        await holdfast.until_working(name)
    await asyncio.sleep(1)
    began = time.time()
    await strike(wasim, holdfast)
    noticed, healed = 0.0, 0.0
    for name in names(count):
        while True:
            rows = await holdfast.ask("GET", f"/api/holdfast/sessions/{name}/timeline", limit="20")
            after = [row for row in reversed(rows) if row["at"] >= began]
            if after and after[-1]["status"] == "WORKING":
                break
            if time.time() > began + 150:
                raise RuntimeError(f"{name} did not heal: {rows[:3]}")
            await asyncio.sleep(0.1)
        noticed = max(noticed, after[0]["at"] - began)
        healed = max(healed, after[-1]["at"] - began)
    return noticed, healed
