"""Sessions on a WAHA server that goes wrong: what a healthy one cannot show. The whole instance, twentyfold in pace."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from holdfast.domain.errors import StoreUnavailable
from tests.support.little_waha import LittleWaha
from tests.support.waha_node import CHAT, HOOK_KEY, PHONE, OnWaha, on_waha, since


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[OnWaha]:
    async with on_waha(tmp_path) as it:
        yield it


async def heard(it: OnWaha, kind: str = "message", name: str = "shop") -> list[str]:
    """What users were told: texts of messages, or levels of acknowledgements, in order."""
    rows = [row for row in await it.store.events(0, 10_000) if (row.kind, row.session) == (kind, name)]
    if kind == "message":
        return [str(row.payload["message"]["text"]) for row in rows]
    return [f"{row.payload['id']} {row.payload['ack']}" for row in rows]


async def signed(it: OnWaha, body: bytes, key: str = HOOK_KEY, server: str = "main") -> httpx.Response:
    """A webhook as WAHA would send it."""
    headers = {"X-Webhook-Hmac": hmac.new(key.encode(), body, hashlib.sha512).hexdigest()}
    async with httpx.AsyncClient() as stranger:
        return await stranger.post(f"{it.url}/api/holdfast/waha/{server}/events", content=body, headers=headers)


# --- what works -----------------------------------------------------------------------------------------------------


async def test_it_links_and_talks(it: OnWaha) -> None:
    await it.link()
    sent = await it.send("hello")
    assert (sent.status_code, sent.json()["holdfast"]["state"]) == (201, "sent")
    assert [one["id"] for one in it.waha.sent] == [sent.json()["holdfast"]["id"]]
    it.waha.receive("shop", "and you?")
    await it.has("hello", "and you?")
    assert it.waha.called("PUT") == []
    assert it.waha.most_at_once <= 2


async def test_adopting_touches_nothing_and_copies_history_in_silence(it: OnWaha) -> None:
    session = it.waha.sessions.have("shop", PHONE)
    for number in range(120):
        it.waha.sessions.message(session, f"3EB0OLD{number:09}", CHAT, f"old {number}", mine=False, at=1e9 + number)
    await it.make()
    await it.until("shop", "WORKING")
    assert it.waha.called("^(POST|PUT|DELETE)") == []

    async def count() -> int:
        return sum([len(await it.node.gateway.messages("shop", None, 50, skip, {})) for skip in (0, 50, 100)])

    async with asyncio.timeout(20):
        while await count() < 120:
            await asyncio.sleep(0.02)
    it.waha.receive("shop", "new")
    it.waha.hooks.sent.clear()
    async with asyncio.timeout(20):
        while "new" not in await heard(it):  # told when its page is read: this WAHA knows of no webhook of ours
            await asyncio.sleep(0.02)
    assert await heard(it) == ["new"], "history was told as if it had just come"
    pages = [call.query for call in it.waha.called("GET .*/messages$")]
    assert {int(page["limit"]) for page in pages} == {50}


async def test_a_session_moves_to_baileys_and_back_with_its_history_and_settings(it: OnWaha) -> None:
    await it.make(metadata={"shop": "1"})
    await it.until("shop", "SCAN_QR_CODE")
    it.waha.sessions.scan("shop", PHONE)
    await it.until("shop", "WORKING")
    it.waha.receive("shop", "from WAHA")
    await it.has("from WAHA")
    moved = await it.http.post("/api/holdfast/sessions/shop/engine", json={"engine": "baileys"})
    assert moved.status_code == 200, moved.text
    await it.until("shop", "SCAN_QR_CODE")
    assert "QR" in (await it.view()).message
    it.scripted.scan("shop", PHONE)
    await it.until("shop", "WORKING")
    assert (await it.send("by Baileys")).status_code == 201
    back = await it.http.post("/api/holdfast/sessions/shop/engine", json={"engine": "waha", "server": "main"})
    assert back.status_code == 200, back.text
    await it.until("shop", "SCAN_QR_CODE")
    it.waha.sessions.scan("shop", PHONE)
    await it.until("shop", "WORKING")
    assert (await it.send("by WAHA")).status_code == 201
    await it.has("from WAHA", "by Baileys", "by WAHA")
    assert it.waha.texts(CHAT) == ["by WAHA"]
    assert (await it.http.get("/api/sessions/shop")).json()["config"]["metadata"] == {"shop": "1"}
    there = await it.http.post("/api/holdfast/sessions/shop/engine", json={"engine": "waha", "server": "main"})
    assert there.status_code == 400, there.text


async def test_a_proxy_is_refused_where_waha_makes_the_connection(it: OnWaha) -> None:
    proxy = {"server": "proxy.example.com:3128", "username": "u", "password": "p"}
    waha = {"engine": "waha", "server": "main"}

    async def refused(method: str, path: str, body: Any) -> None:
        answer = await it.http.request(method, path, json=body)
        assert answer.status_code == 422, answer.text
        assert "config.proxy" in answer.json()["message"]
        assert "WAHA" in answer.json()["message"]

    await refused("POST", "/api/sessions", {"name": "shop", "config": {"proxy": proxy, "holdfast": waha}})
    await it.make(name="shop")
    await refused("PUT", "/api/sessions/shop", {"config": {"proxy": proxy}})
    own = {"name": "own", "start": False, "config": {"proxy": proxy, "holdfast": {"engine": "baileys"}}}
    assert (await it.http.post("/api/sessions", json=own)).status_code == 201
    await refused("POST", "/api/holdfast/sessions/own/engine", waha)
    assert not [call for call in it.waha.calls if "proxy.example.com" in str(call)]


async def test_stop_start_logout_and_delete_are_done_at_waha(it: OnWaha) -> None:
    await it.link()
    there = it.waha.sessions.all
    await it.http.post("/api/sessions/shop/stop")
    await it.seen(lambda: there["shop"].status == "STOPPED")
    await it.http.post("/api/sessions/shop/start")
    await it.until("shop", "WORKING")
    await it.http.post("/api/sessions/shop/logout")
    await it.seen(lambda: not there["shop"].phone)
    await it.until("shop", "SCAN_QR_CODE")
    it.waha.sessions.scan("shop", "40799000111")
    await it.until("shop", "WORKING")
    me = (await it.http.get("/api/sessions/shop/me")).json()
    assert me["id"] == "40799000111@c.us"
    assert (await it.http.delete("/api/sessions/shop")).status_code == 200
    await it.seen(lambda: "shop" not in there)
    assert it.waha.called("PUT") == []


# --- webhooks -------------------------------------------------------------------------------------------------------


async def test_two_hooks_and_repeats_are_one_event_each(it: OnWaha) -> None:
    it.waha.hook(f"{it.url}/api/holdfast/waha/main/events", HOOK_KEY)  # a global one, beside the session's own
    await it.link()
    it.waha.hooks.twice = 10**6
    for text in ("one", "two", "three"):
        it.waha.receive("shop", text)
    await it.has("one", "two", "three")
    sent = await it.send("four")
    own = sent.json()["holdfast"]["id"]
    async with asyncio.timeout(20):
        while f"{own} 2" not in (acks := await heard(it, "message.ack")):
            await asyncio.sleep(0.02)
    it.waha.hooks.twice = 0
    for envelope in list(it.waha.hooks.sent):
        await it.waha.hooks.again(envelope)
    assert sorted(await heard(it)) == ["four", "one", "three", "two"]
    assert await heard(it, "message.ack") == acks
    assert len(acks) == len(set(acks))


async def test_acknowledgements_out_of_order_only_move_forward(it: OnWaha) -> None:
    await it.link()
    it.waha.acks = (1,)
    own = (await it.send("hello")).json()["holdfast"]["id"]
    it.waha.hooks.held = True
    for level in (2, 3):
        it.waha.sessions.ack(it.waha.sessions.all["shop"], own, level)
    it.waha.hooks.release(backwards=True)

    async def state() -> str:
        return (await it.node.gateway.outgoing("shop", own)).state

    async with asyncio.timeout(20):
        while await state() != "read":
            await asyncio.sleep(0.02)
    await it.seen(lambda: [status for _, status in it.waha.hooks.answers[-2:]] == [200, 200])
    async with asyncio.timeout(20):
        while await it.store.inbox_pending("shop", 10):
            await asyncio.sleep(0.02)
    assert await state() == "read"


async def test_what_no_webhook_told_is_read_from_its_page(it: OnWaha) -> None:
    await it.link()
    it.waha.hooks.lose = 10**6
    it.waha.receive("shop", "lost")
    await it.has("lost")
    assert await heard(it) == ["lost"]
    sent = await it.send("its acknowledgement is lost too")
    assert (sent.status_code, sent.json()["holdfast"]["state"]) == (201, "sent")


async def test_webhooks_that_are_none(it: OnWaha) -> None:
    await it.adopt()
    for body, key, server, status in [
        (b'{"event": "message", "session": "shop"}', "another", "main", 401),
        (b'{"event": "message", "session": "shop"}', HOOK_KEY, "nowhere", 404),
        (b"no json", HOOK_KEY, "main", 400),
        (b"[]", HOOK_KEY, "main", 400),
        (b'{"event": "message"}', HOOK_KEY, "main", 400),
        (b'{"event": "message", "session": "nobody", "payload": {}}', HOOK_KEY, "main", 200),
        (b'{"event": "message", "session": "shop", "payload": {"body": "no id"}}', HOOK_KEY, "main", 200),
        (b'{"event": "message", "session": "shop", "payload": 7}', HOOK_KEY, "main", 200),
        (b'{"event": "never.heard.of", "session": "shop", "payload": {"id": "x"}}', HOOK_KEY, "main", 200),
    ]:
        answer = await signed(it, body, key, server)
        assert answer.status_code == status, (body, answer.text)
    assert await heard(it) == []
    assert (await it.view()).status == "WORKING"


async def test_a_webhook_is_taken_only_when_it_is_stored(it: OnWaha, monkeypatch: pytest.MonkeyPatch) -> None:
    await it.link()
    write, refused = it.store.write_engine, 2

    async def failing(*args: Any, **more: Any) -> Any:
        nonlocal refused
        if refused:
            refused -= 1
            raise StoreUnavailable
        return await write(*args, **more)

    monkeypatch.setattr(it.store, "write_engine", failing)
    it.waha.receive("shop", "not lost")
    await it.has("not lost")
    told = [status for id_, status in it.waha.hooks.answers if status != 200]
    assert told == [503, 503], it.waha.hooks.answers


# --- what recovers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", [True, False], ids=["by webhook", "by a look"])
async def test_failed_is_restarted(it: OnWaha, told: bool) -> None:
    await it.link()
    it.waha.hooks.lose = 0 if told else 10**6
    began = since()
    it.waha.sessions.become("shop", "FAILED")
    await it.holds(lambda view: view.status != "WORKING")
    await it.until("shop", "WORKING")
    assert [call.path for call in it.waha.called("^(POST|PUT|DELETE)", began)] == ["/api/sessions/shop/restart"]
    assert "waha_failed" in await it.codes()


async def test_a_session_that_restarts_do_not_help_is_made_anew_with_its_history(it: OnWaha) -> None:
    await it.link()
    it.waha.receive("shop", "before")
    await it.has("before")
    it.waha.sessions.broken.add("shop")
    it.waha.sessions.become("shop", "FAILED")
    await it.seen(lambda: bool(it.waha.called("DELETE .*/shop$")))
    assert len(it.waha.called("POST .*/restart$")) >= 3, "it was given up too soon"
    await it.until("shop", "SCAN_QR_CODE")
    assert await it.texts() == ["before"]
    it.waha.sessions.scan("shop", PHONE)
    await it.until("shop", "WORKING")
    assert await it.texts() == ["before"]


async def test_a_starting_that_does_not_move_is_restarted_then_made_anew(it: OnWaha) -> None:
    it.waha.sessions.stuck.add("shop")
    await it.make()
    await it.seen(lambda: len(it.waha.called("POST /api/sessions$")) == 2)
    order = [f"{call.method} {call.path}" for call in it.waha.called("^(POST|DELETE)")]
    assert order == [
        "POST /api/sessions",
        "POST /api/sessions/shop/restart",
        "DELETE /api/sessions/shop",
        "POST /api/sessions",
    ]
    it.waha.sessions.stuck.clear()
    it.waha.sessions.restart(it.waha.sessions.all["shop"])
    await it.until("shop", "SCAN_QR_CODE")


async def test_deleted_behind_our_back_is_missing_and_connect_makes_it_anew(it: OnWaha) -> None:
    await it.link()
    it.waha.receive("shop", "kept")
    await it.has("kept")
    it.waha.sessions.forget("shop")
    view = await it.holds(lambda view: view.status != "WORKING" and view.reason != "unverified")
    assert (view.status, view.reason, view.needs_qr) == ("FAILED", "waha_missing", True)
    began = since()
    await it.http.post("/api/sessions/shop/start")
    await it.until("shop", "SCAN_QR_CODE")
    assert [call.path for call in it.waha.called("^(POST|PUT)", began)] == ["/api/sessions"]
    it.waha.sessions.scan("shop", PHONE)
    await it.until("shop", "WORKING")
    assert await it.texts() == ["kept"]


async def test_unlinked_at_the_phone_needs_a_qr_which_no_look_renews(it: OnWaha) -> None:
    await it.link()
    it.waha.sessions.qr_lives = (0.1,) * 6
    it.waha.sessions.unlink("shop")
    await it.until("shop", "SCAN_QR_CODE")
    assert (await it.view()).needs_qr
    view = await it.holds(lambda view: view.status == "FAILED")  # its QR codes ran out
    assert view.needs_qr, view
    began = since()
    await it.node.gateway.wait_status("shop", until=frozenset({"WORKING"}), timeout=2.0)  # two looks and more
    assert [call.path for call in it.waha.called("^(POST|PUT|DELETE)", began)] == []
    it.waha.sessions.qr_lives = (60.0,)
    await it.http.post("/api/sessions/shop/start")  # a person does
    await it.until("shop", "SCAN_QR_CODE")


async def test_a_422_leads_to_one_recovery_and_the_message_goes_out_once(it: OnWaha) -> None:
    await it.link()
    it.waha.hooks.lose = 10**6
    began = since()
    it.waha.sessions.become("shop", "FAILED")
    sent = await it.send("after a 422")
    assert sent.status_code in (201, 202), sent.text
    await it.seen(lambda: it.waha.texts(CHAT) == ["after a 422"])
    assert len(it.waha.sent) == 1
    assert [call.path for call in it.waha.called("POST .*/(restart|start)$", began)] == ["/api/sessions/shop/restart"]


async def test_a_live_call_that_gets_422_is_made_once_more(it: OnWaha) -> None:
    await it.link()
    it.waha.hooks.lose = 10**6
    began = since()
    it.waha.sessions.become("shop", "FAILED")
    found = await it.http.get("/api/contacts/check-exists", params={"session": "shop", "phone": "40722000111"})
    assert (found.status_code, found.json()["numberExists"]) == (200, True)
    assert [call.status for call in it.waha.called("check-exists", began)] == [422, 200]
    assert len(it.waha.called("POST .*/restart$", began)) == 1


# --- sends in doubt ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("engine", "kind", "told"),
    [
        ("GOWS", "lost", False),
        ("GOWS", 500, True),
        ("WEBJS", "lost", True),
        ("WEBJS", "lost", False),
        ("WEBJS", "cut", True),
    ],
)
async def test_a_send_in_doubt_is_one_message(tmp_path: Path, engine: str, kind: int | str, told: bool) -> None:
    """WEBJS takes no ids of ours: there the text tells. `told`: by a webhook."""
    async with LittleWaha(engine=engine) as waha, on_waha(tmp_path, waha=waha) as it:
        await it.link()
        waha.fault(kind, "sendText", times=1)
        waha.hooks.lose = 0 if told else 10**6
        answer = await it.send("once")
        assert answer.status_code in (201, 202), answer.text
        own = answer.json()["holdfast"]["id"]
        async with asyncio.timeout(20):
            while (row := await it.node.gateway.outgoing("shop", own)).state not in ("sent", "delivered"):
                await asyncio.sleep(0.02)
        assert row.id == own
        assert [one["text"] for one in waha.sent] == ["once"]
        await it.has("once")


async def test_what_whatsapp_refuses_fails_and_is_not_tried_again(it: OnWaha) -> None:
    await it.link()
    it.waha.acks = (-1,)
    answer = await it.send("no")
    assert (answer.status_code, answer.json()["code"]) == (422, "failed")
    assert len(it.waha.sent) == 1


# --- servers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["drip", 500])
async def test_a_sick_server_is_trouble_for_its_own_sessions_only(tmp_path: Path, kind: int | str) -> None:
    async with LittleWaha(key="other") as other:
        servers = {"other": {"url": other.url, "api_key": "other", "webhook_key": HOOK_KEY}}
        async with on_waha(tmp_path, servers=servers) as it:
            await it.link()
            await it.link("far", "other", other)
            entries = len(await it.codes())
            other.fault(kind)
            await it.holds(lambda view: view.status != "WORKING", "far")
            waiting = await it.send("waits", "far")
            assert waiting.status_code in (202, 422), waiting.text
            assert (await it.send("goes")).status_code == 201
            other.faults.clear()
            await it.until("far", "WORKING", 40)
            assert len(await it.codes()) == entries, "the healthy server's session was struck too"
            assert other.called("^(PUT|DELETE)") == []


async def test_a_server_that_comes_back_finds_its_sessions_as_they_were(it: OnWaha) -> None:
    await it.link()
    await it.waha.down()
    await it.holds(lambda view: view.status != "WORKING")
    queued = await it.send("waits in the outbox")
    assert queued.status_code == 202, queued.text
    began = since()
    await it.waha.listen(it.waha.port)
    await it.until("shop", "WORKING", 40)
    await it.seen(lambda: it.waha.texts(CHAT) == ["waits in the outbox"])
    assert it.waha.called("^(PUT|DELETE)|restart|/start$", began) == []


async def test_a_wrong_key_is_said_and_not_tried_again(it: OnWaha) -> None:
    await it.link()
    it.waha.key = "changed"
    view = await it.holds(lambda view: view.status == "FAILED")
    assert (view.reason, view.needs_qr) == ("waha_key", False)
    assert "HOLDFAST_WAHA_SERVERS" in view.message
    asked = len(it.waha.calls)
    await it.node.gateway.wait_status("shop", until=frozenset({"WORKING"}), timeout=2.0)  # two looks and more
    assert len(it.waha.calls) == asked, "it was asked again and again"


@pytest.mark.parametrize(
    ("facts", "only_default", "reason", "words"),
    [
        ({"version": "2023.1.1"}, False, "waha_unsuitable", "2024.10"),
        ({}, True, "waha_only_default", "'default'"),
    ],
)
async def test_a_waha_that_cannot_do_it_is_said(
    tmp_path: Path, facts: dict[str, str], only_default: bool, reason: str, words: str
) -> None:
    async with LittleWaha(**facts) as waha, on_waha(tmp_path, waha=waha) as it:
        waha.sessions.only_default = only_default
        await it.make()
        view = await it.holds(lambda view: view.status == "FAILED")
        assert (view.reason, words in view.message) == (reason, True), view


async def test_names_and_servers_that_there_are_not(it: OnWaha) -> None:
    for made, words in [
        (await it.make("a.b"), "WAHA takes letters"),
        (await it.make("shop", "nowhere"), "no WAHA server 'nowhere'"),
    ]:
        assert made.status_code in (400, 422), made.text
        assert words in str(made.json()["message"])
    assert it.waha.calls == []


async def test_another_server_behind_a_path(tmp_path: Path) -> None:
    async with LittleWaha(prefix="/behind/a/proxy") as waha, on_waha(tmp_path, waha=waha) as it:
        await it.link()
        assert (await it.send("hello")).status_code == 201


async def test_an_event_of_another_session_changes_nothing(it: OnWaha) -> None:
    await it.link()
    await it.link("second")
    body = json.dumps({"event": "session.status", "session": "second", "payload": {"status": "FAILED"}}).encode()
    assert (await signed(it, body)).status_code == 200  # a claim only: WAHA is asked, and says otherwise
    it.waha.receive("second", "here")
    await it.has("here", name="second")
    assert [(await it.view(name)).status for name in ("shop", "second")] == ["WORKING", "WORKING"]
