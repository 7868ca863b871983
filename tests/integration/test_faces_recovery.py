"""`/api/v1/waha` over the real HTTP server: what a client does that gets our 422, and what it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.integration.test_faces_accounts import PICTURE, refused
from tests.support.served import Served, check

DATA = {"status", "name", "needsQR", "message", "verifiedAt", "recovery", "breaker", "queue"}


async def ask(it: Served, method: str, what: str, session: str = "default") -> Any:
    params = {} if session == "default" else {"session": session}
    answer = await it.http.request(method, f"/api/v1/waha/{what}", params=params)
    assert answer.status_code == 200, answer.text
    assert answer.json()["success"] is True
    return answer.json()["data"]


def test_a_client_that_gets_422_recovers_and_its_message_goes_out_once(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked("default")
        await it.http.post("/api/sessions/default/stop")
        text = {"session": "default", "chatId": "40722000111@c.us", "text": "once"}
        answer = await it.http.post("/api/sendText", json=text)
        assert (answer.status_code, answer.json()["error"][:37]) == (422, "Session status is not as expected. St")
        told = await ask(it, "POST", "auto-recover")
        assert told == {
            "message": "Session auto-recovery completed.",
            "previousStatus": "STOPPED",
            "currentStatus": "WORKING",
            "needsQR": False,
        }
        assert (await it.http.post("/api/sendText", json=text)).status_code == 201
        assert [text for _, _, text in it.engine.sent] == ["once"]

    check(tmp_path, body)


def test_after_a_logout_auto_recover_shows_a_qr_and_the_message_goes_out_once(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked("shop")
        it.engine.close_with("shop", 401)
        await it.until("shop", "FAILED")
        text = {"accountId": "shop", "to": "+40722000111", "message": "once"}
        refused(await it.http.post("/api/whatsapp/send-message", json=text), 422, "wrong_status", "not as expected")
        now = await ask(it, "GET", "status", "shop")
        assert (now["status"], now["needsQR"]) == ("FAILED", True)
        told = await ask(it, "POST", "auto-recover", "shop")
        assert (told["previousStatus"], told["currentStatus"], told["needsQR"]) == ("FAILED", "SCAN_QR_CODE", True)
        assert (await ask(it, "GET", "qr", "shop"))["qr"].startswith(PICTURE)
        it.engine.scan("shop")
        await it.until("shop", "WORKING")
        assert (await it.http.post("/api/whatsapp/send-message", json=text)).status_code == 200
        assert [text for _, _, text in it.engine.sent] == ["once"]

    check(tmp_path, body)


def test_status_and_health_tell_what_is(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked("default")
        now = await ask(it, "GET", "status")
        assert now.keys() == DATA
        assert (now["status"], now["name"], now["needsQR"]) == ("WORKING", "default", False)
        assert now["verifiedAt"] > 1e9
        assert now["recovery"] == {"attempts": 0, "lastAt": None, "lastOutcome": None}
        it.engine.close_with("default", 503)
        await it.until("default", "STARTING")
        await it.until("default", "WORKING")
        told = (await ask(it, "GET", "status"))["recovery"]
        assert (told["attempts"], told["lastOutcome"]) == (1, "WORKING")
        health = await ask(it, "GET", "health")
        assert health.keys() == {"engine", "breaker", "queue", "memory"}
        assert health["memory"]["instance"] > 10e6

    check(tmp_path, body)


def test_a_restart_leaves_it_linked(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked("default")
        told = await ask(it, "POST", "restart")
        assert (told["previousStatus"], told["currentStatus"]) == ("WORKING", "WORKING")
        assert [what for _, what, _ in it.engine.log if what in ("login", "pair")] == ["pair", "login", "login"]

    check(tmp_path, body)


def test_an_engine_that_cannot_be_reached_is_503(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        it.engine.facts = lambda: {"reachable": False, "breaker": {"state": "open", "failures": 5}}  # type: ignore[method-assign]
        answer = await it.http.get("/api/v1/waha/health")
        assert refused(answer, 503, "engine_unavailable")["data"]["breaker"]["state"] == "open"
        assert answer.headers["retry-after"] == "5"

    check(tmp_path, body)


def test_what_cannot_be(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        for method, what in (("GET", "status"), ("POST", "auto-recover"), ("POST", "restart"), ("GET", "qr")):
            answer = await it.http.request(method, f"/api/v1/waha/{what}", params={"session": "nobody"})
            refused(answer, 404, "session_not_found", "nobody")
        assert (await it.http.get("/api/v1/waha/health", params={"session": "nobody"})).status_code == 200
        await it.linked("default")
        assert refused(await it.http.get("/api/v1/waha/qr"), 422, "wrong_status")["status"] == "WORKING"

    check(tmp_path, body)
