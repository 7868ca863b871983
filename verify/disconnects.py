"""D: each way in which a connection ends, produced by the simulator, seen and handled as the table says."""

from __future__ import annotations

import asyncio
import time

from verify.harness import World, check
from verify.promises import within

SHOP = "40712345678"


async def heals(w: World, expected: str, limit: float, kind: str, **facts: object) -> str:
    """Linked, broken, explained with the code, WORKING again within the limit."""
    await w.link()
    known, began = len(await w.timeline()), time.time()
    await w.fault(kind, jid=SHOP, **facts)
    while not (after := (await w.timeline())[known:]) or after[-1]["status"] != "WORKING":
        assert time.time() - began < 60, after
        await asyncio.sleep(0.05)
    healed = time.time() - began
    codes = [row["code"] for row in after]
    assert expected in codes, codes
    return within(healed, limit, "healing")


@check("D.connection_lost", "the connection drops: back within seconds")
async def connection_lost(w: World) -> str:
    return await heals(w, "connection_lost", 6, "drop")


@check("D.service_unavailable", "503 from the server: back within seconds")
async def unavailable(w: World) -> str:
    return await heals(w, "service_unavailable", 6, "stream_error", code=503)


@check("D.server_error", "500 from the server is no reason to lose the credentials")
async def server_error(w: World) -> str:
    return await heals(w, "server_error", 6, "stream_error", code=500)


@check("D.restart_required", "515: reconnected at once")
async def restart_required(w: World) -> str:
    return await heals(w, "authenticated", 4, "stream_error", code=515)


@check("D.logged_out", "logged out on the phone: terminal, with the reason; a new QR links it again")
async def logged_out(w: World) -> str:
    await w.link()
    await w.inject("kept")
    await w.hook.until(lambda: w.hook.texts() == ["kept"])
    await w.fault("logout", jid=f"{SHOP}@s.whatsapp.net")
    view = await w.holdfast.until("shop", lambda view: bool(view["needs_qr"]))
    assert (view["status"], view["reason"]) == ("FAILED", "logged_out"), view
    await w.holdfast.ask("POST", "/api/sessions/shop/start")
    await w.holdfast.scan(w.wasim, "shop", SHOP)
    await w.holdfast.until_working("shop")
    messages = await w.holdfast.ask("GET", "/api/shop/chats/40712345601@c.us/messages")
    assert [m["body"] for m in messages] == ["kept"], "history did not survive"
    return str(view["message"])


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


@check("D.needs_pairing", "credentials gone while the server was down: says so, and waits for a person")
async def needs_pairing(w: World) -> str:
    import sqlite3  # noqa: PLC0415 - this check alone looks into the file

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
