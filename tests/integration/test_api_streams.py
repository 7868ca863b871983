"""The live streams: nobody's trouble ends them for others, and whoever comes back misses nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from websockets.exceptions import ConnectionClosed

from holdfast.api import streams
from holdfast.domain.errors import StoreUnavailable
from holdfast.domain.rows import EngineWrite, InboxRow, NewEvent
from holdfast.ports import engine as e
from tests.support.served import KEY, Served, check
from tests.unit.test_runtime_inbox import SENDER

Told = tuple[int, dict[str, Any]]


@asynccontextmanager
async def sse(it: Served, after: str | None = None, query: str = "") -> AsyncIterator[AsyncIterator[Told]]:
    """The numbers and envelopes of the stream; a block without data gives its number and `{}`."""
    headers = {} if after is None else {"Last-Event-ID": after}

    async def blocks(answer: httpx.Response) -> AsyncIterator[Told]:
        number, data = 0, "{}"
        async for line in answer.aiter_lines():
            if line.startswith("id:"):
                number = int(line.removeprefix("id:"))
            elif line.startswith("data:"):
                data = line.removeprefix("data:")
            elif not line:
                yield number, json.loads(data)
                data = "{}"

    async with it.http.stream("GET", f"/api/holdfast/events{query}", headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        yield blocks(answer)


@asynccontextmanager
async def socket(
    it: Served, query: str = "", *, max_queue: int | None = None
) -> AsyncIterator[websockets.ClientConnection]:
    url = it.url.replace("http", "ws")
    async with websockets.connect(f"{url}/ws?x-api-key={KEY}&{query}", max_size=None, max_queue=max_queue) as opened:
        yield opened


async def of_socket(opened: websockets.ClientConnection) -> AsyncIterator[Told]:
    async for text in opened:
        said = json.loads(text)
        yield said["seq"], said


async def find(stream: AsyncIterator[Told], fits: Callable[[dict[str, Any]], bool]) -> Told:
    async with asyncio.timeout(15):
        async for number, said in stream:
            if said and fits(said):
                return number, said
    raise AssertionError("the stream ended")


def marked(mark: str) -> Callable[[dict[str, Any]], bool]:
    return lambda said: said["payload"].get("mark") == mark


async def note(it: Served, session: str, mark: str, size: int = 1, count: int = 1) -> None:
    await it.store.append_events(session, [NewEvent("engine.event", {"mark": mark, "fill": "x" * size}, "")] * count)


async def received(it: Served, id: str) -> None:
    epoch = (await it.node.gateway.session("shop")).epoch
    attrs = {"id": id, "from": SENDER, "t": "1800000000"}
    row = InboxRow(f"{SENDER}||{id}", "message", attrs, b"", {"conversation": id})
    await it.store.write_engine("shop", epoch, EngineWrite(inbox=[row]))
    it.engine._emit(e.InboxStored("shop", it.engine.live["shop"].connection))


async def two_sessions(it: Served) -> str:
    for name in ("shop", "other"):
        assert (await it.http.post("/api/sessions", json={"name": name, "start": False})).status_code == 201
    start = str(await it.store.log_end())
    await note(it, "shop", "old", size=1_000_000, count=24)  # more than a socket's buffers hold
    return start


def test_a_deleted_session_does_not_end_the_stream_of_all(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        start = await two_sessions(it)
        async with sse(it, start) as stream, socket(it, f"after={start}", max_queue=1) as opened:
            await find(stream, marked("old"))
            told = of_socket(opened)
            await find(told, marked("old"))
            assert (await it.http.delete("/api/sessions/shop")).status_code == 200
            await note(it, "other", "new")
            for source in (stream, told):
                _, said = await find(source, marked("new"))
                assert (said["session"], said["event"]) == ("other", "engine.event")

    check(tmp_path, body)


def test_the_database_away_for_a_while_leaves_no_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(it: Served) -> None:
        await it.http.post("/api/sessions", json={"name": "shop", "start": False})
        asked = asyncio.Event()

        async def away(*_: Any) -> Any:
            asked.set()
            raise StoreUnavailable()

        async with sse(it) as stream, socket(it) as opened:
            await anext(stream)
            await note(it, "shop", "before")
            await find(stream, marked("before"))
            with monkeypatch.context() as patch:
                patch.setattr(it.store, "events", away)
                await note(it, "shop", "meanwhile")
                await asyncio.wait_for(asked.wait(), 10)
            await find(stream, marked("meanwhile"))
            await find(of_socket(opened), marked("meanwhile"))

    check(tmp_path, body)


def test_events_of_other_instances_come_without_a_hint(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.http.post("/api/sessions", json={"name": "shop", "start": False})
        async with sse(it) as stream:
            await anext(stream)
            await note(it, "shop", "silent")  # appended to the store: nobody here is told
            await find(stream, marked("silent"))

    check(tmp_path, body)


def test_whoever_stops_anywhere_gets_the_rest(tmp_path: Path) -> None:
    """A message from others is two envelopes of one event: stopping between them must lose none."""

    async def body(it: Served) -> None:
        await it.linked()
        async with sse(it) as stream:
            start, nothing = await anext(stream)
            assert (start, nothing) == (await it.store.log_end(), {})
        for name in ("AAAAAAAA", "BBBBBBBB"):
            await received(it, name)

        def kind(said: dict[str, Any]) -> tuple[str, str]:
            return said["event"], said["payload"].get("body", "")

        wanted = [(event, text) for text in ("AAAAAAAA", "BBBBBBBB") for event in ("message", "message.any")]
        for source in ("sse", "ws"):
            seen: list[tuple[str, str]] = []
            after = start

            def new(said: dict[str, Any], seen: list[tuple[str, str]] = seen) -> bool:
                return kind(said) in wanted and kind(said) not in seen

            while len(seen) < len(wanted):  # a client that loses its connection after every single envelope
                if source == "sse":
                    async with sse(it, str(after)) as stream:
                        after, said = await find(stream, new)
                else:
                    async with socket(it, f"after={after}") as opened:
                        after, said = await find(of_socket(opened), new)
                seen.append(kind(said))
            assert seen == wanted
        async with socket(it, f"after={start}&events=message") as opened:
            number, _ = await find(of_socket(opened), lambda said: said["payload"]["body"] == "BBBBBBBB")
        async with sse(it, str(number)) as stream:
            await note(it, "shop", "next")
            assert (await find(stream, lambda said: True))[1]["payload"]["mark"] == "next"

    check(tmp_path, body)


def test_an_idle_stream_is_kept_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(it: Served) -> None:
        monkeypatch.setattr(streams, "KEEPALIVE", 0.05)
        async with it.http.stream("GET", "/api/holdfast/events") as answer:
            lines = answer.aiter_lines()
            async with asyncio.timeout(10):
                assert [await anext(lines) for _ in range(7)][3:] == [": ", "", ": ", ""]

    check(tmp_path, body)


def test_streams_that_cannot_be(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        assert (await it.http.get("/api/holdfast/events?session=nobody")).status_code == 404
        for wrong in ("soon", "-1", "1.5"):
            answer = await it.http.get("/api/holdfast/events", headers={"Last-Event-ID": wrong})
            assert (answer.status_code, "not a number" in answer.json()["message"]) == (400, True)
            async with socket(it, f"after={wrong}") as opened:
                with pytest.raises(ConnectionClosed):
                    await opened.recv()
                assert (opened.close_code, "not a number" in str(opened.close_reason)) == (4400, True)
        async with socket(it, "events=message&events=mesage.any") as opened:
            with pytest.raises(ConnectionClosed):
                await opened.recv()
            assert (opened.close_code, opened.close_reason) == (4400, "There is no event mesage.any.")
        async with sse(it, "9" * 40) as stream:
            assert (await anext(stream))[0] == 2**63 - 1

    check(tmp_path, body)


def test_streams_end_when_the_instance_stops(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        async with sse(it) as stream, socket(it) as opened:
            await anext(stream)
            it.node.stop_waiting()
            async with asyncio.timeout(10):
                assert [block async for block in stream] == []
                with pytest.raises(ConnectionClosed):
                    await opened.recv()
            assert opened.close_code == 1012

    check(tmp_path, body)
