"""The outbox over REST: scheduled, listed, told of, cancelled; and what is refused, with which sentence."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from tests.support.served import Served, check

CHAT = "40712345670@c.us"


async def send(it: Served, key: str | None = None, **more: Any) -> httpx.Response:
    body = {"session": "shop", "chatId": CHAT, "text": "hello", **more}
    return await it.http.post("/api/sendText", json=body, headers={"Idempotency-Key": key} if key else {})


async def story(it: Served, id: str) -> dict[str, Any]:
    answer = await it.http.get(f"/api/holdfast/messages/{id}", params={"session": "shop"})
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def test_a_scheduled_message_is_listed_told_of_and_cancelled(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked()
        due = datetime.now(UTC) + timedelta(hours=2)
        answer = await send(it, send_at=due.isoformat(), expires_in=3600)
        assert answer.status_code == 202
        facts = answer.json()["holdfast"]
        assert (facts["state"], facts["send_at"]) == ("queued", due.timestamp())
        assert facts["expires_at"] == due.timestamp() + 3600
        (listed,) = (await it.http.get("/api/holdfast/sessions/shop/outbox")).json()
        assert (listed["id"], listed["chat"], listed["state"]) == (facts["id"], CHAT, "queued")
        assert (listed["waits_for"]["code"], listed["waits_for"]["until"]) == ("scheduled", due.timestamp())
        assert "hello" not in str(listed)
        gone = await it.http.delete(f"/api/holdfast/messages/{facts['id']}", params={"session": "shop"})
        assert (gone.status_code, gone.json()["state"]) == (200, "cancelled")
        assert (await it.http.get("/api/holdfast/sessions/shop/outbox")).json() == []
        told = await story(it, answer.json()["id"])  # WAHA's serialized id
        assert [step["state"] for step in told["story"]] == ["queued", "cancelled"]
        assert told["story"][1]["message"] == told["message"] == "Cancelled before it was sent."
        (found,) = (await it.http.get("/api/holdfast/sessions/shop/outbox?state=cancelled&state=failed")).json()
        assert found["id"] == facts["id"]

    check(tmp_path, body)


def test_a_sent_message_cannot_be_cancelled_and_its_key_is_kept(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked()
        first = await send(it, "key-1")
        assert first.status_code == 201
        again = await send(it, "key-1")
        assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])
        for more in ({"text": "other"}, {"chatId": "40712345671@c.us"}, {"expires_in": 60}):
            other = await send(it, "key-1", **more)
            assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict"), other.text
        assert len(it.engine.sent) == 1
        late = await it.http.delete(f"/api/holdfast/messages/{first.json()['id']}", params={"session": "shop"})
        assert (late.status_code, late.json()["code"]) == (409, "too_late")
        assert late.json()["message"] == "Too late to cancel: the message is sent."
        told = await story(it, first.json()["holdfast"]["id"])
        assert [(step["state"], step["attempts"]) for step in told["story"]] == [("sending", 1), ("sent", 1)]
        assert (told["waits_for"], told["idempotency_key"]) == (None, "key-1")

    check(tmp_path, body)


def test_bad_input_is_refused_with_a_sentence_and_stores_nothing(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked()
        bad: list[tuple[dict[str, Any], str]] = [
            ({"send_at": time.time() - 60}, "in the past"),
            ({"send_at": "2020-01-01T00:00:00Z"}, "in the past"),
            ({"send_at": "tomorrow"}, "send_at is no time"),
            ({"send_at": "2030-01-01T00:00:00"}, "time zone"),
            ({"send_at": ""}, "send_at is no time"),
            ({"send_at": -5}, "send_at is no time"),
            ({"send_at": 4102444800000}, "in seconds"),
            ({"send_at": True}, "send_at"),
            ({"send_at": ["2030-01-01T00:00:00Z"]}, "send_at"),
            ({"expires_in": 0}, "expires_in"),
            ({"expires_in": "soon"}, "expires_in"),
            ({"expires_at": time.time() - 60}, "expires_at"),
            ({"expires_at": "x"}, "expires_at is no time"),
            ({"expires_in": 60, "expires_at": time.time() + 60}, "not both"),
            ({"queue": "maybe"}, "queue"),
            ({"id": "no id at all"}, "8 to 64 letters and digits"),
        ]
        for more, says in bad:
            answer = await send(it, **more)
            assert answer.status_code in (400, 422), (more, answer.text)
            assert says in str(answer.json()["message"]), (more, answer.text)
        every = ("queued", "sending", "sent", "failed", "expired", "cancelled")
        listed = await it.http.get("/api/holdfast/sessions/shop/outbox", params={"state": every})
        assert (listed.status_code, listed.json()) == (200, [])
        assert it.engine.sent == []

    check(tmp_path, body)


def test_what_is_no_message_is_not_found(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked()
        for method in ("GET", "DELETE"):
            for id_ in ("nope", "true_40712345670@c.us_3EB0FFFF", "a" * 500, "%F0%9F%90%B4", "'; DROP TABLE outbox"):
                answer = await it.http.request(method, f"/api/holdfast/messages/{id_}", params={"session": "shop"})
                assert (answer.status_code, answer.json()["code"]) == (404, "message_not_found"), (id_, answer.text)
            nul = await it.http.request(method, "/api/holdfast/messages/a%00b", params={"session": "shop"})
            assert nul.status_code == 400
            nobody = await it.http.request(method, "/api/holdfast/messages/3EB0", params={"session": "nobody"})
            assert (nobody.status_code, nobody.json()["code"]) == (404, "session_not_found")
        for path in ("nobody/outbox", "shop/outbox?state=gone", "shop/outbox?limit=0", "shop/outbox?before=x"):
            answer = await it.http.get(f"/api/holdfast/sessions/{path}")
            assert answer.status_code in (400, 404), (path, answer.text)

    check(tmp_path, body)


def test_limits_and_deadline_of_a_session_are_checked_kept_and_in_force(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked()
        for own in (
            {"pacing": {"messages_per_minute": 0}},
            {"pacing": {"messages_per_minute": 1.5}},
            {"pacing": {"new_chats_per_day": -1}},
            {"pacing": {"new_chats_per_day": 10**9}},
            {"pacing": {"jitter": -1}},
            {"pacing": {"per_hour": 5}},
            {"expires_in": 0},
            {"queue": "yes"},
        ):
            answer = await it.http.put("/api/sessions/shop", json={"config": {"holdfast": own}})
            assert answer.status_code == 400, (own, answer.text)
        own = {"pacing": {"messages_per_minute": 2, "new_chats_per_day": 50}, "expires_in": 1800.0, "queue": True}
        answer = await it.http.put("/api/sessions/shop", json={"config": {"holdfast": own}})
        assert answer.json()["config"]["holdfast"] == own
        sent = [await it.node.gateway.send("shop", CHAT, {"type": "text", "text": "x"}, wait=w) for w in (5, 5, 0.2)]
        assert [row.state for row in sent] == ["sent", "sent", "queued"]
        assert abs(sent[2].expires_at - sent[2].created_at - 1800) < 1
        told = await story(it, sent[2].id)
        assert told["waits_for"]["code"] == "pacing"
        assert 50 < told["waits_for"]["until"] - time.time() <= 60
        await it.http.post("/api/sessions/shop/stop")
        assert (await send(it)).status_code == 202
        assert (await send(it, queue=False)).status_code == 422

    check(tmp_path, body)


def test_the_description_of_the_api_tells_of_it(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        told = (await it.http.get("/docs/openapi.json")).json()
        assert set(told["paths"]["/api/holdfast/messages/{message_id}"]) == {"get", "delete"}
        assert "get" in told["paths"]["/api/holdfast/sessions/{session}/outbox"]
        fields = told["components"]["schemas"]["SendText"]["properties"]
        assert {"send_at", "expires_at", "expires_in", "queue"} <= set(fields)

    check(tmp_path, body)
