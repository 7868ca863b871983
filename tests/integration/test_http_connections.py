"""Connections that ask for too much, take too long or are too many, over real sockets: refused, closed, counted."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import websockets

from holdfast.api.http_connection import HEAD_LIMIT, WS_MESSAGE_LIMIT, HttpConnection
from holdfast.api.intake import Intake
from holdfast.api.request_limits import Bounded
from holdfast.domain.connection_limits import ConnectionLimits
from tests.support.served import KEY, Served, served

SOON = 20.0
"""Seconds in which what must happen does, on the slowest machine."""
SHORT = ConnectionLimits(head=1.0, body=1.0, write=1.0, idle=1.0, rate=1e6)
KEYED = f"Host: x\r\nX-Api-Key: {KEY}\r\n".encode()


@dataclass
class Wire:
    """A bare connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def says(self, data: bytes) -> None:
        self.writer.write(data)
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()

    async def answer(self) -> tuple[int, bytes]:
        """Status and body of the next answer."""
        async with asyncio.timeout(SOON):
            head = await self.reader.readuntil(b"\r\n\r\n")
            sizes = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            body = await self.reader.readexactly(int(sizes[0].split(b":")[1])) if sizes else b""
        return int(head.split()[1]), body

    async def ended(self) -> bytes:
        """What still comes until the server closes."""
        async with asyncio.timeout(SOON):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""


@asynccontextmanager
async def wire(it: Served) -> AsyncIterator[Wire]:
    host, port = it.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def counted(it: Served, code: str) -> float:
    """How often connections were closed for that reason."""
    text = (await it.http.get("/metrics", headers={"Connection": "close"})).text
    return sum(
        float(line.rpartition(" ")[2]) for line in text.splitlines() if f'http_refused_total{{code="{code}"}}' in line
    )


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path) as instance:
        yield instance


@pytest.fixture
async def brief(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path, SHORT) as instance:
        yield instance


HEADS = {
    "one endless line": [b"GET /ping HTTP/1.1\r\nX: ", *[b"a" * 50_000] * 40],
    "endless headers": [b"GET /ping HTTP/1.1\r\n", *[b"Name-of-a-header: and its value\r\n" * 2_000] * 40],
    "many small headers": [b"GET /ping HTTP/1.1\r\n" + b"a:\r\n" * 101 + b"\r\n"],
    "a cookie": [b"GET /ping HTTP/1.1\r\nCookie: " + b"a=b;" * 20_000 + b"\r\n\r\n"],
    "empty lines": [b"\r\n" * 40_000] * 10,
    "just too large": [b"GET /ping HTTP/1.1\r\nX: " + b"a" * HEAD_LIMIT + b"\r\n\r\n"],
}


async def test_a_head_that_is_too_large_is_refused(it: Served) -> None:
    for name, parts in HEADS.items():
        async with wire(it) as line:
            for part in parts:
                await line.says(part)
            status, body = await line.answer()
            assert (status, b"head is too large" in body) == (431, True), name
            assert await line.ended() == b""
    assert await counted(it, "head_too_large") == len(HEADS)
    async with wire(it) as line:
        await line.says(b"GET /ping HTTP/1.1\r\nHost: x\r\nX: " + b"a" * (HEAD_LIMIT - 100) + b"\r\n\r\n")
        assert (await line.answer())[0] == 200


async def test_a_target_that_is_too_long_is_refused(it: Served) -> None:
    for target in (b"/static/" + b"x" * 3_000, b"/api/sessions?" + b"x" * 20_000):
        async with wire(it) as line:
            await line.says(b"GET " + target + b" HTTP/1.1\r\n" + KEYED + b"\r\n")
            assert (await line.answer())[0] == 414
            assert await line.ended() == b""


async def test_a_head_that_does_not_come_is_not_waited_for(brief: Served) -> None:
    begun = [b"", b"GET /ping HTT", b"GET /ping HTTP/1.1\r\nHost: x\r\n", b"\r\n"]
    async with contextlib.AsyncExitStack() as stack:
        lines = [(one, await stack.enter_async_context(wire(brief))) for one in begun]
        for one, line in lines:
            await line.says(one)
        for one, line in lines:
            assert (await line.ended()).startswith(b"HTTP/1.1 408 ") is bool(one)
    assert await counted(brief, "head_timeout") == len(begun)


async def test_one_byte_at_a_time_does_not_keep_a_connection_open(brief: Served) -> None:
    async with wire(brief) as line:
        ended = asyncio.create_task(line.ended())
        await line.says(b"GET /ping HTTP/1.1\r\nX: ")
        while not ended.done():
            await line.says(b"a")
            await asyncio.sleep(0.02)
        assert (await ended).startswith(b"HTTP/1.1 408 ")


async def test_a_body_that_does_not_come_is_not_waited_for(brief: Served) -> None:
    async with wire(brief) as line:
        head = (
            b"POST /api/sendText HTTP/1.1\r\n"
            + KEYED
            + b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n"
        )
        await line.says(head + b'{"chatId":')
        assert (await line.answer())[0] == 408
        assert await line.ended() == b""
    assert await counted(brief, "body_timeout") == 1


async def test_a_connection_is_not_kept_without_requests(brief: Served) -> None:
    async with wire(brief) as line:
        for _ in range(2):
            await line.says(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await line.answer() == (200, b'{"message":"pong"}')
        assert await line.ended() == b""


async def test_an_answer_that_nobody_reads_is_not_kept(brief: Served) -> None:
    host, port = brief.url.removeprefix("http://").split(":")
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            deaf.connect((host, int(port)))
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(deaf, (b"GET /docs/openapi.json HTTP/1.1\r\n" + KEYED + b"\r\n") * 200)
        async with asyncio.timeout(SOON):
            while not await counted(brief, "answer_not_read"):
                await asyncio.sleep(0.05)


async def test_silent_connections_make_room_for_others(tmp_path: Path) -> None:
    limits = ConnectionLimits(connections=6)
    async with served(tmp_path, limits) as it, contextlib.AsyncExitStack() as stack:
        assert (await it.http.get("/ping")).status_code == 200
        silent = [await stack.enter_async_context(wire(it)) for _ in range(10)]
        for line in silent[5:]:
            await line.says(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await line.answer())[0] == 200
        assert [await line.ended() for line in silent[:3]] == [b""] * 3
        assert await counted(it, "too_many_connections") >= 4
        text = (await it.http.get("/metrics")).text
        (open_now,) = [line.split()[1] for line in text.splitlines() if line.startswith("holdfast_http_connections ")]
        assert float(open_now) <= 6


async def test_where_every_connection_is_in_use_the_next_is_told_so(tmp_path: Path) -> None:
    async with served(tmp_path, ConnectionLimits(connections=2)) as it, contextlib.AsyncExitStack() as stack:
        for _ in range(2):
            line = await stack.enter_async_context(wire(it))
            await line.says(b"GET /api/holdfast/events HTTP/1.1\r\n" + KEYED + b"\r\n")
            async with asyncio.timeout(SOON):
                assert b" 200 " in await line.reader.readline()
        refused = await stack.enter_async_context(wire(it))
        status, body = await refused.answer()
        assert (status, b"Too many connections" in body) == (503, True)


async def test_without_file_descriptors_the_server_goes_on(it: Served, capfd: pytest.CaptureFixture[str]) -> None:
    host, port = it.url.removeprefix("http://").split(":")
    with socket.socket() as peer:
        peer.settimeout(SOON)
        peer.connect((host, int(port)))  # waits in the kernel's queue until this coroutine pauses
        taken = []
        try:
            with contextlib.suppress(OSError):
                while True:
                    taken.append(os.dup(peer.fileno()))
            async with asyncio.timeout(SOON):
                while "no_file_descriptor" not in capfd.readouterr().out:
                    await asyncio.sleep(0.05)
        finally:
            for number in taken:
                os.close(number)
        peer.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(peer, b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(SOON):
            assert b" 200 " in await loop.sock_recv(peer, 100)


async def test_requests_sent_ahead_are_answered_in_order(it: Served) -> None:
    paths = [b"/ping", b"/api/status", b"/no"] * 400
    async with wire(it) as line:
        await line.says(b"".join(b"GET " + path + b" HTTP/1.1\r\n" + KEYED + b"\r\n" for path in paths))
        assert [(await line.answer())[0] for _ in paths] == [200, 200, 404] * 400


async def test_a_request_behind_one_that_is_answered_does_not_spoil_it(it: Served) -> None:
    async with wire(it) as line:
        await line.says(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\nNO HTTP AT ALL\r\n\r\n")
        assert await line.answer() == (200, b'{"message":"pong"}')
        assert await line.ended() == b""


CHUNKED = (
    b"POST /api/sendText HTTP/1.1\r\n" + KEYED + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
)


async def test_chunks_that_are_all_overhead_are_refused(it: Served) -> None:
    for sent, end in ((b"1\r\n \r\n" * 60_000, b""), (b"2\r\n{}\r\n0\r\n", b"A: b\r\n" * 60_000)):
        async with wire(it) as line:
            await line.says(CHUNKED + sent)
            await line.says(end)
            status, body = await line.answer()
            assert (status, b"chunks" in body) == (400, True)
            assert await line.ended() == b""
    async with wire(it) as line:
        await line.says(CHUNKED + b"2\r\n{}\r\n0\r\nA: b\r\n\r\n")
        status, body = await line.answer()
        assert (status, b"chatId" in body) == (400, True)


async def test_a_stranger_reads_why_its_large_body_is_not_taken(it: Served) -> None:
    for path in (b"/api/sendText", b"/login", b"/ping", b"/api/holdfast/peer", b"/api/holdfast/waha/a/events"):
        async with wire(it) as line:
            form = b"Content-Type: application/x-www-form-urlencoded\r\n"
            await line.says(b"POST " + path + b" HTTP/1.1\r\nHost: x\r\n" + form + b"Content-Length: 20000000\r\n\r\n")
            await line.says(b"x" * 500_000)
            status, _ = await line.answer()
            assert status in (401, 405, 413), path
            await line.says(b"x" * 500_000)
            assert b"HTTP/1.1" not in await line.ended()


async def test_a_body_is_gone_with_its_request(it: Served) -> None:
    """Nothing waits for the collector, which large objects do not move: a flood of bodies took hundreds of MB."""

    def held(kind: type) -> int:
        return sum(isinstance(one, kind) for one in gc.get_objects())

    head = b"POST /api/holdfast/waha/main/events HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n"
    gc.collect()
    before = held(HttpConnection)
    gc.disable()
    try:
        async with wire(it) as line:
            await line.says(head + b"x" * 200_000)
            assert (await line.answer())[0] == 404
            assert (held(Intake), held(Bounded)) == (0, 0)
            (connection,) = [one for one in gc.get_objects() if isinstance(one, HttpConnection)][before:]
            assert connection.scope["state"] == {}
            del connection
        async with asyncio.timeout(SOON):
            while held(HttpConnection) > before:
                await asyncio.sleep(0.05)
    finally:
        gc.enable()


async def test_what_a_websocket_is_told_is_small(it: Served) -> None:
    url = f"{it.url.replace('http', 'ws')}/ws?x-api-key={KEY}"
    async with websockets.connect(url) as peer:
        await peer.send("x" * (WS_MESSAGE_LIMIT + 1))
        async with asyncio.timeout(SOON):
            await peer.wait_closed()
        assert peer.close_code == 1009
    async with websockets.connect(url) as peer:
        async with asyncio.timeout(SOON):
            with contextlib.suppress(websockets.ConnectionClosed):
                await peer.send(b"" for _ in range(100_000))
            await peer.wait_closed()
    assert await counted(it, "too_many_fragments") == 1
