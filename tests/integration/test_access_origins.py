"""Pages of other origins: the dashboard's cookie opens nothing for them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from litestar import Litestar
from websockets.exceptions import ConnectionClosed, InvalidStatus

from holdfast.api.app import HANDLED
from holdfast.runtime.gateway import LocalGateway
from tests.support.served import KEY, Served, check
from tests.support.signed_in import HX, cookie_of, signed_in

ELSEWHERE = "http://127.0.0.1:1"
"""A page on another port of the same host: one site with ours, and another origin."""
COOKIE_PATHS = [
    "/api/sessions", "/api/shop/chats", "/api/holdfast/sessions/shop/export", "/api/holdfast/sessions", "/metrics",
    "/api/holdfast/alerts", "/api/version", "/health", "/docs", "/docs/openapi.json", "/dashboard", "/dashboard/list",
    "/dashboard/s/shop", "/dashboard/alerts", "/dashboard/search?q=x", "/api/holdfast/search?q=x",
]  # fmt: skip


# --- other origins ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({}, True),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, True),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, False),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", "Origin": ELSEWHERE}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Origin": ELSEWHERE}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "https://evil.example"}, False),
    ],
)
def test_a_cookie_opens_reads_of_our_own_pages_only(tmp_path: Path, headers: dict[str, str], passes: bool) -> None:
    async def body(it: Served) -> None:
        await it.linked()
        async with signed_in(it.url) as person:
            for path in COOKIE_PATHS:
                answer = await person.get(path, headers=headers)
                if passes:
                    assert answer.status_code < 300, (path, answer.status_code)
                else:
                    assert answer.status_code in (303, 403), (path, answer.status_code)
                    assert "shop" not in answer.text, path
                    by_key = await person.get(path, headers={**headers, "X-Api-Key": KEY})
                    assert by_key.status_code < 300, "a key opens it from everywhere"
            assert (await person.get("/dashboard", headers={"Origin": it.url})).status_code == 200

    check(tmp_path, body)


def test_a_link_on_another_page_leads_to_pages_and_to_nothing_else(tmp_path: Path) -> None:
    link = {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}

    async def body(it: Served) -> None:
        await it.linked()
        async with signed_in(it.url) as person:
            for path in ("/dashboard", "/dashboard/s/shop", "/docs"):
                assert (await person.get(path, headers=link)).status_code == 200
                framed = await person.get(path, headers={**link, "Sec-Fetch-Dest": "iframe"})
                assert framed.status_code in (303, 403)
            for path in ("/api/sessions", "/metrics", "/api/sendText?session=shop&phone=40733222111&text=x"):
                assert (await person.get(path, headers=link)).status_code == 403

    check(tmp_path, body)


def test_changes_need_our_own_page(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked()
        async with signed_in(it.url) as person:
            for headers in (
                {},
                {"Origin": it.url},
                {**HX, "Origin": ELSEWHERE},
                {**HX, "Origin": "null"},
                {**HX, "Sec-Fetch-Site": "same-site"},
                {"Sec-Fetch-Site": "same-origin"},
            ):
                for path in ("/api/sessions/shop/stop", "/api/sendText", "/dashboard/s/shop/stop", "/logout"):
                    answer = await person.post(path, headers=headers, json={})
                    if path != "/logout" or answer.status_code != 303:
                        assert answer.status_code in (303, 403), (path, headers, answer.status_code)
            assert (await it.http.get("/api/sessions/shop")).json()["status"] == "WORKING"
            assert (await person.get("/dashboard")).status_code == 200
            assert (await person.post("/dashboard/s/shop/stop", headers={**HX, "Origin": it.url})).status_code < 300

    check(tmp_path, body)


def test_the_login_form_of_another_page_is_refused(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        async with httpx.AsyncClient(base_url=it.url) as stranger:
            for headers in ({"Origin": ELSEWHERE}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "null"}):
                answer = await stranger.post("/login", data={"key": KEY}, headers=headers)
                assert answer.status_code == 403
                assert "set-cookie" not in answer.headers

    check(tmp_path, body)


def test_a_websocket_by_cookie_needs_our_origin(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        url = f"{it.url.replace('http', 'ws')}/ws"
        async with signed_in(it.url) as person:
            cookie = {"Cookie": f"holdfast={cookie_of(person)}"}
            for refused in (
                {},
                {"Origin": ELSEWHERE},
                {"Origin": "null"},
                {"Sec-Fetch-Site": "same-site", "Origin": it.url},
            ):
                with pytest.raises((InvalidStatus, ConnectionClosed)):
                    async with websockets.connect(url, additional_headers={**cookie, **refused}) as opened:
                        await opened.recv()
            async with websockets.connect(url, additional_headers={**cookie, "Origin": it.url}):
                pass
            async with websockets.connect(f"{url}?x-api-key={KEY}", additional_headers={"Origin": ELSEWHERE}):
                pass

    check(tmp_path, body)


FILLED = {
    "session": "shop", "name": "shop", "chat_id": "40733222111@c.us", "message_id": "3EB0", "id": "1@g.us",
    "server": "main", "path": "x", "userId": "u",
}  # fmt: skip
QUERY = {"session": "shop", "phone": "40733222111", "text": "hi", "q": "x", "name": "shop", "userId": "u"}
CHANGES = (
    "create", "update", "delete", "start", "stop", "restart", "logout", "pair", "request_code", "clear_auth", "send",
    "replay", "replay_all", "move",
)  # fmt: skip


def test_no_address_that_a_page_can_embed_changes_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over plain HTTP a browser says nothing of where an <img> comes from. Every GET is played, from the router."""
    changed: list[str] = []

    def recorded(name: str, real: Any) -> Any:
        async def method(self: Any, *args: Any, **more: Any) -> Any:
            changed.append(name)
            return await real(self, *args, **more)

        return method

    for name in CHANGES:
        if hasattr(LocalGateway, name):
            monkeypatch.setattr(LocalGateway, name, recorded(name, getattr(LocalGateway, name)))
    paths = {
        re.sub(r"\{(\w+)(?::\w+)?\}", lambda found: FILLED[found.group(1)], route.path_format)
        for route in Litestar(HANDLED, openapi_config=None).routes
        if "GET" in getattr(route, "methods", ())
    }
    assert len(paths) > 40

    async def body(it: Served) -> None:
        await it.linked()
        changed.clear()
        async with signed_in(it.url) as person:
            for path in sorted(paths - {"/api/holdfast/events"}):
                for spelled in (path, f"{path}/"):
                    await person.get(spelled, params=QUERY)
                    assert not changed, (spelled, changed)
        assert it.engine.sent == []
        assert (await it.http.get("/api/sendText", params=QUERY)).status_code < 300, "the query is one that sends"
        assert changed == ["send"]

    check(tmp_path, body)
