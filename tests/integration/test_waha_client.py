"""Asking a WAHA server, the strict little one: how many at once, for how long, how often, and when not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from holdfast.engines.waha.client import WahaClient
from holdfast.engines.waha.errors import WahaBusy, WahaRefused, WahaUnavailable
from holdfast.engines.waha.options import WahaOptions, WahaServer
from tests.support.little_waha import KEY, LittleWaha
from tests.support.moved import MovedClock

QUICK = WahaOptions(time_factor=0.02)
"""0.6 s for an answer, 10 ms before a second try, 1.2 s of rest."""
PATIENT = WahaOptions()


@asynccontextmanager
async def asking(
    waha: LittleWaha, options: WahaOptions = PATIENT, key: str = KEY
) -> AsyncIterator[tuple[WahaClient, MovedClock]]:
    """A client of that server, and its clock."""
    clock = MovedClock()
    client = WahaClient(WahaServer("main", waha.url, key), options, clock)
    try:
        yield client, clock
    finally:
        await client.stop()


@pytest.fixture
async def waha() -> AsyncIterator[LittleWaha]:
    async with LittleWaha() as waha:
        yield waha


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.005)


async def test_two_at_once_ten_in_line_and_the_next_is_refused(waha: LittleWaha) -> None:
    async with asking(waha) as (client, _):
        waha.fault("hang", "/ping", times=2)
        asked = [asyncio.create_task(client.get("/ping")) for _ in range(12)]
        await until(lambda: client.facts()["queue"] == {"active": 2, "waiting": 10})
        with pytest.raises(WahaBusy):
            await client.get("/ping")
        look = asyncio.create_task(client.get("/api/sessions", look=True))  # a look finds a place all the same
        await until(lambda: client.facts()["queue"]["waiting"] == 11)
        for task in asked[:2]:
            task.cancel()
        assert await look == []
        assert await asyncio.gather(*asked[2:]) == [{"message": "pong"}] * 10
        assert waha.most_at_once == 2
        assert client.facts()["queue"] == {"active": 0, "waiting": 0}
        assert [call.path for call in waha.calls[2:]].index("/api/sessions") < 2, "the look came first"


@pytest.mark.parametrize("kind", ["hang", "drip", "garbage", "cut", 500, 502])
async def test_what_is_safe_to_repeat_is_repeated(waha: LittleWaha, kind: int | str) -> None:
    async with asking(waha, QUICK) as (client, _):
        waha.fault(kind, "GET /ping", times=2)
        assert await client.get("/ping") == {"message": "pong"}
        assert len(waha.called("/ping")) == 3
        assert client.facts()["breaker"] == {"state": "closed", "failures": 0}


async def test_pauses_between_tries_grow(waha: LittleWaha) -> None:
    async with asking(waha, replace(QUICK, time_factor=0.2)) as (client, _):
        waha.fault(500, "GET /ping", times=2)
        await client.get("/ping")
        first, second, third = waha.calls
        assert 0.05 < second.at - first.ended < third.at - second.ended


@pytest.mark.parametrize("kind", ["lost", "cut", 500])
async def test_what_is_not_safe_to_repeat_is_asked_once(waha: LittleWaha, kind: int | str) -> None:
    async with asking(waha, QUICK) as (client, _):
        waha.fault(kind, "POST")
        with pytest.raises(WahaUnavailable) as failed:
            await client.post("/api/sessions", {"name": "shop", "start": True})
        assert failed.value.asked  # it may have been carried out
        assert len(waha.calls) == 1


async def test_an_answer_has_thirty_seconds_in_all(waha: LittleWaha) -> None:
    assert WahaOptions().timeout == 30.0
    async with asking(waha, QUICK) as (client, _):
        for kind in ("hang", "drip"):
            waha.fault(kind, "POST", times=1)
            with pytest.raises(WahaUnavailable, match=r"within 0\.6 s"):
                await client.post("/api/sendText", {})
        await until(lambda: all(call.ended for call in waha.calls))
        for call in waha.calls:
            assert 0.5 < call.ended - call.at < 1.5


async def test_five_failures_open_the_breaker_and_one_probe_closes_it(waha: LittleWaha) -> None:
    async with asking(waha) as (client, clock):
        waha.fault(500)
        for failures in range(1, 6):
            with pytest.raises(WahaUnavailable):
                await client.post("/api/sessions", {})
            assert client.facts()["breaker"]["failures"] == failures
        assert (client.facts()["breaker"]["state"], client.facts()["reachable"]) == ("open", False)
        for seconds in (0, 59):
            clock.move(seconds)
            with pytest.raises(WahaUnavailable, match="'main' failed 5 times"):
                await client.get("/ping")
        assert len(waha.calls) == 5, "it is left alone"
        clock.move(1.1)
        waha.faults.clear()
        waha.fault("hang", times=1)
        probe = asyncio.create_task(client.post("/api/sessions", {}))
        await until(lambda: len(waha.calls) == 6)
        with pytest.raises(WahaUnavailable):
            await client.get("/ping")  # one probe, and no more
        probe.cancel()
        await asyncio.wait([probe])
        assert await client.get("/ping") == {"message": "pong"}
        assert client.facts()["breaker"] == {"state": "closed", "failures": 0}


async def test_a_failed_probe_opens_it_for_another_minute(waha: LittleWaha) -> None:
    async with asking(waha) as (client, clock):
        waha.fault("cut")
        for _ in range(5):
            with pytest.raises(WahaUnavailable):
                await client.post("/api/sessions", {})
        clock.move(60.1)
        for _ in range(2):
            with pytest.raises(WahaUnavailable):
                await client.post("/api/sessions", {})
        assert len(waha.calls) == 6


async def test_answers_that_blame_the_request_are_no_failures(waha: LittleWaha) -> None:
    async with asking(waha) as (client, _):
        for number in range(12):
            with pytest.raises(WahaRefused) as refused:
                await client.get(f"/api/sessions/none{number}")
            assert refused.value.status == 404
        assert client.facts()["breaker"] == {"state": "closed", "failures": 0}
        assert len(waha.calls) == 12, "none was asked twice"


@pytest.mark.parametrize(
    ("ask", "status", "words"),
    [
        (lambda c: c.get("/api/sessions/shop"), 404, "Session not found"),
        (lambda c: c.get("/api/shop/auth/qr", {"format": "raw"}), 422, "does not exist"),
        (lambda c: c.post("/api/sessions", {"name": "a.b", "start": True}), 400, "name must match"),
        (lambda c: c.post("/api/sendText", {"session": "shop"}), 400, "chatId"),
    ],
)
async def test_what_waha_refuses_is_told_in_its_words(
    waha: LittleWaha, ask: Callable[[WahaClient], Awaitable[object]], status: int, words: str
) -> None:
    async with asking(waha) as (client, _):
        with pytest.raises(WahaRefused, match=words) as refused:
            await ask(client)
        assert refused.value.status == status


async def test_a_wrong_key_is_said_and_not_tried_again(waha: LittleWaha) -> None:
    async with asking(waha, key="another") as (client, _):
        with pytest.raises(WahaRefused, match="401"):
            await client.get("/api/sessions")
        assert len(waha.calls) == 1


async def test_a_server_below_a_path() -> None:
    async with LittleWaha(prefix="/behind/a/proxy") as waha, asking(waha) as (client, _):
        assert await client.get("/ping") == {"message": "pong"}


async def test_nobody_listens_any_more(waha: LittleWaha) -> None:
    async with asking(waha, QUICK) as (client, _):
        await client.get("/ping")
        await waha.down()
        with pytest.raises(WahaUnavailable, match="nothing listens"):
            await client.get("/ping")
        await waha.listen(waha.port)
        assert await client.get("/ping") == {"message": "pong"}
