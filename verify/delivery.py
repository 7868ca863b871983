"""G3: the last step of a received message: to the webhook, through outages of receivers and deaths of instances."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Any

from tests.support.processes import Holdfast
from verify.harness import World, alone, check
from verify.instances import ANA, SHOP, two

BEN = "40712345602"


async def until_listed(holdfast: Holdfast, state: str, count: int, timeout: float = 60.0) -> list[dict[str, Any]]:
    """Wait until that many events are in that state."""
    end = time.time() + timeout
    while True:
        rows: list[dict[str, Any]] = await holdfast.ask("GET", "/api/holdfast/deliveries", state=state)
        if len(rows) >= count:
            return rows
        assert time.time() < end, await holdfast.ask("GET", "/api/holdfast/deliveries")
        await asyncio.sleep(0.1)


@alone("G3.d", "receiver down, its instance killed, another takes over, receiver back: all of it, once, in order")
async def receiver_and_owner_down() -> str:
    async with two(postgres=True) as (world, first, second, hook):
        await hook.until(lambda: any(e["event"] == "session.status" for e in hook.envelopes))
        hook.says = lambda _: 500
        for number in range(40):
            sender = (ANA, BEN)[number % 2]
            await world.wasim.post("inject", {"from": sender, "to": SHOP, "text": f"{sender} {number:02d}"})
            if number == 20:
                await hook.until(lambda: len(hook.turned_away) >= 2)
                await first.stop(signal.SIGKILL)
        await second.until_working("shop")
        hook.says = lambda _: 200
        began = time.time()
        await hook.until(lambda: len(hook.texts()) == 40, timeout=90)
        took = time.time() - began
        for sender in (ANA, BEN):
            came = [text for text in hook.texts() if text.startswith(sender)]
            assert came == sorted(came), came
            assert len(came) == 20, came
        gaps = [e for e in hook.envelopes if "holdfast" in e]
        assert gaps == [], "overtaken, though the receiver was merely down"
        sent = [e["id"] for e in hook.envelopes if e["event"] == "message"]
        assert len(set(sent)) == len(sent), "came twice"
        return f"40 of 40, all of them {took:.1f} s after the receiver was back"


@check(
    "G3.e",
    "one event refused: its chat waits for its hold only, others not at all; parked, told, late",
    WEBHOOK_HOLD="4",
)
async def poison(w: World) -> str:
    await w.link()
    w.hook.says = lambda envelope: 500 if envelope["payload"].get("body") == "poison" else 200
    await w.inject("before")
    await w.hook.until(lambda: w.hook.texts() == ["before"])
    await w.inject("poison")
    await w.hook.until(lambda: bool(w.hook.turned_away))
    began = time.time()
    await w.inject("after")
    await w.inject("another chat", sender=BEN)
    await w.hook.until(lambda: "another chat" in w.hook.texts())
    beside = time.time() - began
    assert "after" not in w.hook.texts()
    await w.hook.until(lambda: "after" in w.hook.texts())
    held = time.time() - began
    (parked,) = await until_listed(w.holdfast, "parked", 1)
    (after,) = [e for e in w.hook.envelopes if e["payload"].get("body") == "after" and e["event"] == "message"]
    assert after["holdfast"]["gap"] == [parked["event"]], after["holdfast"]
    w.hook.says = lambda _: 200
    await w.holdfast.ask("POST", f"/api/holdfast/deliveries/{parked['id']}/replay")
    await w.hook.until(lambda: "poison" in w.hook.texts())
    assert w.hook.envelopes[-1]["holdfast"] == {"late": True}
    assert beside < 2, f"the other chat waited {beside:.1f} s"
    assert 3 < held < 8, f"held for {held:.1f} s"
    return f"held {held:.1f} s, the other chat {beside:.2f} s"


@check(
    "G3.f", "given up: kept as a dead letter through a restart, listed with the reason, replayed", WEBHOOK_GIVE_UP="2"
)
async def dead_letter(w: World) -> str:
    await w.link()
    w.hook.says = lambda envelope: 422 if envelope["event"] == "message" else 200
    await w.inject("kept")
    (dead,) = await until_listed(w.holdfast, "dead", 1)
    assert (dead["status"], dead["problem"]) == (422, "the receiver answered 422"), dead
    tried = len(w.hook.turned_away)
    await w.holdfast.stop()
    await w.holdfast.start()
    await w.holdfast.until_working("shop")
    assert [row["id"] for row in await until_listed(w.holdfast, "dead", 1)] == [dead["id"]]
    assert len(w.hook.turned_away) == tried, "a dead one was tried again by itself"
    w.hook.says = lambda _: 200
    assert await w.holdfast.ask("POST", "/api/holdfast/deliveries/replay") == {"replayed": 1}
    await w.hook.until(lambda: w.hook.texts() == ["kept"])
    assert w.hook.envelopes[-1]["id"] == w.hook.turned_away[-1]["id"]
    return f"{tried} tries, then kept"


@check(
    "G3.g",
    "webhooks into private networks are refused where they may not go, and the answer says why",
    WEBHOOK_ALLOW_PRIVATE="no",
)
async def not_inside(w: World) -> str:
    asked = 0
    for host in ("127.0.0.1", "localhost", "[::1]", "10.0.0.1", "169.254.169.254", "[::ffff:127.0.0.1]"):
        config = {"webhooks": [{"url": f"http://{host}:{w.hook.url.rsplit(':')[-1]}", "events": ["*"]}]}
        body = {"name": f"s{asked}", "start": False, "config": config}
        async with w.holdfast.http.post(f"{w.holdfast.url}/api/sessions", json=body) as answer:
            said = await answer.json()
        assert answer.status == 422, (host, said)
        assert "HOLDFAST_WEBHOOK_ALLOW_PRIVATE" in said["message"], said
        asked += 1
    assert await w.holdfast.ask("GET", "/api/sessions", all="true") == [], "something was stored"
    return f"{asked} of {asked} refused"
