"""The dashboard's answers when something is wrong: pages and sentences for people, never JSON or somebody's login form
in the middle of a page.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from tests.support.served import KEY, Served, check

HX = {"HX-Request": "true"}


@asynccontextmanager
async def signed_in(it: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=it.url) as client:
        answer = await client.post("/login", data={"key": KEY})
        assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard")
        assert "httponly" in answer.headers["set-cookie"].lower()
        yield client


def test_what_is_not_there_is_said_on_a_page(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        async with signed_in(it) as person:
            for path, sentence in [
                ("/dashboard/s/nobody", "There is no session &#39;nobody&#39;."),
                ("/dashboard/no/such/page", "There is no such page."),
            ]:
                answer = await person.get(path)
                assert answer.status_code == 404
                assert answer.headers["content-type"].startswith("text/html")
                assert sentence in answer.text
                assert 'href="/dashboard"' in answer.text
            gone = await person.get("/dashboard/s/nobody/state", headers=HX)
            assert (gone.status_code, gone.headers["hx-refresh"]) == (404, "true")
            assert gone.text.startswith('<p class="problem"')

    check(tmp_path, body)


def test_an_order_that_cannot_be_is_explained_on_the_open_page(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked()
        async with signed_in(it) as person:
            unknown = await person.post("/dashboard/s/shop/explode", headers=HX)
            assert (unknown.status_code, "no such page" in unknown.text) == (404, True)
            for path, form, sentence in [
                ("/dashboard/add", {"name": "shop"}, "exists already"),
                ("/dashboard/add", {"name": "a b"}, "session name"),
                ("/dashboard/s/shop/code", {"phone": "0712"}, "country code"),
                ("/dashboard/s/shop/send", {"chat": "me", "text": "hi"}, "no chat id"),
                ("/dashboard/s/shop/send", {"chat": "40722000111", "text": ""}, "empty"),
            ]:
                answer = await person.post(path, data=form, headers=HX)
                assert sentence in answer.text, (path, answer.text)
                assert answer.text.startswith('<p class="problem"')
            assert it.engine.sent == []
            forged = await person.post("/dashboard/s/shop/stop")
            assert forged.status_code == 303, "a form of another site must not pass"
            assert (await it.http.get("/api/sessions/shop")).json()["status"] == "WORKING"

    check(tmp_path, body)


def test_an_ended_login_leads_to_the_login_page(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked()
        async with httpx.AsyncClient(base_url=it.url, cookies={"holdfast": "1.00"}) as person:
            for path in ("/dashboard", "/dashboard/s/shop"):
                answer = await person.get(path)
                assert (answer.status_code, answer.headers["location"]) == (303, "/login")
                fragment = await person.get(path, headers=HX)
                assert (fragment.status_code, fragment.headers["hx-redirect"]) == (401, "/login")
            docs = await person.get("/docs", headers={"Accept": "text/html,*/*"})
            assert (docs.status_code, docs.headers["location"]) == (303, "/login")
            out = await person.post("/logout", headers=HX)
            assert out.headers["hx-redirect"] == "/login"
            assert "hx-redirect" not in (await person.get("/api/sessions", headers=HX)).headers

    check(tmp_path, body)


def test_the_timeline_says_what_when_and_where(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked()
        async with signed_in(it) as person:
            page = (await person.get("/dashboard/s/shop")).text
            for entry in (await it.http.get("/api/holdfast/sessions/shop/timeline")).json():
                assert f"<code>{entry['code']}</code>" in page
                assert entry["message"].replace("'", "&#39;") in page
            assert "instance <code>test-ins</code>" in page

    check(tmp_path, body)


def test_messages_are_searched_and_undelivered_events_replayed(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        refusing = f"{it.url}/api/sessions?token=secret-of-the-hook"  # takes no event
        hook = {"url": refusing, "events": ["message.any"]}
        made = {"name": "shop", "start": True, "config": {"webhooks": [{**hook, "retries": {"attempts": 1}}]}}
        assert (await it.http.post("/api/sessions", json=made)).status_code == 201
        await it.until("shop", "SCAN_QR_CODE")
        it.engine.scan("shop")
        await it.until("shop", "WORKING")
        sent = {"session": "shop", "chatId": "40733222111@c.us", "text": "<b>the invoice</b>"}
        assert (await it.http.post("/api/sendText", json=sent)).status_code == 201
        async with signed_in(it) as person:
            page = (await person.get("/dashboard/search", params={"q": "INVO", "session": "shop"})).text
            assert "&lt;b&gt;the invoice&lt;/b&gt;" in page
            assert 'value="INVO"' in page
            assert "at least one word" in (await person.get("/dashboard/search", params={"q": "%"})).text
            assert "No message has" in (await person.get("/dashboard/search", params={"q": "nothing"})).text
            async with asyncio.timeout(20):
                while "given up" not in (listed := (await person.get("/dashboard/deliveries")).text):
                    await asyncio.sleep(0.05)
            assert "the receiver answered 401" in listed
            assert "secret-of-the-hook" not in listed
            assert "40733222111" not in listed
            (row,) = (await it.http.get("/api/holdfast/deliveries")).json()
            again = await person.post(f"/dashboard/deliveries/{row['id']}/replay", headers=HX)
            assert again.status_code == 200
            (row,) = (await it.http.get("/api/holdfast/deliveries")).json()
            assert row["state"] == "parked"
            many = await person.post("/dashboard/deliveries/all/parked", headers=HX)
            assert "1 to be tried again" in many.text
            assert "no such delivery" in (await person.post("/dashboard/deliveries/99/replay", headers=HX)).text

    check(tmp_path, body)
