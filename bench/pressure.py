"""B10: what strangers, and clients with a key, can do to an instance with requests that are large, many or endless."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from bench.figures import Figure, below
from bench.measures import Step
from tests.support.processes import KEY, Holdfast, Process, Wasim

SILENT = 300
OFFERED = 100_000_000
"""Bytes of heads and forms that strangers offer."""
AT_ONCE = 4
LEAST = 8.0
"""Seconds that each kind of pressure lasts at least: the requests are repeated."""
MEMORY, TURN, PING = 20.0, 100.0, 250.0
"""The bars: MB more, ms of CPU in one turn of the loop, ms that 99 of 100 pings take."""
PIECE = 1 << 18
HEADER = f"Host: x\r\nX-Api-Key: {KEY}\r\n".encode()
_FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"


def repeated(unit: bytes, size: int) -> Iterator[bytes]:
    """`size` bytes in pieces."""
    piece = unit * (PIECE // len(unit) + 1)
    for at in range(0, size, len(piece)):
        yield piece[: size - at]


def strangers() -> list[Callable[[], Iterator[bytes]]]:
    """Requests without a key, 100 MB in all."""
    each = OFFERED // 8

    def form(path: bytes, unit: bytes, size: int = each) -> Callable[[], Iterator[bytes]]:
        def pieces() -> Iterator[bytes]:
            yield b"POST " + path + b" HTTP/1.1\r\nHost: x\r\n" + _FORM + b"Content-Length: %d\r\n\r\n" % size
            yield from repeated(unit, size)

        return pieces

    def head(begin: bytes, unit: bytes) -> Callable[[], Iterator[bytes]]:
        def pieces() -> Iterator[bytes]:
            yield begin
            yield from repeated(unit, each)

        return pieces

    return [
        form(b"/login", b"%41"),
        form(b"/login", b"a=b&"),
        form(b"/login", b"%41", 4_000),
        form(b"/api/holdfast/peer", b"x"),
        form(b"/api/holdfast/waha/main/events", b"x"),
        form(b"/api/holdfast/waha/main/events", b"x", 990_000),
        head(b"GET /ping HTTP/1.1\r\nX: ", b"a"),
        head(b"GET /ping HTTP/1.1\r\n", b"a:\r\n"),
        head(b"GET /ping?", b"a&"),
        head(b"", b"GET /ping HTTP/1.1\r\n\r\n"),
    ]


def with_a_key() -> list[Callable[[], Iterator[bytes]]]:
    """Requests of the largest size that is allowed, the most costly of each kind."""

    def posted(
        path: bytes, kind: bytes, begin: bytes, unit: bytes, size: int, end: bytes
    ) -> Callable[[], Iterator[bytes]]:
        def pieces() -> Iterator[bytes]:
            whole = size // len(unit) * len(unit)
            length = len(begin) + whole + len(end)
            head = b"POST " + path + b" HTTP/1.1\r\n" + HEADER + b"Connection: close\r\nContent-Type: " + kind
            yield head + b"\r\nContent-Length: %d\r\n\r\n" % length + begin
            yield from repeated(unit, whole)
            yield end

        return pieces

    json_ = b"application/json"
    multipart = b"multipart/form-data; boundary=x"
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    text = b'{"session":"none","chatId":"40722000111@c.us","text":"'
    file = b'{"session":"none","chatId":"40722000111@c.us","file":{"data":"'
    return [
        posted(b"/api/sendFile", json_, file, b"QUJD", 133_000_000, b'"}}'),
        posted(b"/api/sendFile", multipart, part, b"\r\n--y", 99_000_000, b"\r\n--x--\r\n"),
        posted(b"/api/sendFile", json_, file, b"\\/AA", 50_000_000, b'"}}'),
        posted(b"/api/sendFile", json_, b'{"a":[', b'"",', 780_000, b"1]}"),
        posted(b"/api/sendFile", json_, b'{"a":"', b'\\"', 780_000, b'"}'),
        posted(b"/api/sendText", json_, text, b"\\u00e4", 780_000, b'"}'),
        posted(b"/api/sendText", json_, b'{"a":[', b"[],", 780_000, b"1]}"),
        posted(b"/api/sendText", json_, b'{"a":[', b'"abcdefghijklmnopqrstuvwxyzabcdefghi",', 780_000, b"1]}"),
        posted(b"/api/sendText", json_, b'{"a":[', b"1,", 780_000, b"1]}"),
        posted(b"/api/sendText", json_, b"", b"[", 780_000, b""),
        posted(b"/dashboard/s/none/send", _FORM[14:-2] + b"\r\nHX-Request: true", b"text=", b"%41", 60_000, b""),
    ]


def offer(port: int, pieces: Iterator[bytes]) -> bytes:
    """Send as much as is taken; the first line of the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as line:
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                line.sendall(piece)
        with contextlib.suppress(ConnectionError):
            return line.recv(65_536).partition(b"\r\n")[0]
    return b""


class Metered(Holdfast):
    """Holdfast, with the meter in its loop."""

    def __init__(self, wasim: Wasim, folder: Path, turns: Path) -> None:
        super().__init__(wasim, folder)
        self.argv = [sys.executable, "-m", "bench.loop_meter", str(turns)]


async def pressure(folder: Path, step: Step) -> list[Figure]:
    """B10, without a key and with one."""
    figures: list[Figure] = []
    async with Wasim(folder) as wasim:
        turns = folder / "turns"
        async with Metered(wasim, folder, turns) as holdfast:
            await holdfast.link(wasim, "s000", "40710000000")
            for mark, what, kinds, silent in (
                ("", "strangers", strangers(), SILENT),
                (".key", "with a key", with_a_key(), 0),
            ):
                step(f"pressure: {what}")
                await asyncio.sleep(2)
                figures += await _under(holdfast, turns, mark, what, kinds, silent)
            view = await holdfast.ask("GET", "/api/holdfast/sessions/s000")
            if (view["status"], view["epoch"]) != ("WORKING", 1):
                raise RuntimeError(f"the session did not survive: {view}")
    return figures


async def _under(
    holdfast: Holdfast, turns: Path, mark: str, what: str, kinds: list[Callable[[], Iterator[bytes]]], silent: int
) -> list[Figure]:
    process = psutil.Process(holdfast.child.pid)
    before, most = process.memory_info().rss, 0
    turns.unlink(missing_ok=True)
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(kind: Callable[[], Iterator[bytes]]) -> None:
        nonlocal most
        async with gate:
            await asyncio.to_thread(offer, holdfast.port, kind())
        most = max(most, process.memory_info().rss)

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, process.memory_info().rss)
            await asyncio.sleep(0.05)

    with contextlib.ExitStack() as stack:
        for _ in range(silent):
            stack.enter_context(socket.create_connection(("127.0.0.1", holdfast.port)))
        pinger = Process(sys.executable, "-m", "bench.pinger", str(holdfast.port))
        async with pinger:
            await pinger.line()
            watching, end = asyncio.create_task(watch()), time.monotonic() + LEAST
            while time.monotonic() < end:
                await asyncio.gather(*(one(kind) for kind in kinds for _ in range(2)))
            watching.cancel()
            assert pinger.child.stdin is not None
            pinger.child.stdin.close()
            took = json.loads(await pinger.line())
    p99 = statistics.quantiles(took, n=100)[98] * 1000
    return [
        below(f"B10.memory{mark}", f"memory under large requests, {what}", "MB", (most - before) / 1e6, MEMORY),
        below(f"B10.turn{mark}", f"CPU in one turn of the loop, {what}", "ms", float(turns.read_text()) * 1000, TURN),
        below(f"B10.ping{mark}", f"/ping meanwhile, p99, {what}", "ms", p99, PING),
    ]
