"""Who gets in: keys, dashboard sessions, other sites' pages, and guessing."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp

from holdfast.domain.identity import RESERVED_NAMES
from holdfast.domain.key_guesses import ALARM, FREE
from tests.support.commands import alone as settings_alone
from tests.support.commands import one_sentence, run, settings
from tests.support.processes import KEY, Holdfast, Wasim
from tests.support.signed_in import HX
from verify.harness import World, alone, check

BLANK = ("", " ", "\t ")


async def _sign_in(http: aiohttp.ClientSession, url: str, key: str) -> int:
    """The status that the login form's answer has."""
    async with http.post(f"{url}/login", data={"key": key}, allow_redirects=False) as answer:
        return answer.status


@alone("A.3", "an empty key opens nothing, and a short one is refused at start")
async def no_empty_key() -> str:
    tried = 0
    for blank in BLANK:
        with tempfile.TemporaryDirectory(prefix="holdfast-verify-") as name:
            folder = Path(name)
            unset = {f"HOLDFAST_{key}": blank for key in ("API_KEY", "METRICS_KEY", "WEBHOOK_HMAC_KEY")}
            async with (
                Wasim(folder) as wasim,
                Holdfast(wasim, folder, **unset) as holdfast,
                aiohttp.ClientSession() as http,
            ):
                for key in BLANK:
                    assert await _sign_in(http, holdfast.url, key) == 401, f"the form takes {key!r}"
                    for path in ("/api/sessions", "/metrics", "/api/holdfast/events?x-api-key="):
                        async with http.get(holdfast.url + path, headers={"X-Api-Key": key}) as answer:
                            assert answer.status == 401, f"{path} takes {key!r}: {answer.status}"
                    tried += 4
                made = (folder / "api-key").read_text().strip()
                assert await _sign_in(http, holdfast.url, made) == 303, "the generated key does not sign in"
                async with http.get(f"{holdfast.url}/api/sessions", headers={"X-Api-Key": made}) as answer:
                    assert answer.status == 200, "the generated key opens nothing"
    with tempfile.TemporaryDirectory(prefix="holdfast-verify-") as name:
        said = await run("serve", env=settings_alone(Path(name), HOLDFAST_API_KEY="elevenchars"))
        assert "at least 12" in one_sentence(said), said
    return f"{tried} tries with an empty key"


# --- A.8 ----------------------------------------------------------------------------------------------------------


def _stored(folder: Path) -> bytes:
    """Every byte of the database's files."""
    return b"".join(path.read_bytes() for path in folder.glob("holdfast.sqlite3*"))


def _forged(copied: bytes) -> Iterator[dict[str, str]]:
    """Headers that somebody who has the copy can make: what is stored itself, and cookies signed with it."""
    until = str(int(time.time()) + 3600)
    for word in {found.decode() for found in re.findall(rb"(?<![\w-])[\w-]{43}(?:[\w-]{21})?(?![\w-])", copied)}:
        yield {"X-Api-Key": word}
        signed = hmac.new(word.encode(), f"cookie:{until}".encode(), hashlib.sha256).hexdigest()
        for cookie in (word, word[:43], f"{until}.{signed}"):
            yield {"Cookie": f"holdfast={cookie}"}


async def _as_peer(http: aiohttp.ClientSession, url: str, copied: bytes) -> int:
    """Ask as another instance would, signed with each secret that the copy may hold. How many ways were tried."""
    body, tried = json.dumps({"method": "greet", "args": {"instance": "thief"}}).encode(), 0
    for word in {found.decode() for found in re.findall(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])", copied)}:
        at = str(int(time.time()))
        for key in (word.encode(), bytes.fromhex(word)):
            mac = hmac.new(key, at.encode() + b"." + body, hashlib.sha256).hexdigest()
            headers = {"X-Holdfast-Peer": f"t={at},v1={mac}"}
            async with http.post(f"{url}/api/holdfast/peer", data=body, headers=headers) as answer:
                assert answer.status in (401, 429), f"a stored secret speaks as an instance: {answer.status}"
            tried += 1
    return tried


@alone("A.8", "a copy of the database opens nothing; sign-ins end on logout, and with a rotated key")
async def a_copy_opens_nothing() -> str:
    with tempfile.TemporaryDirectory(prefix="holdfast-verify-") as name:
        folder = Path(name)
        async with (
            Wasim(folder) as wasim,
            Holdfast(wasim, folder, HOLDFAST_API_KEY="") as one,
            Holdfast(wasim, folder, HOLDFAST_API_KEY="") as two,
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
        ):

            async def status(url: str, headers: dict[str, str], path: str = "/api/sessions") -> int:
                async with http.get(url + path, headers=headers, allow_redirects=False) as answer:
                    return answer.status

            async def sign_in(key: str) -> dict[str, str]:
                async with http.post(f"{one.url}/login", data={"key": key}, allow_redirects=False) as answer:
                    assert answer.status == 303, answer.status
                    return {"Cookie": f"holdfast={answer.cookies['holdfast'].value}"}

            before = (folder / "api-key").read_text().strip()
            first, second = await sign_in(before), await sign_in(before)
            assert {await status(url, first) for url in (one.url, two.url)} == {200}
            copied = _stored(folder)
            forged = list(_forged(copied))
            assert len(forged) >= 8, "the hash of the key and those of the sign-ins"
            for headers in forged:
                assert await status(one.url, headers) in (401, 429), f"a copy opens the API: {headers}"
            as_peer = await _as_peer(http, one.url, copied)

            async with http.post(f"{one.url}/logout", headers={**first, **HX}) as answer:
                assert answer.status < 300
            assert {await status(url, first) for url in (one.url, two.url)} == {401}, "logged out, and still in"
            assert {await status(url, second) for url in (one.url, two.url)} == {200}

            said = await run("rotate-key", "--yes", env=settings(one))
            assert said.code == 0, said
            after = (folder / "api-key").read_text().strip()
            assert after in said.out
            assert after != before
            began = time.monotonic()
            for url in (one.url, two.url):
                while await status(url, {"X-Api-Key": before}) == 200:
                    assert time.monotonic() - began < 10, "the old key opens for longer than it may"
                    await asyncio.sleep(0.1)
                while await status(url, {"X-Api-Key": after}) != 200:
                    assert time.monotonic() - began < 10, "the new key does not open"
                    await asyncio.sleep(0.5)
                assert await status(url, second) == 401, "the key was rotated, and a sign-in lives on"
            took = time.monotonic() - began
        assert "API key rotated" in (folder / "holdfast.log").read_text()
        stopped = await run("rotate-key", "--yes", env=settings(one))
        assert stopped.code == 0, stopped
        async with Holdfast(wasim, folder, HOLDFAST_API_KEY="") as again, aiohttp.ClientSession() as http:
            last = (folder / "api-key").read_text().strip()
            for key, wanted in ((after, 401), (last, 200)):
                async with http.get(f"{again.url}/api/sessions", headers={"X-Api-Key": key}) as answer:
                    assert answer.status == wanted, (wanted, answer.status)
    return f"{len(forged)} forged headers and {as_peer} forged peers refused; rotated within {took:.1f} s"


# --- A.9 ----------------------------------------------------------------------------------------------------------


@check("A.9", "with the operator's cookie, a page on another port reads and sends nothing")
async def other_origins_get_nothing(w: World) -> str:
    await w.link()
    await w.link("ana", "40712345601")
    seq = await w.wasim.seq()
    url, elsewhere, refused = w.holdfast.url, "http://127.0.0.1:1", 0
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        assert await _sign_in(http, url, KEY) == 303
        async with http.get(f"{url}/api/sessions") as answer:
            assert answer.status == 200, "the operator is not signed in"
        embedded = f"{url}/api/sendText?session=shop&phone=40712345601&text=from-a-page"
        for address in (embedded, embedded.replace("sendText?", "sendText/?")):
            for headers in ({}, {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "none"}, {"Origin": elsewhere}):
                async with http.get(address, headers=headers) as answer:
                    assert answer.status == 403, (headers, answer.status)
                refused += 1
        for path in ("/api/sessions", "/metrics", "/api/holdfast/events", "/dashboard/list"):
            for headers in ({"Origin": elsewhere}, {"Origin": "null"}, {"Sec-Fetch-Site": "same-site"}):
                async with http.get(url + path, headers=headers, allow_redirects=False) as answer:
                    assert answer.status in (303, 403), (path, headers, answer.status)
                refused += 1
        for headers in ({}, {"Origin": elsewhere}, {"Origin": "null"}):
            try:
                async with http.ws_connect(f"{url}/ws", headers=headers) as opened:
                    raise AssertionError(f"a WebSocket of {headers} opened: {await opened.receive()}")
            except aiohttp.WSServerHandshakeError:
                refused += 1
        async with http.ws_connect(f"{url}/ws", headers={"Origin": url}):
            pass
    assert await w.wasim.get("log", since=seq, kind="message") == [], "a page sent a message"
    by_key = {"session": "shop", "chatId": "40712345601@c.us", "text": "by key"}
    await w.holdfast.ask("POST", "/api/sendText", by_key)
    assert len(await w.wasim.get("wait", since=seq, kind="message", timeout=10)) == 1, "the log shows what is sent"
    return f"{refused} requests refused"


# --- A.11 ---------------------------------------------------------------------------------------------------------


@check("A.11", "guesses at keys are counted, logged, slowed and told; the right key passes", TIME_FACTOR="0.2")
async def guesses_leave_a_trace(w: World) -> str:
    url = w.holdfast.url
    statuses, waits = [], []
    async with aiohttp.ClientSession() as http:
        for n in range(ALARM + 10):
            if n % 3 == 2:
                asking = http.post(f"{url}/login", data={"key": f"guess-{n}"})
            else:
                asking = http.get(url + ("/metrics" if n % 3 else "/api/sessions"), headers={"X-Api-Key": f"guess-{n}"})
            async with asking as answer:
                statuses.append(answer.status)
                waits.append(int(answer.headers.get("Retry-After", "0")))
        assert statuses[:FREE] == [401] * FREE, statuses
        assert set(statuses[FREE:]) <= {401, 429}, statuses
        assert statuses.count(429) > len(statuses) / 2, statuses
        assert max(waits) >= 1
        async with http.get(f"{url}/api/sessions", headers={"X-Api-Key": KEY}) as answer:
            assert answer.status == 200, "the right key was locked out"
        assert await _sign_in(http, url, KEY) == 303, "the right key was locked out of the form"
    end = time.monotonic() + 30
    while not (alerts := await w.holdfast.ask("GET", "/api/holdfast/alerts")):
        assert time.monotonic() < end, "no alert"
        await asyncio.sleep(0.2)
    assert [alert["kind"] for alert in alerts] == ["keys_guessed"]
    async with w.holdfast.http.get(f"{url}/metrics") as answer:
        counted = sum(
            float(found) for found in re.findall(r"holdfast_wrong_keys_total\{.*\} (.*)", await answer.text())
        )
    assert counted == len(statuses), counted
    log = (w.holdfast.folder / "holdfast.log").read_text()
    assert '"wrong_key"' in log
    assert "127.0.0.1" in log
    assert "guess-" not in log, "a guessed key is in the log"
    return f"{statuses.count(429)} of {len(statuses)} told to wait, up to {max(waits)} s"


# --- A.13 ---------------------------------------------------------------------------------------------------------


@check("A.13.names", "a session cannot be named like an address; a cookie that is no ASCII gets 401")
async def names_and_odd_cookies(w: World) -> str:
    for name in sorted(RESERVED_NAMES):
        async with w.holdfast.http.post(f"{w.holdfast.url}/api/sessions", json={"name": name}) as answer:
            said = await answer.json()
        assert (answer.status, said["code"]) == (422, "invalid_name"), (name, answer.status, said)
        assert f"'{name}'" in said["message"], said
    assert await w.holdfast.ask("GET", "/api/holdfast/sessions") == []
    await w.holdfast.ask("POST", "/api/sessions", {"name": "stop-1"})
    await w.holdfast.ask("GET", "/api/sessions/stop-1")
    statuses = []
    for cookie in ("holdfast=\xe9", "holdfast=\u20ac", "\xff=\xfe", "holdfast=" + "\xe9" * 43):
        reader, writer = await asyncio.open_connection("127.0.0.1", w.holdfast.port)
        writer.write(
            b"GET /api/sessions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: " + cookie.encode() + b"\r\n\r\n"
        )
        statuses.append(int((await reader.readline()).split()[1]))
        writer.close()
    assert statuses == [401] * len(statuses), statuses
    return f"{len(RESERVED_NAMES)} names refused, {len(statuses)} odd cookies"
