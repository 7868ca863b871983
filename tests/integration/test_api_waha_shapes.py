"""Our answers are read by the models that a client generated from WAHA's own description (waha-py), field by field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import websockets
from waha.generated import models

from tests.support.served import KEY, Served, check
from tests.support.waha_models import fits

CHAT = "40722000111@c.us"


def test_what_is_sent_and_listed_fits_wahas_models(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        http = it.http
        made = await http.post("/api/sessions", json={"name": "shop", "config": {"metadata": {"a": "b"}}})
        assert made.status_code == 201
        fits(models.SessionDTO, made.json())
        await it.until("shop", "SCAN_QR_CODE")
        fits(models.QRCodeValue, (await http.get("/api/shop/auth/qr?format=raw")).json())
        as_json = {"Accept": "application/json"}
        fits(models.Base64File, (await http.get("/api/shop/auth/qr", headers=as_json)).json())
        it.engine.scan("shop")
        await it.until("shop", "WORKING")
        for path, model in [
            ("/ping", models.PingResponse),
            ("/api/server/version", models.WAHAEnvironment),
            ("/api/version", models.WAHAEnvironment),
            ("/api/server/status", models.ServerStatusResponse),
            ("/api/sessions/shop", models.SessionInfo),
            ("/api/sessions/shop/me", models.MeInfo),
        ]:
            fits(model, (await http.get(path)).json())
        (listed,) = (await http.get("/api/sessions?all=true")).json()
        fits(models.SessionInfo, listed)
        sent = await http.post("/api/sendText", json={"session": "shop", "chatId": CHAT, "text": "hello"})
        assert sent.status_code == 201
        fits(models.WAMessage, sent.json())
        for path in (f"/api/shop/chats/{CHAT}/messages", "/api/shop/chats/all/messages"):
            (shown,) = (await http.get(path)).json()
            fits(models.WAMessage, shown)
            told = {key: value for key, value in sent.json().items() if key in shown and key != "timestamp"}
            assert told == {key: value for key, value in shown.items() if key != "timestamp"}
        (chat,) = (await http.get("/api/shop/chats/overview")).json()
        fits(models.ChatSummary, chat)
        for order in ("restart", "stop", "start", "logout"):
            answer = await http.post(f"/api/sessions/shop/{order}")
            assert answer.status_code == 201
            fits(models.SessionDTO, answer.json())
        changed = await http.put("/api/sessions/shop", json={"config": {"debug": True}})
        assert changed.status_code == 200
        fits(models.SessionDTO, changed.json())

    check(tmp_path, body)


def test_what_is_streamed_fits_wahas_models(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked()
        await it.http.post("/api/sendText", json={"session": "shop", "chatId": CHAT, "text": "hello"})
        wanted = {
            "session.status": models.WASessionStatusBody,
            "message.any": models.WAMessage,
            "message.ack": models.WAMessageAckBody,
        }
        url = it.url.replace("http", "ws")
        async with websockets.connect(f"{url}/ws?after=0&x-api-key={KEY}") as socket:
            left = set(wanted)
            while left:
                envelope = json.loads(await socket.recv())
                fits(wanted[envelope["event"]], envelope["payload"])
                fits(models.WAHAEnvironment, envelope["environment"])
                fits(models.MeInfo, envelope["me"])
                assert envelope["environment"]["worker"] == {"id": "test-instance"}
                assert {"id", "timestamp", "session", "metadata", "engine"} <= envelope.keys()
                left.discard(envelope["event"])

    check(tmp_path, body)


def test_every_field_of_a_text_is_done_or_refused(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked()

        async def send(**more: Any) -> Any:
            good = {"session": "shop", "chatId": CHAT, "text": "see https://example.com/"}
            return await it.http.post("/api/sendText", json={**good, **more})

        first = (await send()).json()
        assert "notes" not in first["holdfast"]
        reply = await send(reply_to=first["id"], mentions=["40733222111@c.us"])
        assert reply.status_code == 201
        assert reply.json()["replyTo"]["id"] == first["holdfast"]["id"]
        assert reply.json()["_data"]["mentions"] == ["40733222111@s.whatsapp.net"]
        fits(models.WAMessage, reply.json())
        newest = (await it.http.get(f"/api/shop/chats/{CHAT}/messages?limit=1")).json()[0]
        assert (newest["replyTo"], newest["_data"]) == (reply.json()["replyTo"], reply.json()["_data"])
        sent = len(it.engine.sent)
        for more, status, part in [
            ({"reply_to": "true_40722000111@c.us_NOSUCHMESSAGE"}, 404, "reply_to"),
            ({"mentions": ["somebody"]}, 422, "mentions: 'somebody'"),
            ({"mentions": "40733222111"}, 400, "mentions"),
            ({"linkPreviewHighQuality": True}, 422, "link preview"),
            ({"linkPreview": "perhaps"}, 400, "linkPreview"),
        ]:
            answer = await send(**more)
            assert (answer.status_code, part in str(answer.json()["message"])) == (status, True), answer.text
        assert len(it.engine.sent) == sent
        assert (await send(linkPreview=False, linkPreviewHighQuality=False)).status_code == 201
        noted = await send(linkPreview=True)
        assert (noted.status_code, "link preview" in noted.json()["holdfast"]["notes"][0]) == (201, True)

    check(tmp_path, body)


def test_a_text_that_is_asked_for_twice_under_one_id_is_one_message(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked()
        text = {"session": "shop", "chatId": CHAT, "text": "once", "id": "3EB0AA11223344556677"}
        first, again = [await it.http.post("/api/sendText", json=text) for _ in range(2)]
        assert (first.status_code, again.status_code) == (201, 201)
        assert first.json()["id"] == again.json()["id"]
        other = await it.http.post("/api/sendText", json={**text, "text": "another"})
        assert (other.status_code, other.json()["code"]) == (409, "duplicate_message_id"), other.text
        assert [sent[2] for sent in it.engine.sent] == ["once"]

    check(tmp_path, body)
