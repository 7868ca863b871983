"""Webhooks over real HTTP: what is signed and how it is checked, what is not called, and what people see of it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from holdfast.domain.delivery import Refusal
from holdfast.domain.receivers import Reach
from holdfast.domain.rows import NewEvent
from holdfast.runtime.clock import SystemClock
from holdfast.runtime.webhook import Poster, Webhook
from tests.support.served import Served, check
from wasim.media_tls import ensure_certificates, server_context

KEY = "a-secret-that-both-know"
ALL = frozenset({"*"})


@dataclass
class Receiver:
    """An HTTP server that keeps every request, and answers as it is told."""

    url: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    hangs: bool = False
    came: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    async def _on_request(self, request: web.Request) -> web.Response:
        self.came.append((dict(request.headers), await request.read()))
        if self.hangs:
            await asyncio.Event().wait()
        return web.Response(status=self.status, headers=self.headers, body=self.body)

    def numbers(self) -> list[int]:
        """Of the events that came."""
        return [json.loads(body)["payload"]["n"] for _, body in self.came]

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(15):
            while not holds():
                await asyncio.sleep(0.01)


@asynccontextmanager
async def receiver(tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    it = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", it._on_request)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    server: Any = site._server
    it.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    try:
        yield it
    finally:
        await runner.cleanup()


@asynccontextmanager
async def posting(reach: Reach, timeout: float = 5.0) -> AsyncIterator[Poster]:
    poster = Poster(SystemClock(), reach, timeout)
    try:
        yield poster
    finally:
        await poster.stop()


def is_genuine(headers: dict[str, str], body: bytes, key: str, now: float) -> bool:
    """The check that docs/webhooks.md gives to users."""
    parts = dict(part.split("=", 1) for part in headers["X-Holdfast-Signature"].split(","))
    expected = hmac.new(key.encode(), f"{parts['t']}.".encode() + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(parts["v1"], expected) and abs(now - int(parts["t"])) <= 300


async def test_what_is_sent_is_signed_as_waha_does_and_against_replay() -> None:
    async with receiver() as hook, posting(Reach(private=True)) as poster:
        about = Webhook(hook.url, ALL, KEY, {"X-Tenant": "5"})
        assert await poster.post(about, "evt_1", {"id": "evt_1", "text": "grüße"}) is None
        headers, body = hook.came[0]
        assert json.loads(body) == {"id": "evt_1", "text": "grüße"}
        assert headers["X-Webhook-Request-Id"] == "evt_1"
        assert abs(int(headers["X-Webhook-Timestamp"]) / 1000 - time.time()) < 60
        assert headers["X-Webhook-Hmac-Algorithm"] == "sha512"
        assert headers["X-Webhook-Hmac"] == hmac.new(KEY.encode(), body, hashlib.sha512).hexdigest()
        assert (headers["X-Tenant"], headers["Content-Type"]) == ("5", "application/json")
        assert is_genuine(headers, body, KEY, time.time())
        assert not is_genuine(headers, body, KEY, time.time() + 3600), "sent again an hour later"
        assert not is_genuine(headers, body + b" ", KEY, time.time())
        assert not is_genuine(headers, body, "another", time.time())
        assert await poster.post(Webhook(hook.url, ALL), "evt_2", {}) is None
        assert "X-Holdfast-Signature" not in hook.came[1][0]


async def test_answers_that_are_no_yes() -> None:
    async with receiver() as hook, receiver() as other, posting(Reach(private=True), 0.5) as poster:
        about = Webhook(hook.url, ALL)

        async def said(status: int, **headers: str) -> Refusal | None:
            hook.status, hook.headers = status, headers
            return await poster.post(about, "e", {})

        assert await said(500) == Refusal("the receiver answered 500", 500)
        assert await said(204) is None
        assert await said(429, **{"Retry-After": "7"}) == Refusal("the receiver answered 429", 429, 7.0)
        dated = await said(503, **{"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"})
        assert dated is not None
        assert dated.retry_after == 0.0
        odd = await said(503, **{"Retry-After": "soon"})
        assert odd is not None
        assert odd.retry_after is None
        moved = await said(302, Location=other.url)
        assert moved is not None
        assert "redirects are not followed" in moved.problem
        assert other.came == []
        hook.body = b"x" * 5_000_000
        assert await said(200) is None, "whatever it says besides"
        hook.hangs = True
        assert await said(200) == Refusal("the receiver did not answer in 0.5 s")
        assert await poster.post(Webhook("http://127.0.0.1:9/", ALL), "e", {}) == Refusal(
            "the receiver cannot be reached (ClientConnectorError)"
        )
        gone = await poster.post(Webhook("http://no-such-host.invalid/", ALL), "e", {})
        assert gone == Refusal("the receiver's name cannot be resolved")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_an_address_is_judged_when_it_is_connected_to(host: str) -> None:
    """A name that leads to a private address only when it is called fares no better than the address itself."""
    async with receiver() as hook, posting(Reach()) as poster:
        url = hook.url.replace("127.0.0.1", host)
        refused = await poster.post(Webhook(url, ALL), "e", {})
        assert refused is not None
        assert "HOLDFAST_WEBHOOK_ALLOW_PRIVATE" in refused.problem
        assert hook.came == []
        assert await poster.post(Webhook(url, ALL, trusted=True), "e", {}) is None
    async with receiver() as hook, posting(Reach.parse(host)) as poster:
        assert await poster.post(Webhook(hook.url.replace("127.0.0.1", host), ALL), "e", {}) is None


async def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    async with (
        receiver(server_context(ensure_certificates(tmp_path)[1])) as hook,
        posting(Reach(private=True)) as poster,
    ):
        refused = await poster.post(Webhook(hook.url, ALL), "e", {})
        assert refused is not None
        assert "certificate" in refused.problem
        assert hook.came == []


def hooked(body: Callable[[Served, Receiver], Awaitable[None]], tmp_path: Path) -> None:
    async def run(it: Served) -> None:
        async with receiver() as hook:
            await it.http.post("/api/sessions", json={"name": "shop", "start": False})
            webhook = {"url": f"{hook.url}?token=s3cret-token", "events": ["*"], "retries": {"attempts": 0}}
            made = await it.http.put("/api/sessions/shop", json={"config": {"webhooks": [webhook]}})
            assert made.status_code == 200, made.text
            await body(it, hook)

    check(tmp_path, run)


async def append(it: Served, *numbers: int) -> None:
    events = [NewEvent("x", {"n": n}, "40722000111@s.whatsapp.net") for n in numbers]
    await it.store.append_events("shop", events)
    it.node.delivery.wake("shop")


async def listed(it: Served, **query: str) -> list[dict[str, Any]]:
    answer = await it.http.get("/api/holdfast/deliveries", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


def test_dead_letters_are_listed_and_replayed_one_or_all(tmp_path: Path) -> None:
    async def body(it: Served, hook: Receiver) -> None:
        hook.status = 500
        await append(it, 1, 2, 3)
        await hook.until(lambda: len(hook.came) == 3)
        async with asyncio.timeout(10):
            while len(dead := await listed(it, state="dead")) < 3:
                await asyncio.sleep(0.02)
        assert await listed(it, state="parked") == await listed(it, session="shop", state="waiting") == []
        last = dead[0]
        assert (last["session"], last["status"], last["attempts"], last["state"]) == ("shop", 500, 1, "dead")
        assert (last["problem"], last["chat"]) == ("the receiver answered 500", "40722000111@c.us")
        assert last["receiver"] in hook.url
        assert "token" not in str(dead)
        assert [row["id"] for row in await listed(it, limit="1", before=str(dead[1]["id"]))] == [dead[2]["id"]]
        hook.status = 200
        again = await it.http.post(f"/api/holdfast/deliveries/{last['id']}/replay")
        assert (again.status_code, again.json()["state"]) == (200, "parked")
        await hook.until(lambda: hook.numbers()[3:] == [3])
        assert json.loads(hook.came[3][1])["id"] == json.loads(hook.came[2][1])["id"]
        every = await it.http.post("/api/holdfast/deliveries/replay", params={"consumer": last["consumer"]})
        assert (every.status_code, every.json()) == (200, {"replayed": 2})
        await hook.until(lambda: sorted(hook.numbers()[4:]) == [1, 2])
        async with asyncio.timeout(10):
            while await listed(it):
                await asyncio.sleep(0.02)
        await append(it, 4)
        await hook.until(lambda: hook.numbers()[-1] == 4)
        assert "holdfast" not in json.loads(hook.came[-1][1]), "all came in the end, so there is no gap to tell"

    hooked(body, tmp_path)


def test_a_urls_secrets_are_masked_and_survive_a_round_trip(tmp_path: Path) -> None:
    async def body(it: Served, hook: Receiver) -> None:
        shown = (await it.http.get("/api/sessions/shop")).json()
        assert shown["config"]["webhooks"][0]["url"] == f"{hook.url}?token=***"
        for path in ("/api/sessions?all=true", "/api/holdfast/sessions", "/dashboard"):
            assert "s3cret-token" not in (await it.http.get(path)).text, path
        shown["config"]["webhooks"][0]["events"] = ["message"]
        answer = await it.http.put("/api/sessions/shop", json={"config": shown["config"]})
        assert answer.status_code == 200, answer.text
        assert "s3cret-token" not in answer.text
        row = await it.store.session("shop")
        assert row is not None
        assert row.config["webhooks"][0]["url"] == f"{hook.url}?token=s3cret-token"

    hooked(body, tmp_path)
