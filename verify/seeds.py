"""S: rows of the field reports, as far as this version has their faces."""

from __future__ import annotations

import signal
import sqlite3
import time
from itertools import pairwise

from verify.harness import World, check
from verify.links import flaps
from verify.story import SHOP, Story, delay, quiet

RESTORING = "Restoring connection from saved session..."


@check("S3.b", "saved credentials and no connection: STARTING at once, with the restoring sentence, then WORKING")
async def restoring(w: World) -> str:
    await w.link()
    await w.holdfast.stop(signal.SIGKILL)
    await w.fault("slow", jid="40712345678", ms=1500)
    await w.holdfast.start()
    began = time.time()
    view = await w.holdfast.ask("GET", "/api/holdfast/sessions/shop")
    took = time.time() - began
    assert (view["status"], view["message"]) == ("STARTING", RESTORING), view
    await w.fault("clear")
    await w.holdfast.until_working("shop")
    return f"answered in {took * 1000:.0f} ms"


@check("S2.f", "440 is not fought; broken keys and 405 are told apart; each is explained, the process goes on")
async def each_recognised(w: World) -> str:
    """One session meets one of them each, a fourth is to notice nothing; and all in one process."""
    names = {"taken": "40712345671", "broken": "40712345672", "old": "40712345673", "calm": "40712345674"}
    for name, phone in names.items():
        await w.link(name, phone)
    story = {name: await Story.of(w, name, phone) for name, phone in names.items()}
    pid = w.holdfast.child.pid
    with sqlite3.connect(w.holdfast.folder / "holdfast.sqlite3", timeout=10) as db:
        db.execute("UPDATE credential SET value = x'00ff' WHERE type = 'creds' AND session_name = 'broken'")
    await w.fault("drop", jid=names["broken"])
    await story["broken"].told("bad_session", "STARTING", "clean connection")
    view = await w.holdfast.until("broken", lambda view: bool(view["needs_qr"]))
    assert "credentials of this session are damaged. Link it again" in view["message"], view
    await w.fault("outdated", version="2.3000.1999999999")
    await w.fault("drop", jid=names["old"])
    await story["old"].told("client_outdated", "STARTING", "refused our client version (405)")
    await story["old"].healed()
    await w.fault("stream_error", jid=names["taken"], conflict="replaced")
    row = await story["taken"].told("replaced", "STARTING", "Stop the other program")
    assert delay(row) >= 60, row
    await quiet(w, 5, "another program holds it")
    await story["calm"].untouched()
    assert (w.holdfast.child.pid, w.holdfast.child.returncode) == (pid, None), "the process ended"
    counts = [len(await story[name].seen("login")) for name in names]
    assert counts == [0, 0, 1, 0], counts
    return f"1 login for the 405, 0 for the 440 in 5 s; held off {delay(row):.0f} s"


@check("S2.i", "rapid connects and disconnects are noticed, and the delay escalates",
       TIME_FACTOR="0.05", LEASE_TTL="60", LEASE_RENEW="20")  # fmt: skip
async def rapid(w: World) -> str:
    await w.link()
    _, lost = await flaps(w, 6)
    noticed = [row for row in lost if row["code"] == "flapping"]
    assert noticed, [row["code"] for row in lost]
    assert "opens and closes again and again; waiting longer each time" in noticed[0]["message"], noticed[0]
    delays = [delay(row) / 0.05 for row in lost]
    assert all(after > before * 1.1 for before, after in pairwise(delays[2:])), delays
    at = lost.index(noticed[0]) + 1
    return f"noticed at drop {at}; waited {', '.join(f'{seconds:.1f}' for seconds in delays)} scaled s"


@check("S3.c", "restore tries again after 1, 2, 4 s; then FAILED is shown and stored, and slow tries go on")
async def restore_retries(w: World) -> str:
    await w.link()
    story = await Story.of(w)
    await w.holdfast.stop()
    await w.fault("failure", jid=SHOP, reason=503)
    await w.holdfast.start()
    view = await w.holdfast.until("shop", lambda view: view["status"] == "FAILED")
    assert (view["reason"], view["needs_qr"]) == ("service_unavailable", False), view
    tries = [row for row in await story.rows() if row["detail"]]
    delays = [delay(row) for row in tries]
    assert all(0.8 * s <= d <= 1.2 * s for s, d in zip((1, 2, 4, 8), delays, strict=True)), delays
    assert [row["status"] for row in tries] == ["STARTING"] * 3 + ["FAILED"], tries
    with sqlite3.connect(w.holdfast.folder / "holdfast.sqlite3", timeout=10) as db:
        [(failed, code)] = db.execute("SELECT state ->> 'failed', state ->> 'code' FROM session")
    assert (bool(failed), code) == (True, "service_unavailable")
    await w.fault("clear")
    await w.holdfast.until_working("shop")
    assert story.credentials() > 0
    logins = await story.seen()
    late = logins[-1]["t"] - tries[-1]["at"]
    return f"tried after {', '.join(f'{seconds:.1f}' for seconds in delays[:3])} s, FAILED, back {late:.1f} s later"


@check("S3.d", "at start the server answers first; all sessions but the stopped and the terminal are restored")
async def restores_all(w: World) -> str:
    for number in range(4):
        await w.link(f"s{number}", f"4071234560{number}")
    await w.holdfast.ask("POST", "/api/sessions/s1/stop")
    await w.fault("logout", jid="40712345602@s.whatsapp.net")
    await w.holdfast.until("s2", lambda view: bool(view["needs_qr"]))
    since = await w.wasim.seq()
    await w.holdfast.stop()
    await w.holdfast.start()
    for name in ("s0", "s3"):
        await w.holdfast.until_working(name)
    views = {v["name"]: v["status"] for v in await w.holdfast.ask("GET", "/api/holdfast/sessions")}
    assert views == {"s0": "WORKING", "s1": "STOPPED", "s2": "FAILED", "s3": "WORKING"}, views
    logins = await w.wasim.get("log", since=since, kind="login")
    assert len(logins) == 2, logins
    return "2 of 4, as wanted"


@check("S3.e", "looking again and again (a page reload) changes nothing; days of idleness neither", TIME_FACTOR="0.1")
async def reloads(w: World) -> str:
    await w.link()
    since = await w.wasim.seq()
    end, looks = time.time() + 15, 0
    while time.time() < end:
        view = await w.holdfast.ask("GET", "/api/sessions/shop")
        assert view["status"] == "WORKING", view["holdfast"]
        looks += 1
    dropped = await w.wasim.get("log", since=since, kind="disconnected,connected")
    assert dropped == [], dropped
    return f"{looks} looks in {15 / 0.1 / 60:.0f} scaled minutes"


@check("S3.f", "first set-up, and a logout on the phone: a QR is asked for, with the reason")
async def asks_for_qr(w: World) -> str:
    await w.holdfast.ask("POST", "/api/sessions", {"name": "shop", "start": False})
    view = await w.holdfast.ask("GET", "/api/holdfast/sessions/shop")
    assert view["status"] == "STOPPED", view
    began = time.time()
    await w.holdfast.ask("POST", "/api/sessions/shop/start")
    await w.holdfast.qr("shop")
    shown = time.time() - began
    assert shown < 2, f"the QR took {shown:.2f} s"
    await w.holdfast.scan(w.wasim, "shop", "40712345678")
    await w.holdfast.until_working("shop")
    await w.fault("logout", jid="40712345678@s.whatsapp.net")
    view = await w.holdfast.until("shop", lambda view: bool(view["needs_qr"]))
    return f"QR in {shown:.2f} s; {view['message']}"


@check("S4.f", "the QR is not cut off at 60 s nor at 160 s: it is renewed without a visible gap", TIME_FACTOR="0.1",
       LEASE_TTL="60", LEASE_RENEW="20")  # fmt: skip
async def qr_stays(w: World) -> str:
    await w.holdfast.ask("POST", "/api/sessions", {"name": "shop", "start": True})
    await w.holdfast.until("shop", lambda view: view["status"] == "SCAN_QR_CODE")
    end, seen = time.time() + 19, set()
    while time.time() < end:
        view = await w.holdfast.ask("GET", "/api/holdfast/sessions/shop")
        assert view["status"] == "SCAN_QR_CODE", view
        seen.add(await w.holdfast.qr("shop"))
    await w.holdfast.scan(w.wasim, "shop", "40712345678")
    await w.holdfast.until_working("shop")
    return f"{len(seen)} QRs in 190 scaled s, then linked"
