"""Bad input over the real HTTP server: each has a clear answer in WAHA's shape, and nothing of ours leaks out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from holdfast.domain.key_guesses import FREE
from tests.support.served import BODY_LIMIT, Served, check, served

CLOSED = [
    ("GET", "/api/sessions"),
    ("POST", "/api/sessions"),
    ("DELETE", "/api/sessions/default"),
    ("GET", "/api/shop/auth/qr"),
    ("POST", "/api/sendText"),
    ("GET", "/api/holdfast/events"),
    ("GET", "/health"),
    ("GET", "/api/server/version"),
    ("GET", "/docs"),
    ("GET", "/docs/openapi.json"),
    ("GET", "/no/such/path"),
    ("GET", "//api/sessions"),
    ("GET", "/static/../api/sessions"),
]


@pytest.mark.parametrize(
    "headers", [{}, {"X-Api-Key": "wrong"}, {"Authorization": "Bearer wrong"}, {"Cookie": "holdfast=9999999999.00"}]
)
def test_nothing_answers_without_the_key(tmp_path: Path, headers: dict[str, str]) -> None:
    async def body(it: Served) -> None:
        async with httpx.AsyncClient(base_url=it.url, headers=headers) as stranger:
            for number, (method, path) in enumerate(CLOSED):
                answer = await stranger.request(method, path)
                if "wrong" in repr(headers) and number >= FREE:
                    told(answer, 429, "Too many wrong keys")
                    continue
                assert answer.status_code == 401, (method, path, answer.status_code)
                assert answer.json() == {"message": "Unauthorized", "statusCode": 401}
            stranger.headers.clear()
            page = await stranger.get("/dashboard")
            assert (page.status_code, page.headers["location"]) == (303, "/login")

    check(tmp_path, body)


def test_what_is_open_is_open(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        async with httpx.AsyncClient(base_url=it.url) as stranger:
            assert (await stranger.get("/ping")).json() == {"message": "pong"}
            ready = await stranger.get("/api/status")
            assert (ready.status_code, list(ready.json())) == (200, ["ready"])
            assert "API key" in (await stranger.get("/login")).text
            assert (await stranger.get("/static/style.css")).headers["content-type"].startswith("text/css")

    check(tmp_path, body)


def told(answer: httpx.Response, status: int, part: str) -> dict[str, Any]:
    """The error body, after checking its shape: WAHA's, one sentence, no trace."""
    assert answer.status_code == status, answer.text
    said: dict[str, Any] = answer.json()
    assert said["statusCode"] == status
    assert isinstance(said["error"], str)
    assert part in str(said["message"]), said
    assert "Traceback" not in answer.text
    assert "/src/" not in answer.text
    return said


def test_sessions_that_cannot_be(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        http = it.http
        for method, path in [
            ("GET", ""),
            ("PUT", ""),
            ("POST", "/start"),
            ("POST", "/restart"),
            ("POST", "/stop"),
            ("POST", "/logout"),
            ("GET", "/me"),
        ]:
            answer = await http.request(method, f"/api/sessions/nobody{path}", json={} if method != "GET" else None)
            told(answer, 404, "nobody")
        assert (await http.delete("/api/sessions/nobody")).status_code == 200
        assert (await http.post("/api/sessions", json={"name": "shop", "start": False})).status_code == 201
        told(await http.post("/api/sessions", json={"name": "shop"}), 422, "PUT")
        for name in ("../x", "a b", "x" * 55, "ă", ""):
            told(await http.post("/api/sessions", json={"name": name, "start": False}), 422, "session name")
        assert [s["name"] for s in (await http.get("/api/sessions?all=true")).json()] == ["shop"]

    check(tmp_path, body)


def test_bodies_that_cannot_be(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        http = it.http
        json_type = {"Content-Type": "application/json"}
        told(await http.post("/api/sendText", content=b'{"chatId": ', headers=json_type), 400, "JSON")
        told(await http.post("/api/sendText", content=b"", headers=json_type), 400, "")
        told(await http.post("/api/sendText", content=b"[1]", headers=json_type), 400, "")
        told(await http.post("/api/sendText", content=b"\xff\xfe", headers=json_type), 400, "JSON")
        told(await http.post("/api/sendText", json={"text": "no chat"}), 400, "chatId")
        told(await http.post("/api/sendText", json={"chatId": 5, "text": "x"}), 400, "chatId")
        big = b'{"chatId":"40712345678@c.us","text":"' + b"x" * BODY_LIMIT + b'"}'
        told(await http.post("/api/sendText", content=big, headers=json_type), 413, "")
        told(await http.get("/api/nothing/here/at/all"), 404, "Cannot GET /api/nothing/here/at/all")
        told(await http.delete("/ping"), 405, "")
        told(await http.get("/api/shop/chats?limit=many"), 400, "limit")

    check(tmp_path, body)


def test_messages_that_cannot_be_sent(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked()
        good = {"session": "shop", "chatId": "40722000111@c.us", "text": "hello"}

        async def send(**change: Any) -> httpx.Response:
            return await it.http.post("/api/sendText", json={**good, **change})

        for chat in ("", "nobody", "a@c.us", "40722000111@example.com", "@c.us", "0712345678", "1" * 40 + "@c.us"):
            told(await send(chatId=chat), 422, "")
        for text in ("", "   \n"):
            told(await send(text=text), 422, "empty")
        told(await send(text="x" * 65_537), 422, "65,536")
        told(await send(text="x" * 100_000), 422, "65,536")
        told(await send(session="nobody"), 404, "nobody")
        told(await send(id="a b"), 400, "message id")
        assert it.engine.sent == []
        assert (await send(text="x" * 65_536)).status_code == 201
        for phone in ("", "abc", "12", "0712345678"):
            told(
                await it.http.get("/api/contacts/check-exists", params={"session": "shop", "phone": phone}),
                422,
                "phone",
            )

    check(tmp_path, body)


def test_an_expected_status_is_asked_for_in_wahas_words(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked()
        answer = await it.http.get("/api/shop/auth/qr")
        assert answer.status_code == 422
        said = answer.json()
        assert said["error"].startswith("Session status is not as expected")
        assert (said["session"], said["status"], said["expected"]) == ("shop", "WORKING", ["SCAN_QR_CODE"])
        answer = await it.http.post("/api/shop/auth/request-code", json={"phoneNumber": "40712345678"})
        assert (answer.status_code, answer.json()["expected"]) == (422, ["SCAN_QR_CODE"])
        told(await it.http.post("/api/shop/auth/request-code", json={"phoneNumber": "x"}), 422, "phone")
        await it.http.post("/api/sessions/shop/stop")
        sent = await it.http.post("/api/sendText", json={"session": "shop", "chatId": "40722000111", "text": "x"})
        assert (sent.status_code, sent.json()["status"], sent.json()["expected"]) == (422, "STOPPED", ["WORKING"])

    check(tmp_path, body)


QUERIES = [
    ("/api/shop/chats?limit=0", 400, "limit"),
    ("/api/shop/chats?limit=-1", 400, "limit"),
    ("/api/shop/chats?limit=many", 400, "limit"),
    ("/api/shop/chats?limit=1.5", 400, "limit"),
    ("/api/shop/chats?offset=-1", 400, "offset"),
    ("/api/shop/chats?offset=-10000000000000000000000", 400, "offset"),
    ("/api/shop/chats?offset=x", 400, "offset"),
    ("/api/shop/chats?sortBy=size", 422, "conversationTimestamp"),
    ("/api/shop/chats?sortOrder=asc", 422, "desc"),
    ("/api/shop/chats/overview?limit=0", 400, "limit"),
    ("/api/shop/chats/overview?offset=-1", 400, "offset"),
    ("/api/shop/chats/overview?ids=40722000111@c.us", 422, "ids"),
    ("/api/shop/chats/nobody/messages", 422, "chat id"),
    ("/api/shop/chats/all/messages?limit=0", 400, "limit"),
    ("/api/shop/chats/all/messages?offset=-1", 400, "offset"),
    ("/api/shop/chats/all/messages?filter.ack=SEEN", 422, "ERROR, PENDING, SERVER, DEVICE, READ, PLAYED"),
    ("/api/shop/chats/all/messages?filter.ack=", 422, "ERROR, PENDING, SERVER, DEVICE, READ, PLAYED"),
    ("/api/shop/chats/all/messages?filter.timestamp.lte=yesterday", 400, "filter.timestamp.lte"),
    ("/api/shop/chats/all/messages?filter.timestamp.gte=2026-01-01", 400, "filter.timestamp.gte"),
    ("/api/shop/chats/all/messages?filter.timestamp.gte=nan", 400, "filter.timestamp.gte"),
    ("/api/shop/chats/all/messages?filter.timestamp.lte=1e999", 400, "filter.timestamp.lte"),
    ("/api/shop/chats/all/messages?filter.fromMe=perhaps", 400, "filter.fromMe"),
    ("/api/shop/chats/all/messages?sortBy=size", 422, "timestamp"),
    ("/api/shop/chats/all/messages?sortOrder=up", 422, "desc, asc"),
    ("/api/contacts/all?session=shop&limit=0", 400, "limit"),
    ("/api/contacts/all?session=shop&sortOrder=desc", 422, "asc"),
    ("/api/contacts/check-exists?session=shop", 400, "phone"),
    ("/api/sendText?session=shop&phone=40722000111", 400, "text"),
    ("/api/sessions?all=perhaps", 400, "all"),
    ("/api/shop/auth/qr?format=svg", 400, "format"),
    ("/api/holdfast/sessions/shop/timeline?limit=0", 400, "limit"),
    ("/api/holdfast/sessions/shop/timeline?before=x", 400, "before"),
]


def test_queries_that_cannot_be_are_refused_and_not_answered_otherwise(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked()
        for path, status, part in QUERIES:
            told(await it.http.get(path), status, part)

    check(tmp_path, body)


def test_numbers_beyond_all_counting_are_no_mistake_of_ours(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.http.post("/api/sessions", json={"name": "shop", "start": False})
        huge = 10**22
        for path in (
            f"/api/shop/chats?offset={huge}&limit={huge}",
            f"/api/shop/chats/all/messages?offset={huge}",
            f"/api/contacts/all?session=shop&offset={huge}",
            f"/api/holdfast/sessions/shop/timeline?before={huge}&limit={huge}",
        ):
            answer = await it.http.get(path)
            assert answer.status_code == 200, (path, answer.text)

    check(tmp_path, body)


NUL = [
    ("POST", "/api/sessions", {"name": "a\0b", "start": False}),
    ("POST", "/api/sessions", {"name": "other", "start": False, "config": {"metadata": {"a": "x\0"}}}),
    ("POST", "/api/sessions", {"name": "other", "start": False, "config": {"metadata": {"a\0": "x"}}}),
    ("PUT", "/api/sessions/shop", {"config": {"webhooks": [{"url": "http://127.0.0.1/\0", "events": ["*"]}]}}),
    ("POST", "/api/sessions/start", {"name": "a\0"}),
    ("POST", "/api/sendText", {"session": "shop", "chatId": "40722000111@c.us", "text": "a\0b"}),
    ("POST", "/api/sendText", {"session": "shop", "chatId": "40722000111\0@c.us", "text": "a"}),
    ("POST", "/api/sendText", {"session": "sh\0op", "chatId": "40722000111@c.us", "text": "a"}),
    ("POST", "/api/sendSeen", {"session": "shop", "chatId": "40722000111", "messageIds": ["A\0"]}),
    ("POST", "/api/shop/auth/request-code", {"phoneNumber": "40712345678\0"}),
    ("GET", "/api/sessions/shop%00", None),
    ("DELETE", "/api/sessions/shop%00", None),
    ("POST", "/api/sessions/%00/start", None),
    ("GET", "/api/shop/chats/all/messages/%00", None),
    ("GET", "/api/shop/chats/40722000111%00/messages", None),
    ("GET", "/api/contacts/all?session=shop%00", None),
    ("GET", "/api/sendText?session=shop&phone=40722000111&text=%00", None),
    ("GET", "/api/holdfast/messages/%00?session=shop", None),
    ("GET", "/api/holdfast/events?session=%00", None),
    ("GET", "/dashboard/s/shop%00", None),
]


def test_nul_is_refused_everywhere_and_nothing_is_stored(tmp_path: Path) -> None:
    """PostgreSQL cannot keep U+0000, so no store is ever asked to."""

    async def body(it: Served) -> None:
        await it.linked()
        before = (await it.http.get("/api/sessions?all=true")).json()[0]["config"]
        for method, path, json in NUL:
            told(await it.http.request(method, path, json=json), 400, "NUL")
        form = {"Content-Type": "application/x-www-form-urlencoded", "HX-Request": "true"}
        sent = await it.http.post("/dashboard/s/shop/send", content=b"chat=40722000111&text=a%00", headers=form)
        assert (sent.status_code, "NUL" in sent.text) == (400, True)
        after = (await it.http.get("/api/sessions?all=true")).json()
        assert [(s["name"], s["config"]) for s in after] == [("shop", before)]
        assert it.engine.sent == []
        said = r"a backslash, u and four zeros: \u0000"
        sent = await it.http.post("/api/sendText", json={"session": "shop", "chatId": "40722000111", "text": said})
        assert (sent.status_code, sent.json()["body"]) == (201, said)

    check(tmp_path, body)


GOOD = {"session": "shop", "chatId": "40722000111@c.us", "text": "hello"}
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def hook(**facts: Any) -> dict[str, Any]:
    return {"config": {"webhooks": [{"url": "http://127.0.0.1:1/", "events": ["message"], **facts}]}}


BAD: list[tuple[str, str, dict[str, Any], int, str]] = [
    # unknown, taken and illegal names
    ("GET", "/api/sessions/nobody", {}, 404, "nobody"),
    ("GET", "/api/nobody/auth/qr", {}, 404, "nobody"),
    ("POST", "/api/nobody/auth/request-code", {"json": {"phoneNumber": "40712345678"}}, 404, "nobody"),
    ("GET", "/api/nobody/chats", {}, 404, "nobody"),
    ("GET", "/api/nobody/chats/overview", {}, 404, "nobody"),
    ("GET", "/api/nobody/chats/all/messages", {}, 404, "nobody"),
    ("GET", "/api/contacts/all?session=nobody", {}, 404, "nobody"),
    ("GET", "/api/contacts/check-exists?session=nobody&phone=40712345678", {}, 404, "nobody"),
    ("GET", "/api/holdfast/sessions/nobody", {}, 404, "nobody"),
    ("GET", "/api/holdfast/sessions/nobody/timeline", {}, 404, "nobody"),
    ("GET", "/api/holdfast/messages/3EB0AAAABBBB?session=nobody", {}, 404, "nobody"),
    ("POST", "/api/sendText", {"json": {**GOOD, "session": ""}}, 404, "no session"),
    ("POST", "/api/startTyping", {"json": {"session": "nobody", "chatId": "40722000111"}}, 404, "nobody"),
    ("POST", "/api/sendSeen", {"json": {"session": "nobody", "chatId": "40722000111"}}, 404, "nobody"),
    ("POST", "/api/sessions", {"json": {"name": "shop", "start": False}}, 422, "exists already"),
    ("POST", "/api/sessions", {"json": {"name": ".hidden", "start": False}}, 422, "session name"),
    ("POST", "/api/sessions", {"json": {"name": "a/b", "start": False}}, 422, "session name"),
    ("POST", "/api/sessions", {"json": {"name": "a\n", "start": False}}, 422, "session name"),
    ("POST", "/api/sessions/start", {"json": {"name": "a b"}}, 422, "session name"),
    ("POST", "/api/sessions/start", {"json": {"name": ""}}, 422, "session name"),
    ("POST", "/api/sessions/stop", {"json": {"name": ""}}, 422, "session name"),
    ("POST", "/api/sessions/logout", {"json": {"name": ""}}, 422, "session name"),
    # fields of the wrong kind
    ("POST", "/api/sessions", {"json": {"name": 5}}, 400, "name"),
    ("POST", "/api/sessions", {"json": {"start": "perhaps"}}, 400, "start"),
    ("POST", "/api/sessions", {"json": {"config": {"metadata": {"a": 1}}}}, 400, "metadata"),
    ("PUT", "/api/sessions/shop", {"json": hook(url="ftp://example.com/")}, 422, "http://"),
    ("PUT", "/api/sessions/shop", {"json": hook(url="http://")}, 422, "host"),
    ("PUT", "/api/sessions/shop", {"json": hook(url="http://a:99999/")}, 422, "port"),
    ("PUT", "/api/sessions/shop", {"json": hook(events=["mesage"])}, 400, "mesage"),
    ("PUT", "/api/sessions/shop", {"json": hook(customHeaders=[{"name": "A", "value": "1\r\nB: 2"}])}, 422, "header"),
    ("PUT", "/api/sessions/shop", {"json": hook(customHeaders=[{"name": "A b", "value": "1"}])}, 422, "header"),
    ("PUT", "/api/sessions/shop", {"json": hook(retries={"policy": "daily"})}, 422, "policy"),
    ("PUT", "/api/sessions/shop", {"json": hook(url="http://a.test/", retries={"attempts": -1})}, 422, "attempts"),
    ("POST", "/api/holdfast/deliveries/7/replay", {}, 404, "delivery"),
    ("POST", "/api/holdfast/deliveries/99999999999999999999/replay", {}, 404, "delivery"),
    ("GET", "/api/holdfast/deliveries?state=lost", {}, 400, "state"),
    ("GET", "/api/holdfast/deliveries?session=nobody", {}, 404, "nobody"),
    ("POST", "/api/holdfast/deliveries/replay?session=nobody", {}, 404, "nobody"),
    # numbers and chats that are none
    ("POST", "/api/shop/auth/request-code", {"json": {"phoneNumber": ""}}, 422, "phone"),
    ("POST", "/api/shop/auth/request-code", {"json": {"phoneNumber": "0712 345 678"}}, 422, "country code"),
    ("POST", "/api/shop/auth/request-code", {"json": {"phoneNumber": "4" * 16}}, 422, "digits"),
    ("POST", "/api/shop/auth/request-code", {"json": {}}, 400, "phoneNumber"),
    ("POST", "/api/sendText", {"json": {**GOOD, "chatId": "nobody"}}, 422, "chat id"),
    ("POST", "/api/sendText", {"json": {**GOOD, "chatId": "1@g.us"}}, 422, "chat id"),
    ("POST", "/api/sendText", {"json": {**GOOD, "mentions": ["nobody"]}}, 422, "mentions:"),
    ("POST", "/api/startTyping", {"json": {"session": "shop", "chatId": "x"}}, 422, "chat id"),
    ("POST", "/api/sendSeen", {"json": {"session": "shop", "chatId": "x"}}, 422, "chat id"),
    ("GET", "/api/shop/chats/x/messages/3EB0AAAABBBB", {}, 404, "message"),
    # texts
    ("POST", "/api/sendText", {"json": {**GOOD, "text": ""}}, 422, "empty"),
    ("POST", "/api/sendText", {"json": {**GOOD, "text": " \n\t"}}, 422, "empty"),
    ("POST", "/api/sendText", {"json": {**GOOD, "text": "x" * 100_000}}, 422, "65,536"),
    ("POST", "/api/sendText", {"json": {**GOOD, "text": None}}, 400, "text"),
    ("POST", "/api/sendText", {"json": {**GOOD, "id": "short"}}, 400, "message id"),
    ("POST", "/api/sendText", {"json": GOOD, "headers": {"Idempotency-Key": ""}}, 400, "Idempotency-Key"),
    ("POST", "/api/sendText", {"json": GOOD, "headers": {"Idempotency-Key": "k" * 256}}, 400, "Idempotency-Key"),
    # bodies
    ("POST", "/api/sendText", {"content": b"{", "headers": JSON}, 400, "JSON"),
    ("POST", "/api/sendText", {"content": b"", "headers": JSON}, 400, ""),
    ("POST", "/api/sendText", {"content": b"null", "headers": JSON}, 400, ""),
    ("POST", "/api/sendText", {"content": b'{"text": "\xff"}', "headers": JSON}, 400, "JSON"),
    ("POST", "/api/sendText", {"content": b'{"text": "\\ud800"}', "headers": JSON}, 400, "JSON"),
    ("POST", "/api/sendText", {"content": b"[" * 100_000, "headers": JSON}, 400, "JSON"),
    ("POST", "/api/sendText", {"content": b"x" * (BODY_LIMIT + 1), "headers": JSON}, 413, "too large"),
    ("POST", "/api/sendText", {"data": {"text": "a"}}, 415, "application/json"),
    (
        "POST",
        "/api/sendText",
        {"content": b"<a/>", "headers": {"Content-Type": "application/xml"}},
        415,
        "application/json",
    ),
    ("POST", "/api/sessions", {"content": b"{}", "headers": {"Content-Type": "text/plain"}}, 415, "application/json"),
    ("POST", "/api/sendText", {"content": b'{"a":' * 70, "headers": JSON}, 400, "nested too deep"),
    ("POST", "/api/sendText", {"content": b"[" + b"1," * 60_000 + b"1]", "headers": JSON}, 413, "too many values"),
    ("POST", "/api/sendFile", {"content": b"[" + b"1," * 60_000 + b"1]", "headers": JSON}, 413, "too many values"),
    ("POST", "/api/sendFile", {"content": b'{"chatId": "\\ud800"}', "headers": JSON}, 400, "surrogate"),
    ("POST", "/api/sendText", {"content": b'{"chatId": "\\udc00"}', "headers": JSON}, 400, "surrogate"),
    ("POST", "/api/sendText", {"content": b"name=" + b"%41" * 30_000, "headers": FORM}, 413, "too large"),
    ("POST", "/login", {"content": b"name=a" + b"&a" * 100, "headers": FORM}, 400, "fields"),
    (
        "POST",
        "/api/sendText",
        {"content": b"x", "headers": {**JSON, "Content-Encoding": "gzip"}},
        415,
        "Content-Encoding",
    ),
    (
        "POST",
        "/api/sendFile",
        {"content": b"x", "headers": {**JSON, "Content-Encoding": "br"}},
        415,
        "Content-Encoding",
    ),
    ("POST", "/login", {"content": b"key=" + b"x" * 5_000, "headers": FORM}, 413, "too large"),
    ("POST", "/api/holdfast/peer", {"content": b"x" * 1_000_001, "headers": JSON}, 413, "too large"),
    ("POST", "/api/holdfast/waha/main/events", {"content": b"x" * 1_000_001, "headers": JSON}, 413, "too large"),
    ("GET", "/api/sessions?" + "a=b&" * 300, {}, 400, "parameters"),
    # methods and paths
    ("DELETE", "/ping", {}, 405, "DELETE"),
    ("PATCH", "/api/sessions/shop", {}, 405, "PATCH"),
    ("GET", "/api/sessions/shop/start", {}, 405, "GET"),
    ("GET", "/no/such/path", {}, 404, "Cannot GET /no/such/path"),
    ("POST", "/api/sendSmoke", {"json": GOOD}, 404, "Cannot POST /api/sendSmoke"),
    ("GET", "/api/screenshot", {}, 404, "Cannot GET /api/screenshot"),
    ("GET", "/api/%ff/chats", {}, 404, "no session"),
]


def test_bad_input_each_once(tmp_path: Path) -> None:
    """Each is told what is wrong in WAHA's shape, and afterwards all is as before."""

    async def body(it: Served) -> None:
        await it.linked()
        before = (await it.http.get("/api/holdfast/sessions")).json()[0]
        for method, path, how, status, part in BAD:
            said = told(await it.http.request(method, path, **how), status, part)
            assert said["error"] in HTTP_WORDS, (path, said)
        (after,) = (await it.http.get("/api/holdfast/sessions")).json()
        assert {**after, "timestamps": 0, "holdfast": 0} == {**before, "timestamps": 0, "holdfast": 0}
        assert it.engine.sent == []
        assert (await it.http.get("/api/shop/chats/all/messages")).json() == []
        wrong = await it.http.get("/api/sessions", headers={"X-Api-Key": "wrong"})
        assert (wrong.status_code, wrong.json()) == (401, {"message": "Unauthorized", "statusCode": 401})

    check(tmp_path, body)


HTTP_WORDS = {"Bad Request", "Not Found", "Method Not Allowed", "Unprocessable Entity", "Unsupported Media Type",
              "Request Entity Too Large"}  # fmt: skip


async def test_a_body_without_end_is_cut_off(tmp_path: Path) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * (BODY_LIMIT // 10)

    async with served(tmp_path) as it:
        told(await it.http.post("/api/sendText", content=chunks(), headers=JSON), 413, "too large")


def test_a_qr_is_shown_only_while_pairing(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        async def refused(status: str) -> None:
            for answer in (
                await it.http.get("/api/shop/auth/qr"),
                await it.http.post("/api/shop/auth/request-code", json={"phoneNumber": "40712345678"}),
            ):
                said = answer.json()
                assert (answer.status_code, said["status"], said["expected"]) == (422, status, ["SCAN_QR_CODE"])
                assert said["error"].startswith("Session status is not as expected")

        await it.http.post("/api/sessions", json={"name": "shop", "start": False})
        await refused("STOPPED")
        await it.http.post("/api/sessions/shop/start")
        await it.until("shop", "SCAN_QR_CODE")
        assert (await it.http.get("/api/shop/auth/qr")).status_code == 200
        it.engine.scan("shop")
        await it.until("shop", "WORKING")
        await refused("WORKING")
        it.engine.account("shop").linked = False
        it.engine.close_with("shop", 401, "device_removed")
        await it.until("shop", "FAILED")
        await refused("FAILED")

    check(tmp_path, body)
