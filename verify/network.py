"""A and F: proxies of sessions, which addresses they may name, and what of their secrets is shown."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from tests.support.processes import Holdfast, Receiver, Wasim
from tests.support.proxied import proxied
from tests.support.proxies import KINDS
from verify.harness import World, alone, check

PRIVATE = [
    "127.0.0.1",
    "10.0.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "192.0.0.192",
    "192.0.0.8",
    "198.18.0.1",
    "240.0.0.1",
    "0.0.0.0",
    "169.254.169.254",
    "168.63.129.16",
    "100.100.100.200",
    "[::1]",
    "[fec0::1]",
    "[fe80::1]",
    "[fd00::1]",
    "[fd00:ec2::254]",
    "[::ffff:10.0.0.1]",
    "[::10.0.0.1]",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b:1::1]",
    "[2002:a9fe:a9fe::1]",
    "[2001:0:5db8:d822::f5ff:fffe]",
    "[2001:db8::1]",
    "[2606:2800::5efe:10.0.0.1]",
    "localhost",
    "n8n.localhost",
]


async def through(kind: str) -> str:
    """Everything of a session through a real proxy of that kind."""
    with tempfile.TemporaryDirectory(prefix="holdfast-verify-") as name:
        folder = Path(name)
        async with KINDS[kind](folder) as proxy, proxied(folder) as it:
            count = await it.all_through(proxy)
            return f"{count} connections, all from the proxy, {len(proxy.targets())} in its log"


@alone(
    "A.2.http", "a session behind tinyproxy: QR, texts, files, version, restart, wrong password, proxy gone and back"
)
async def by_http() -> str:
    return await through("http")


@alone("A.2.socks5", "the same behind microsocks: SOCKS5 with user and password")
async def by_socks() -> str:
    return await through("socks5")


@check("F.20", "nobody listens at the proxy: told as proxy_failed, tried again, WhatsApp never sees a connection")
async def dead_proxy(w: World) -> str:
    proxy = {"server": "127.0.0.1:9", "username": "u", "password": "p-of-the-proxy"}
    made = await w.holdfast.ask("POST", "/api/sessions", {"name": "s3", "config": {"proxy": proxy}})
    assert made["config"]["proxy"]["password"] == "***", made
    view = await w.holdfast.until("s3", lambda view: view["reason"] == "proxy_failed" and view["attempt"] > 1)
    assert "the session's proxy 127.0.0.1:9" in view["message"], view
    shown = str([await w.holdfast.ask("GET", "/api/sessions/s3"), await w.timeline("s3")])
    log = (w.holdfast.folder / "holdfast.log").read_text()
    assert "p-of-the-proxy" not in shown + log, "the password is shown"
    came = await w.wasim.get("log", since=0, kind="connected,upgrade-refused")
    assert came == [], "it connected past the proxy"
    return f"{view['status']} {view['reason']}, attempt {view['attempt']}: {view['message'][:60]}"


async def status_of(
    holdfast: Holdfast, body: Any, method: str = "POST", path: str = "", **headers: str
) -> tuple[int, str]:
    """Status and text of a request about sessions."""
    url = f"{holdfast.url}/api/sessions{path}"
    async with holdfast.http.request(method, url, json=body, headers=headers) as answer:
        return answer.status, await answer.text()


@alone("A.10", "private addresses are open on loopback, and closed for good once a reverse proxy passed something on")
async def behind_a_proxy() -> str:
    with tempfile.TemporaryDirectory(prefix="holdfast-verify-") as name:
        folder = Path(name)
        async with Wasim(folder) as wasim, Receiver() as hook, Holdfast(wasim, folder) as holdfast:
            config = {"config": hook.config(), "start": False}
            status, said = await status_of(holdfast, {"name": "local", **config})
            assert status == 201, said
            log = folder / "holdfast.log"
            assert "private addresses are open to sessions" in log.read_text(), "the log does not say which it is"
            status, said = await status_of(holdfast, {"name": "passed", **config}, **{"X-Forwarded-For": "203.0.113.9"})
            assert (status, "HOLDFAST_WEBHOOK_ALLOW_PRIVATE" in said) == (422, True), said
            assert "private addresses are closed to sessions" in log.read_text()
            proxy = {"name": "proxied", "config": {"proxy": {"server": "127.0.0.1:9"}}}
            status, said = await status_of(holdfast, proxy)
            assert (status, "HOLDFAST_PROXY_ALLOW_PRIVATE" in said) == (422, True), said
            await holdfast.stop()
            await holdfast.start()
            status, said = await status_of(holdfast, {"name": "later", **config})
            assert status == 422, f"forgotten by the restart: {said}"
    return "422 from the first request with X-Forwarded-For on, restart included"


@check(
    "A.13.addresses",
    "addresses with a special purpose are refused for webhooks and proxies",
    PUBLIC_URL="https://a.test",
)
async def addresses(w: World) -> str:
    for host in PRIVATE:
        hook = {"webhooks": [{"url": f"http://{host}/x", "events": ["*"]}]}
        status, said = await status_of(w.holdfast, {"name": "a", "start": False, "config": hook})
        assert (status, "HOLDFAST_WEBHOOK_ALLOW_PRIVATE" in said) == (422, True), f"{host}: {status} {said}"
        proxy = {"proxy": {"server": f"{host}:8080"}}
        status, said = await status_of(w.holdfast, {"name": "a", "start": False, "config": proxy})
        assert (status, "HOLDFAST_PROXY_ALLOW_PRIVATE" in said) == (422, True), f"{host}: {status} {said}"
    return f"{len(PRIVATE)} addresses, each 422 with the setting's name"


@check("A.13.masks", "keys and header values are masked, and come back unchanged to the same receiver only")
async def masks(w: World) -> str:
    other = {"url": "https://b.example.com/?token=tok-of-b", "events": ["*"], "hmac": {"key": "key-of-b"}}
    headers = [{"name": "Authorization", "value": "Bearer of-a"}]
    config = {"webhooks": [{**w.hook.config()["webhooks"][0], "customHeaders": headers}, other]}
    await w.holdfast.link(w.wasim, "shop", "40712345678", config)
    shown = (await w.holdfast.ask("GET", "/api/sessions/shop"))["config"]
    for secret in (w.hook.key, "of-a", "tok-of-b", "key-of-b"):
        assert secret not in str(shown), f"{secret} is shown"
    moved = {"webhooks": [shown["webhooks"][1], shown["webhooks"][0]]}
    assert (await w.holdfast.ask("PUT", "/api/sessions/shop", {"config": moved}))["config"] == moved
    await w.inject("signed as before")
    await w.hook.until(lambda: "signed as before" in w.hook.texts())
    assert w.hook.refused == 0, "a key was mixed up"
    stolen = {"webhooks": [{**shown["webhooks"][0], "url": "https://evil.example.com/"}]}
    status, said = await status_of(w.holdfast, {"config": stolen}, "PUT", "/shop")
    assert (status, "hmac.key is masked" in said) == (422, True), said
    return "moved, sent back, signed with the same key; another url: 422"
