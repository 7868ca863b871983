"""D: what WhatsApp says when it ends a connection, produced by the simulator, seen and handled as the table says."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from typing import Any

from tests.support.processes import BIN, Floor
from verify.harness import World, check
from verify.promises import within
from verify.story import SHOP, Story, delay, hear, quiet

Strike = dict[str, Any]

AT_LOGIN: Strike = {"kind": "drop"}
"""After a `failure` was set: the next login meets it."""


async def heals(w: World, code: str, words: str, limit: float, *strikes: Strike) -> str:
    """Linked, broken, explained with the code, WORKING again within the limit without anybody's help."""
    await w.link()
    story = await Story.of(w)
    for strike in strikes:
        await w.wasim.post("fault", {**strike, "jid": SHOP})
    row = await story.told(code, "STARTING", words)
    healed = await story.healed()
    assert story.credentials() > 0
    return within(healed["at"] - story.began, limit, "healing") + f" (noticed in {row['at'] - story.began:.2f} s)"


@check("D.connection_lost", "the connection drops: back within seconds")
async def connection_lost(w: World) -> str:
    return await heals(w, "connection_lost", "connection to WhatsApp was lost", 6, {"kind": "drop"})


@check("D.service_unavailable", "503, in the stream and at the next login: back within seconds")
async def unavailable(w: World) -> str:
    at_login = {"kind": "failure", "reason": 503, "count": 1}
    return await heals(
        w, "service_unavailable", "not available (503)", 8, at_login, {"kind": "stream_error", "code": 503}
    )


@check("D.server_error", "500, in the stream and at the next login, is no reason to lose the credentials")
async def server_error(w: World) -> str:
    at_login = {"kind": "failure", "reason": 500, "count": 1}
    return await heals(w, "server_error", "error of its own", 8, at_login, {"kind": "stream_error", "code": 500})


@check("D.restart_required", "515: reconnected at once")
async def restart_required(w: World) -> str:
    return await heals(w, "authenticated", "new connection", 4, {"kind": "stream_error", "code": 515})


# --- terminal: only a person can help ---------------------------------------------------------------------------


async def is_terminal(w: World, code: str, words: str, *ways: list[Strike]) -> str:
    """Each way ends a session of its own for good: explained, credentials gone, history kept, nobody connects, not
    even after a restart; a new QR links it again.
    """
    names = [(f"s{number}", f"4071234560{number}") for number in range(len(ways))]
    for (name, phone), way in zip(names, ways, strict=True):
        await w.link(name, phone)
        await w.inject(f"kept {name}", to=phone, sender="40712345699")
        await hear(w, f"kept {name}")
        story = await Story.of(w, name, phone)
        for strike in way:
            await w.wasim.post("fault", {"jid": f"{phone}@s.whatsapp.net", **strike})
        row = await story.told(code, "FAILED", words)
        view = await story.view()
        assert (view["needs_qr"], view["reason"], view["next_attempt_at"]) == (True, code, None), view
        assert story.credentials() == 0, "credentials were kept"
    await quiet(w, 6, "a scaled minute after the end")
    await w.holdfast.stop()
    await w.holdfast.start()
    await quiet(w, 3, "Holdfast was started anew")
    for name, phone in names:
        await w.holdfast.ask("POST", f"/api/sessions/{name}/start")
        await w.holdfast.scan(w.wasim, name, phone)
        await w.holdfast.until_working(name)
        messages = await w.holdfast.ask("GET", f"/api/{name}/chats/40712345699@c.us/messages")
        assert [m["body"] for m in messages] == [f"kept {name}"], "history did not survive"
    return f"{len(ways)} ways, 0 attempts; {row['message']}"


def failure(code: int) -> list[Strike]:
    """The next login is refused, once: an attempt after that would succeed, and be seen."""
    return [{"kind": "failure", "reason": code, "count": 1}, AT_LOGIN]


@check("D.logged_out", "logged out on the phone, 401 at login, 401 in the stream: terminal", TIME_FACTOR="0.1")
async def logged_out(w: World) -> str:
    in_stream = {"kind": "stream_error", "code": 401}
    return await is_terminal(
        w, "logged_out", "logged out on the phone", [{"kind": "logout"}], failure(401), [in_stream]
    )


@check("D.device_removed", "device_removed without a code, which Baileys calls 440: terminal", TIME_FACTOR="0.1")
async def device_removed(w: World) -> str:
    strike = {"kind": "stream_error", "conflict": "device_removed"}
    return await is_terminal(w, "logged_out", "logged out on the phone", [strike])


@check("D.forbidden", "403 at login and in the stream: terminal", TIME_FACTOR="0.1")
async def forbidden(w: World) -> str:
    return await is_terminal(w, "forbidden", "(403)", failure(403), [{"kind": "stream_error", "code": 403}])


@check("D.account_gone", "406 at login: terminal", TIME_FACTOR="0.1")
async def account_gone(w: World) -> str:
    return await is_terminal(w, "account_gone", "(406)", failure(406))


@check("D.multidevice_mismatch", "411 at login and in the stream: terminal", TIME_FACTOR="0.1")
async def mismatch(w: World) -> str:
    in_stream = {"kind": "stream_error", "code": 411}
    return await is_terminal(w, "multidevice_mismatch", "(411)", failure(411), [in_stream])


# --- WhatsApp says wait -----------------------------------------------------------------------------------------


BAN = 25
"""Seconds."""


@check("D.temporarily_banned", "402: parked until it expires, over a restart too; credentials kept, back by itself")
async def banned(w: World) -> str:
    await w.link()
    story = await Story.of(w)
    await w.fault("failure", jid=SHOP, reason=402, expire=BAN, count=1)
    await w.fault("drop", jid=SHOP)
    row = await story.told("temporarily_banned", "FAILED", "temporarily (402)")
    view = await story.view()
    assert not view["needs_qr"]
    assert BAN - 3 < view["next_attempt_at"] - time.time() <= BAN + 0.5, view
    await w.holdfast.ask("POST", "/api/sessions/shop/start")
    await w.holdfast.stop()
    await w.holdfast.start()
    assert time.time() < row["at"] + BAN, "this machine is too slow for this check: the restart outlasted the ban"
    assert story.credentials() > 0, "the credentials of a banned number were thrown away"
    await w.holdfast.until("shop", lambda view: view["status"] == "WORKING", timeout=BAN + 20)
    refused, login = await story.seen()
    assert (refused["kind"], login["kind"]) == ("login-refused", "login")
    parked = login["t"] - refused["t"]
    assert parked >= BAN, f"came back after {parked:.2f} s of a ban of {BAN} s"
    assert row["message"].count(".") >= 2, "no advice"
    return f"0 attempts in {BAN} s, back after {within(parked, BAN + 3, 'the return')}"


@check(
    "D.replaced",
    "an outsider with the same credentials: held off 1, 2, 4 min, never fought, FAILED after 3; back when it is gone",
    TIME_FACTOR="0.05",
    LEASE_TTL="60",
    LEASE_RENEW="20",
)
async def replaced(w: World) -> str:
    await w.link()
    story = await Story.of(w)
    copy = w.holdfast.folder / "stolen.sqlite3"
    with sqlite3.connect(w.holdfast.folder / "holdfast.sqlite3") as db, sqlite3.connect(copy) as stolen:
        db.backup(stolen)
    for number in range(3):
        async with Floor(w.wasim, copy, ["shop"]) as outsider:
            await outsider.until("open")
            final = number == 2
            code, status = ("conflict", "FAILED") if final else ("replaced", "STARTING")
            await story.told(code, status, "Another program connected with the same credentials (440)")
            if not final:
                await outsider.until("close")  # by ours, which came back after its hold-off
            assert outsider.child.stdin is not None
            outsider.child.stdin.close()  # upon which it ends
    await w.holdfast.until_working("shop")
    assert not (await story.view())["needs_qr"]
    assert story.credentials() > 0
    logins = await story.seen("login")
    assert len(logins) == 6, f"{len(logins)} logins where 3 of theirs and 3 of ours were due"
    waited = [ours["t"] - theirs["t"] for theirs, ours in zip(logins[::2], logins[1::2], strict=True)]
    for number, seconds in enumerate(waited):
        assert 3 * 2**number <= seconds <= 3 * 2**number * 1.2 + 2, f"hold-offs were {waited}"
    return "3 returns, after " + ", ".join(f"{seconds / 3:.1f}" for seconds in waited) + " scaled min"


@check("D.client_outdated", "405: the present version is asked for, and used", TIME_FACTOR="0.1")
async def outdated(w: World) -> str:
    await w.link()
    story = await Story.of(w)
    await w.fault("outdated", version="2.3000.1999999999")
    await w.fault("drop", jid=SHOP)
    await story.told("client_outdated", "STARTING", "refused our client version (405)")
    healed = await story.healed()
    asked = await w.wasim.get("log", since=story.since, kind="version-asked")
    assert len(asked) == 1, f"the version was asked for {len(asked)} times"
    assert [r.get("version") for r in await story.seen()] == [None, "2.3000.1999999999"]
    return within(healed["at"] - story.began, 5, "healing")


@check("D.client_outdated_still", "405 with the present version too: FAILED, hourly from then on", TIME_FACTOR="0.1")
async def outdated_still(w: World) -> str:
    await w.link()
    story = await Story.of(w)
    await w.fault("failure", jid=SHOP, reason=405)
    await w.fault("drop", jid=SHOP)
    await w.holdfast.until("shop", lambda view: view["status"] == "FAILED")
    view, failed = await story.view(), (await story.rows())[-1]
    assert (view["reason"], view["needs_qr"]) == ("client_outdated", False), view
    assert "refused our client version (405)" in view["message"]
    assert 340 <= delay(failed) <= 440, f"the next attempt is {delay(failed) / 0.1:.0f} scaled s away"
    await quiet(w, 6, "parked for an hour")
    assert len(await story.seen()) == 2, "one attempt with the old version and one with the new were due"
    assert story.credentials() > 0
    await w.fault("clear")
    await w.holdfast.ask("POST", "/api/sessions/shop/restart")
    await w.holdfast.until_working("shop")
    return f"next attempt after {delay(failed) / 0.1 / 60:.0f} scaled min, 0 in the first"


@check("D.restricted", "463: stays WORKING and receives; writes to no new people until WhatsApp allows it")
async def restricted(w: World) -> str:
    known, strange, other = "40712345601", "40712345602", "40712345603"
    await w.link()
    for phone in (strange, other):
        await w.wasim.post("phones", {"phone": phone})
    await w.inject("hello", sender=known)
    await hear(w, "hello")
    story, ends = await Story.of(w), int(time.time()) + 15
    await w.fault("ack_error", jid=SHOP, code=463, to=strange, ends=ends, seconds=15)
    assert (await _send(w, strange))[0] == 422
    row = await story.told("restricted", "WORKING", "no new people until")
    await w.inject("still heard", sender=known)
    await hear(w, "still heard")
    assert (await _send(w, known))[0] in (200, 201)
    held = asyncio.create_task(_send(w, other))
    assert await w.wasim.get("wait", since=story.since, kind="message", jid=other, timeout=3) == []
    back = await story.told("working", "WORKING", "verified by traffic", timeout=60)
    assert back["at"] >= ends, "called unrestricted before WhatsApp allowed it"
    status, said = await held
    assert status in (200, 201, 202), said
    messages = await w.wasim.get("wait", since=story.since, kind="message", jid=SHOP, timeout=30)
    sent = [record for record in messages if record["to"].startswith(other) or record["t"] >= ends]
    assert all(record["t"] >= ends for record in sent), "sent to a new person while restricted"
    assert not await story.seen("disconnected"), "a restriction is no reason to disconnect"
    return f"{back['at'] - ends:.1f} s after its end; {row['message']}"


async def _send(w: World, phone: str) -> tuple[int, Any]:
    body = {"session": "shop", "chatId": f"{phone}@c.us", "text": f"for {phone}"}
    async with w.holdfast.http.post(f"{w.holdfast.url}/api/sendText", json=body) as answer:
        return answer.status, await answer.json()


# --- ours -------------------------------------------------------------------------------------------------------


@check("D.pairing_expired", "a QR that nobody scans in ten minutes expires, with the reason", TIME_FACTOR="0.05")
async def pairing_expired(w: World) -> str:
    await w.holdfast.ask("POST", "/api/sessions", {"name": "shop", "start": True})
    began = time.time()
    await w.holdfast.until("shop", lambda view: view["status"] == "SCAN_QR_CODE")
    view = await w.holdfast.until("shop", lambda view: view["status"] == "FAILED", timeout=60)
    lasted = (time.time() - began) / 0.05
    assert (view["reason"], view["needs_qr"]) == ("pairing_expired", True), view
    assert 590 <= lasted <= 680, f"{lasted:.0f} scaled seconds"
    return f"after {lasted:.0f} scaled s"


OTHER = "40798765432"


@check("D.another_number", "linked anew: the same number goes on; another is refused, or once confirmed starts clean")
async def another_number(w: World) -> str:
    friend = "40712345699"
    await w.link()
    await w.inject("of the first", sender=friend)
    await hear(w, "of the first")
    await w.fault("logout", jid=f"{SHOP}@s.whatsapp.net")
    await w.holdfast.until("shop", lambda view: bool(view["needs_qr"]))
    await w.holdfast.ask("POST", "/api/sessions/shop/start")
    await w.holdfast.scan(w.wasim, "shop", OTHER)
    view = await w.holdfast.until("shop", lambda view: view["reason"] == "another_number")
    assert "+407****78" in view["message"], view
    assert "+407****32" in view["message"], view
    await quiet(w, 3, "it was refused")
    await w.holdfast.ask("POST", "/api/sessions/shop/start")
    await w.holdfast.scan(w.wasim, "shop", SHOP)
    await w.holdfast.until_working("shop")
    assert await _texts(w, "shop", friend) == ["of the first"], "the history did not go on"
    await w.holdfast.ask("POST", "/api/holdfast/sessions/shop/pair", {"new_number": True})
    await w.holdfast.scan(w.wasim, "shop", OTHER)
    await w.holdfast.until_working("shop")
    await w.inject("of the second", to=OTHER, sender=friend)
    await hear(w, "of the second")
    [apart] = [one["name"] for one in await w.holdfast.ask("GET", "/api/sessions", all="true") if one["name"] != "shop"]
    found = [await _texts(w, name, friend) for name in ("shop", apart)]
    assert found == [["of the second"], ["of the first"]], found
    return view["message"]


async def _texts(w: World, name: str, phone: str) -> list[str]:
    return [m["body"] for m in await w.holdfast.ask("GET", f"/api/{name}/chats/{phone}@c.us/messages")]


@check("D.pairing_refused", "no pairing code for the number: said so, not asked for again and again; a QR links it")
async def pairing_refused(w: World) -> str:
    await w.holdfast.ask("POST", "/api/sessions", {"name": "shop", "start": False})
    await w.fault("refuse_code", jid=SHOP)
    since = await w.wasim.seq()
    await w.holdfast.ask("POST", "/api/holdfast/sessions/shop/pair", {"phone": SHOP})
    view = await w.holdfast.until("shop", lambda view: view["reason"] == "pairing_refused")
    assert (view["status"], view["needs_qr"]) == ("FAILED", True), view
    assert "gave no pairing code for this number. Check the number" in view["message"], view
    await quiet(w, 3, "a code was refused")
    assert len(await w.wasim.get("log", since=since, kind="refused")) == 1, "it asked again"
    await w.holdfast.ask("POST", "/api/sessions/shop/start")
    await w.holdfast.scan(w.wasim, "shop", SHOP)
    await w.holdfast.until_working("shop")
    return str(view["message"])


@check("D.needs_pairing", "credentials gone while the server was down: says so, and waits for a person")
async def needs_pairing(w: World) -> str:
    await w.link()
    await w.holdfast.stop()
    with sqlite3.connect(w.holdfast.folder / "holdfast.sqlite3") as db:
        db.execute("DELETE FROM credential")
    since = await w.wasim.seq()
    await w.holdfast.start()
    view = await w.holdfast.until("shop", lambda view: bool(view["needs_qr"]))
    assert (view["status"], view["reason"]) == ("FAILED", "needs_pairing"), view
    assert await w.wasim.get("wait", since=since, kind="connected", timeout=3) == []
    return str(view["message"])


HEAL = """
CREATE TABLE sound AS SELECT * FROM credential WHERE type = 'creds';
CREATE TRIGGER heal AFTER INSERT ON timeline WHEN NEW.code = 'bad_session' BEGIN
    UPDATE credential SET value = (SELECT value FROM sound) WHERE type = 'creds';
END;
"""
"""The first report of the damage ends it: what comes after it finds sound credentials."""


@check("D.bad_session", "damaged credentials: one clean reconnect; again within ten minutes: terminal")
async def bad_session(w: World) -> str:
    await w.link()
    story = await Story.of(w)
    path = w.holdfast.folder / "holdfast.sqlite3"
    await _damage(w, path, HEAL)
    await story.told("bad_session", "STARTING", "clean connection")
    await w.holdfast.until_working("shop")
    assert len(await story.seen("login")) == 1, "the clean reconnect came more than once"
    again = await Story.of(w)
    await _damage(w, path, "DROP TRIGGER heal; DROP TABLE sound;")
    view = await w.holdfast.until("shop", lambda view: bool(view["needs_qr"]))
    assert (view["status"], view["reason"]) == ("FAILED", "bad_session"), view
    await again.told("bad_session", "FAILED", "Link it again with a new QR code")
    assert again.credentials() == 0
    await quiet(w, 3, "terminal")
    return str(view["message"])


async def _damage(w: World, path: Any, script: str) -> None:
    await w.holdfast.stop()
    with sqlite3.connect(path) as db:
        db.executescript(script)
        db.execute("UPDATE credential SET value = x'00ff00ff' WHERE type = 'creds'")
    await w.holdfast.start()


@check("D.incompatible_credentials", "a profile of whatsapp-web.js is recognised, named, refused; nothing is imported")
async def incompatible(w: World) -> str:
    await w.link()
    profile = w.holdfast.folder / "old" / "session-cafe"
    for name in ("Default", "Crashpad"):
        (profile / name).mkdir(parents=True)
    (profile / "DevToolsActivePort").write_text("9222")
    await w.holdfast.stop()
    said = await asyncio.create_subprocess_exec(
        BIN / "holdfast", "import-baileys", profile.parent,
        env=w.holdfast.env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    words = " ".join((await said.communicate())[0].decode().split())
    assert said.returncode == 1, words
    for needed in ("whatsapp-web.js", "incompatible_credentials", "new QR"):
        assert needed in words, words
    assert "Traceback" not in words, words
    await w.holdfast.start()
    await w.holdfast.until_working("shop")
    names = [view["name"] for view in await w.holdfast.ask("GET", "/api/sessions")]
    assert names == ["shop"], names
    return words[:160]
