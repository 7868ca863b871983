"""G4: sending on terms: keys, schedules, deadlines, queues, limits, cancellations, and the story of each message."""

from __future__ import annotations

import asyncio
import signal
import time
from itertools import pairwise
from typing import Any

from verify.harness import World, alone, check
from verify.instances import two

SHOP = "40712345678"
PEOPLE = [f"407123456{number:02d}" for number in range(1, 7)]
ANA, BEN, EVA = PEOPLE[:3]


async def ready(w: World, people: list[str] | None = None, **own: Any) -> None:
    """The session `shop`, linked, with phones to write to; `own`: what is configured beyond WAHA."""
    await w.link()
    for phone in people or [ANA, BEN]:
        await w.wasim.post("phones", {"phone": phone})
    if own:
        await w.holdfast.ask("PUT", "/api/sessions/shop", {"config": {**w.hook.config(), "holdfast": own}})


async def send(w: World, to: str, text: str, key: str | None = None, **terms: Any) -> tuple[int, dict[str, Any]]:
    """Status and body of the answer."""
    body = {"session": "shop", "chatId": f"{to}@c.us", "text": text, **terms}
    headers = {"Idempotency-Key": key} if key else {}
    async with w.holdfast.http.post(f"{w.holdfast.url}/api/sendText", json=body, headers=headers) as answer:
        return answer.status, await answer.json()


async def accepted(w: World, to: str, text: str, **terms: Any) -> str:
    """Send it; its id."""
    status, said = await send(w, to, text, **terms)
    assert status in (201, 202), said
    return str(said["holdfast"]["id"])


async def told(w: World, id: str) -> dict[str, Any]:
    """The story of a message."""
    found: dict[str, Any] = await w.holdfast.ask("GET", f"/api/holdfast/messages/{id}", session="shop")
    return found


async def until(w: World, id: str, *states: str, timeout: float = 60.0) -> dict[str, Any]:
    """Wait until a message is in one of these states."""
    end = time.time() + timeout
    while (story := await told(w, id))["state"] not in states:
        assert time.time() < end, story
        await asyncio.sleep(0.1)
    return story


async def on_phone(w: World, phone: str) -> list[tuple[str, str]]:
    """(id, text) of what the phone shows, in order."""
    shown = (await w.wasim.get(f"phones/{phone}/messages"))["messages"]
    return [(message["id"], message["text"]) for message in shown if not message.get("from_me")]


async def texts(w: World, phone: str) -> list[str]:
    """What the phone shows."""
    return [text for _, text in await on_phone(w, phone)]


async def outbox(w: World, state: str = "") -> list[dict[str, Any]]:
    """What waits, or what is in that state."""
    query = {"state": state} if state else {}
    found: list[dict[str, Any]] = await w.holdfast.ask("GET", "/api/holdfast/sessions/shop/outbox", **query)
    return found


async def left_at(w: World, ids: list[str]) -> list[float]:
    """When each message was delivered to its phone, in order of time."""
    log = await w.wasim.get("log", kind="deliver", limit=100_000)
    first: dict[str, float] = {}
    for record in log:
        if record.get("id") in ids:
            first.setdefault(record["id"], record["t"])
    assert len(first) == len(ids), f"{len(first)} of {len(ids)} were delivered"
    return sorted(first.values())


async def closest_fifth(w: World, ids: list[str]) -> float:
    """The shortest time in which five messages were handed to WhatsApp, by their last tries; all were delivered."""
    await left_at(w, ids)
    stories = [(await told(w, id_))["story"] for id_ in ids]
    tried = sorted(max(step["at"] for step in story if step["state"] == "sending") for story in stories)
    return min(fifth - first for first, fifth in zip(tried, tried[4:], strict=False))


@check("G4.c", "one Idempotency-Key is one message, through kill -9 and restart; another body: 409")
async def idempotent(w: World) -> str:
    await ready(w)
    sends = await asyncio.gather(*(send(w, ANA, "once", key="order-1") for _ in range(8)))
    ids = {said["holdfast"]["id"] for _, said in sends}
    await w.holdfast.stop(signal.SIGKILL)
    await w.holdfast.start()
    await w.holdfast.until_working("shop")
    status, said = await send(w, ANA, "once", key="order-1")
    assert (status, {said["holdfast"]["id"]}) == (201, ids), said
    status, said = await send(w, ANA, "twice", key="order-1")
    assert (status, said["code"]) == (409, "idempotency_conflict"), said
    await w.holdfast.ask("POST", "/api/sessions/shop/stop")
    status, said = await send(w, ANA, "once", key="order-1")
    assert (status, {said["holdfast"]["id"]}) == (201, ids), said
    assert await on_phone(w, ANA) == [(ids.pop(), "once")]
    return "10 requests, 1 message"


@check("G4.d", "scheduled: leaves when it is due, through kill -9; its chat goes on; in the past: 422, nothing stored")
async def scheduled(w: World) -> str:
    await ready(w)
    status, said = await send(w, ANA, "past", send_at=time.time() - 5)
    assert status == 422, said
    assert "in the past" in said["message"], said
    status, said = await send(w, ANA, "garbage", send_at="soon")
    assert status == 422, said
    assert await outbox(w) == []
    due = time.time() + 15
    id_ = await accepted(w, ANA, "later", send_at=due)
    assert (await told(w, id_))["waits_for"]["code"] == "scheduled"
    await accepted(w, ANA, "now")
    await w.holdfast.stop(signal.SIGKILL)
    await w.holdfast.start()
    await until(w, id_, "sent", "delivered", "read")
    (left,) = await left_at(w, [id_])
    assert await texts(w, ANA) == ["now", "later"]
    assert 0 <= left - due < 8, f"{left - due:.1f} s after its time"
    return f"{left - due:.1f} s after its time"


@check("G4.e", "cancelled: never leaves, not even after a restart; too late: 409, and says so")
async def cancelled(w: World) -> str:
    await ready(w)
    id_ = await accepted(w, ANA, "no", send_at=time.time() + 4)
    gone = await w.holdfast.ask("DELETE", f"/api/holdfast/messages/{id_}", session="shop")
    assert gone["state"] == "cancelled", gone
    await w.holdfast.stop()
    await w.holdfast.start()
    await w.holdfast.until_working("shop")
    sent = await accepted(w, ANA, "yes")
    url = f"{w.holdfast.url}/api/holdfast/messages/{sent}"
    async with w.holdfast.http.delete(url, params={"session": "shop"}) as answer:
        said = await answer.json()
        assert (answer.status, said["code"]) == (409, "too_late"), said
    while time.time() < gone["created_at"] + 12:
        await asyncio.sleep(0.5)
    assert await texts(w, ANA) == ["yes"]
    return str(said["message"])


@check(
    "G4.f",
    "deadlines pass while the session is down: expired, told, and never sent; 24 h unless said otherwise",
    SEND_WAIT="1",
)
async def expired(w: World) -> str:
    await ready(w)
    await w.fault("outage")
    await w.holdfast.until("shop", lambda view: view["status"] != "WORKING")
    status, said = await send(w, ANA, "code 1234", expires_in=5)
    brief = said["holdfast"]["id"]
    assert status == 202, said
    plain = await accepted(w, BEN, "not urgent")
    row = await told(w, plain)
    assert 86_390 < row["expires_at"] - time.time() <= 86_400, row
    assert row["waits_for"]["code"] == "session", row
    story = await until(w, brief, "expired")
    took = story["updated_at"] - story["expires_at"]
    assert 0 <= took < 7, f"{took:.1f} s after its deadline"
    await w.hook.until(lambda: any(e["event"] == "message.ack" for e in w.hook.envelopes))
    acks = [e["payload"] for e in w.hook.envelopes if e["event"] == "message.ack"]
    assert [(ack["ack"], ack["error"]["code"]) for ack in acks] == [(-1, "expired")], acks
    await w.fault("clear")
    await until(w, plain, "sent", "delivered", "read", timeout=90)
    assert (await texts(w, ANA), await texts(w, BEN)) == ([], ["not urgent"])
    return f"{took:.1f} s after its deadline"


@check("G4.g", "needs a QR: the queue is kept, new messages are refused, or queued if asked, and sent once linked")
async def needs_a_qr(w: World) -> str:
    await ready(w)
    kept = await accepted(w, ANA, "kept", send_at=time.time() + 3)
    await w.fault("logout", jid=f"{SHOP}@s.whatsapp.net")
    await w.holdfast.until("shop", lambda view: bool(view["needs_qr"]))
    status, said = await send(w, BEN, "refused")
    assert (status, said["code"]) == (422, "wrong_status"), said
    assert [row["id"] for row in await outbox(w)] == [kept], "something was stored"
    status, said = await send(w, BEN, "asked", queue=True)
    assert status == 202, said
    await w.holdfast.ask("PUT", "/api/sessions/shop", {"config": {**w.hook.config(), "holdfast": {"queue": True}}})
    assert (await send(w, BEN, "by the session"))[0] == 202
    assert (await send(w, BEN, "refused", queue=False))[0] == 422
    await w.holdfast.ask("POST", "/api/sessions/shop/start")
    await w.holdfast.scan(w.wasim, "shop", SHOP)
    await w.holdfast.until_working("shop")
    last = (await outbox(w, "queued") + await outbox(w, "sending") + await outbox(w, "sent"))[0]["id"]
    await until(w, last, "sent", "delivered", "read")
    await until(w, kept, "sent", "delivered", "read")
    assert await texts(w, ANA) == ["kept"]
    assert await texts(w, BEN) == ["asked", "by the session"]
    return "3 of 3, 0 refused ones"


@check("G4.h", "messages a minute: never more, through kill -9", TIME_FACTOR="0.2", SEND_WAIT="0")
async def paced(w: World) -> str:
    people = PEOPLE[:4]
    await ready(w, people, pacing={"messages_per_minute": 4})  # a minute has 12 s
    ids = [await accepted(w, people[number % 4], f"{number:02d}") for number in range(14)]
    await until(w, ids[4], "sent", "delivered", "read")
    held = {row["id"]: row["waits_for"] for row in await outbox(w)}
    assert held[ids[8]]["code"] == "pacing", held[ids[8]]
    await w.holdfast.stop(signal.SIGKILL)
    await w.holdfast.start()
    for id_ in ids:
        await until(w, id_, "sent", "delivered", "read")
    times = await left_at(w, ids)
    closest = await closest_fifth(w, ids)
    assert closest > 11.99, f"five messages within {closest:.1f} s of 12"
    assert times[-1] - times[0] < 60, f"took {times[-1] - times[0]:.0f} s, 36 s would do"
    for phone in people:
        assert (came := await texts(w, phone)) == sorted(came), came
    return f"14 messages in {times[-1] - times[0]:.0f} s of at least 36, never five within {closest:.1f} s"


@check(
    "G4.i",
    "new chats a day: the next waits, and says until when; known people are served on",
    SEND_WAIT="1",
)
async def new_chats(w: World) -> str:
    await ready(w, PEOPLE[:4], pacing={"new_chats_per_day": 1})
    await until(w, await accepted(w, ANA, "first"), "sent", "delivered", "read")
    status, said = await send(w, BEN, "stranger", expires_in=200_000)
    assert status == 202, said
    await w.inject("hello", sender=EVA)
    await w.hook.until(lambda: w.hook.texts() == ["hello"])
    for phone in (EVA, ANA):
        assert (await send(w, phone, "answer"))[0] == 201
    (row,) = await outbox(w)
    assert (row["id"], row["waits_for"]["code"]) == (said["holdfast"]["id"], "new_chats"), row["waits_for"]
    hours = (row["waits_for"]["until"] - time.time()) / 3600
    assert 23.9 < hours <= 24, row
    assert await texts(w, BEN) == []
    return str(row["waits_for"]["message"])


@check("G4.j", "jitter parts messages at random, by no more than it may", SEND_WAIT="0")
async def jitter(w: World) -> str:
    await ready(w, PEOPLE, pacing={"jitter": 3})
    ids = [await accepted(w, PEOPLE[number % 6], f"{number:02d}") for number in range(12)]
    for id_ in ids:
        await until(w, id_, "sent", "delivered", "read")
    times = await left_at(w, ids)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert max(gaps) < 4.5, gaps
    assert max(gaps) - min(gaps) > 0.5, f"hardly at random: {gaps}"
    return f"{min(gaps):.1f} to {max(gaps):.1f} s apart"


@check("G4.k", "order per chat, scheduled ones between them, six chats at once, through kill -9", SEND_WAIT="0")
async def ordered(w: World) -> str:
    await ready(w, PEOPLE)
    due = time.time() + 12
    ids = []
    for number in range(20):
        ids += [await accepted(w, phone, f"{number:02d}") for phone in PEOPLE]
        if number == 4:
            ids += [await accepted(w, phone, "late", send_at=due) for phone in PEOPLE]
        if number == 10:
            await w.holdfast.stop(signal.SIGKILL)
            await w.holdfast.start()
    for id_ in ids:
        await until(w, id_, "sent", "delivered", "read")
    for phone in PEOPLE:
        came = await texts(w, phone)
        assert [text for text in came if text != "late"] == [f"{number:02d}" for number in range(20)], came
        assert came.count("late") == 1, came
    return f"{len(ids)} of {len(ids)} in order"


@check(
    "G4.l",
    "a send in doubt is tried again under its id; attempts, doubt and every state are told",
    SEND_WAIT="1",
)
async def in_doubt(w: World) -> str:
    await ready(w)
    await until(w, await accepted(w, ANA, "first"), "sent", "delivered", "read")  # the devices are known then
    await w.fault("blackhole", jid=SHOP)
    id_ = await accepted(w, ANA, "once")
    assert (await told(w, id_))["state"] == "sending"
    await w.fault("drop", jid=SHOP)
    assert (await until(w, id_, "queued"))["in_doubt"]
    await w.fault("clear")
    story = await until(w, id_, "sent", "delivered", "read")
    assert await texts(w, ANA) == ["first", "once"], await texts(w, ANA)
    assert (story["attempts"] >= 2, story["in_doubt"]) == (True, False), story
    states = [(step["state"], step["attempts"]) for step in story["story"]]
    assert states[:3] == [("sending", 1), ("queued", 1), ("sending", 2)], states
    assert "acknowledge" in story["story"][1]["message"], story["story"]
    assert all(a["at"] <= b["at"] for a, b in pairwise(story["story"]))
    return f"{story['attempts']} attempts, 1 message, {len(states)} states told"


@check("G4.m", "ids that are none: 404 and a sentence, for the story and for cancelling")
async def no_ids(w: World) -> str:
    await ready(w)
    asked = 0
    for method in ("GET", "DELETE"):
        for id_ in ("nope", "true_40712345601@c.us_3EB0", "%F0%9F%90%B4", "a" * 2000, "'--"):
            url = f"{w.holdfast.url}/api/holdfast/messages/{id_}"
            async with w.holdfast.http.request(method, url, params={"session": "shop"}) as answer:
                said = await answer.json()
                assert (answer.status, said["code"]) == (404, "message_not_found"), said
            asked += 1
    return f"{asked} of {asked}"


@alone("G4.n", "limits and schedules through the holder's death, sent through the other instance, on PostgreSQL")
async def failover() -> str:
    async with two(postgres=True, HOLDFAST_TIME_FACTOR="0.2", HOLDFAST_SEND_WAIT="0") as (world, first, second, hook):
        w = World(world.wasim, second, hook)
        for phone in PEOPLE[:4]:
            await w.wasim.post("phones", {"phone": phone})
        config = {**hook.config(), "holdfast": {"pacing": {"messages_per_minute": 4}}}  # a minute has 12 s
        await second.ask("PUT", "/api/sessions/shop", {"config": config})
        due = time.time() + 20
        late = await accepted(w, ANA, "late", send_at=due)
        ids = [await accepted(w, PEOPLE[number % 4], f"{number:02d}") for number in range(10)]
        await until(w, ids[3], "sent", "delivered", "read")
        await first.stop(signal.SIGKILL)
        for id_ in (*ids, late):
            await until(w, id_, "sent", "delivered", "read", timeout=120)
        closest = await closest_fifth(w, [*ids, late])
        assert closest > 11.99, f"five messages within {closest:.1f} s of 12"
        assert (await left_at(w, [late]))[0] >= due
        for phone in PEOPLE[:4]:
            came = [text for text in await texts(w, phone) if text != "late"]
            assert came == sorted(came), came
        assert await world.overlaps() == []
        return f"{len(ids) + 1} messages, never five within {closest:.1f} s"
