"""The admin API and the command, over HTTP and as a process, as tests of other projects use them."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.wasim.conftest import ALICE, BOB
from tests.wasim.plain import PlainClient
from wasim.server import WasimServer


class Api:
    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self.http, self.url = http, url

    async def get(self, path: str, status: int = 200, **query: Any) -> Any:
        async with self.http.get(self.url + path, params=query) as answer:
            assert answer.status == status, await answer.text()
            return await answer.json()

    async def post(self, path: str, body: Any, status: int = 200, **query: Any) -> Any:
        data = {"data": body} if isinstance(body, str) else {"json": body}
        async with self.http.post(self.url + path, params=query, **data) as answer:
            assert answer.status == status, await answer.text()
            return await answer.json()


@pytest.fixture
async def world() -> AsyncIterator[WasimServer]:
    async with WasimServer() as server:
        yield server


@pytest.fixture
async def api(world: WasimServer) -> AsyncIterator[Api]:
    async with aiohttp.ClientSession() as http:
        yield Api(http, world.admin_url)


async def test_a_whole_conversation_over_the_api(world: WasimServer, api: Api) -> None:
    async with PlainClient(world) as client:
        client.do("connect")
        linked = await api.post("/mock-phone/scan-qr", (await client.until("qr"))["qr"], phone=f"+{ALICE}")
        assert linked["phone"] == ALICE
        await client.until("close")
        await client.connect()
        sent = await api.post("/inject", {"from": BOB, "to": ALICE, "text": "hello from the phone"})
        message = await client.until("message", text="hello from the phone")
        assert message["key"]["id"] == sent["id"]
        key = await client.ask("send", to=message["key"]["remoteJid"], text="hello back")
        await api.get("/wait", kind="receipt", jid=BOB, timeout=20)
        heard = await api.get(f"/phones/{BOB}/messages")
        assert [(m["id"], m["text"]) for m in heard["messages"] if not m["from_me"]] == [(key["id"], "hello back")]
        await api.post(f"/phones/{BOB}/read", {"chat": f"{ALICE}@s.whatsapp.net", "ids": [key["id"]]})
        await client.until_status(key["id"], 4)
    assert world.hub.journal.counts["phone-failed"] == 0
    assert world.hub.journal.counts["handler-failed"] == 0


async def test_an_image_goes_up_over_tls(world: WasimServer, api: Api) -> None:
    async with PlainClient(world) as client:
        await client.pair(ALICE)
        await api.post("/phones", {"phone": BOB, "name": "Bob"})
        pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
        key = await client.ask("image", to=f"{BOB}@s.whatsapp.net", base64=pixel, caption="a dot")
        assert "error" not in await client.until("ack", id=key["id"])
        await api.get("/wait", kind="receipt", jid=BOB, timeout=20)
        assert [m["kind"] for m in (await api.get(f"/phones/{BOB}/messages"))["messages"]] == ["image"]


async def test_a_phone_does_what_people_do(world: WasimServer, api: Api) -> None:
    chat = {"chat": f"{BOB}@s.whatsapp.net"}
    await api.post("/phones", {"phone": BOB})
    sent = await api.post("/inject", {"from": ALICE, "to": BOB, "text": "first"})
    phone = f"/phones/{ALICE}"
    await api.post(f"{phone}/edit", {**chat, "id": sent["id"], "text": "second"})
    await api.post(f"{phone}/revoke", {**chat, "id": sent["id"]})
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
    await api.post(f"{phone}/picture", {**chat, "base64": pixel, "caption": "a dot", "mimetype": "image/png"})
    since = (await api.get("/stats"))["seq"]
    await api.post(f"{phone}/typing", {**chat, "state": "recording"})
    assert await api.get("/log", since=since, kind="chatstate")
    assert (await api.post(f"{phone}/available", {"there": False}))["result"] is None
    bob = await world.phones.of(world.hub.accounts.create(BOB))
    await bob.until_message(kind="image", text="a dot")
    assert [m["kind"] for m in (await api.get(f"/phones/{BOB}/messages"))["messages"]] == [
        "text",
        "edited",
        "revoked",
        "image",
    ]


async def test_what_a_phone_cannot_do_is_explained(world: WasimServer, api: Api) -> None:
    await api.post("/phones", {"phone": ALICE})
    phone, nobody = f"/phones/{ALICE}", "40700000001@s.whatsapp.net"
    for action, body, reason in (
        ("edit", {"chat": nobody, "id": "3A00", "text": "x"}, "not on WhatsApp"),
        ("typing", {"chat": nobody, "state": "thinking"}, "'thinking' is not one of"),
        ("picture", {"chat": nobody, "base64": "?"}, "base64"),
        ("read", {"chat": nobody, "ids": 5}, "ids must be a list"),
        ("react", {"id": "3A00"}, "chat must be a string"),
    ):
        assert reason in (await api.post(f"{phone}/{action}", body, status=400))["error"]
    assert "it can read" in (await api.post(f"{phone}/fly", {}, status=404))["error"]


async def test_stats_log_and_wait(world: WasimServer, api: Api) -> None:
    stats = await api.get("/stats")
    assert stats["connections"] == stats["online"] == 0
    waiting = asyncio.create_task(api.get("/wait", since=stats["seq"], kind="prekeys-uploaded", timeout=20))
    await api.post("/phones", {"phone": BOB})
    [record] = await waiting
    assert record["jid"] == f"{BOB}@s.whatsapp.net"
    assert record in await api.get("/log", since=record["seq"] - 1, jid=BOB)
    assert await api.get("/wait", since=10**6, timeout=0.01) == []
    assert len((await api.get("/wa-version"))["version"]) == 3
    assert [phone["phone"] for phone in await api.get("/phones")] == [BOB]


async def test_bad_requests_are_explained(api: Api) -> None:
    for path, body in (
        ("/mock-phone/scan-qr", "nonsense"),
        ("/inject", {"from": "abc", "to": BOB, "text": "x"}),
        ("/inject", {"from": BOB, "to": ALICE, "text": ""}),
        ("/inject", "{"),
        ("/fault", {"kind": "rain"}),
    ):
        assert (await api.post(path, body, status=400))["error"]
    assert (await api.post("/mock-phone/enter-code", "ABCDEFGH", status=400, phone=BOB))["error"]
    assert (await api.get(f"/phones/{BOB}/messages", status=404))["error"]
    assert (await api.get("/log", status=400, since="x"))["error"]


async def run(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "wasim.cli", "serve", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def test_the_command_prints_what_clients_need_and_keeps_its_root_key(tmp_path: Path) -> None:
    seen = []
    for _ in range(2):
        process = await run("--port", "0", "--state", str(tmp_path / "state.sqlite3"))
        assert process.stdout is not None
        lines = [(await asyncio.wait_for(process.stdout.readline(), 20)).decode().split() for _ in range(4)]
        facts = dict(lines)
        assert re.fullmatch(r"ws://127\.0\.0\.1:\d+/ws/chat", facts["url"])
        assert Path(facts["ca-file"]).read_text().startswith("-----BEGIN CERTIFICATE")
        seen.append((facts["root-key"], Path(facts["ca-file"]).read_text()))
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0
    assert seen[0] == seen[1]


async def test_a_taken_port_is_explained(world: WasimServer) -> None:
    process = await run("--port", str(world.port))
    _, error = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 1
    assert "Choose another --port" in error.decode()
    assert "Traceback" not in error.decode()


async def test_a_phone_sends_any_message_with_any_stanza_attribute(world: WasimServer, api: Api) -> None:
    await api.post("/phones", {"phone": BOB})
    await api.post("/phones", {"phone": ALICE})
    message = {
        "interactiveResponseMessage": {"nativeFlowResponseMessage": {"name": "menu", "paramsJson": '{"id":"7"}'}},
        "messageContextInfo": {"messageSecret": "AAEC", "deviceListMetadataVersion": 2},
        "protocolMessage": {"type": "EPHEMERAL_SETTING", "ephemeralExpiration": 86400},
    }
    stanza = {"edit": "1", "from": "1700000000@broadcast", "participant": f"{BOB}@s.whatsapp.net", "notify": None}
    body = {
        "chat": ALICE, "id": "3A77", "message": message, "stanza": stanza, "enc": {"decrypt-fail": "hide"},
        "nodes": [{"tag": "meta", "attrs": {"polltype": "creation"}}],
    }  # fmt: skip
    assert (await api.post(f"/phones/{BOB}/raw", body))["result"] == "3A77"
    since = (await api.get("/stats"))["seq"]
    if not (seen := await api.get(f"/phones/{ALICE}/decrypted", id="3A77")):
        await api.get("/wait", since=since - 1, kind="receipt", jid=ALICE, timeout=20)
        seen = await api.get(f"/phones/{ALICE}/decrypted", id="3A77")
    assert seen[0]["message"] == message
    got = seen[0]["stanza"]
    assert (got["edit"], got["from"], got["participant"]) == ("1", "1700000000@broadcast", f"{BOB}@s.whatsapp.net")
    assert "notify" not in got
    for wrong, sentence in (
        ({"nonsense": 1}, "Message has no field nonsense"),
        ({"conversation": 7}, r"Message.conversation must be a string"),
        ({"protocolMessage": {"type": "NO_SUCH"}}, "Message.protocolMessage.type must be one of"),
        ({"messageContextInfo": {"messageSecret": "%"}}, "must be bytes in base64"),
    ):
        refused = await api.post(f"/phones/{BOB}/raw", {"chat": ALICE, "message": wrong}, 400)
        assert sentence in refused["error"]
