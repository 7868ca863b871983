"""Who gets in: sessions of the dashboard, other origins' pages, rotated keys, guesses, and odd headers."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import time
from pathlib import Path

import httpx
import pytest
import websockets
from structlog.testing import capture_logs
from websockets.exceptions import ConnectionClosed

from holdfast.api import recheck
from holdfast.domain.access import key_hash
from holdfast.runtime.access import AccessSettings
from tests.support.served import KEY, Served, check, serving
from tests.support.signed_in import HX, cookie_of, signed_in


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


# --- sessions of the dashboard ----------------------------------------------------------------------------------


def test_a_copy_of_the_database_signs_nobody_in(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        hashed = await it.store.put_setting("api_key_hash", key_hash("the key of this test"))
        async with (
            serving(it.node, keys=AccessSettings()) as url,
            signed_in(url, "the key of this test") as person,
        ):
            cookie = cookie_of(person)
            assert (await person.get("/dashboard")).status_code == 200
            copied = everything_in(tmp_path)
            assert cookie.encode() not in copied
            assert b"the key of this test" not in copied
            until = str(int(time.time()) + 3600)
            words = set(re.findall(rb"[A-Za-z0-9_-]{40,64}", copied)) | {hashed.encode()}
            assert len(words) >= 2
            for word in words:
                signed = hmac.new(word, f"cookie:{until}".encode(), hashlib.sha256).hexdigest()
                for forged in (word.decode(), word.decode()[:43], f"{until}.{signed}"):
                    async with httpx.AsyncClient(base_url=url, cookies={"holdfast": forged}) as thief:
                        assert (await thief.get("/dashboard")).status_code == 303
                async with httpx.AsyncClient(base_url=url, headers={"X-Api-Key": word.decode()}) as thief:
                    assert (await thief.get("/api/sessions")).status_code in (401, 429)

    check(tmp_path, body)


def test_logging_out_ends_the_session_at_every_instance(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        async with serving(it.node) as second, signed_in(it.url) as person, signed_in(it.url) as other:
            there = httpx.AsyncClient(base_url=second, cookies={"holdfast": cookie_of(person)})
            assert (await there.get("/dashboard")).status_code == 200
            assert (await person.get("/logout", headers=HX)).status_code == 405, "a link logs nobody out"
            assert (await person.post("/logout")).status_code == 303, "nor does a form of another site"
            assert (await there.get("/dashboard")).status_code == 200
            stolen = cookie_of(person)
            assert (await person.post("/logout", headers=HX)).headers["hx-redirect"] == "/login"
            for url in (it.url, second):
                async with httpx.AsyncClient(base_url=url, cookies={"holdfast": stolen}) as thief:
                    assert (await thief.get("/dashboard")).headers["location"] == "/login"
                    assert (await thief.get("/api/sessions")).status_code == 401
            assert (await other.get("/dashboard")).status_code == 200, "somebody else's session goes on"
            await there.aclose()

    check(tmp_path, body)


def test_a_session_expires_and_ends_with_the_key_that_opened_it(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        async with signed_in(it.url) as person:
            changed = AccessSettings(key_hash("another key from the settings"))
            async with (
                serving(it.node, keys=changed) as url,
                httpx.AsyncClient(base_url=url, cookies={"holdfast": cookie_of(person)}) as there,
            ):
                assert (await there.get("/dashboard")).status_code == 303
            assert (await person.get("/dashboard")).status_code == 200
            it.store._driver._connections[0].raw.execute("UPDATE dashboard_session SET expires_at = 1")  # type: ignore[attr-defined]
            assert (await person.get("/dashboard")).status_code == 303

    check(tmp_path, body)


def test_over_tls_the_cookie_is_for_this_host_alone(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        async with httpx.AsyncClient(base_url=it.url) as client:
            answer = await client.post("/login", data={"key": KEY}, headers={"X-Forwarded-Proto": "https"})
            said = answer.headers["set-cookie"]
            assert said.startswith("__Host-holdfast=")
            for part in ("Secure", "HttpOnly", "SameSite=strict", "Path=/"):
                assert part.lower() in said.lower(), said
            assert "domain" not in said.lower()
            cookie = said.partition(";")[0]
            assert (await client.get("/dashboard", headers={"Cookie": cookie})).status_code == 200

    check(tmp_path, body)


def test_a_rotated_key_is_noticed_by_instances_that_run(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.store.put_setting("api_key_hash", key_hash("the key before"))
        async with (
            serving(it.node, keys=AccessSettings()) as url,
            signed_in(url, "the key before") as person,
            httpx.AsyncClient(base_url=url) as client,
        ):

            async def status(key: str) -> int:
                return (await client.get("/api/sessions", headers={"X-Api-Key": key})).status_code

            assert await status("the key before") == 200
            await it.store.rotate_key(key_hash("the key after"))
            with capture_logs() as logs:
                async with asyncio.timeout(20):
                    while await status("the key after") != 200:  # at once, unless one was refused just now
                        await asyncio.sleep(0.05)
                assert await status("the key before") in (401, 429)
            assert [line["code"] for line in logs if line.get("code") == "key_rotated"] == ["key_rotated"]
            assert (await person.get("/dashboard")).status_code == 303

    check(tmp_path, body)


@pytest.mark.parametrize("how", ["logout", "rotate"])
def test_streams_end_with_what_opened_them(tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recheck, "EVERY", 0.05)
    monkeypatch.setattr("holdfast.runtime.access.REREAD", 0.05)

    async def body(it: Served) -> None:
        await it.store.put_setting("api_key_hash", key_hash("the key before"))
        async with serving(it.node, keys=AccessSettings()) as url, signed_in(url, "the key before") as person:
            origin = {"Origin": url, "Cookie": f"holdfast={cookie_of(person)}"}
            by_key = "?x-api-key=the%20key%20before" if how == "rotate" else ""
            headers = {} if by_key else origin
            opened = await websockets.connect(f"{url.replace('http', 'ws')}/ws{by_key}", additional_headers=headers)
            async with (
                httpx.AsyncClient(base_url=url, timeout=20) as client,
                client.stream("GET", f"/api/holdfast/events{by_key}", headers=headers) as stream,
            ):
                assert stream.status_code == 200
                lines = stream.aiter_lines()
                await anext(lines)
                if how == "logout":
                    await person.post("/logout", headers=HX)
                else:
                    await it.store.rotate_key(key_hash("the key after"))
                with pytest.raises(ConnectionClosed) as closed:
                    async with asyncio.timeout(20):
                        await opened.recv()
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 4401
                async with asyncio.timeout(20):
                    [_ async for _ in lines]

    check(tmp_path, body)
