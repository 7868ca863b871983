"""Files sent by URL, as base64 and as multipart: whole, guarded, bounded, kept until sent, gone after."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from holdfast.domain.errors import CallFailed, MediaGone, NotConnected
from holdfast.domain.rows import EngineWrite, InboxRow
from holdfast.ports import engine as e
from tests.support.served import KEY, MEDIA_LIMIT, Served, served

JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 40
BIG_JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 2000
OPUS = b"OggS\x00\x02" + bytes(22) + b"OpusHead\x01" + bytes(500)
MP4 = b"\x00\x00\x00\x18ftypisom" + bytes(900)
CHAT = "40722222222@c.us"
SECRET = "token-that-nobody-may-see"


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path) as instance:
        await instance.linked()
        yield instance


@asynccontextmanager
async def file_server(host: str = "127.0.0.2") -> AsyncIterator[tuple[str, list[str]]]:
    """A server of files with its URL and the paths that it was asked for."""
    asked: list[str] = []

    async def give(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        what = request.match_info["what"]
        if what == "to":
            raise web.HTTPFound(request.query["url"])
        if what == "round":
            raise web.HTTPFound("/round")
        if what == "endless":
            answer = web.StreamResponse(headers={"Content-Type": "image/jpeg"})
            await answer.prepare(request)
            with contextlib.suppress(ConnectionError):
                await answer.write(JPEG)
                while True:
                    await answer.write(bytes(65_536))
            return answer
        if what == "page":
            return web.Response(text="<!DOCTYPE html><title>Log in</title>", content_type="image/jpeg")
        if what == "a.jpg":
            return web.Response(body=JPEG, content_type="image/jpeg")
        raise web.HTTPNotFound

    app = web.Application()
    app.router.add_get("/{what}", give)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, host, 0).start()
    try:
        yield f"http://{host}:{runner.addresses[0][1]}", asked
    finally:
        await runner.cleanup()


async def send(it: Served, kind: str, file: dict[str, Any], **more: Any) -> Any:
    headers = more.pop("headers", {})
    body = {"session": "shop", "chatId": CHAT, "file": file, **more}
    return await it.http.post(f"/api/{kind}", json=body, headers=headers)


def data(content: bytes, mimetype: str = "image/jpeg", **more: Any) -> dict[str, Any]:
    return {"mimetype": mimetype, "data": base64.b64encode(content).decode(), **more}


def kept(it: Served) -> list[Path]:
    """Files that lie on the disk now."""
    assert it.node.media is not None
    return [path for path in it.node.media.files.room().parent.rglob("*") if path.is_file()]


async def none_kept(it: Served) -> None:
    """A sent file goes once its message was answered."""
    async with asyncio.timeout(10):
        while kept(it):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("call", "content", "mimetype", "kind"),
    [
        ("sendImage", JPEG, "image/jpeg", "image"),
        ("sendImage", BIG_JPEG, "image/jpeg", "image"),
        ("sendFile", b"a;b\n1;2\n", "text/csv", "document"),
        ("sendVoice", OPUS, "audio/ogg; codecs=opus", "audio"),
        ("sendVideo", MP4, "video/mp4", "video"),
    ],
)
async def test_base64(it: Served, call: str, content: bytes, mimetype: str, kind: str) -> None:
    answer = await send(it, call, data(content, mimetype, filename="x/../a.bin"), caption="a caption")
    assert answer.status_code == 201, answer.text
    told = answer.json()
    assert (told["hasMedia"], told["media"]["mimetype"], told["body"]) == (True, mimetype, "a caption")
    assert it.engine.files[told["holdfast"]["id"]] == content
    await none_kept(it)
    (shown,) = (await it.http.get(f"/api/shop/chats/{CHAT}/messages")).json()
    assert shown["_data"]["kind"] == kind
    assert shown["media"]["filename"] == "a.bin"


async def test_multipart_and_url(it: Served) -> None:
    fields = {"session": "shop", "chatId": CHAT, "caption": "ü"}
    answer = await it.http.post("/api/sendImage", data=fields, files={"file": ("b.jpg", BIG_JPEG, "image/jpeg")})
    assert answer.status_code == 201, answer.text
    assert it.engine.files[answer.json()["holdfast"]["id"]] == BIG_JPEG
    async with file_server() as (url, asked):
        answer = await send(it, "sendImage", {"url": f"{url}/to?url={url}/a.jpg"})
    assert answer.status_code == 201, answer.text
    assert asked == ["/to", "/a.jpg"]
    assert answer.json()["media"] == {"url": None, "mimetype": "image/jpeg", "filename": "a.jpg"}
    assert it.engine.files[answer.json()["holdfast"]["id"]] == JPEG
    await none_kept(it)


@pytest.mark.parametrize(
    ("call", "file", "said"),
    [
        ("sendImage", data(b"<html>no picture"), "text/html"),
        ("sendImage", data(MP4, "video/mp4"), "JPEG"),
        ("sendVoice", data(b"ID3mp3", "audio/mpeg"), "OGG with Opus"),
        ("sendFile", data(b"MZ\x00\x90", "application/pdf"), "not application/pdf"),
        ("sendFile", data(b""), "no file"),
        ("sendFile", {"mimetype": "image/png"}, "no file"),
        ("sendFile", {"mimetype": "image/png", "data": "no base64!"}, "base64"),
        ("sendImage", {"mimetype": "image/jpeg", "data": "A" * 70_000 + "!" + "A" * 70_000}, "base64"),
    ],
)
async def test_what_is_not_what_it_says_is_refused(it: Served, call: str, file: dict[str, Any], said: str) -> None:
    answer = await send(it, call, file)
    assert answer.status_code == 422, answer.text
    assert said in answer.json()["message"]
    assert kept(it) == []
    assert it.engine.sent == []


async def test_two_gigabytes_are_refused_before_a_byte_is_read(it: Served) -> None:
    host, port = it.url.removeprefix("http://").split(":")
    for kind in ("application/json", "multipart/form-data; boundary=x"):
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"POST /api/sendFile HTTP/1.1\r\nHost: x\r\nX-Api-Key: {KEY}\r\nContent-Type: {kind}\r\n"
        writer.write(f"{head}Content-Length: 2147483648\r\n\r\n".encode())
        assert b" 413 " in await reader.readline()
        writer.close()


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x"])
async def test_endless_body_is_refused_as_soon_as_it_is_too_much(it: Served, kind: str) -> None:
    given = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given
        if kind == "application/json":
            yield b'{"chatId": "40722222222@c.us", "session": "shop", "file": {"data": "'
        else:
            yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        while given < 64 * MEDIA_LIMIT:
            given += 65_536
            yield b"AAAA" * 16_384

    with contextlib.suppress(Exception):  # the server may close while we still write
        answer = await it.http.post("/api/sendFile", content=endless(), headers={"Content-Type": kind})
        assert answer.status_code == 413
        assert "HOLDFAST_MEDIA_LIMIT" in answer.json()["message"]
    assert given < 32 * MEDIA_LIMIT
    assert kept(it) == []


async def test_urls_are_guarded_and_their_secrets_kept(it: Served, capfd: pytest.CaptureFixture[str]) -> None:
    async with file_server() as (url, _), file_server("127.0.0.1") as (private, hidden):
        for target, said in (
            (f"{private}/a.jpg", "HOLDFAST_MEDIA_ALLOW_PRIVATE"),
            (f"{url}/to?url={private}/a.jpg", "HOLDFAST_MEDIA_ALLOW_PRIVATE"),
            (f"{url}/to?url=http://localhost:{private.rpartition(':')[2]}/a.jpg", "HOLDFAST_MEDIA_ALLOW_PRIVATE"),
            (f"{url}/to?url=file:///etc/passwd", "http://"),
            (f"{url}/round", "redirects more than"),
            (f"{url}/missing", "404"),
            (f"{url}/page", "text/html"),
            ("http://127.0.0.2:1/a.jpg", "cannot be reached"),
            ("ftp://127.0.0.2/a.jpg", "http://"),
        ):
            answer = await send(it, "sendImage", {"url": f"{target}{'&' if '?' in target else '?'}key={SECRET}"})
            assert answer.status_code == 422, answer.text
            assert said in answer.json()["message"], target
            assert SECRET not in answer.text
        assert hidden == []
        answer = await send(it, "sendImage", {"url": f"{url}/endless?key={SECRET}"})
        assert answer.status_code == 413
    assert kept(it) == []
    assert SECRET not in "".join(capfd.readouterr())
    assert SECRET.encode() not in b"".join(p.read_bytes() for p in _databases(it))


def _databases(it: Served) -> list[Path]:
    assert it.node.media is not None
    return list(it.node.media.files.room().parent.parent.glob("test.sqlite3*"))


async def test_same_key_same_message_without_a_second_look_at_the_url(it: Served) -> None:
    async with file_server() as (url, asked):
        first = await send(it, "sendImage", {"url": f"{url}/a.jpg"}, headers={"Idempotency-Key": "k"})
        again = await send(it, "sendImage", {"url": f"{url}/a.jpg"}, headers={"Idempotency-Key": "k"})
        other = await send(it, "sendImage", {"url": f"{url}/page"}, headers={"Idempotency-Key": "k"})
    assert again.json()["holdfast"]["id"] == first.json()["holdfast"]["id"]
    assert other.status_code == 409
    assert asked == ["/a.jpg"]
    changed = await send(it, "sendImage", data(JPEG), headers={"Idempotency-Key": "k2"})
    assert changed.status_code == 201
    assert (await send(it, "sendImage", data(BIG_JPEG), headers={"Idempotency-Key": "k2"})).status_code == 409
    assert (await send(it, "sendImage", data(JPEG), headers={"Idempotency-Key": "k2"})).status_code == 201
    assert len(it.engine.sent) == 2
    assert kept(it) == []


async def test_file_outlives_the_instance_until_it_is_sent(tmp_path: Path) -> None:
    async with served(tmp_path) as it:
        await it.linked()
        await it.store.write_engine("shop", it.engine.live["shop"].epoch, EngineWrite(keys={("creds", ""): b"creds"}))
        await it.http.post("/api/sessions/shop/stop")
        answer = await send(it, "sendImage", data(JPEG), queue=True)
        assert answer.status_code == 202, answer.text
        assert len(kept(it)) == 1
    async with served(tmp_path) as it:
        it.engine.account("shop").linked = True
        await it.http.post("/api/sessions/shop/start")
        await it.until("shop", "WORKING")
        id_ = answer.json()["holdfast"]["id"]
        async with asyncio.timeout(10):
            while (await it.node.gateway.outgoing("shop", id_)).state != "sent" or kept(it):
                await asyncio.sleep(0)
        assert it.engine.files == {id_: JPEG}


# --- received files ----------------------------------------------------------------------------------------------


async def receive(it: Served, id_: str, size: int = len(JPEG), mimetype: str = "image/jpeg") -> dict[str, Any]:
    """A picture comes; its message as the API shows it."""
    body = {"imageMessage": {"mimetype": mimetype, "caption": "look", "fileLength": size, "url": "https://x/y"}}
    attrs = {"id": id_, "from": "40722222222@s.whatsapp.net", "t": "1800000000"}
    row = InboxRow(f"40722222222@s.whatsapp.net||{id_}", "message", attrs, b"plaintext", body)
    live = it.engine.live["shop"]
    await it.store.write_engine("shop", live.epoch, EngineWrite(inbox=[row]))
    it.engine._emit(e.InboxStored("shop", live.connection))
    async with asyncio.timeout(10):
        while await it.store.message("shop", id_) is None:
            await asyncio.sleep(0)
    found: dict[str, Any] = (await it.http.get(f"/api/shop/chats/all/messages/{id_}")).json()
    return found


async def test_received_file_is_served_at_its_url(it: Served) -> None:
    it.engine.media["PIC1"] = JPEG
    told = await receive(it, "PIC1")
    assert (told["hasMedia"], told["body"], told["media"]["mimetype"]) == (True, "look", "image/jpeg")
    got = await it.http.get(told["media"]["url"])
    assert (got.status_code, got.content) == (200, JPEG)
    assert got.headers["content-type"] == "image/jpeg"
    assert got.headers["x-content-type-options"] == "nosniff"
    assert (await it.http.get(told["media"]["url"], headers={"X-Api-Key": "wrong"})).status_code == 401
    (event,) = [one for one in await it.store.events(0, 50, "shop") if one.kind == "message"]
    assert told["media"]["url"].endswith(event.payload["message"]["body"]["media"]["file"])


@pytest.mark.parametrize(
    ("claimed", "type_", "way"),
    [
        ("image/jpeg\r\nSet-Cookie: a=b", "application/octet-stream", "attachment"),
        ("ima\u011fe/\u00fc", "application/octet-stream", "attachment"),
        ("image/svg+xml", "image/svg+xml", "attachment"),
        ("text/html; charset=x", "text/html; charset=utf-8", "attachment"),
        ("", "application/octet-stream", "attachment"),
        ("a" * 300, "application/octet-stream", "attachment"),
        ("image/png", "image/png", "inline"),
    ],
)
async def test_no_type_breaks_a_header_or_poses_as_a_page(it: Served, claimed: str, type_: str, way: str) -> None:
    it.engine.media["PIC9"] = JPEG
    told = await receive(it, "PIC9", mimetype=claimed)
    got = await it.http.get(told["media"]["url"])
    assert (got.status_code, got.content, got.headers["content-type"]) == (200, JPEG, type_)
    assert got.headers["content-disposition"].startswith(f"{way}; filename=")
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers.get_list("content-security-policy") == ["default-src 'none'; sandbox; frame-ancestors 'none'"]
    assert "set-cookie" not in got.headers


async def test_a_file_is_served_under_its_own_session_only(it: Served) -> None:
    it.engine.media["PIC8"] = JPEG
    url = (await receive(it, "PIC8"))["media"]["url"]
    assert (await it.http.post("/api/sessions", json={"name": "other", "start": False})).status_code == 201
    assert (await it.http.get(url)).status_code == 200
    assert (await it.http.get(url.replace("/files/shop/", "/files/other/"))).status_code == 404


@pytest.mark.parametrize(
    ("given", "size", "said"),
    [
        (MediaGone("WhatsApp has the file no more, and neither has the phone."), 10, "neither has the phone"),
        (JPEG, MEDIA_LIMIT + 1, "HOLDFAST_MEDIA_LIMIT"),
        (bytes(MEDIA_LIMIT + 1), 10, "HOLDFAST_MEDIA_LIMIT"),
    ],
)
async def test_file_that_is_not_to_be_had_says_why(it: Served, given: Any, size: int, said: str) -> None:
    it.engine.media["PIC2"] = given
    told = await receive(it, "PIC2", size)
    got = await it.http.get(told["media"]["url"])
    assert got.status_code == 410
    assert said in got.json()["message"]
    assert kept(it) == []


async def test_fetching_is_tried_again(it: Served) -> None:
    it.engine.media["PIC3"] = CallFailed("WhatsApp did not do what was asked.")
    told = await receive(it, "PIC3")
    name = told["media"]["url"].rpartition("/")[2]
    async with asyncio.timeout(10):
        while (await it.store.media(name)).attempts == 0:  # type: ignore[union-attr]
            await asyncio.sleep(0)
    row = await it.store.media(name)
    assert row is not None
    assert (row.state, row.problem) == ("awaited", "WhatsApp did not do what was asked.")
    it.engine.media["PIC3"] = JPEG
    got = await it.http.get(told["media"]["url"])
    assert (got.status_code, got.content) == (200, JPEG)


async def test_file_is_fetched_as_soon_as_the_connection_is_back(it: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(args: Any) -> Any:
        it.engine.close_with("shop", 428, "socket")
        raise NotConnected

    with monkeypatch.context() as cutting:
        cutting.setattr(it.engine, "_download", cut)
        told = await receive(it, "PIC5")
        async with asyncio.timeout(10):
            while "shop" in it.engine.live:
                await asyncio.sleep(0)
    it.engine.media["PIC5"] = JPEG
    got = await it.http.get(told["media"]["url"])
    assert (got.status_code, got.content) == (200, JPEG), got.text


async def test_unknown_names_and_deleted_files(it: Served) -> None:
    for name in ("x", "..%2f..%2fapi-key", "0" * 40 + ".jpg", "%00"):
        assert (await it.http.get(f"/api/files/shop/{name}")).status_code in (400, 404), name
    it.engine.media["PIC4"] = JPEG
    told = await receive(it, "PIC4")
    assert (await it.http.get(told["media"]["url"])).status_code == 200
    await it.http.delete("/api/sessions/shop")
    assert it.node.media is not None
    await it.node.media.tidy()
    assert kept(it) == []
