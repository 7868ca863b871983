"""The main job, in real processes throughout: linked once, it stays linked, and loses nothing on the way.

The simulator, Holdfast with its sidecar, and the webhook receiver are processes or servers of their own; time is not
faked, but for the factor that shortens the deadlines of a wait that only proves an absence.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from tests.support.processes import Holdfast, Receiver, Wasim

SHOP, SECOND, ANA = "40712345678", "40712345679", "40712345601"

pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("processes")]


async def inject(wasim: Wasim, to: str, text: str) -> str:
    found = await wasim.post("inject", {"from": ANA, "to": to, "text": text})
    return str(found["id"])


async def heard(wasim: Wasim, text: str) -> None:
    """Wait until Ana's phone shows the text."""
    for _ in range(200):
        shown = await wasim.get(f"phones/{ANA}/messages")
        if any(message["text"] == text for message in shown["messages"]):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"Ana's phone never showed {text!r}")


async def test_linked_once_it_stays_linked_through_kill_and_logout(tmp_path: Path) -> None:
    async with Wasim(tmp_path) as wasim, Receiver() as hook, Holdfast(wasim, tmp_path) as holdfast:
        await holdfast.link(wasim, "shop", SHOP, hook.config("message", "session.status"))

        await holdfast.ask("POST", "/api/sessions", {"name": "second", "start": True})
        await holdfast.until("second", lambda view: view["status"] == "SCAN_QR_CODE")
        code = await holdfast.ask("POST", "/api/second/auth/request-code", {"phoneNumber": f"+{SECOND}"})
        await wasim.post("mock-phone/enter-code", text=code["code"], phone=SECOND)
        await holdfast.until_working("second")

        await inject(wasim, SHOP, "before")
        await hook.until(lambda: hook.texts("shop") == ["before"])
        sent = await holdfast.ask(
            "POST", "/api/sendText", {"session": "shop", "chatId": f"{ANA}@c.us", "text": "answer"}
        )
        assert sent["ack"] >= 1
        await heard(wasim, "answer")

        since = await wasim.seq()
        await holdfast.stop(signal.SIGKILL)
        for number in range(5):
            await inject(wasim, SHOP, f"meanwhile {number}")
        await holdfast.start()
        await holdfast.until_working("shop")
        await holdfast.until_working("second")
        wanted = ["before", *(f"meanwhile {number}" for number in range(5))]
        await hook.until(lambda: hook.texts("shop") == wanted)
        offered = await wasim.get("log", since=since, kind="pairing-offered")
        assert offered == [], "a QR was asked for after the restart"
        stored = await holdfast.ask("GET", f"/api/shop/chats/{ANA}@c.us/messages")
        assert sorted(m["body"] for m in stored) == sorted([*wanted, "answer"])

        await wasim.post("fault", {"kind": "logout", "jid": f"{SHOP}@s.whatsapp.net"})
        view = await holdfast.until("shop", lambda view: view["status"] == "FAILED")
        assert (view["needs_qr"], view["reason"]) == (True, "logged_out")
        assert len(await holdfast.ask("GET", f"/api/shop/chats/{ANA}@c.us/messages")) == 7

        await holdfast.ask("POST", "/api/sessions/shop/start")
        await holdfast.until("shop", lambda view: view["status"] == "SCAN_QR_CODE")
        await holdfast.scan(wasim, "shop", SHOP)
        await holdfast.until_working("shop")
        assert len(await holdfast.ask("GET", f"/api/shop/chats/{ANA}@c.us/messages")) >= 7
        assert hook.refused == 0


async def test_nothing_connects_in_the_minute_after_a_logout(tmp_path: Path) -> None:
    """A minute of every deadline passes in three seconds: with a factor of a twentieth."""
    async with Wasim(tmp_path) as wasim, Holdfast(wasim, tmp_path, HOLDFAST_TIME_FACTOR="0.05") as holdfast:
        await holdfast.link(wasim, "shop", SHOP)
        await wasim.post("fault", {"kind": "logout", "jid": f"{SHOP}@s.whatsapp.net"})
        await holdfast.until("shop", lambda view: view["needs_qr"])
        since = await wasim.seq()
        assert await wasim.get("wait", since=since, kind="connected", timeout=3) == []
        await holdfast.stop()
        await holdfast.start()
        view = await holdfast.ask("GET", "/api/holdfast/sessions/shop")
        assert (view["status"], view["needs_qr"]) == ("FAILED", True)
        assert await wasim.get("wait", since=since, kind="connected", timeout=3) == []


async def test_fifty_sessions_in_one_instance_do_the_same(tmp_path: Path) -> None:
    names = {f"s{number:02d}": f"407100000{number:02d}" for number in range(50)}
    async with Wasim(tmp_path) as wasim, Receiver() as hook, Holdfast(wasim, tmp_path) as holdfast:
        gate = asyncio.Semaphore(8)

        async def link(name: str, phone: str) -> None:
            async with gate:
                await holdfast.link(wasim, name, phone, hook.config("message"))

        await asyncio.gather(*(link(name, phone) for name, phone in names.items()))
        await asyncio.gather(*(inject(wasim, phone, f"hello {name}") for name, phone in names.items()))
        await hook.until(lambda: len(hook.texts()) == 50)
        await holdfast.stop(signal.SIGKILL)
        for name, phone in names.items():
            await inject(wasim, phone, f"again {name}")
        await holdfast.start()
        await asyncio.gather(*(holdfast.until_working(name) for name in names))
        await hook.until(lambda: len(hook.texts()) == 100, timeout=60)
        for name in names:
            assert hook.texts(name) == [f"hello {name}", f"again {name}"]
