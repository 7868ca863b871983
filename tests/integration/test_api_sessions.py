"""A session's life over the real HTTP server, in WAHA's shapes."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import websockets

from tests.support.served import KEY, Served, check

PNG = b"\x89PNG\r\n\x1a\n"
CHAT = "40722000111@c.us"


def test_a_session_is_linked_by_qr(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        made = await it.http.post("/api/sessions", json={"name": "shop", "config": {"metadata": {"a": "b"}}})
        assert made.status_code == 201
        assert made.json()["config"]["metadata"] == {"a": "b"}
        image = await it.http.get("/api/shop/auth/qr")
        assert image.headers["content-type"] == "image/png", image.text
        assert image.content.startswith(PNG)
        both = await it.http.get("/api/shop/auth/qr", headers={"Accept": "application/json"})
        assert both.json()["mimetype"] == "image/png"
        assert base64.b64decode(both.json()["data"]).startswith(PNG)
        raw = (await it.http.get("/api/shop/auth/qr?format=raw")).json()
        assert list(raw) == ["value"]
        assert (await it.http.get("/api/sessions/shop/me")).json() is None
        it.engine.scan("shop", "40733222111")
        view = await it.until("shop", "WORKING")
        assert view["me"] == {"id": "40733222111@c.us", "lid": "407332221111@lid", "pushName": "Ana"}
        assert (await it.http.get("/api/sessions/shop/me")).json() == view["me"]
        full = (await it.http.get("/api/holdfast/sessions/shop")).json()
        assert full["verified_at"] >= full["since"] - 1
        assert (full["owner"], full["needs_qr"], full["reason"]) == ("test-instance", False, "working")
        codes = [row["status"] for row in (await it.http.get("/api/holdfast/sessions/shop/timeline")).json()]
        assert codes[0] == "WORKING"
        assert "SCAN_QR_CODE" in codes

    check(tmp_path, body)


def test_a_session_is_linked_by_code(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.http.post("/api/sessions", json={"name": "shop"})
        answer = await it.http.post("/api/shop/auth/request-code", json={"phoneNumber": "+40 733 222 111"})
        assert (answer.status_code, answer.json()) == (201, {"code": "ABCD-1234"})

    check(tmp_path, body)


def test_stop_start_restart_logout_delete(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked()
        stopped = await it.http.post("/api/sessions/shop/stop")
        assert (stopped.status_code, stopped.json()["status"]) == (201, "STOPPED")
        assert (await it.http.get("/api/sessions")).json() == []
        assert [s["name"] for s in (await it.http.get("/api/sessions?all=true")).json()] == ["shop"]
        logged_out = await it.http.post("/api/sessions/shop/logout")
        assert logged_out.status_code == 201
        assert (await it.http.get("/api/sessions/shop/me")).status_code == 200
        assert (await it.http.delete("/api/sessions/shop")).status_code == 200
        assert (await it.http.get("/api/sessions/shop")).status_code == 404

    check(tmp_path, body)


def test_a_logout_of_a_running_session_shows_a_new_qr_that_any_phone_may_scan(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        config = {"metadata": {"a": "b"}}
        assert (await it.http.post("/api/sessions", json={"name": "shop", "config": config})).status_code == 201
        await it.until("shop", "SCAN_QR_CODE")
        it.engine.scan("shop")
        await it.until("shop", "WORKING")
        first = (await it.http.post("/api/sendText", json={"session": "shop", "chatId": CHAT, "text": "one"})).json()
        for phone, chats in (("40712345678", [CHAT]), ("40799000111", [])):
            out = await it.http.post("/api/sessions/shop/logout")
            assert (out.status_code, out.json()["config"], "holdfast" in out.json()) == (201, config, False)
            assert out.json()["status"] in ("STARTING", "SCAN_QR_CODE")
            await it.until("shop", "SCAN_QR_CODE")
            it.engine.scan("shop", phone)
            await it.until("shop", "WORKING")
            assert [one["id"] for one in (await it.http.get("/api/shop/chats")).json()] == chats
        rows = (await it.http.get("/api/holdfast/sessions/shop/timeline")).json()
        ways = [row["status"] for row in reversed(rows)]
        out_at = [number for number, row in enumerate(reversed(rows)) if row["code"] == "logged_out"]
        assert [ways[at : at + 3] for at in out_at] == [["STOPPED", "STARTING", "SCAN_QR_CODE"]] * 2
        apart = [one for one in (await it.http.get("/api/sessions?all=true")).json() if one["name"] != "shop"]
        assert len(apart) == 1
        kept = (await it.http.get(f"/api/{apart[0]['name']}/chats/{CHAT}/messages")).json()
        assert [one["id"] for one in kept] == [first["id"]]

    check(tmp_path, body)


def test_a_logout_of_a_stopped_session_says_that_the_phone_still_lists_the_device(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked()
        await it.http.post("/api/sessions/shop/stop")
        out = (await it.http.post("/api/sessions/shop/logout")).json()
        assert out["status"] == "STOPPED"
        (note,) = out["holdfast"]["notes"]
        assert "the phone still lists this device" in note
        assert not (await it.node.gateway.session("shop")).linked
        bare = {"content": b"", "headers": {"Content-Type": "application/json"}}
        assert (await it.http.post("/api/sessions/shop/logout", **bare)).status_code == 201
        again = (await it.http.post("/api/sessions/shop/logout", json={})).json()
        assert (again["status"], "holdfast" in again) == ("STOPPED", False)
        assert (await it.http.post("/api/sessions/none/logout")).status_code == 404
        await it.http.post("/api/sessions/shop/start")
        await it.until("shop", "SCAN_QR_CODE")

    check(tmp_path, body)


def test_an_account_of_a_phone_takes_only_that_phone_after_a_logout(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        added = await it.http.post("/api/whatsapp/add-account", json={"phone": "+40712345678"})
        name = added.json()["accountId"]
        await it.http.post(f"/api/sessions/{name}/start")
        await it.until(name, "SCAN_QR_CODE")
        it.engine.scan(name, "40712345678")
        await it.until(name, "WORKING")
        assert (await it.http.post(f"/api/sessions/{name}/logout")).status_code == 201
        await it.until(name, "SCAN_QR_CODE")
        it.engine.scan(name, "40799000111")
        await it.until(name, "FAILED")
        facts = (await it.http.get(f"/api/holdfast/sessions/{name}")).json()
        assert facts["reason"] == "another_number"

    check(tmp_path, body)


CONFIG = {
    "debug": True, "client": {"browserName": "Firefox"}, "noweb": {"store": {"enabled": False}},
    "webhooks": [{"url": "http://127.0.0.1:9/", "events": ["message", "presence.update"]}],
}  # fmt: skip
EFFECTLESS = ["`debug`", "`noweb.store.enabled`", "`webhooks[0].events`: `presence.update`"]


def test_every_way_to_configure_a_session_names_what_has_no_effect(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        app = {"id": "a", "session": "shop", "app": "chatwoot", "config": {}}
        made = await it.http.post(
            "/api/sessions", json={"name": "shop", "start": False, "config": CONFIG, "apps": [app]}
        )
        assert made.status_code == 201, made.text
        changed = await it.http.put("/api/sessions/shop", json={"config": CONFIG, "apps": []})
        started = await it.http.post("/api/sessions/start", json={"name": "shop", "config": CONFIG})
        shown = await it.http.get("/api/sessions/shop")
        for answer, more in ((made, 1), (changed, 0), (started, 0), (shown, 0)):
            said = answer.json()["holdfast"]["notes"]
            assert len(said) == len(EFFECTLESS) + more, said
            assert all(note.startswith(begin) for note, begin in zip(said, EFFECTLESS, strict=False)), said
        assert made.json()["holdfast"]["notes"][-1].startswith("`apps` has no effect")
        stopped = (await it.http.post("/api/sessions/shop/stop")).json()
        assert "holdfast" not in stopped, "what was not asked for is not repeated"
        out = (await it.http.post("/api/sessions/shop/logout", json={"apps": {"purge": True}})).json()
        assert out["holdfast"]["notes"][-1].startswith("`apps` has no effect")

    check(tmp_path, body)


def test_what_is_no_option_is_refused_with_its_path_and_changes_nothing(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        assert (await it.http.post("/api/sessions", json={"name": "shop", "start": False})).status_code == 201
        for config, said in (
            ({"nowebb": {}}, "config"),
            ({"noweb": {"store": {"enable": True}}}, "config.noweb.store"),
            ({"noweb": {"markOnline": "yes"}}, "config.noweb.markOnline"),
            ({"webhooks": [{"url": "http://x/", "events": ["*"], "hmac": {"Key": "x"}}]}, "config.webhooks[0].hmac"),
            ({"webhooks": [{"url": "http://x/", "events": ["mesage"]}]}, "config.webhooks[0].events"),
        ):
            for method, path, extra in (
                ("POST", "/api/sessions", {"name": "other"}),
                ("PUT", "/api/sessions/shop", {}),
                ("POST", "/api/sessions/start", {"name": "other"}),
            ):
                answer = await it.http.request(method, path, json={**extra, "config": config})
                assert answer.status_code == 400, answer.text
                assert said in answer.text, answer.text
        refused = await it.http.put("/api/sessions/shop", json={"name": "other", "config": {}})
        assert (refused.status_code, "name:" in refused.text) == (400, True)
        assert (await it.http.put("/api/sessions/shop", json={"name": "shop", "config": {}})).status_code == 200
        assert [one["name"] for one in (await it.http.get("/api/sessions?all=true")).json()] == ["shop"]

    check(tmp_path, body)


def test_default_is_deleted_and_started_anew(tmp_path: Path) -> None:
    """S1.n: start makes `default`, and no other name."""

    async def body(it: Served) -> None:
        await it.linked("default")
        assert (await it.http.delete("/api/sessions/default")).status_code == 200
        assert (await it.http.get("/api/sessions/default")).status_code == 404
        assert (await it.http.post("/api/sessions/other/start")).status_code == 404
        assert (await it.http.post("/api/sessions/default/start")).status_code == 201
        await it.until("default", "SCAN_QR_CODE")

    check(tmp_path, body)


def test_a_message_is_sent_once(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked()
        message = {"session": "shop", "chatId": CHAT, "text": "hello", "id": "3EB0AAAABBBBCCCC"}
        sent = await it.http.post("/api/sendText", json=message)
        assert sent.status_code == 201, sent.text
        shape = sent.json()
        assert shape["id"] == f"true_{CHAT}_3EB0AAAABBBBCCCC"
        assert (shape["ack"], shape["ackName"], shape["to"], shape["body"]) == (1, "SERVER", CHAT, "hello")
        assert (await it.http.post("/api/sendText", json=message)).json()["id"] == shape["id"], "one id is one message"
        assert (await it.http.post("/api/sendText", json={**message, "text": "other"})).status_code == 409
        again = {"session": "shop", "chatId": CHAT, "text": "once"}
        ids = {
            (await it.http.post("/api/sendText", json=again, headers={"Idempotency-Key": "k1"})).json()["id"]
            for _ in range(3)
        }
        assert len(ids) == 1
        other = await it.http.post(
            "/api/sendText", json={**again, "text": "not once"}, headers={"Idempotency-Key": "k1"}
        )
        assert other.status_code == 409
        assert [text for _, _, text in it.engine.sent] == ["hello", "once"]
        story = (await it.http.get("/api/holdfast/messages/3EB0AAAABBBBCCCC?session=shop")).json()
        assert (story["state"], story["attempts"]) == ("sent", 1)

    check(tmp_path, body)


def test_sent_messages_are_listed_in_wahas_shape(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked()
        for number in range(60):
            chat = f"40722000{number:03}@c.us" if number < 30 else CHAT
            sent = await it.http.post("/api/sendText", json={"session": "shop", "chatId": chat, "text": f"n{number}"})
            assert sent.status_code == 201
            assert required_of_a_message <= sent.json().keys()
        chats = (await it.http.get("/api/shop/chats")).json()
        assert len(chats) == 25
        assert len({chat["id"] for chat in chats}) == 25
        overview = (await it.http.get("/api/shop/chats/overview?limit=2&offset=1")).json()
        assert [c["id"] for c in overview] == [c["id"] for c in chats[1:3]]
        page = (await it.http.get("/api/shop/chats/all/messages")).json()
        assert len(page) == 50
        rows = (await it.http.get(f"/api/shop/chats/{CHAT}/messages?limit=3")).json()
        assert [m["body"] for m in rows] == ["n59", "n58", "n57"]
        oldest = (await it.http.get(f"/api/shop/chats/{CHAT}/messages?limit=2&offset=1&sortOrder=asc")).json()
        assert [m["body"] for m in oldest] == ["n31", "n32"]
        read = await it.http.get(f"/api/shop/chats/{CHAT}/messages?filter.ack=READ")
        assert (read.status_code, read.json()) == (200, [])
        assert len((await it.http.get(f"/api/shop/chats/{CHAT}/messages?filter.ack=SERVER")).json()) == 30
        assert required_of_a_message <= rows[0].keys()
        one = (await it.http.get(f"/api/shop/chats/{CHAT}/messages/{rows[0]['id']}")).json()
        assert one["_data"].pop("raw") is None  # nothing was received: it is ours
        rows[0]["_data"].pop("raw", None)
        assert one == rows[0]
        assert (await it.http.get(f"/api/shop/chats/{CHAT}/messages/NOPE")).status_code == 404

    check(tmp_path, body)


required_of_a_message = {
    "id", "timestamp", "from", "fromMe", "source", "to", "participant", "body", "hasMedia", "mediaUrl", "ack", "ackName"
}  # fmt: skip


async def next_event(lines: Any, kind: str) -> tuple[str, dict[str, Any]]:
    number = ""
    async for line in lines:
        if line.startswith("id:"):
            number = line.removeprefix("id:").strip()
        if line.startswith("data:"):
            data = json.loads(line.removeprefix("data:"))
            if data["event"] == kind:
                return number, data
    raise AssertionError(f"the stream ended before {kind}")


def test_the_event_stream_goes_on_where_it_stood(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked()
        start = str(await it.store.log_end())
        send = {"session": "shop", "chatId": CHAT, "text": "live"}
        async with (
            asyncio.timeout(10),
            it.http.stream("GET", "/api/holdfast/events", headers={"Last-Event-ID": start}) as stream,
        ):
            await it.http.post("/api/sendText", json=send)
            first = await next_event(stream.aiter_lines(), "message.any")
        async with (
            asyncio.timeout(10),
            it.http.stream("GET", "/api/holdfast/events", headers={"Last-Event-ID": start}) as stream,
        ):
            assert await next_event(stream.aiter_lines(), "message.any") == first
        assert first[1]["payload"]["body"] == "live"
        assert first[1]["me"]["id"] == "40712345678@c.us"

    check(tmp_path, body)


def test_the_websocket_filters_and_needs_the_key(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked()
        url = it.url.replace("http", "ws") + "/ws?session=shop&events=message.any"
        async with asyncio.timeout(10):
            async with websockets.connect(f"{url}&after=0&x-api-key={KEY}") as socket:
                await it.http.post("/api/sendText", json={"session": "shop", "chatId": CHAT, "text": "live"})
                event = json.loads(await socket.recv())
            assert (event["event"], event["payload"]["body"]) == ("message.any", "live")
            refused: Exception | None = None
            try:
                async with websockets.connect(f"{url}&x-api-key=wrong") as socket:
                    await socket.recv()
            except websockets.exceptions.WebSocketException as error:
                refused = error
            assert refused is not None

    check(tmp_path, body)
