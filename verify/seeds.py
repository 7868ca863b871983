"""S: rows of the field reports, as far as this version has their faces."""

from __future__ import annotations

import signal
import time

from verify.harness import World, check

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


@check("S4.f", "the QR is not cut off at 60 s nor at 160 s: it is renewed without a visible gap", TIME_FACTOR="0.1")
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
