"""S0 and S1 on the engine `waha`: what the field reports ask for, where the session lives on a WAHA server."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import re
import signal
import time

from holdfast.api.waha.pairing import qr_png
from tests.support.little_waha import KEY as WAHA_KEY
from tests.support.processes import KEY
from verify.promises import within
from verify.remote import CHAT, CONNECT, HOOK_KEY, PHONE, SCALED, USER, Rig, check

# --- S0: status is asked, not remembered --------------------------------------------------------------------------


@check("S0.a", "waha: deleted at WAHA behind our back is missing at the next look, while WORKING and while STARTING")
async def missing(r: Rig) -> str:
    await r.link()
    r.waha.sessions.forget("shop")
    began = time.monotonic()
    view = await r.holdfast.until("shop", lambda view: view["status"] not in ("WORKING", "STARTING"), 35)
    took = time.monotonic() - began
    assert view["needs_qr"], view
    r.waha.sessions.stuck.add("slow")
    await r.make("slow")
    await r.seen(lambda: "slow" in r.waha.sessions.all, "the session at WAHA")
    r.waha.sessions.stuck.clear()
    r.waha.sessions.forget("slow")
    await r.holdfast.until("slow", lambda view: view["status"] != "STARTING", 35)
    return within(took, 30, "noticing")


@check("S0.b", "waha: Connect makes a lost session anew and shows its QR, however we last knew it")
async def connect(r: Rig) -> str:
    figures = []
    r.waha.sessions.stuck.add("shop")
    await r.make()
    await r.seen(lambda: "shop" in r.waha.sessions.all, "the session at WAHA")
    r.waha.sessions.stuck.clear()
    r.waha.sessions.forget("shop")
    figures.append(await r.connect())  # while we know it as STARTING
    r.waha.sessions.scan("shop", PHONE)
    await r.holdfast.until_working("shop")
    r.waha.sessions.forget("shop")
    await r.holdfast.until("shop", lambda view: view["status"] != "WORKING", 35)
    figures.append(await r.connect())  # when it was seen to be missing
    r.waha.sessions.scan("shop", PHONE)
    await r.holdfast.until_working("shop")
    return within(max(figures), CONNECT, "the QR")


@check(
    "S0.c",
    "waha: a user's session is u_ and 12 characters; a WAHA for `default` only is recognised, and said",
    ENGINE="waha",
)
async def names(r: Rig) -> str:
    code, found = await r.told("POST", "/api/whatsapp/connect", {"user_id": USER})
    assert (code, found["accountId"]) == (200, f"u_{USER[:12]}"), found
    assert f"u_{USER[:12]}" in r.waha.sessions.all, "it was made elsewhere"
    r.waha.sessions.only_default = True
    await r.make("second")
    view = await r.holdfast.until("second", lambda view: view["status"] == "FAILED")
    assert "default" in view["message"], view
    return str(view["message"])


@check("S0.d", "waha: a STARTING that does not move is asked again, restarted, then made anew", TIME_FACTOR=str(SCALED))
async def stuck(r: Rig) -> str:
    r.waha.sessions.stuck.add("shop")
    await r.make()
    calls = r.waha.called
    await r.seen(lambda: bool(calls("POST .*/shop/restart")), "the restart")
    first = calls("POST .*/shop/restart")[0].at
    assert len([call for call in calls("GET /api/sessions") if call.at < first]) > 1, "it was not asked again"
    await r.seen(lambda: len(calls("POST /api/sessions$")) == 2, "the new one")
    assert calls("DELETE .*/shop$")[0].at > first
    r.waha.sessions.stuck.clear()
    r.waha.sessions.restart(r.waha.sessions.all["shop"])
    await r.until("shop", "SCAN_QR_CODE")
    return f"restarted after {(first - calls('POST /api/sessions$')[0].at) / SCALED:.0f} scaled s"


@check("S0.e", "waha: a session.status webhook changes our status at once")
async def at_once(r: Rig) -> str:
    await r.link()
    r.waha.sessions.broken.add("shop")
    began = time.monotonic()
    r.waha.sessions.become("shop", "FAILED")
    await r.holdfast.until("shop", lambda view: view["status"] != "WORKING", 10)
    return within(time.monotonic() - began, 1, "our status")


@check("S0.f", "waha: after a restart of Holdfast every session is asked for; the QR comes on Connect")
async def after_restart(r: Rig) -> str:
    await r.link()
    await r.holdfast.stop(signal.SIGKILL)
    r.waha.sessions.forget("shop")
    r.waha.calls.clear()
    await r.holdfast.start()
    await r.holdfast.until("shop", lambda view: view["status"] not in ("WORKING", "STARTING"), 60)
    assert r.waha.called("GET /api/sessions"), "nobody asked"
    took = await r.connect()
    return within(took, CONNECT, "the QR")


@check(
    "S0.g",
    "waha: the log tells services, name, creation, webhook; no error line for the 404 that led there",
    ENGINE="waha",
)
async def log_of_it(r: Rig) -> str:
    await r.told("POST", "/api/whatsapp/connect", {"user_id": USER})
    name = f"u_{USER[:12]}"
    await r.until(name, "SCAN_QR_CODE")
    text = json.dumps(r.log())
    for part in ("instance started", name, "SCAN_QR_CODE"):
        assert part in text, f"the log has no {part!r}"
    ours = [str(line.get("event")) for line in r.log() if line.get("session") == name]
    for words in (r"creat", r"webhook"):
        assert any(re.search(words, event, re.IGNORECASE) for event in ours), (words, ours)
    assert r.troubles() == [], r.troubles()
    assert [line for line in r.log() if WAHA_KEY in json.dumps(line) or HOOK_KEY in json.dumps(line)] == []
    return f"{len(ours)} lines of the session"


# --- S1: recovery ---------------------------------------------------------------------------------------------------


@check("S1.a.waha", "waha: /api/v1/waha/status has proof, recovery, breaker and queue", TIME_FACTOR=str(SCALED))
async def status(r: Rig) -> str:
    await r.link()
    now = await r.recovery("GET", "status")
    assert (now["status"], now["name"], now["needsQR"]) == ("WORKING", "shop", False), now
    assert time.time() - now["verifiedAt"] < 30, now
    assert (now["breaker"]["state"], now["queue"]) == ("closed", {"active": 0, "waiting": 0}), now
    r.waha.sessions.become("shop", "FAILED")
    await r.holdfast.until("shop", lambda view: view["status"] != "WORKING")
    await r.holdfast.until_working("shop")
    after = (await r.recovery("GET", "status"))["recovery"]
    assert (after["attempts"] >= 1, after["lastOutcome"]) == (True, "WORKING"), after
    return f"after a FAILED: {after['attempts']} attempt, {after['lastOutcome']}"


@check(
    "S1.b.waha", "waha: auto-recover leaves WORKING alone, heals FAILED, pairs for a person", TIME_FACTOR=str(SCALED)
)
async def auto_recover(r: Rig) -> str:
    await r.link()
    r.waha.calls.clear()
    found = await r.recovery("POST", "auto-recover")
    assert (found["previousStatus"], found["currentStatus"], found["needsQR"]) == ("WORKING", "WORKING", False), found
    assert r.waha.called("^(POST|PUT|DELETE)") == [], "it was disturbed"
    r.waha.fault(500, "POST .*/(restart|start)$")
    r.waha.sessions.become("shop", "FAILED")
    await r.holdfast.until("shop", lambda view: view["status"] == "FAILED")
    r.waha.faults.clear()
    found = await r.recovery("POST", "auto-recover")
    assert (found["currentStatus"], found["needsQR"]) == ("WORKING", False), found
    r.waha.sessions.unlink("shop")
    await r.holdfast.until("shop", lambda view: bool(view["needs_qr"]))
    found = await r.recovery("POST", "auto-recover")
    assert (found["currentStatus"], found["needsQR"]) == ("SCAN_QR_CODE", True), found
    return str(found["message"])


@check("S1.c.waha", "waha: restart is WAHA's own; nothing is left behind there")
async def restart(r: Rig) -> str:
    await r.link()
    r.waha.calls.clear()
    found = await r.recovery("POST", "restart")
    assert (found["previousStatus"], found["currentStatus"], found["needsQR"]) == ("WORKING", "WORKING", False), found
    assert list(r.waha.sessions.all) == ["shop"]
    return ", ".join(f"{call.method} {call.path}" for call in r.waha.called("^(POST|DELETE|PUT)"))


@check(
    "S1.d.waha", "waha: health tells engine, breaker, queue, memory; 503 when WAHA cannot be reached", TIME_FACTOR="0.1"
)
async def health(r: Rig) -> str:
    await r.link()
    code, found = await r.told("GET", "/api/v1/waha/health", session="shop")
    assert (code, found["data"]["engine"], found["data"]["breaker"]["state"]) == (200, "waha", "closed"), found
    assert found["data"]["memory"]["instance"] > 10_000_000, found
    await r.waha.down()
    end = time.monotonic() + 30
    while (told := await r.told("GET", "/api/v1/waha/health", session="shop"))[0] != 503:
        assert time.monotonic() < end, told
        await asyncio.sleep(0.1)
    assert "cannot be reached" in told[1]["error"], told
    await r.waha.listen(r.waha.port)
    await r.holdfast.until_working("shop")
    while (told := await r.told("GET", "/api/v1/waha/health", session="shop"))[0] != 200:
        assert time.monotonic() < end + 30, told
        await asyncio.sleep(0.1)
    return "200, 503, 200"


@check("S1.e.waha", "waha: /api/v1/waha/qr gives the recovered session's QR, which is WAHA's")
async def qr(r: Rig) -> str:
    await r.link()
    r.waha.sessions.unlink("shop")
    await r.holdfast.until("shop", lambda view: bool(view["needs_qr"]))
    await r.recovery("POST", "auto-recover")
    url = str((await r.recovery("GET", "qr"))["qr"])
    kind, _, data = url.partition(",")
    assert kind == "data:image/png;base64", kind
    assert base64.b64decode(data) == qr_png(r.waha.sessions.all["shop"].qr), "it shows something else"
    return f"{len(url)} characters"


@check("S1.f.waha", "waha: the look finds a FAILED that no webhook told, and heals it; it never opens a pairing")
async def look(r: Rig) -> str:
    await r.link()
    r.waha.hooks.lose = 10**9
    r.waha.sessions.become("shop", "FAILED")
    began = time.monotonic()
    await r.seen(lambda: r.waha.sessions.all["shop"].status == "WORKING", "recovered at WAHA", 60)
    found = time.monotonic() - began
    await r.holdfast.until_working("shop")
    r.waha.sessions.unlink("shop")
    r.waha.sessions.qr_lives = (1.0,) * 3
    await r.holdfast.until("shop", lambda view: bool(view["needs_qr"]), 60)  # WAHA's own QR codes ran out
    began = time.time()
    await asyncio.sleep(32)  # two looks
    assert r.waha.called("^(POST|PUT|DELETE)", began) == [], "a look opened a pairing"
    return within(found, 32, "healed")


@check("S1.f.list", "waha: one list call per server and look, however many sessions", TIME_FACTOR=str(SCALED))
async def one_list(r: Rig) -> str:
    for number in range(6):
        r.waha.sessions.have(f"s{number}", f"4071234560{number}")
        await r.make(f"s{number}")
    for number in range(6):
        await r.holdfast.until_working(f"s{number}")
    assert r.waha.called("PUT") == [], "a session that worked was restarted by a PUT"
    assert r.waha.called("^(POST|DELETE)") == [], "sessions that worked were touched"
    since = time.time()
    await asyncio.sleep(9)  # three looks of 30 scaled seconds
    lists, single = r.waha.called("GET /api/sessions$", since), r.waha.called("GET /api/sessions/s", since)
    assert 3 <= len(lists) <= 9, [call.at - since for call in lists]
    assert single == [], single
    return f"{len(lists)} calls in 90 scaled s for 6 sessions"


@check("S1.g", "waha: 5 failures open the breaker, a minute later one probe; 4xx are none", TIME_FACTOR=str(SCALED))
async def breaker(r: Rig) -> str:
    await r.link()
    for _ in range(7):
        r.waha.fault(404, "check-exists", times=1)
        await r.told("GET", "/api/contacts/check-exists", session="shop", phone="40722000111")
    assert (await r.recovery("GET", "status"))["breaker"] == {"state": "closed", "failures": 0}
    r.waha.fault(500)
    began = time.time()
    end = time.monotonic() + 60
    while (now := (await r.recovery("GET", "status"))["breaker"])["state"] != "open":
        assert time.monotonic() < end, now
        await r.told("GET", "/api/contacts/check-exists", session="shop", phone="40722000111")
    opened = time.time()
    before = [call for call in r.waha.calls if began <= call.at <= opened]
    assert len(before) == 5, len(before)
    await r.seen(lambda: bool(r.waha.called(since=opened + 0.05)), "the probe", 30)
    probe = r.waha.called(since=opened + 0.05)[0]
    rest = (probe.at - before[-1].ended) / SCALED
    assert 59 < rest < 60 + 30 + 2 / SCALED, rest  # the first look after the minute; 2 real seconds for a busy machine
    r.waha.faults.clear()
    await r.holdfast.until_working("shop")
    return f"open after {len(before)}, probed after {rest:.0f} scaled s"


@check("S1.h", "waha: 2 requests at once, 10 in line, the next 503 at once; sends wait in the outbox")
async def line(r: Rig) -> str:
    await r.link()
    r.waha.fault("hang", "check-exists")
    asks = [
        asyncio.create_task(r.told("GET", "/api/contacts/check-exists", session="shop", phone=f"407220001{n:02}"))
        for n in range(12)
    ]
    end = time.monotonic() + 20
    while (now := (await r.recovery("GET", "status"))["queue"]) != {"active": 2, "waiting": 10}:
        assert time.monotonic() < end, now
        await asyncio.sleep(0.02)
    began = time.monotonic()
    code, found = await r.told("GET", "/api/contacts/check-exists", session="shop", phone="40722000199")
    took = time.monotonic() - began
    assert code == 503, (code, found)
    send = asyncio.create_task(r.send("in the outbox"))
    r.waha.faults.clear()
    for task in asks:
        task.cancel()
    code, found = await send
    assert code in (201, 202), found
    await r.seen(lambda: r.waha.texts(CHAT) == ["in the outbox"], "the send", 90)
    assert r.waha.most_at_once == 2, r.waha.most_at_once
    return within(took, 1, "the 503")


@check("S1.i", "waha: an answer has 30 s; what is safe is repeated with growing pauses, a send never under another id")
async def patience(r: Rig) -> str:
    await r.link()
    r.waha.fault("hang", "check-exists", times=1)
    began = time.monotonic()
    code, found = await r.told("GET", "/api/contacts/check-exists", session="shop", phone="40722000111")
    took = time.monotonic() - began
    assert (code, found.get("numberExists")) == (200, True), found
    first, second = r.waha.called("check-exists")
    assert 29 < first.ended - first.at < 32, first
    assert second.at > first.ended, "there was no pause"
    r.waha.fault("lost", "sendText", times=1)
    await r.send("once")
    await r.seen(lambda: bool(r.waha.sent), "the send")
    await r.holdfast.until_working("shop")
    assert r.waha.texts(CHAT) == ["once"], r.waha.sent
    return f"given up after {first.ended - first.at:.1f} s, answered after {took:.1f} s"


@check("S1.j", "waha: at most 25 chats and 50 messages a page, of ours and asked of WAHA", TIME_FACTOR=str(SCALED))
async def pages(r: Rig) -> str:
    session = r.waha.sessions.have("shop", PHONE)
    old = time.time() - 86_400
    for number in range(60):
        for chat in (CHAT, f"4072200{number:04}@c.us"):
            r.waha.sessions.message(
                session, f"3EB0{chat[:11]}{number:04}", chat, f"m{number}", mine=False, at=old + number
            )
    await r.make()
    await r.holdfast.until_working("shop")
    for number in range(60):
        r.waha.receive("shop", f"new {number}")
    end = time.monotonic() + 30
    while len(read := await r.holdfast.ask("GET", f"/api/shop/chats/{CHAT}/messages")) < 50:
        assert time.monotonic() < end, len(read)
        await asyncio.sleep(0.1)
    chats = await r.holdfast.ask("GET", "/api/shop/chats")
    assert (len(read), len(chats) <= 25) == (50, True), (len(read), len(chats))
    asked = [(call.path, int(call.query.get("limit", 0))) for call in r.waha.called("GET .*/(chats|messages)")]
    assert all(0 < limit <= (50 if "messages" in path else 25) for path, limit in asked), asked
    return f"{len(chats)} chats, {len(read)} messages; {len(asked)} pages were asked of WAHA"


@check("S1.k", "waha: a 422 from WAHA leads to one recovery, and the request once more")
async def once_more(r: Rig) -> str:
    await r.link()
    r.waha.hooks.lose = 10**9
    r.waha.sessions.become("shop", "FAILED")
    began = time.time()
    code, found = await r.send("after a 422")
    assert code in (201, 202), found
    await r.seen(lambda: r.waha.texts(CHAT) == ["after a 422"], "the message")
    assert len({one["id"] for one in r.waha.sent}) == 1, r.waha.sent
    restarts = r.waha.called("POST .*/(restart|start)$", began)
    assert len(restarts) == 1, restarts
    answers = [call.status for call in r.waha.called("sendText", began)]
    assert answers == [422, 201], answers
    return f"WAHA answered {answers}, 1 restart"


@check(
    "S1.l.waha", "waha: a client gets 422, calls auto-recover, repeats its request: sent once", TIME_FACTOR=str(SCALED)
)
async def repeats(r: Rig) -> str:
    await r.link()
    await r.holdfast.ask("POST", "/api/sessions/shop/stop")
    code, refused = await r.send("after a stop")
    assert (code, "Session status is not as expected" in refused["error"]) == (422, True), refused
    assert (await r.recovery("POST", "auto-recover"))["currentStatus"] == "WORKING"
    assert (await r.send("after a stop"))[0] == 201
    r.waha.sessions.unlink("shop")
    await r.holdfast.until("shop", lambda view: bool(view["needs_qr"]))
    assert (await r.send("after a logout"))[0] == 422
    assert (await r.recovery("POST", "auto-recover"))["needsQR"]
    r.waha.sessions.scan("shop", PHONE)
    await r.holdfast.until_working("shop")
    assert (await r.send("after a logout"))[0] == 201
    assert [one["text"] for one in r.waha.sent] == ["after a stop", "after a logout"], r.waha.sent
    return "2 messages, once each"


@check(
    "S1.m.waha",
    "waha: the timeline: STARTING, SCAN_QR_CODE, AUTHENTICATED, WORKING; FAILED and back",
    TIME_FACTOR="0.1",
)
async def flow(r: Rig) -> str:
    await r.link()
    steps = await r.steps()
    way = [("STARTING", "pairing"), ("SCAN_QR_CODE", "pairing"), ("STARTING", "authenticated"), ("WORKING", "working")]
    at = [steps.index(step) for step in way]
    assert at == sorted(at), steps
    r.waha.fault(500, "POST .*/(restart|start)$")
    r.waha.sessions.become("shop", "FAILED")
    await r.until("shop", "FAILED")
    r.waha.faults.clear()
    await r.recovery("POST", "auto-recover")
    await r.holdfast.until_working("shop")
    tail = [status for status, _ in (await r.steps())[len(steps) :]]
    failed = len(tail) - 1 - tail[::-1].index("FAILED")
    assert [tail[failed], tail[-1]] == ["FAILED", "WORKING"], tail
    assert "STARTING" in tail[failed:], tail
    return f"{len(steps) + len(tail)} entries"


@check("S1.n.waha", "waha: DELETE /api/sessions/default, then start: gone at WAHA, and made anew there", ENGINE="waha")
async def default_anew(r: Rig) -> str:
    await r.link("default")
    assert (await r.told("DELETE", "/api/sessions/default"))[0] == 200
    assert "default" not in r.waha.sessions.all, "it is still there at WAHA"
    assert (await r.told("GET", "/api/sessions/default"))[0] == 404
    assert (await r.told("POST", "/api/sessions/other/start", {"name": "other"}))[0] == 404
    code, made = await r.told("POST", "/api/sessions/default/start", {"name": "default"})
    assert (code, made["name"]) == (201, "default"), made
    await r.until("default", "SCAN_QR_CODE")
    r.waha.sessions.scan("default", PHONE)
    await r.holdfast.until_working("default")
    return "linked anew"


@check(
    "S1.o.waha", "waha: grep finds what happened at WAHA in the log; memory is in the figures", TIME_FACTOR=str(SCALED)
)
async def grep(r: Rig) -> str:
    await r.link()
    r.waha.sessions.unlink("shop")
    await r.holdfast.until("shop", lambda view: bool(view["needs_qr"]))
    lines = [json.dumps(line) for line in r.log()]
    story = [line for line in lines if re.search("session|failed|logout", line, re.IGNORECASE)]
    assert any('"FAILED"' in line for line in story), story
    assert any(re.search("memory", line, re.IGNORECASE) for line in lines), "no memory"
    async with r.holdfast.http.get(f"{r.holdfast.url}/metrics", headers={"X-Api-Key": KEY}) as answer:
        figures = await answer.text()
    assert "holdfast_instance_memory_bytes" in figures, figures[:300]
    return f"{len(story)} lines"


@check(
    "S1.chaos",
    "waha: faults at random under traffic: every message once each way, and it heals",
    TIME_FACTOR="0.1",
    SEND_WAIT="1",
)
async def chaos(r: Rig) -> str:
    await r.link()
    dice, sent, received, faults = random.Random(7), list[str](), list[str](), 0
    for number in range(30):
        match dice.randrange(6):
            case 0:
                r.waha.sessions.become("shop", dice.choice(("FAILED", "STOPPED")))
            case 1:
                r.waha.hooks.lose = dice.randint(1, 4)
            case 2:
                r.waha.hooks.twice = dice.randint(1, 4)
            case _:
                kind = dice.choice((500, 502, "hang", "cut", "lost", "garbage", "drip"))
                r.waha.fault(kind, dice.choice(("sendText", "GET", "POST", "")), dice.randint(1, 3))
        faults += 1
        sent.append(f"out {number}")
        body = {"session": "shop", "chatId": CHAT, "text": sent[-1]}
        await r.insist("POST", "/api/sendText", body, {"Idempotency-Key": sent[-1]})
        if r.waha.sessions.all["shop"].status == "WORKING":
            received.append(f"in {number}")
            r.waha.receive("shop", received[-1])
    r.waha.faults.clear()
    await r.holdfast.until_working("shop", 120)
    await r.seen(lambda: len(r.waha.texts(CHAT)) >= len(sent), "all sends", 120)
    assert r.waha.texts(CHAT) == sent, "not in order, or not once"
    assert len(r.waha.texts(CHAT)) == len({one["text"] for one in r.waha.sent}) == len(sent)
    assert {len({one["id"] for one in r.waha.sent if one["text"] == text}) for text in sent} == {1}, "under two ids"
    await r.hook.until(lambda: set(received) <= set(r.hook.texts("shop")), 120)
    assert sorted(r.hook.texts("shop")) == sorted(received)
    assert r.troubles() == [], r.troubles()[:3]
    return f"{faults} faults, {len(sent)} out, {len(received)} in"
