"""Wrong keys are counted, logged and slowed down; odd headers are no mistake of ours."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from holdfast.domain.key_guesses import ALARM, FREE
from tests.support.served import KEY, Served, check
from tests.support.signed_in import cookie_of, signed_in

# --- guesses ------------------------------------------------------------------------------------------------------


async def wrong(it: Served, client: httpx.AsyncClient, where: str, key: str) -> httpx.Response:
    match where:
        case "api":
            return await client.get("/api/sessions", headers={"X-Api-Key": key})
        case "bearer":
            return await client.get("/api/sessions", headers={"Authorization": f"Bearer {key}"})
        case "metrics":
            return await client.get("/metrics", headers={"X-Api-Key": key})
        case "stream":
            return await client.get("/api/holdfast/events", params={"x-api-key": key})
        case "login":
            return await client.post("/login", data={"key": key})
        case _:
            return await client.post("/api/holdfast/peer", headers={"X-Holdfast-Peer": f"i=a,t=1,v2={key}"}, json={})


@pytest.mark.parametrize("where", ["api", "bearer", "metrics", "stream", "login", "peer"])
def test_guesses_are_counted_logged_and_slowed_and_the_right_key_passes(tmp_path: Path, where: str) -> None:
    async def body(it: Served) -> None:
        async with httpx.AsyncClient(base_url=it.url) as client:
            with capture_logs() as logs:
                answers = [await wrong(it, client, where, f"guess-number-{n}") for n in range(FREE + 5)]
            assert [answer.status_code for answer in answers] == [401] * FREE + [429] * 5
            for answer in answers[FREE:]:
                assert int(answer.headers["Retry-After"]) >= 1
            told = [line for line in logs if line.get("code") == "wrong_key"]
            assert len(told) == FREE + 5
            assert {line["address"] for line in told} == {"127.0.0.1"}
            assert "guess-number" not in repr(logs)
            assert (await client.get("/api/sessions", headers={"X-Api-Key": KEY})).status_code == 200
            assert (await client.post("/login", data={"key": KEY})).status_code == 303
            figures = (await it.http.get("/metrics")).text
            label = "api" if where == "bearer" else where
            assert f'holdfast_wrong_keys_total{{where="{label}"}} {FREE + 5}.0' in figures

    check(tmp_path, body)


def test_guessing_raises_an_alert(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        async with httpx.AsyncClient(base_url=it.url) as client:
            for n in range(ALARM):
                await wrong(it, client, "api", f"guess-number-{n}")
        it.node.alerts.wake()
        async with asyncio.timeout(20):
            while not (alerts := (await it.http.get("/api/holdfast/alerts")).json()):
                await asyncio.sleep(0.05)
        [alert] = alerts
        assert (alert["kind"], alert["severity"], alert["session"]) == ("keys_guessed", "warning", None)
        assert "receiver" not in alert
        async with signed_in(it.url) as person:
            assert "many wrong keys" in (await person.get("/dashboard/alerts")).text

    check(tmp_path, body)


def test_an_ended_session_is_no_guess(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        async with httpx.AsyncClient(base_url=it.url, cookies={"holdfast": "x" * 43}) as client:
            assert {(await client.get("/api/sessions")).status_code for _ in range(FREE + 5)} == {401}
        async with httpx.AsyncClient(base_url=it.url) as client:
            assert {(await client.get("/api/sessions")).status_code for _ in range(FREE + 5)} == {401}

    check(tmp_path, body)


# --- odd headers --------------------------------------------------------------------------------------------------

ODD = [b"\xe9", b"\xed\xa0\x80", b";=,;%00", b"\xc2\xb2"]
NAMED = [
    b"Cookie", b"X-Api-Key", b"Authorization", b"X-Holdfast-Peer", b"X-Webhook-Hmac", b"Host", b"Content-Type",
    b"Origin", b"Accept", b"Sec-Fetch-Site", b"X-Forwarded-For", b"Idempotency-Key", b"Last-Event-ID", b"HX-Request",
]  # fmt: skip
PATHS = [
    ("GET", "/api/sessions"), ("GET", "/dashboard"), ("POST", "/login"), ("POST", "/logout"), ("POST", "/api/sendText"),
    ("POST", "/api/holdfast/peer"), ("POST", "/api/holdfast/waha/main/events"),
]  # fmt: skip


def test_an_odd_header_is_no_mistake_of_ours(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        async with httpx.AsyncClient(base_url=it.url) as client, signed_in(it.url) as person:
            cookie = b"holdfast=" + cookie_of(person).encode()
            for name, odd in itertools.product(NAMED, ODD):
                value = {b"Cookie": b"holdfast=" + odd, b"Authorization": b"Bearer " + odd}.get(name, odd)
                for opened in ({}, {b"X-Api-Key": KEY.encode()}, {b"Cookie": cookie, b"HX-Request": b"1"}):
                    method, path = next(paths)
                    content = b"{}" if method == "POST" else None
                    answer = await client.request(method, path, headers={**opened, name: value}, content=content)
                    assert answer.status_code < 500, (method, path, name, value, answer.text)

    paths = itertools.cycle(PATHS)
    check(tmp_path, body)
