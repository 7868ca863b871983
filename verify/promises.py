"""G1 to G8, as far as one instance shows them."""

from __future__ import annotations

import signal
import sqlite3
import time
from itertools import pairwise

from verify.harness import World, check


def within(figure: float, limit: float, what: str) -> str:
    """A time that must not be longer than its limit."""
    assert figure <= limit, f"{what} took {figure:.2f} s, more than {limit} s"
    return f"{figure:.2f} s"


@check("G1.a", "after kill -9 of the instance its sockets are gone before the next connects")
async def no_orphan(w: World) -> str:
    await w.link()
    since = await w.wasim.seq()
    await w.holdfast.stop(signal.SIGKILL)
    await w.holdfast.start()
    await w.holdfast.until_working("shop")
    log = await w.wasim.get("log", since=since, kind="connected,disconnected,replaced")
    kinds = [record["kind"] for record in log]
    assert kinds[:2] == ["disconnected", "connected"], kinds
    assert "replaced" not in kinds, "WhatsApp had to replace a connection of ours (440)"
    return f"{log[1]['t'] - log[0]['t']:.2f} s apart"


@check("G2.a", "a holder whose epoch is stale writes nothing, and closes")
async def fenced(w: World) -> str:
    await w.link()
    path = w.holdfast.folder / "holdfast.sqlite3"
    with sqlite3.connect(path, timeout=10) as db:
        db.execute("UPDATE session_epoch SET epoch = epoch + 1")
        before = db.execute("SELECT type, id, value FROM credential ORDER BY 1, 2").fetchall()
    await w.inject("for the new holder")
    await w.wasim.get("wait", kind="disconnected", since=0, timeout=20)
    with sqlite3.connect(path, timeout=10) as db:
        after = db.execute("SELECT type, id, value FROM credential ORDER BY 1, 2").fetchall()
        inbox = db.execute("SELECT count(*) FROM inbox WHERE body LIKE '%for the new holder%'").fetchone()[0]
    assert before == after, "a stale holder changed keys"
    assert inbox == 0, "a stale holder stored a message"
    return f"{len(before)} keys unchanged"


@check("G3.c", "instance killed in a flood of 200 messages: none lost, none twice, in order")
async def flood(w: World) -> str:
    await w.link()
    for number in range(200):
        await w.inject(f"{number:03d}")
        if number == 80:
            await w.holdfast.stop(signal.SIGKILL)
        if number == 120:
            await w.holdfast.start()
    await w.hook.until(lambda: len(w.hook.texts()) >= 200, timeout=90)
    came = w.hook.texts()
    wrong = [f"{text} after {before}" for before, text in pairwise(came) if text < before]
    assert not wrong, f"out of order: {wrong[:5]}"
    assert len(came) == 200, f"{len(came)} came"
    return "200 of 200"


@check("G4.b", "an acknowledgement with an error is `failed` with its code, and not retried")
async def refused(w: World) -> str:
    await w.link()
    await w.wasim.post("phones", {"phone": "40712345601"})
    await w.fault("ack_error", jid="40712345678", code=463, count=1)
    body = {"session": "shop", "chatId": "40712345601@c.us", "text": "cold", "id": "3EB0AAAA1111CCCC"}
    async with w.holdfast.http.post(f"{w.holdfast.url}/api/sendText", json=body) as answer:
        said = await answer.json()
        assert answer.status == 422, said
    story = await w.holdfast.ask("GET", "/api/holdfast/messages/3EB0AAAA1111CCCC", session="shop")
    assert (story["state"], story["error"], story["attempts"]) == ("failed", 463, 1), story
    return str(story["message"])


@check("G5.a", "a half-open link is noticed, and never called WORKING past its deadline")
async def half_open(w: World) -> str:
    await w.link()
    await w.fault("blackhole", jid="40712345678")
    began = time.time()
    while True:
        view = await w.holdfast.ask("GET", "/api/holdfast/sessions/shop")
        if view["status"] != "WORKING":
            break
        assert time.time() - view["verified_at"] <= 31, "WORKING without a proof"
        assert time.time() - began < 60
    noticed = time.time() - began
    await w.fault("clear")
    await w.holdfast.until_working("shop")
    return within(noticed, 32, "noticing")


@check("G6.a", "after a logout nothing connects until a person asks, not even after a restart", TIME_FACTOR="0.1")
async def terminal(w: World) -> str:
    await w.link()
    await w.fault("logout", jid="40712345678@s.whatsapp.net")
    await w.holdfast.until("shop", lambda view: bool(view["needs_qr"]))
    since = await w.wasim.seq()
    await w.holdfast.stop()
    await w.holdfast.start()
    assert await w.wasim.get("wait", since=since, kind="connected", timeout=6) == []
    return "0 connections in a scaled minute"


@check("G7.a", "kill -9 of the instance: WORKING again by itself, without a QR")
async def restart(w: World) -> str:
    await w.link()
    await w.holdfast.stop(signal.SIGKILL)
    began = time.time()
    await w.holdfast.start()
    await w.holdfast.until_working("shop")
    return within(time.time() - began, 15, "healing")


@check("G8.a", "every change of status has a code and a sentence in the timeline")
async def explained(w: World) -> str:
    await w.link()
    await w.fault("drop", jid="40712345678")
    await w.holdfast.until("shop", lambda view: view["status"] != "WORKING")
    await w.holdfast.until_working("shop")
    rows = await w.timeline()
    bare = [row for row in rows if not (row["code"] and str(row["message"]).endswith(".") and row["instance"])]
    assert not bare, bare
    told = [e["payload"]["status"] for e in w.hook.envelopes if e["event"] == "session.status"]
    assert told[-1] == "WORKING", told
    return f"{len(rows)} entries, {len(told)} webhooks"
