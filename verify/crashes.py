"""G3 and G4 through kill -9 at any instant: at each named point of the ways in and out, at random, through failover.

After each run wasim's log, the store and the receiver must agree: nothing lost, nothing under two ids, order kept.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from tests.support.arena import BESIDE, IN, OUT, UPLOADS, Arena, Load, arena
from tests.support.exchanges import Exchanges
from verify.harness import alone

ROUNDS = 4
"""How often each point is struck; on a busy machine as often as the time allows, but twice at least."""
LONG, SHORT = 110.0, 50.0
TIMEOUT = 360.0
KILLS = 60


def shuffled(points: Iterable[str]) -> list[str]:
    """In another order each time."""
    found = list(points)
    random.shuffle(found)
    return found


async def strike(it: Arena, points: Iterable[str], *, least: int = 2, seconds: float = LONG) -> None:
    """Each point in turn, under load; the next as soon as the session works again. `least`: rounds in any case."""
    began = time.monotonic()
    for number in range(ROUNDS):
        for point in shuffled(points):
            if number >= least and time.monotonic() - began > seconds:
                return
            await it.crash(point)
            await it.until_working()
            await asyncio.sleep(random.uniform(0.0, 0.3))


async def at_random(it: Arena, kills: int) -> None:
    """Kill -9 of anything, also of what only just starts."""
    began = time.monotonic()
    for number in range(kills):
        if number >= kills / 2 and time.monotonic() - began > LONG:
            return
        await it.kill()
        await asyncio.sleep(random.choice((0.05, 0.3, 1.0, 2.0)))
        if number % 5 == 4:
            await it.until_working()


async def judged(it: Arena) -> str:
    """The load ends, everything arrives, all agree."""
    await it.until_working()
    await it.settled()
    return await it.agree()


async def killed_at(points: Iterable[str], *loads: type[Load], least: int = 2, seconds: float = LONG) -> str:
    """A world with these loads, struck at each point."""
    with tempfile.TemporaryDirectory(prefix="holdfast-verify-") as folder:
        async with arena(Path(folder), *loads) as it:
            await strike(it, points, least=least, seconds=seconds)
            return await judged(it)


@alone(
    "G3.a",
    f"killed at each of {len(IN)} points of the way in, instance, sidecar or receiver: all agree",
    timeout=TIMEOUT,
)
async def way_in() -> str:
    return await killed_at(IN)


@alone("G4.a", f"killed at each of {len(OUT)} points of the way out: all agree, one id each", timeout=TIMEOUT)
async def way_out() -> str:
    return await killed_at(OUT)


@alone(
    "G3.beside",
    f"killed at each of {len(BESIDE)} points that groups, unread messages, changes, files pass: all agree",
    timeout=TIMEOUT,
)
async def beside() -> str:
    return await killed_at(BESIDE, Exchanges, least=1, seconds=SHORT)


@alone(
    "G4.files",
    f"killed at each of {len(UPLOADS)} points of a file on its way out: sent once, whole",
    timeout=TIMEOUT,
)
async def uploads() -> str:
    return await killed_at(UPLOADS, Exchanges, seconds=SHORT)


@alone("G3.b", "kill -9 of anything at random under load, again while it starts: all agree", timeout=TIMEOUT)
async def anything() -> str:
    with tempfile.TemporaryDirectory(prefix="holdfast-verify-") as folder:
        async with arena(Path(folder)) as it:
            await at_random(it, KILLS)
            return await judged(it)


@alone(
    "G3.failover",
    "the same with two instances on PostgreSQL, which take over from each other, while it is restarted: all agree",
    timeout=TIMEOUT,
)
async def failover() -> str:
    with tempfile.TemporaryDirectory(prefix="holdfast-verify-") as folder:
        async with arena(Path(folder), postgres=True, instances=2) as it:
            assert it.database is not None
            for mode in ("immediate", "fast", "immediate"):
                for point in random.sample((*IN, *OUT), 10):
                    await it.crash(point)
                    await asyncio.sleep(random.uniform(0.0, 1.5))
                await at_random(it, KILLS // 6)
                await asyncio.to_thread(it.database.stop, mode)
                await asyncio.sleep(random.uniform(0.0, 1.0))
                await asyncio.to_thread(it.database.start)
                await it.until_working()
            return f"3 restarts of the database, {await judged(it)}"


@alone(
    "G3.failover_beside",
    "the same for groups, unread messages, changes and files: all agree",
    timeout=TIMEOUT,
)
async def failover_beside() -> str:
    with tempfile.TemporaryDirectory(prefix="holdfast-verify-") as folder:
        async with arena(Path(folder), Exchanges, postgres=True, instances=2) as it:
            assert it.database is not None
            for point in random.sample((*BESIDE, *UPLOADS), 8):
                await it.crash(point)
                await it.until_working()
            await asyncio.to_thread(it.database.stop, "immediate")
            await asyncio.to_thread(it.database.start)
            return f"1 restart of the database, {await judged(it)}"
