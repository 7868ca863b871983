"""What every answer says to browsers, and that the pages need nothing from other servers."""

from __future__ import annotations

import re
from pathlib import Path

import httpx

from tests.support.served import Served, check

PAGES = ["/login", "/docs", "/dashboard", "/dashboard/s/shop"]
DATA = ["/ping", "/api/status", "/health", "/api/sessions", "/docs/openapi.json", "/api/shop/auth/qr", "/no/such", "//"]
LINK = re.compile(r"""(?:src|href|hx-get|hx-post|action)\s*=\s*["']([^"']*)["']|url\(([^)]*)\)|@import\s+([^;]*)""")


def told(answer: httpx.Response) -> str:
    """The Content-Security-Policy, after a look at the rest."""
    for name in (
        "X-Content-Type-Options",
        "X-Frame-Options",
        "Referrer-Policy",
        "Content-Security-Policy",
        "Cache-Control",
    ):
        assert len(answer.headers.get_list(name)) == 1, (str(answer.url), name)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    policy = answer.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    return policy


def test_every_answer_carries_the_headers(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked()
        for path in PAGES:
            answer = await it.http.get(path)
            assert answer.status_code == 200, path
            assert answer.headers["Content-Type"].startswith("text/html")
            assert "default-src 'self'" in told(answer)
            assert answer.headers["Cache-Control"] == "no-store"
        for path in DATA:
            answer = await it.http.get(path)
            assert "default-src 'none'" in told(answer), path
            assert answer.headers["Cache-Control"] == "no-store"
        assert "max-age" in (await it.http.get("/static/style.css")).headers["Cache-Control"]
        async with httpx.AsyncClient(base_url=it.url) as stranger:
            for path in ("/api/sessions", "/dashboard", "/api/shop/chats?x=%00"):
                told(await stranger.get(path))
        headers = {"Content-Type": "application/json"}
        told(await it.http.post("/api/sendText", content=b"{", headers=headers))

    check(tmp_path, body)


def test_the_pages_load_only_what_this_server_has(tmp_path: Path) -> None:
    """Behind a firewall, without a content network, the documentation and the dashboard are whole."""

    async def body(it: Served) -> None:
        await it.linked()
        loaded = set()
        for path in [*PAGES, "/static/style.css", "/static/live.js"]:
            text = (await it.http.get(path)).text
            assert "<style" not in text
            assert " style=" not in text
            for groups in LINK.findall(text):
                link = next((part for part in groups if part), "")
                assert link == "" or re.match(r"/(?!/)|#|data:", link), (path, link)
                if link.startswith(("/static/", "/docs/")):
                    loaded.add(link)
        assert {"/static/htmx.min.js", "/static/style.css", "/docs/openapi.json"} <= loaded
        for link in loaded:
            answer = await it.http.get(link)
            assert (answer.status_code, bool(answer.content)) == (200, True), link

    check(tmp_path, body)
