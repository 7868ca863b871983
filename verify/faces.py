"""S1, S3, S4: the paths of the field reports, asked as their programs ask, over the real sidecar and the simulator."""

from __future__ import annotations

import asyncio
import base64
import signal
import sqlite3
import time
from typing import Any

from holdfast.api.waha.pairing import qr_png
from holdfast.domain.identity import account_name
from holdfast.domain.jids import mask
from tests.support.processes import KEY
from verify.harness import World, check
from verify.promises import within
from verify.story import hear, quiet

PHONE = "40712345678"
ID = account_name(PHONE)
FRIEND = "40712345601"
NEVER = 'Not connected. Click "Connect WhatsApp" to start.'

FIELDS = {"is_connected", "status", "message", "needs_qr", "requiresQR", "session", "phone"}

Body = dict[str, Any]


async def told(w: World, method: str, path: str, body: Body | None = None, **query: str) -> tuple[int, Any]:
    """Status and body, whatever they are."""
    async with w.holdfast.http.request(method, w.holdfast.url + path, json=body, params=query) as answer:
        return answer.status, await answer.json(content_type=None)


async def waha(w: World, method: str, what: str, session: str = "default") -> Body:
    """What `/api/v1/waha` answers, after checking that it succeeded."""
    query = {} if session == "default" else {"session": session}
    status, found = await told(w, method, f"/api/v1/waha/{what}", **query)
    assert (status, found["success"]) == (200, True), found
    data: Body = found["data"]
    return data


async def account(w: World, what: str, **body: object) -> Body:
    """What a POST of `/api/whatsapp` answers, after checking that it succeeded."""
    status, found = await told(w, "POST", f"/api/whatsapp/{what}", dict(body))
    assert (status in (200, 201), found.get("success")) == (True, True), (status, found)
    answer: Body = found
    return answer


async def status(w: World, **which: str) -> Body:
    """`/api/whatsapp/status`."""
    found: Body = await w.holdfast.ask("GET", "/api/whatsapp/status", **which)
    return found


async def linked(w: World, **more: object) -> None:
    """Add the phone's account for company c1, and link it by the QR that `regenerate-qr` shows."""
    await account(w, "add-account", phone=f"+{PHONE}", company_id="c1", **more)
    await account(w, "regenerate-qr", accountId=ID)
    await w.holdfast.scan(w.wasim, ID, PHONE)
    await w.holdfast.until_working(ID)


async def unlinked(w: World, session: str) -> None:
    """A person removes the device on the phone; Holdfast has seen it."""
    await w.fault("logout", jid=f"{PHONE}@s.whatsapp.net")
    await w.holdfast.until(session, lambda view: bool(view["needs_qr"]))


async def friend(w: World) -> None:
    """Somebody to write to."""
    await w.wasim.post("phones", {"phone": FRIEND})


async def got(w: World, text: str) -> int:
    """How many messages with that text the friend's phone received."""
    received = (await w.wasim.get(f"phones/{FRIEND}/messages"))["messages"]
    return sum(message["text"] == text for message in received)


# --- S1: recovery -----------------------------------------------------------------------------------------------


@check("S1.a", "/api/v1/waha/status: status, proof, what recovering took, breaker, queue", TIME_FACTOR="0.1")
async def recovery_status(w: World) -> str:
    await w.link("default")
    now = await waha(w, "GET", "status")
    keys = {"status", "name", "needsQR", "message", "verifiedAt", "recovery", "breaker", "queue"}
    assert now.keys() == keys, now
    assert (now["status"], now["name"], now["needsQR"]) == ("WORKING", "default", False), now
    assert time.time() - now["verifiedAt"] < 30, now
    assert now["recovery"] == {"attempts": 0, "lastAt": None, "lastOutcome": None}, now
    assert (now["breaker"]["state"], now["queue"]) == ("closed", {"active": 0, "waiting": 0}), now
    began = time.time()
    await w.fault("drop", jid=PHONE)
    await w.holdfast.until("default", lambda view: view["status"] != "WORKING")
    await w.holdfast.until_working("default")
    after = (await waha(w, "GET", "status"))["recovery"]
    assert (after["attempts"], after["lastOutcome"]) == (1, "WORKING"), after
    assert began - 1 < after["lastAt"] < time.time(), after
    return f"after a drop: {after['attempts']} attempt, {after['lastOutcome']}"


@check("S1.b", "auto-recover: FAILED that heals is tried, that needs a QR pairs, WORKING is left", TIME_FACTOR="0.1")
async def auto_recover(w: World) -> str:
    await w.link("default")
    since = await w.wasim.seq()
    found = await waha(w, "POST", "auto-recover")
    assert (found["previousStatus"], found["currentStatus"], found["needsQR"]) == ("WORKING", "WORKING", False), found
    assert await w.wasim.get("log", since=since, kind="connected,disconnected") == [], "it was disturbed"
    await w.fault("failure", jid=PHONE, reason=503)
    await w.fault("drop", jid=PHONE)
    await w.holdfast.until("default", lambda view: view["status"] == "FAILED")
    await w.fault("clear")
    began = time.time()
    found = await waha(w, "POST", "auto-recover")
    assert (found["previousStatus"], found["currentStatus"], found["needsQR"]) == ("FAILED", "WORKING", False), found
    healed = time.time() - began
    await unlinked(w, "default")
    found = await waha(w, "POST", "auto-recover")
    want = ("FAILED", "SCAN_QR_CODE", True)
    assert (found["previousStatus"], found["currentStatus"], found["needsQR"]) == want, found
    assert "auto-recovery completed" in found["message"], found
    return f"healed in {healed:.2f} s"


@check("S1.c", "restart: closed and opened anew, with the same credentials; nothing is left behind")
async def restart(w: World) -> str:
    await w.link("default")
    since = await w.wasim.seq()
    found = await waha(w, "POST", "restart")
    assert (found["previousStatus"], found["currentStatus"], found["needsQR"]) == ("WORKING", "WORKING", False), found
    logins = await w.wasim.get("log", since=since, kind="login")
    ended = await w.wasim.get("log", since=since, kind="disconnected")
    assert (len(logins), len(ended)) == (1, 1), (logins, ended)
    return "1 connection closed, 1 opened"


@check("S1.d", "/api/v1/waha/health: engine, breaker, queue, memory of instance and sidecars")
async def health(w: World) -> str:
    await w.link("default")
    found = await waha(w, "GET", "health")
    assert found.keys() == {"engine", "breaker", "queue", "memory"}, found
    own, sidecars = found["memory"]["instance"], found["memory"]["sidecars"]
    assert min(own, *sidecars) > 10_000_000, found
    return f"{found['engine']}: instance {own / 1e6:.0f} MB, sidecars {sum(sidecars) / 1e6:.0f} MB"


@check("S1.e", "/api/v1/waha/qr: the QR of the recovered session, as a data URL")
async def recovered_qr(w: World) -> str:
    await w.holdfast.ask("POST", "/api/sessions", {"name": "default"})
    url = str((await waha(w, "GET", "qr"))["qr"])
    same_qr(url, await w.holdfast.qr("default"))
    await w.holdfast.scan(w.wasim, "default", PHONE)
    await w.holdfast.until_working("default")
    code, refused = await told(w, "GET", "/api/v1/waha/qr")
    assert (code, refused["success"], refused["code"]) == (422, False, "wrong_status"), refused
    return f"{len(url)} characters"


def same_qr(url: str, text: str) -> None:
    """The data URL shows that text."""
    kind, _, data = url.partition(",")
    assert kind == "data:image/png;base64", kind
    assert base64.b64decode(data) == qr_png(text), "the picture shows something else"


@check("S1.f", "FAILED is found and recovered by itself where no QR is needed; no look pairs", TIME_FACTOR="0.1")
async def by_itself(w: World) -> str:
    await w.link("default")
    await w.fault("failure", jid=PHONE, reason=503)
    await w.fault("drop", jid=PHONE)
    await w.holdfast.until("default", lambda view: view["status"] == "FAILED")
    await w.fault("clear")
    began = time.time()
    await w.holdfast.until_working("default")
    healed = (time.time() - began) / 0.1
    after = (await waha(w, "GET", "status"))["recovery"]
    assert (after["attempts"] >= 4, after["lastOutcome"]) == (True, "WORKING"), after
    await unlinked(w, "default")
    looking = asyncio.create_task(quiet(w, 7, "it needs a person, and only looks came"))
    while not looking.done():
        for path in ("status", "health"):
            await waha(w, "GET", path)
        await asyncio.sleep(0.2)
    await looking
    view = await w.holdfast.ask("GET", "/api/holdfast/sessions/default")
    assert (view["status"], view["needs_qr"]) == ("FAILED", True), view
    return f"recovered within {within(healed, 31, 'recovery')} scaled; 0 connections in 70 scaled s after a logout"


@check("S1.l", "a client gets 422, calls auto-recover, repeats its request: sent once", TIME_FACTOR="0.1")
async def repeats(w: World) -> str:
    await friend(w)
    await w.link("default")
    text: Body = {"chatId": f"{FRIEND}@c.us", "text": "after a stop"}
    await w.holdfast.ask("POST", "/api/sessions/default/stop")
    code, refused = await told(w, "POST", "/api/sendText", text)
    assert (code, "Session status is not as expected" in refused["error"]) == (422, True), refused
    assert (await waha(w, "POST", "auto-recover"))["currentStatus"] == "WORKING"
    assert (await told(w, "POST", "/api/sendText", text))[0] == 201
    await unlinked(w, "default")
    text["text"] = "after a logout"
    assert (await told(w, "POST", "/api/sendText", text))[0] == 422
    assert (await waha(w, "POST", "auto-recover"))["needsQR"]
    await w.holdfast.scan(w.wasim, "default", PHONE)
    await w.holdfast.until_working("default")
    assert (await told(w, "POST", "/api/sendText", text))[0] == 201
    counts = [await got(w, said) for said in ("after a stop", "after a logout")]
    assert counts == [1, 1], counts
    return "2 messages, once each"


@check("S1.m", "the timeline: STARTING, SCAN_QR_CODE, AUTHENTICATED, WORKING; FAILED and back", TIME_FACTOR="0.1")
async def flow(w: World) -> str:
    await w.link("default")
    steps = [(str(row["status"]), str(row["code"])) for row in await w.timeline("default")]
    way = [("STARTING", "pairing"), ("SCAN_QR_CODE", "pairing"), ("STARTING", "authenticated"), ("WORKING", "working")]
    at = [steps.index(step) for step in way]
    assert at == sorted(at), steps
    await w.fault("failure", jid=PHONE, reason=503)
    await w.fault("drop", jid=PHONE)
    await w.holdfast.until("default", lambda view: view["status"] == "FAILED")
    await w.fault("clear")
    await waha(w, "POST", "auto-recover")
    tail = [str(row["status"]) for row in await w.timeline("default")][len(steps) :]
    failed = tail.index("FAILED")
    assert tail[failed:] == ["FAILED", "STARTING", "WORKING"], tail
    return f"{len(steps) + len(tail)} entries"


@check("S1.n", "DELETE /api/sessions/default, then start: made and started; other names are 404")
async def default_anew(w: World) -> str:
    await w.link("default")
    assert (await told(w, "DELETE", "/api/sessions/default"))[0] == 200
    assert (await told(w, "GET", "/api/sessions/default"))[0] == 404
    assert (await told(w, "POST", "/api/sessions/other/start", {"name": "other"}))[0] == 404
    code, made = await told(w, "POST", "/api/sessions/default/start", {"name": "default"})
    assert (code, made["name"]) == (201, "default"), made
    await w.holdfast.scan(w.wasim, "default", PHONE)
    await w.holdfast.until_working("default")
    return "linked anew"


# --- S3: a company's status -------------------------------------------------------------------------------------


@check("S3.a", "/api/whatsapp/status of a company: never linked, on show, connected")
async def company_status(w: World) -> str:
    never = await status(w, company_id="c1")
    assert (never["is_connected"], never["status"], never["message"]) == (False, "disconnected", NEVER), never
    await linked(w)
    now = await status(w, company_id="c1")
    assert now.keys() == never.keys() == FIELDS
    facts = (now["is_connected"], now["status"], now["needs_qr"], now["session"], now["phone"])
    assert facts == (True, "connected", False, ID, f"+{PHONE}"), now
    other = await status(w, company_id="c2")
    assert other == never, other
    return f"{len(now)} fields"


@check("S3.b.status", "saved credentials and no connection: `connecting` at once, with the restoring sentence")
async def restoring(w: World) -> str:
    await linked(w)
    await w.holdfast.stop(signal.SIGKILL)
    await w.fault("slow", jid=PHONE, ms=1500)
    await w.holdfast.start()
    began = time.time()
    now = await status(w, company_id="c1")
    took = time.time() - began
    sentence = "Restoring connection from saved session..."
    assert (now["is_connected"], now["status"], now["message"]) == (False, "connecting", sentence), now
    await w.fault("clear")
    await w.holdfast.until_working(ID)
    return within(took, 1, "answering")


# --- S4: terminal logout, pairing, accounts -----------------------------------------------------------------------


@check("S4.d", "logged out on the phone: needs_qr, no credentials, nothing connects until asked", TIME_FACTOR="0.1")
async def logged_out(w: World) -> str:
    await linked(w)
    await unlinked(w, ID)
    now = await status(w, company_id="c1")
    assert (now["status"], now["requiresQR"], now["is_connected"]) == ("needs_qr", True, False), now
    with sqlite3.connect(w.holdfast.folder / "holdfast.sqlite3", timeout=10) as db:
        assert db.execute("SELECT count(*) FROM credential").fetchone() == (0,)
    await quiet(w, 6, "a scaled minute after the logout")
    await w.holdfast.stop()
    await w.holdfast.start()
    await quiet(w, 3, "Holdfast was started anew")
    assert (await status(w, company_id="c1"))["status"] == "needs_qr"
    await account(w, "regenerate-qr", company_id="c1")
    await w.holdfast.scan(w.wasim, ID, PHONE)
    await w.holdfast.until_working(ID)
    return "0 connections in 90 scaled s, then linked anew"


@check("S4.e", "regenerate-qr answers the QR; while pairing it answers the one that runs; connected: refused")
async def regenerate(w: World) -> str:
    await account(w, "add-account", phone=PHONE, company_id="c1")
    since, began = await w.wasim.seq(), time.time()
    shown = [await account(w, "regenerate-qr", **which) for which in ({"accountId": ID}, {"company_id": "c1"})]
    took = time.time() - began
    assert shown[0] == shown[1], "asked twice, shown two"
    assert (shown[0]["accountId"], shown[0]["status"]) == (ID, "qr_ready"), shown[0]
    same_qr(shown[0]["qr"], await w.holdfast.qr(ID))
    assert len(await w.wasim.get("log", since=since, kind="connected")) <= 1, "it was opened anew"
    await w.holdfast.scan(w.wasim, ID, PHONE)
    await w.holdfast.until_working(ID)
    code, refused = await told(w, "POST", "/api/whatsapp/regenerate-qr", {"company_id": "c1"})
    assert (code, refused["success"], refused["code"]) == (422, False, "wrong_status"), refused
    code, refused = await told(w, "POST", "/api/whatsapp/regenerate-qr", {"company_id": "nobody"})
    assert (code, refused["success"], refused["code"]) == (404, False, "account_not_found"), refused
    return within(took, 5, "showing both")


@check("S4.g", "add-account: the same phone has the same id, however it is written, on every start and environment")
async def same_id(w: World) -> str:
    for environment, phone in (("production", f"+{PHONE}"), ("dev", "+40 712 345 678"), ("", f"00{PHONE}")):
        await w.holdfast.stop()
        w.holdfast.env["NODE_ENV"] = w.holdfast.env["ENVIRONMENT"] = environment
        await w.holdfast.start()
        made = await account(w, "add-account", phone=phone, company_id="c1", name="Shop")
        assert made["accountId"] == ID, made
    assert len(await w.holdfast.ask("GET", "/api/sessions", all="true")) == 1
    local = await told(w, "POST", "/api/whatsapp/add-account", {"phone": "0712345678"})
    assert (local[0], local[1]["code"]) == (422, "invalid_phone"), local
    other = await told(w, "POST", "/api/whatsapp/add-account", {"phone": PHONE, "company_id": "c2"})
    assert (other[0], other[1]["code"]) == (409, "account_taken"), other
    return ID


@check("S4.h", "ids of older schemes still find their account")
async def older_ids(w: World) -> str:
    await friend(w)
    hashed = ID.rpartition("_")[2]
    await linked(w, aliases=["account_dev_8cf1"])
    ids = ["account_dev_8cf1", *(f"account_{name}_{hashed}" for name in ("dev", "production", "development"))]
    for older in ids:
        assert (await status(w, accountId=older))["session"] == ID, older
    sent = await account(w, "send-message", accountId=ids[2], to=FRIEND, message="from an older id")
    assert (sent["status"], await got(w, "from an older id")) == ("sent", 1), sent
    return f"{len(ids)} ids, 1 account"


@check("S4.i", "send-message: sent, and received once; refused in plain words while a QR is needed", TIME_FACTOR="0.1")
async def send(w: World) -> str:
    await friend(w)
    await linked(w)
    body: Body = {"company_id": "c1", "to": f"+{FRIEND}", "message": "hello"}
    sent = await account(w, "send-message", **body)
    assert (sent.keys(), sent["status"]) == ({"success", "messageId", "status"}, "sent"), sent
    assert await got(w, "hello") == 1
    await unlinked(w, ID)
    code, refused = await told(w, "POST", "/api/whatsapp/send-message", body)
    assert (code, refused["success"], refused["code"]) == (422, False, "wrong_status"), refused
    assert "QR" in refused["error"], refused
    return refused["error"]


async def keeps(w: World) -> Body:
    """What must stay of the account, whatever happens to its credentials."""
    ask = w.holdfast.ask
    return {
        "messages": sorted(m["id"] for m in await ask("GET", f"/api/{ID}/chats/{FRIEND}@c.us/messages")),
        "chats": [chat["id"] for chat in await ask("GET", f"/api/{ID}/chats")],
        "contacts": [c["id"] for c in await ask("GET", "/api/contacts/all", session=ID)],
        "config": (await ask("GET", f"/api/sessions/{ID}"))["config"],
        "company": (await status(w, company_id="c1"))["session"],
        "alias": (await status(w, accountId="account_dev_1"))["session"],
        "accounts": [(a["accountId"], a["name"]) for a in (await ask("GET", "/api/whatsapp/accounts"))["accounts"]],
    }


def still_there(now: Body, before: Body, end: str) -> None:
    """Nothing is missing or another; contacts may have come, for WhatsApp tells of some at a login."""
    missing = sorted(set(before["contacts"]) - set(now["contacts"]))
    assert not missing, f"after the {end} the contacts lack {missing}"
    other = [what for what in before if what != "contacts" and now[what] != before[what]]
    assert not other, f"after the {end}: {[(what, before[what], now[what]) for what in other]}"


@check("S4.j", "through logout, clear, re-pair and takeover stay chats, messages, contacts, account, settings, aliases")
async def preserved(w: World) -> str:
    await friend(w)
    await linked(w, name="Shop", aliases=["account_dev_1"])
    await w.holdfast.ask("PUT", f"/api/sessions/{ID}", {"config": w.hook.config()})
    await account(w, "send-message", accountId=ID, to=FRIEND, message="one")
    await w.inject("two")
    await hear(w, "two")
    kept, entries = await keeps(w), len(await w.timeline(ID))
    assert len(kept["messages"]) == 2, kept
    for end in ("logout", "clear-auth", "takeover"):
        if end == "takeover":
            await w.holdfast.stop(signal.SIGKILL)
            await w.holdfast.start()
        elif end == "logout":
            await unlinked(w, ID)
            still_there(await keeps(w), kept, end)
            await account(w, "regenerate-qr", company_id="c1")
        else:
            await w.holdfast.ask("POST", f"/api/holdfast/sessions/{ID}/clear-auth")
        if end != "takeover":
            await w.holdfast.scan(w.wasim, ID, PHONE)
        await w.holdfast.until_working(ID)
        still_there(await keeps(w), kept, end)
    rows = await w.timeline(ID)
    assert len(rows) > entries, "the timeline was cut"
    return f"{len(kept['messages'])} messages, {len(kept['contacts'])} contacts, {len(rows)} entries of the timeline"


@check("S4.k", "phone numbers are masked in the log")
async def masked(w: World) -> str:
    await friend(w)
    await linked(w)
    await account(w, "send-message", accountId=ID, to=FRIEND, message="x")
    await told(w, "POST", "/api/whatsapp/add-account", {"phone": PHONE, "company_id": "c2"})
    await unlinked(w, ID)
    log = (w.holdfast.folder / "holdfast.log").read_text()
    assert mask(PHONE) in log, "the account's phone is not told at all"
    for number in (PHONE, FRIEND):
        lines = [line for line in log.splitlines() if number in line]
        assert not lines, lines
    assert KEY not in log
    return mask(PHONE)
