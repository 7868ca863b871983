"""A client that others made from WAHA's own description (waha-py) works here as it is, and on the little WAHA."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest
from waha import AsyncWahaClient

from tests.support.little_waha import KEY as WAHA_KEY
from tests.support.little_waha import LittleWaha
from tests.support.served import KEY, Served, check
from tests.support.waha_calls import implemented, matches, recorded

CHAT = "40722000111@c.us"
Scan = Callable[[str], Awaitable[None]]


async def links(client: AsyncWahaClient, scan: Scan) -> None:
    """Create, show a QR and a code, link."""
    assert await client.ping.a_ping() == {"message": "pong"}
    assert (await client.sessions.a_create(payload={"name": "shop", "start": False}))["status"] == "STOPPED"
    assert (await client.sessions.a_start("shop"))["name"] == "shop"
    await status(client, "SCAN_QR_CODE")
    assert (await client.auth.a_get_qr("shop"))["mimetype"] == "image/png"
    assert (await client.auth.a_get_qr("shop", params={"format": "raw"}))["value"]
    assert len((await client.auth.a_request_code("shop", payload={"phoneNumber": "40712345678"}))["code"]) == 9
    await scan("shop")
    await status(client, "WORKING")
    assert (await client.sessions.a_get_me("shop"))["id"] == "40712345678@c.us"


async def talks(client: AsyncWahaClient) -> None:
    """Send, and read what was sent."""
    about = {"session": "shop", "chatId": CHAT}
    sent = await client.chatting.a_send_text(payload={**about, "text": "hello"})
    assert (sent["body"], sent["fromMe"]) == ("hello", True)
    assert [chat["id"] for chat in await client.chats.a_get_chats("shop", params={"limit": 25})] == [CHAT]
    (chat,) = await client.chats.a_get_chats_overview("shop")
    assert chat["lastMessage"]["id"] == sent["id"]
    read = await client.chats.a_get_chat_messages("shop", CHAT, params={"limit": 10})
    assert [(message["id"], message["body"]) for message in read] == [(sent["id"], "hello")]
    assert (await client.chats.a_get_chat_message("shop", CHAT, sent["id"]))["body"] == "hello"
    for call in (client.chatting.a_start_typing, client.chatting.a_stop_typing, client.chatting.a_send_seen):
        await call(payload=about)
    assert (await client.contacts.a_check_exists(params={"session": "shop", "phone": "40722000111"}))["numberExists"]
    assert isinstance(await client.contacts.a_get_all(params={"session": "shop"}), list)


async def sends_files(client: AsyncWahaClient) -> None:
    """Each kind, as base64."""
    for call, mimetype, content in (
        (client.chatting.a_send_image, "image/jpeg", b"\xff\xd8\xff\xe0"),
        (client.chatting.a_send_file, "text/csv", b"a;b"),
        (client.chatting.a_send_voice, "audio/ogg; codecs=opus", b"OggS" + bytes(24) + b"OpusHead"),
        (client.chatting.a_send_video, "video/mp4", bytes(4) + b"ftypisom"),
    ):
        file = {"mimetype": mimetype, "data": base64.b64encode(content).decode(), "filename": "a"}
        sent = await call(payload={"session": "shop", "chatId": CHAT, "file": file, "convert": False})
        assert (sent["hasMedia"], sent["media"]["mimetype"]) == (True, mimetype)


async def looks_and_ends(client: AsyncWahaClient, scan: Scan) -> None:
    """The server's own facts; every order to a session."""
    assert [one["status"] for one in await client.sessions.a_list()] == ["WORKING"]
    assert (await client.health.a_check())["status"] == "ok"
    assert (await client.server.a_get())["version"] == (await client.version.a_get())["version"] == "2026.9.2"
    assert (await client.server.a_status())["uptime"] >= 0
    changed = await client.sessions.a_update("shop", payload={"config": {"metadata": {"a": "b"}}})
    assert changed["config"]["metadata"] == {"a": "b"}
    await status(client, "WORKING")
    assert (await client.sessions.a_restart("shop"))["name"] == "shop"
    await status(client, "WORKING")
    assert (await client.sessions.a_stop("shop"))["status"] == "STOPPED"
    await client.sessions.a_start("shop")
    await status(client, "WORKING")
    await client.sessions.a_logout("shop")
    assert (await client.sessions.a_get("shop"))["status"] != "WORKING"
    await client.sessions.a_delete("shop")
    for call in (client.sessions.a_get, client.sessions.a_start):
        with pytest.raises(httpx.HTTPStatusError, match="404"):
            await call("shop")


async def as_of_old(client: AsyncWahaClient, scan: Scan) -> None:
    """What WAHA calls deprecated, and its older clients still use."""
    assert (await client.sessions.a_depracated_start(payload={"name": "old"}))["name"] == "old"
    await status(client, "SCAN_QR_CODE", "old")
    await scan("old")
    await status(client, "WORKING", "old")
    sent = await client.chatting.a_send_text_get(params={"session": "old", "phone": CHAT, "text": "hello"})
    assert sent["body"] == "hello"
    await client.sessions.a_deprecated_stop(payload={"name": "old"})
    await status(client, "STOPPED", "old")
    await client.sessions.a_deprecated_logout(payload={"name": "old"})
    assert await client.sessions.a_list(params={"all": "true"}) == []


async def status(client: AsyncWahaClient, wanted: str, name: str = "shop") -> None:
    """Ask until it is so."""
    async with asyncio.timeout(10):
        while (await client.sessions.a_get(name))["status"] != wanted:
            await asyncio.sleep(0.02)


def test_every_call_that_holdfast_has_works_by_wahas_client(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        async def scan(name: str) -> None:
            it.engine.scan(name)

        client = AsyncWahaClient(it.url, api_key=KEY)
        asked = recorded(client)
        try:
            await links(client, scan)
            await talks(client)
            await sends_files(client)
            await looks_and_ends(client, scan)
            await as_of_old(client, scan)
        finally:
            await client.close()
        left = [call for call in implemented() if not any(matches(one, call) for one in asked)]
        left = [call for call in left if "/groups" not in call[1]]  # tests/acceptance/test_receiving.py makes them
        assert left == [], "calls of waha-py that Holdfast answers, and that nothing here makes"

    check(tmp_path, body)


async def test_the_little_waha_is_the_same_to_it() -> None:
    async with LittleWaha() as waha:

        async def scan(name: str) -> None:
            waha.sessions.scan(name, "40712345678")

        client = AsyncWahaClient(waha.url, api_key=WAHA_KEY)
        try:
            await links(client, scan)
            await talks(client)
            await looks_and_ends(client, scan)
        finally:
            await client.close()
        assert waha.called("PUT")
        stranger = AsyncWahaClient(waha.url, api_key="another")
        with pytest.raises(httpx.HTTPStatusError, match="401"):
            await stranger.sessions.a_list()
        await stranger.close()
