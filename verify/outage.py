"""D.outage_hour: the whole of WhatsApp is away for an hour, and comes back to many sessions."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from typing import Any

from verify.harness import World, check
from verify.promises import within

MOST, LEAST, LINKING = 200, 50, 75.0
"""So many sessions; on a busy machine those that could be linked in so many seconds, but never fewer than the least."""
FACTOR = 0.02
HOUR = 3600 * FACTOR
AT_ONCE = (50 + 40) * 1.2
"""Most in a second: HOLDFAST_CONNECT_BURST and _RATE, which no factor scales; a busy machine bunches some."""


def fullest_second(times: list[float]) -> int:
    """The most that happened within any one second."""
    return max((bisect_right(times, at + 1) - number for number, at in enumerate(times)), default=0)


async def _link_all(w: World) -> int:
    numbers, end = iter(range(MOST)), time.time() + LINKING

    async def worker() -> int:
        done = 0
        for number in numbers:
            await w.holdfast.link(w.wasim, f"s{number:03d}", f"4071000{number:04d}")
            done += 1
            if time.time() > end and number >= LEAST:
                break
        return done

    return sum(await asyncio.gather(*(worker() for _ in range(8))))


async def _scaled(w: World) -> None:
    """From now on an hour takes a minute or so; what watches over processes keeps real times."""
    await w.holdfast.stop()
    times = {"LEASE_TTL": 15, "LEASE_RENEW": 5, "LIVENESS_DEADLINE": 30, "HEALTH_INTERVAL": 30, "KEEPALIVE": 10}
    times |= {"CONNECT_TIMEOUT": 60, "LISTED_INTERVAL": 600}
    w.holdfast.env |= {f"HOLDFAST_{name}": str(seconds / FACTOR) for name, seconds in times.items()}
    w.holdfast.env["HOLDFAST_TIME_FACTOR"] = str(FACTOR)
    await w.holdfast.start()


async def _views(w: World) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await w.holdfast.ask("GET", "/api/holdfast/sessions")
    return found


async def _until_all_work(w: World, limit: float) -> float:
    """Seconds until all sessions are WORKING."""
    began = time.time()
    while left := [v for v in await _views(w) if v["status"] != "WORKING"]:
        assert time.time() - began < limit, f"{len(left)} not WORKING after {limit:.0f} s, such as {left[0]}"
        await asyncio.sleep(0.1)
    return time.time() - began


async def _times(w: World, since: int, kind: str) -> list[float]:
    records = await w.wasim.get("log", since=since, kind=kind, limit=200_000)
    return [record["t"] for record in records]


@check("D.outage_hour", "WhatsApp away for an hour, 200 sessions: paced tries and return, nobody is needed")
async def outage_hour(w: World) -> str:
    count = await _link_all(w)
    await _scaled(w)
    await _until_all_work(w, 60)
    since = await w.wasim.seq()
    await w.fault("outage")
    await asyncio.sleep(HOUR)
    views = await _views(w)
    assert len(views) == count
    wrong = [v for v in views if v["status"] not in ("STARTING", "FAILED") or v["holdfast"]["needs_qr"]]
    assert not wrong, f"{len(wrong)} say something else, such as {wrong[0]}"
    tries = await _times(w, since, "upgrade-refused")
    assert fullest_second(tries) <= AT_ONCE, f"{fullest_second(tries)} tries in a second"
    ended = await w.wasim.seq()
    await w.fault("clear")
    took = await _until_all_work(w, 60)
    came = await _times(w, ended, "connected")
    assert fullest_second(came) <= AT_ONCE, f"{fullest_second(came)} connections in a second: a stampede"
    assert not await w.wasim.get("log", since=since, kind="replaced"), "we replaced connections of our own"
    return (
        f"all {count} back in {within(took, 60, 'the return')} (unscaled), {len(came)} connections, at most "
        f"{fullest_second(came)} a second; meanwhile {len(tries) / count:.1f} tries each"
    )
