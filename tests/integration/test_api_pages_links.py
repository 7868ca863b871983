"""Explicit limits are honoured up to the largest page, and what was cut is said by a `Link` that leads on."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from tests.support.served import Served, check

CHAT = "40712345601@c.us"


async def followed(it: Served, path: str) -> tuple[list[int], list[dict[str, Any]]]:
    """The sizes of all pages from there on, as a client that follows `Link` reads them, and their rows."""
    sizes, rows = [], []
    url: str | None = path
    while url:
        answer = await it.http.get(url)
        assert answer.status_code == 200, answer.text
        sizes.append(len(answer.json()))
        rows += answer.json()
        following = answer.links.get("next")
        url = urljoin(str(answer.request.url), following["url"]) if following else None
    return sizes, rows


def test_links_lead_through_the_whole_list(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked()
        for number in range(130):
            chat = CHAT if number % 2 else f"40722000{number:03}@c.us"
            sent = await it.http.post("/api/sendText", json={"session": "shop", "chatId": chat, "text": f"n{number}"})
            assert sent.status_code == 201
        sizes, messages = await followed(it, "/api/shop/chats/all/messages")
        assert sizes == [50, 50, 30]
        assert [one["body"] for one in messages] == [f"n{number}" for number in reversed(range(130))]
        assert (await followed(it, "/api/shop/chats/all/messages?limit=1000"))[0] == [100, 30], "HOLDFAST_PAGE_LIMIT"
        assert (await followed(it, "/api/shop/chats/all/messages?limit=65&sortOrder=asc"))[0] == [65, 65]
        assert (await followed(it, f"/api/shop/chats/{CHAT}/messages?limit=65"))[0] == [65]
        sizes, chats = await followed(it, "/api/shop/chats")
        assert sizes == [25, 25, 16]
        assert len({chat["id"] for chat in chats}) == 66
        assert (await followed(it, "/api/shop/chats/overview?limit=60"))[0] == [60, 6]
        assert (await followed(it, "/api/holdfast/search?q=n&limit=100"))[0] == [100, 30]
        for path in ("sessions/shop/outbox?state=sent&limit=70", "sessions/shop/timeline?limit=2"):
            sizes, rows = await followed(it, f"/api/holdfast/{path}")
            assert len(sizes) > 1, path
            assert len({row["seq"] for row in rows}) == len(rows), path

    check(tmp_path, body)
