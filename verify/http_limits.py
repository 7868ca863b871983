"""A.4, A.5, A.12, A.13, F.27: requests that are too large, too slow, too many or odd, against a real instance."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from tests.support.processes import KEY, Holdfast, Wasim
from verify.harness import World, alone, check

KEYED = f"Host: x\r\nX-Api-Key: {KEY}\r\n"
FORM = "Content-Type: application/x-www-form-urlencoded\r\n"
MB = 1_000_000
JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 8
APP = "https://app.example.com"


async def offered(port: int, head: str, unit: bytes, size: int) -> tuple[str, int]:
    """The status of the answer, and how many bytes were taken before it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    taken, piece = 0, unit * (65_536 // len(unit))
    answer = asyncio.create_task(_first_line(reader))
    with contextlib.suppress(ConnectionError):
        writer.write(head.encode())
        while taken < size and not answer.done():
            writer.write(piece)
            await writer.drain()
            taken += len(piece)
            await asyncio.sleep(0)
    async with asyncio.timeout(60):
        line = await answer
    writer.close()
    return line[9:12].decode(), taken


async def _first_line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readline()
    except ConnectionError:
        return b""


@check("A.4", "large heads, forms and bodies are refused before they are read; the session stays")
async def large_requests(w: World) -> str:
    await w.link()
    epoch = (await w.holdfast.ask("GET", "/api/holdfast/sessions/shop"))["epoch"]
    process, port = psutil.Process(w.holdfast.child.pid), w.holdfast.port
    before, slowest = process.memory_info().rss, 0.0

    async def ping() -> None:
        nonlocal slowest
        while True:
            began = time.monotonic()
            async with w.holdfast.http.get(f"{w.holdfast.url}/ping") as answer:
                assert answer.status == 200
            slowest = max(slowest, time.monotonic() - began)
            await asyncio.sleep(0.02)

    pinging = asyncio.create_task(ping())
    length = f"Content-Length: {20 * MB}\r\n\r\n"
    cases = [
        (f"POST /login HTTP/1.1\r\nHost: x\r\n{FORM}{length}", b"%41", "413"),
        (f"POST /login HTTP/1.1\r\nHost: x\r\n{FORM}{length}", b"a=b&", "413"),
        ("GET /ping HTTP/1.1\r\nHost: x\r\nX: ", b"a", "431"),
        ("GET /ping HTTP/1.1\r\nHost: x\r\n", b"a: b\r\n", "431"),
        (f"POST /api/holdfast/peer HTTP/1.1\r\nHost: x\r\n{length}", b"x", "413"),
        (f"POST /api/holdfast/waha/main/events HTTP/1.1\r\nHost: x\r\n{length}", b"x", "413"),
        (f"POST /api/sendText HTTP/1.1\r\nHost: x\r\n{length}", b"x", "401"),
        (f"POST /api/sendText HTTP/1.1\r\n{KEYED}Content-Type: application/json\r\n{length}", b"[", "413"),
        (f"POST /api/sendFile HTTP/1.1\r\n{KEYED}Content-Type: application/json\r\n{length}", b'"",', "413"),
    ]
    for head, unit, status in cases:
        found, taken = await offered(port, head, unit, 20 * MB)
        assert found == status, f"{head[:40]!r}: {found}, not {status}"
        assert taken < 8 * MB, f"{head[:40]!r}: {taken} bytes were taken"
    json_ = f"{KEYED}Content-Type: application/json\r\n"
    nested = await offered(port, f"POST /api/sendText HTTP/1.1\r\n{json_}Content-Length: 65536\r\n\r\n", b"[", 1)
    assert nested[0] == "400", nested
    pinging.cancel()
    more = (process.memory_info().rss - before) / 1e6
    view = await w.holdfast.ask("GET", "/api/holdfast/sessions/shop")
    assert (view["status"], view["epoch"]) == ("WORKING", epoch), view
    assert more < 60, f"{more:.0f} MB more"
    return f"/ping took {slowest * 1000:.0f} ms at most; {more:.1f} MB more"


@asynccontextmanager
async def few_descriptors(count: int, **env: str) -> AsyncIterator[tuple[Holdfast, Wasim]]:
    """An instance that may have so many file descriptors open."""
    with tempfile.TemporaryDirectory(prefix="holdfast-verify-") as name:
        folder = Path(name)
        async with Wasim(folder) as wasim:
            holdfast = Holdfast(wasim, folder, **{f"HOLDFAST_{key}": value for key, value in env.items()})
            limit = f'ulimit -n {count} && exec "$0" "$@"'
            holdfast.argv = ["sh", "-c", limit, *holdfast.argv]
            async with holdfast:
                yield holdfast, wasim


@alone("A.5", "300 silent connections, with 200 file descriptors: others get in, and all are closed")
async def silent_connections() -> str:
    async with few_descriptors(200, HTTP_HEAD_TIMEOUT="3") as (holdfast, wasim):
        began = time.monotonic()
        lines = [await asyncio.open_connection("127.0.0.1", holdfast.port) for _ in range(300)]
        for number, (_, writer) in enumerate(lines):
            if number % 3:
                writer.write(b"GET /ping HTTP/1.1\r\nHost: x\r\nX: " if number % 3 == 1 else b"G")
        await holdfast.link(wasim, "shop", "40712345678")  # while they are open
        descriptors = len(os.listdir(f"/proc/{holdfast.child.pid}/fd"))
        assert descriptors < 200, descriptors
        async with asyncio.timeout(60):
            for reader, _ in lines:
                with contextlib.suppress(ConnectionError):
                    while await reader.read(65_536):
                        pass
        took = time.monotonic() - began
        assert await holdfast.ask("GET", "/ping") == {"message": "pong"}
        log = [json.loads(line) for line in (holdfast.folder / "holdfast.log").read_text().splitlines()]
        said = {entry["code"] for entry in log if entry.get("action") == "http"}
        assert {"too_many_connections", "head_timeout"} <= said, said
        async with holdfast.http.get(f"{holdfast.url}/metrics") as answer:
            text = await answer.text()
        counted = [line for line in text.splitlines() if line.startswith("holdfast_http_refused_total{")]
        assert counted, "no metric"
    return f"all closed after {took:.1f} s, {descriptors} descriptors meanwhile"


def messages(w: World) -> list[dict[str, Any]]:
    """The messages that came to the webhook."""
    return [envelope["payload"] for envelope in w.hook.envelopes if envelope["event"] == "message"]


@check("A.12", "no stranger's mimetype breaks a header or makes a file a page of ours")
async def strange_types(w: World) -> str:
    await w.link()
    await w.wasim.post("phones", {"phone": "40712345601"})
    shown: list[str] = []
    for claimed in ("image/jpeg\r\nSet-Cookie: a=b", "text/html", "image/svg+xml", "\u00fc/\u00fc", "image/jpeg"):
        picture = {"chat": "40712345678", "base64": base64.b64encode(JPEG).decode(), "mimetype": claimed}
        await w.wasim.post("phones/40712345601/picture", picture)
        expected = len(shown) + 1
        await w.hook.until(lambda count=expected: len(messages(w)) >= count)  # type: ignore[misc]
        came = messages(w)[-1]
        async with w.holdfast.http.get(came["media"]["url"]) as answer:
            assert (answer.status, await answer.read()) == (200, JPEG), claimed
            assert "sandbox" in answer.headers["Content-Security-Policy"]
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert "Set-Cookie" not in answer.headers
            way = answer.headers["Content-Disposition"].partition(";")[0]
            shown.append(f"{answer.headers['Content-Type']} {way}")
    assert shown[-1] == "image/jpeg inline", shown
    assert all(one.endswith("attachment") for one in shown[:-1]), shown
    return "; ".join(dict.fromkeys(shown))


async def status_of(w: World, method: str, path: str, **how: Any) -> int:
    """The status of an answer, for a path that is sent as it is written."""
    from yarl import URL  # noqa: PLC0415 - of aiohttp

    async with w.holdfast.http.request(method, URL(w.holdfast.url + path, encoded=True), **how) as answer:
        await answer.read()
        return answer.status


@check("A.13.http", "long names, halves of surrogate pairs, files of another session")
async def small_ones(w: World) -> str:
    await w.link()
    await w.holdfast.ask("POST", "/api/sessions", {"name": "other", "start": False})
    for size in (300, 1_500, 3_000):
        assert await status_of(w, "GET", "/static/" + "x" * size) in (404, 414)
    json_ = {"Content-Type": "application/json"}
    for path, body in (
        (
            "/api/sendFile",
            b'{"session":"shop","chatId":"40722000111@c.us","caption":"\\ud800","file":{"data":"aGVsbG8="}}',
        ),
        ("/api/sendText", b'{"session":"shop","chatId":"40722000111@c.us","text":"\\udfff"}'),
        ("/api/sessions", b'{"name":"a","config":{"metadata":{"a":"\\ud83d"}}}'),
    ):
        assert await status_of(w, "POST", path, data=body, headers=json_) == 400, path
    for path in ("/api/%ED%A0%80/chats", "/api/files/shop/%ED%A0%80", "/api/contacts/all?session=%ED%A0%80"):
        assert await status_of(w, "GET", path) == 404, path
    await w.wasim.post("phones", {"phone": "40712345601"})
    picture = {"chat": "40712345678", "base64": base64.b64encode(JPEG).decode(), "mimetype": "image/jpeg"}
    await w.wasim.post("phones/40712345601/picture", picture)
    await w.hook.until(lambda: bool(messages(w)))
    (came,) = messages(w)
    path = came["media"]["url"].removeprefix(w.holdfast.url)
    assert await status_of(w, "GET", path) == 200
    assert await status_of(w, "GET", path.replace("/shop/", "/other/")) == 404
    return ""


@check("F.27", "HEAD, preflights, byte order marks, milliseconds, a base path", CORS_ORIGINS=APP, BASE_PATH="/wa")
async def odd_http(w: World) -> str:
    await w.link()
    assert await status_of(w, "HEAD", "/ping") == 200
    assert await status_of(w, "HEAD", "/api/sendText?phone=1&text=a&session=shop") == 405
    asked = {"Access-Control-Request-Method": "POST"}
    async with aiohttp.ClientSession() as browser:
        for origin, status in ((APP, 204), ("https://evil.test", 403)):
            headers = {**asked, "Origin": origin}
            async with browser.options(f"{w.holdfast.url}/api/sendText", headers=headers) as answer:
                assert answer.status == status, origin
        async with browser.get(f"{w.holdfast.url}/wa/dashboard", allow_redirects=False) as answer:
            assert answer.headers["Location"] == "/wa/login"
        async with browser.get(f"{w.holdfast.url}/wa/login") as answer:
            assert 'href="/wa/static/style.css"' in await answer.text()
    body = b'\xef\xbb\xbf{"session":"shop","chatId":"40722000111@c.us","text":"hello"}'
    await w.wasim.post("phones", {"phone": "40722000111"})
    json_ = {"Content-Type": "application/json"}
    assert await status_of(w, "POST", "/wa/api/sendText", data=body, headers=json_) == 201
    path, since = "/wa/api/shop/chats/all/messages", int((time.time() - 3600) * 1000)
    async with asyncio.timeout(20):
        while not (found := await w.holdfast.ask("GET", path, **{"filter.timestamp.gte": str(since)})):
            await asyncio.sleep(0.05)
    assert [one["body"] for one in found] == ["hello"], found
    assert await w.holdfast.ask("GET", path, **{"filter.timestamp.gte": str(since + 7_200_000)}) == []
    return ""
