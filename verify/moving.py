"""S2 and S3: moving in and out: folders of Baileys, credentials that go, contacts, and what the doctor says."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from tests.support.baileys_folder import FRIEND, make
from tests.support.commands import Said, run, settings
from verify.harness import World, check

PHONE = "40712345678"


async def _command(w: World, *arguments: str | Path, code: int = 0) -> Said:
    said = await run(*arguments, env=settings(w.holdfast))
    assert said.code == code, said
    return said


@check("S3.g", "a folder session-{company} of Baileys moves in, at a running server and a stopped one, without a QR")
async def moves_in(w: World) -> str:
    with tempfile.TemporaryDirectory() as name:
        folders = Path(name)
        await make(w.wasim, folders / "first/session-shop", PHONE)
        await make(w.wasim, folders / "second/session-desk", "40787654321")
        since = await w.wasim.seq()
        await _command(w, "import-baileys", folders / "first")
        await w.holdfast.until_working("shop")
        await w.holdfast.stop()
        await _command(w, "import-baileys", folders / "second")
        await w.holdfast.start()
        await w.holdfast.until_working("desk")
        await w.holdfast.until_working("shop")
    await w.inject("to the one that moved in", to=PHONE, sender=FRIEND)
    sent = await w.holdfast.ask(
        "POST", "/api/sendText", {"session": "shop", "chatId": f"{FRIEND}@c.us", "text": "from it"}
    )
    assert sent["ack"] >= 1, sent
    log = await w.wasim.get("log", since=since, limit=100_000)
    kinds = [record["kind"] for record in log]
    assert not [kind for kind in kinds if "pair" in kind or kind == "replaced"], kinds
    return f"{kinds.count('login')} logins, 0 pairings"


@check("S3.h", "a profile of whatsapp-web.js is recognised, named and refused; damaged files are named one by one")
async def not_ours(w: World) -> str:
    with tempfile.TemporaryDirectory() as name:
        folders = Path(name)
        for sign in ("Default", "Crashpad", "DevToolsActivePort"):
            (folders / f"session-{sign}" / sign).mkdir(parents=True)
        said = await _command(w, "import-baileys", folders, code=1)
        assert said.out.count("whatsapp-web.js") == 3, said.out
        assert said.out.count("(incompatible_credentials)") == 3, said.out
        await make(w.wasim, folders / "worn/session-shop", PHONE)
        for file in ("pre-key-9.json", "pre-key-10.json"):
            (folders / "worn/session-shop" / file).write_text("")
        said = await _command(w, "import-baileys", folders / "worn", code=1)
        assert "pre-key-9.json is damaged" in said.out, said.out
        assert "pre-key-10.json is damaged" in said.out, said.out
    assert await w.holdfast.ask("GET", "/api/holdfast/sessions") == [], "something was half imported"
    return "0 half imported"


@check("S3.i", "the doctor says what is wrong with a server, its key and its sessions, and what to do")
async def doctor(w: World) -> str:
    await w.link()
    url = w.holdfast.url
    assert json.loads((await _command(w, "doctor", "--json", "--url", url)).out)["ok"]
    assert json.loads((await _command(w, "doctor", "--json")).out)["ok"], "the installation"
    await w.fault("logout", jid=f"{PHONE}@s.whatsapp.net")
    await w.holdfast.until("shop", lambda view: bool(view["needs_qr"]))
    told = json.loads((await _command(w, "doctor", "--json", "--url", url, code=1)).out)
    [problem] = [finding for finding in told["findings"] if not finding["ok"]]
    assert problem["what"] == "session shop", problem
    assert "holdfast pair shop" in problem["advice"], problem
    await _command(w, "doctor", "--url", url, "--key", "wrong", code=1)
    await w.holdfast.stop()
    await _command(w, "doctor", "--url", url, code=1)
    return problem["found"]


@check("S2.h", "clear-auth, with the server running and stopped: credentials and lock go, a fresh QR, history stays")
async def clears(w: World) -> str:
    await w.link()
    await w.inject("kept", to=PHONE, sender=FRIEND)
    await w.hook.until(lambda: "kept" in w.hook.texts())
    await _command(w, "clear-auth", "shop", "--yes")
    await w.holdfast.until("shop", lambda view: view["status"] == "SCAN_QR_CODE")
    await w.holdfast.scan(w.wasim, "shop", PHONE)
    await w.holdfast.until_working("shop")
    await w.holdfast.stop()
    await _command(w, "clear-auth", "--all", "--yes")
    await w.holdfast.start()
    await w.holdfast.until("shop", lambda view: view["status"] == "SCAN_QR_CODE")
    await w.holdfast.scan(w.wasim, "shop", PHONE)
    await w.holdfast.until_working("shop")
    found = await w.holdfast.ask("GET", f"/api/shop/chats/{FRIEND}@c.us/messages", limit="10")
    assert "kept" in [message["body"] for message in found], found
    return "linked three times, 1 conversation"


@check("S2.l", "contacts are exported as JSON, CSV and vCard, with the server running and stopped, without credentials")
async def contacts(w: World) -> str:
    await w.link()
    await w.inject("hello", to=PHONE, sender=FRIEND)
    await w.hook.until(lambda: "hello" in w.hook.texts())
    forms = ("json", "csv", "vcard")
    running = [(await _command(w, "export-contacts", "shop", "--format", form)).out for form in forms]
    await w.holdfast.stop()
    stopped = [(await _command(w, "export-contacts", "shop", "--format", form)).out for form in forms]
    assert running == stopped
    assert all(FRIEND in text for text in running), running
    assert set(json.loads(running[0])[0]) == {"id", "phone", "lid", "name", "push_name"}
    return f"{len(json.loads(running[0]))} contacts, 3 forms"
