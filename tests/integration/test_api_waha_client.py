"""A client that others made from WAHA's own description (waha-py) works on Holdfast as it is."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from waha import AsyncWahaClient

from tests.support.served import KEY, Served, check

CHAT = "40722000111@c.us"


def test_wahas_client_links_sends_and_reads(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        client = AsyncWahaClient(it.url, api_key=KEY)
        try:
            made = await client.sessions.a_create(payload={"name": "shop", "start": True})
            assert made["name"] == "shop"
            assert (await client.auth.a_get_qr("shop"))["mimetype"] == "image/png"
            assert await client.auth.a_request_code("shop", payload={"phoneNumber": "40712345678"}) == {
                "code": "ABCD-1234"
            }
            it.engine.scan("shop")
            await it.until("shop", "WORKING")
            assert (await client.sessions.a_get_me("shop"))["id"] == "40712345678@c.us"
            sent = await client.chatting.a_send_text(payload={"session": "shop", "chatId": CHAT, "text": "hello"})
            assert sent["ackName"] == "SERVER"
            assert [chat["id"] for chat in await client.chats.a_get_chats("shop")] == [CHAT]
            read = await client.chats.a_get_chat_messages("shop", CHAT, params={"limit": 10})
            assert [(message["id"], message["body"]) for message in read] == [(sent["id"], "hello")]
            assert [s["status"] for s in await client.sessions.a_list()] == ["WORKING"]
            assert (await client.sessions.a_stop("shop"))["status"] == "STOPPED"
            with pytest.raises(httpx.HTTPStatusError):
                await client.sessions.a_get("nobody")
        finally:
            await client.close()

    check(tmp_path, body)
