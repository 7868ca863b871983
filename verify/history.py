"""G3 and G4: files both ways, and the history that nothing touches."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import signal
import time
from typing import Any

from aiohttp import web

from tests.support.cluster import until_owner
from tests.support.processes import Holdfast
from verify.harness import World, alone, check
from verify.instances import ANA, SHOP, me, two

JPEG = b"\xff\xd8\xff\xe0" + hashlib.sha256(b"picture").digest() * 20_000


async def picture(w: World, number: int, caption: str = "") -> bytes:
    """Ana's phone sends a picture; its bytes."""
    content = JPEG + bytes([number])
    body = {"chat": f"{SHOP}@s.whatsapp.net", "base64": base64.b64encode(content).decode(), "caption": caption}
    await w.wasim.post(f"phones/{ANA}/picture", body)
    return content


async def fetched(instance: Holdfast, url: str, timeout: float = 90.0) -> tuple[int, bytes]:
    """What is at a media URL; 503 while it is being fetched is waited out."""
    end = time.time() + timeout
    while True:
        async with instance.http.get(url) as answer:
            content = await answer.read()
            if answer.status != 503 or time.time() > end:
                return answer.status, content
        await asyncio.sleep(0.2)


def media(w: World) -> list[dict[str, Any]]:
    """Messages with files that the webhook was told of, in order."""
    return [e["payload"] for e in w.hook.envelopes if e["event"] == "message" and e["payload"]["hasMedia"]]


@check("G3.media", "pictures that came right before kill -9 are told of once and served whole after the restart")
async def received_media(w: World) -> str:
    await w.wasim.post("phones", {"phone": ANA})
    await w.link()
    await w.fault("media_error", status=500, on="download")
    sent = [await picture(w, number, f"no. {number}") for number in range(5)]
    await w.hook.until(lambda: len(media(w)) >= 3)
    await w.holdfast.stop(signal.SIGKILL)
    await w.fault("clear")
    await w.holdfast.start()
    await w.holdfast.until_working("shop")
    await w.hook.until(lambda: len({one["id"] for one in media(w)}) == 5)
    told = list({one["id"]: one for one in media(w)}.values())
    assert [one["body"] for one in told] == [f"no. {number}" for number in range(5)]
    for one, content in zip(told, sent, strict=True):
        assert await fetched(w.holdfast, one["media"]["url"]) == (200, content)
    return f"5 of 5 pictures, {sum(map(len, sent)) / 1e6:.1f} MB"


@check("G3.expired", "a file that WhatsApp has no more is had from the phone; gone there too, that is said")
async def expired_media(w: World) -> str:
    await w.wasim.post("phones", {"phone": ANA})
    await w.link()
    content = await _while_stopped(w, 1)
    await w.hook.until(lambda: len(media(w)) == 1)
    began = time.time()
    assert await fetched(w.holdfast, media(w)[0]["media"]["url"]) == (200, content)
    took = time.time() - began
    await _while_stopped(w, 2, everywhere=True)
    await w.hook.until(lambda: len(media(w)) == 2)
    status, said = await fetched(w.holdfast, media(w)[1]["media"]["url"])
    assert status == 410, (status, said)
    assert "neither has the phone" in json.loads(said)["message"]
    return f"had from the phone after {took:.1f} s; then 410"


async def _while_stopped(w: World, number: int, **facts: object) -> bytes:
    """A picture comes and expires before the session can fetch it; the phone has had it meanwhile."""
    await w.holdfast.ask("POST", "/api/sessions/shop/stop")
    content = await picture(w, number)
    end = time.time() + 30
    while len((await w.wasim.get(f"phones/{SHOP}/messages"))["messages"]) < number:
        assert time.time() < end, "the phone got no picture"
        await asyncio.sleep(0.05)
    await w.fault("expire_media", **facts)
    await w.holdfast.ask("POST", "/api/sessions/shop/start")
    return content


@check(
    "G4.media", "files accepted while cut off outlive kill -9, and reach the phone whole, once, in order", SEND_WAIT="0"
)  # fmt: skip
async def sent_media(w: World) -> str:
    await w.wasim.post("phones", {"phone": ANA})
    await w.link()
    await w.fault("outage")
    await w.holdfast.until("shop", lambda view: view["status"] != "WORKING")
    ids = []
    for number in range(4):
        file = {"mimetype": "image/jpeg", "data": base64.b64encode(JPEG + bytes([number])).decode()}
        body = {"session": "shop", "chatId": f"{ANA}@c.us", "file": file, "caption": str(number)}
        async with w.holdfast.http.post(w.holdfast.url + "/api/sendImage", json=body) as answer:
            assert answer.status == 202, await answer.text()
            ids.append((await answer.json())["holdfast"]["id"])
    await w.holdfast.stop(signal.SIGKILL)
    await w.fault("clear")
    await w.holdfast.start()
    await w.holdfast.until_working("shop")
    for number, id_ in enumerate(ids):
        await _sent(w.holdfast, id_)
        await _on_phone(w, id_)
        got = (await w.wasim.post(f"phones/{ANA}/download", {"id": id_}))["result"]
        assert base64.b64decode(got) == JPEG + bytes([number]), id_
    received = (await w.wasim.get(f"phones/{ANA}/messages"))["messages"]
    assert [one["id"] for one in received if one["kind"] == "image"] == ids
    left = list((w.holdfast.folder / "media").rglob("*.jpg"))
    assert left == [], "a sent file was not deleted"
    return f"4 of 4, {4 * len(JPEG) / 1e6:.1f} MB, and no file is left"


async def _on_phone(w: World, id_: str) -> None:
    end = time.time() + 30
    while id_ not in [one["id"] for one in (await w.wasim.get(f"phones/{ANA}/messages"))["messages"]]:
        assert time.time() < end, id_
        await asyncio.sleep(0.05)


async def _sent(instance: Holdfast, id_: str) -> None:
    end = time.time() + 60
    while (state := (await instance.ask("GET", f"/api/holdfast/messages/{id_}", session="shop"))["state"]) not in (
        "sent", "delivered", "read",
    ):  # fmt: skip
        assert time.time() < end, state
        await asyncio.sleep(0.1)


@check(
    "G4.guard", "2 GB, types that lie, URLs that lead to private addresses: refused, nothing stored",
    MEDIA_ALLOW_PRIVATE="127.0.0.2",
)  # fmt: skip
async def guarded(w: World) -> str:
    await w.link()

    async def asked(file: dict[str, Any], **headers: str) -> tuple[int, str]:
        body = {"session": "shop", "chatId": f"{ANA}@c.us", "file": file}
        async with w.holdfast.http.post(w.holdfast.url + "/api/sendImage", json=body, headers=headers) as answer:
            return answer.status, await answer.text()

    async def away(request: web.Request) -> web.Response:
        raise web.HTTPFound(f"http://127.0.0.1:{w.holdfast.port}/api/server/version?key=hidden-secret")

    app = web.Application()
    app.router.add_get("/", away)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.2", 0)
    await site.start()
    try:
        url = f"http://127.0.0.2:{runner.addresses[0][1]}/?token=hidden-secret"
        for file, status, word in (
            ({"url": url}, 422, "MEDIA_ALLOW_PRIVATE"),
            ({"url": "http://169.254.169.254/latest"}, 422, "MEDIA_ALLOW_PRIVATE"),
            ({"mimetype": "image/jpeg", "data": base64.b64encode(b"<html>").decode()}, 422, "not image/jpeg"),
        ):
            got, said = await asked(file)
            assert got == status, (got, said)
            assert word in said, said
            assert "hidden-secret" not in said
    finally:
        await runner.cleanup()
    reader, writer = await asyncio.open_connection("127.0.0.1", w.holdfast.port)
    key = w.holdfast.env["HOLDFAST_API_KEY"]
    writer.write(
        f"POST /api/sendFile HTTP/1.1\r\nHost: x\r\nX-Api-Key: {key}\r\nContent-Type: application/json\r\n"
        "Content-Length: 2147483648\r\n\r\n".encode()
    )
    assert b" 413 " in await reader.readline()
    writer.close()
    log = (w.holdfast.folder / "holdfast.log").read_text()
    assert "hidden-secret" not in log
    assert await w.holdfast.ask("GET", "/api/holdfast/sessions/shop/outbox") == []
    return "413 before a byte, 422 for each, no secret in answers or log"


@alone("G3.history", "logout, pairing again, another instance: the same conversation, found by words, exported whole")
async def history() -> str:
    async with two(postgres=True) as (world, first, second, _hook):
        for text in ("an invoice from before", "another word"):
            await world.wasim.post("inject", {"from": ANA, "to": SHOP, "text": text})
        await _found(first, "invoice", 1)
        await first.ask("POST", "/api/sessions/shop/logout")
        await first.ask("POST", "/api/sessions/shop/start")
        await first.until("shop", lambda view: view["status"] == "SCAN_QR_CODE")
        await first.scan(world.wasim, "shop", SHOP)
        await first.until_working("shop")
        await world.wasim.post("inject", {"from": ANA, "to": SHOP, "text": "the invoice, after the logout"})
        await _found(first, "invoice", 2)
        survivor = await me(second)
        await first.stop(signal.SIGKILL)
        await until_owner(second, survivor)
        await world.wasim.post("inject", {"from": ANA, "to": SHOP, "text": "an invoice at the other instance"})
        found = await _found(second, "INVOICE", 3)
        assert len({one["chat"]["id"] for one in found}) == 1, found
        chats = await second.ask("GET", "/api/shop/chats")
        assert len([chat for chat in chats if chat["id"] == f"{ANA}@c.us"]) == 1, chats
        async with second.http.get(f"{second.url}/api/holdfast/sessions/shop/export") as answer:
            lines = [json.loads(line) for line in (await answer.text()).splitlines()]
        assert lines[-1] == {"type": "end", "lines": len(lines) - 1}
        texts = [line["text"] for line in lines if line["type"] == "message"]
        assert sum("invoice" in text for text in texts) == 3, texts
        return f"1 chat, 3 of 3 found, {len(lines)} lines exported"


async def _found(instance: Holdfast, words: str, count: int) -> list[dict[str, Any]]:
    end = time.time() + 60
    while True:
        found: list[dict[str, Any]] = await instance.ask("GET", "/api/holdfast/search", q=words, session="shop")
        if len(found) >= count:
            return found
        assert time.time() < end, found
        await asyncio.sleep(0.1)
