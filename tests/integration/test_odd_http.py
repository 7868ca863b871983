"""HTTP as odd clients, browsers on other origins and reverse proxies speak it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar
from litestar.routes import HTTPRoute

from holdfast.api.app import HANDLED
from holdfast.config import load
from holdfast.domain.errors import InvalidSettings
from tests.support.served import Served, served

CHAT = "40722000111@c.us"
APP = "https://app.example.com"
BASE = "/gateway/holdfast"


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path) as instance:
        yield instance


async def test_head_is_get_without_the_body(it: Served) -> None:
    for path in ("/ping", "/api/status", "/login", "/api/sessions", "/docs", "/static/style.css", "/no"):
        head, get = await it.http.head(path), await it.http.get(path)
        assert (head.status_code, head.content) == (get.status_code, b""), path
        assert {**head.headers, "date": ""} == {**get.headers, "date": ""}, path


async def test_head_changes_nothing_and_ends(it: Served) -> None:
    await it.linked()
    async with asyncio.timeout(20):
        stream = await it.http.head("/api/holdfast/events")
    assert (stream.status_code, stream.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    sent = await it.http.head("/api/sendText", params={"phone": CHAT, "text": "hello", "session": "shop"})
    assert sent.status_code == 405
    assert it.engine.sent == []
    assert (await it.http.head("/api/sessions", headers={"X-Api-Key": "wrong-key-of-somebody"})).status_code == 401


PREFLIGHT = {"Origin": APP, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}


async def test_a_preflight_of_an_origin_that_is_not_allowed_is_told_so(it: Served) -> None:
    async with httpx.AsyncClient(base_url=it.url) as browser:
        answer = await browser.options("/api/sendText", headers=PREFLIGHT)
        assert (answer.status_code, "HOLDFAST_CORS_ORIGINS" in answer.json()["message"]) == (403, True)
        plain = await browser.get("/ping", headers={"Origin": APP})
    for found in (answer, plain):
        assert not any(name.startswith("access-control") for name in found.headers)


@pytest.mark.parametrize("allowed", [APP, "*"])
async def test_pages_of_an_allowed_origin_may_use_a_key_and_no_cookie(tmp_path: Path, allowed: str) -> None:
    async with served(tmp_path, origins={allowed}) as it, httpx.AsyncClient(base_url=it.url) as browser:
        answer = await browser.options("/api/sendText", headers=PREFLIGHT)
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["access-control-allow-origin"] == APP
        assert "POST" in answer.headers["access-control-allow-methods"]
        assert "X-Api-Key" in answer.headers["access-control-allow-headers"]
        refused = await browser.get("/api/sessions", headers={"Origin": APP})
        taken = await it.http.get("/api/sessions", headers={"Origin": APP})
        assert (refused.status_code, taken.status_code) == (401, 200)
        for found in (answer, refused, taken):
            assert found.headers["access-control-allow-origin"] == APP
            assert found.headers["vary"] == "Origin"
            assert "access-control-allow-credentials" not in found.headers
        if allowed != "*":
            other = {**PREFLIGHT, "Origin": "https://app.example.com.evil.test"}
            assert (await browser.options("/api/sendText", headers=other)).status_code == 403


async def test_a_byte_order_mark_is_no_part_of_the_json(it: Served) -> None:
    await it.linked()
    headers = {"Content-Type": "application/json"}
    body = b'\xef\xbb\xbf{"session": "shop", "chatId": "40722000111@c.us", "text": "hello"}'
    assert (await it.http.post("/api/sendText", content=body, headers=headers)).status_code == 201
    file = body.replace(b'"text": "hello"', b'"file": {"data": "aGVsbG8="}')
    assert (await it.http.post("/api/sendFile", content=file, headers=headers)).status_code == 201


ODD = ["%ED%A0%80", "%FF", "%C0%80", "x" * 1_500, "%2e%2e%2f", "%0d%0aA:b", "9" * 30, "NaN", "%F0%9F%98%80"]


async def test_odd_paths_are_not_found(it: Served) -> None:
    for path in ("/api/{}/chats", "/api/sessions/{}", "/static/{}", "/api/files/shop/{}"):
        for odd in ODD:
            answer = await it.http.get(path.format(odd))
            assert answer.status_code == 404, answer.text


async def test_no_route_fails_over_odd_input(it: Served) -> None:
    """A mistake of ours would be a 500 or a closed connection."""
    await it.linked()
    routes = [one for one in Litestar(route_handlers=HANDLED).routes if isinstance(one, HTTPRoute)]
    asked = 0
    for route in routes:
        if route.path == "/api/holdfast/events":  # does not end
            continue
        parts = re.findall(r"{[^}]*}", route.path)
        for odd in ODD if parts else [""]:
            path = route.path
            for part in parts:
                path = path.replace(part, "shop" if part == "{session:str}" and len(parts) > 1 else odd, 1)
            query = f"?limit={odd}&q={odd}&session={odd}&filter.timestamp.gte={odd}"
            for method in {"GET", "POST"} & set(route.methods):
                body = b'{"session": 5, "chatId": "\\u0661", "name": []}' if method == "POST" else None
                headers = {"Content-Type": "application/json", "HX-Request": "true"}
                answer = await it.http.request(method, path + query, content=body, headers=headers)
                assert answer.status_code != 500, (method, path, answer.text)
                asked += 1
    assert asked > 300


async def test_times_in_milliseconds_are_understood(it: Served) -> None:
    await it.linked()
    for text in ("one", "two"):
        sent = await it.http.post("/api/sendText", json={"session": "shop", "chatId": CHAT, "text": text})
        assert sent.status_code == 201
    now = float(sent.json()["timestamp"])

    async def found(path: str, **query: Any) -> int:
        answer = await it.http.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return len(answer.json())

    messages, search = f"/api/shop/chats/{CHAT}/messages", "/api/holdfast/search"
    for factor in (1, 1000):
        since, until = (now - 60) * factor, (now + 60) * factor
        assert await found(messages, **{"filter.timestamp.gte": since, "filter.timestamp.lte": until}) == 2
        assert await found(messages, **{"filter.timestamp.gte": until}) == 0
        assert await found(search, q="one", since=since, until=until) == 1
        assert await found(search, q="one", until=since) == 0
    for path, query in ((messages, {"filter.timestamp.gte": "nan"}), (search, {"q": "one", "since": "inf"})):
        assert (await it.http.get(path, params=query)).status_code == 400


LINK = re.compile(r'(?:href|src|action|hx-get|hx-post|hx-delete)="(/[^"]*)"')


async def test_behind_a_proxy_with_a_base_path_every_link_has_it(tmp_path: Path) -> None:
    async with served(tmp_path, base=BASE) as it:
        await it.linked()
        for before in ("", BASE):  # a proxy that strips the path, and one that passes it on
            await base_path_holds(it, before)


async def base_path_holds(it: Served, before: str) -> None:
    name = "passed" if before else "stripped"
    links: set[str] = set()
    for page in (
        "/login",
        "/dashboard",
        "/dashboard/s/shop",
        "/dashboard/search",
        "/dashboard/deliveries",
        "/docs",
    ):
        answer = await it.http.get(before + page)
        assert answer.status_code == 200, page
        links |= set(LINK.findall(answer.text))
    assert len(links) > 15
    assert [link for link in links if not link.startswith(f"{BASE}/")] == []
    for link in links:
        if "/static/" in link or link.endswith(("/dashboard", ".json")):
            assert (await it.http.get(link)).status_code == 200, link
    for path in ("/", "/favicon.ico"):
        assert (await it.http.get(before + path)).headers["location"].startswith(f"{BASE}/")
    made = await it.http.post(before + "/dashboard/add", data={"name": name}, headers={"HX-Request": "true"})
    assert made.headers["hx-redirect"] == f"{BASE}/dashboard/s/{name}"
    assert (await it.http.get(before + "/docs/openapi.json")).json()["servers"] == [{"url": BASE}]
    assert (await it.http.get(f"{BASE}x/ping")).status_code == 404
    async with httpx.AsyncClient(base_url=it.url) as stranger:
        assert (await stranger.get(f"{before}/dashboard")).headers["location"] == f"{BASE}/login"
        assert (await stranger.get(f"{BASE}/api/sessions")).status_code == 401


def test_settings_of_base_path_and_origins(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (load().base(), load().origins(), load().url_for_users("http://a:1")) == ("", frozenset(), "http://a:1")
    monkeypatch.setenv("HOLDFAST_PUBLIC_URL", "https://example.com/wa/")
    assert (load().base(), load().url_for_users("http://a:1")) == ("/wa", "https://example.com/wa")
    monkeypatch.setenv("HOLDFAST_BASE_PATH", "/wa/")
    monkeypatch.setenv("HOLDFAST_PUBLIC_URL", "")
    assert (load().base(), load().url_for_users("http://a:1")) == ("/wa", "http://a:1/wa")
    monkeypatch.setenv("HOLDFAST_CORS_ORIGINS", f"{APP}/, http://localhost:8080")
    assert load().origins() == {APP, "http://localhost:8080"}
    for name, value in (
        ("BASE_PATH", "wa"),
        ("BASE_PATH", "/a//b"),
        ("BASE_PATH", '/"'),
        ("CORS_ORIGINS", "app.example.com"),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(f"HOLDFAST_{name}", value)
            with pytest.raises(InvalidSettings, match=f"HOLDFAST_{name}"):
                load()
