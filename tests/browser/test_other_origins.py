"""A page on another port of the same host, in a real Chromium that is signed in: it can read and change nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from playwright.async_api import Page, async_playwright, expect

from tests.browser.test_dashboard import ARGUMENTS, chromium
from tests.support.served import KEY, Served, check

TRIES = """async ours => {
  const within = (promise) => Promise.race([promise, new Promise(done => setTimeout(() => done("silent"), 5000))]);
  const send = ours + "/api/sendText?session=shop&phone=40733222111&text=from-a-page";
  const element = (kind, facts) => new Promise(done => {
    const made = Object.assign(document.createElement(kind), facts);
    made.onload = () => done("loaded");
    made.onerror = () => done("refused");
    document.body.append(made);
  });
  const form = (method, action, fields) => new Promise(done => {
    const frame = Object.assign(document.createElement("iframe"), {name: "f" + Math.random()});
    frame.onload = () => done("sent");
    const made = Object.assign(document.createElement("form"), {method, action, target: frame.name});
    for (const [name, value] of Object.entries(fields))
      made.append(Object.assign(document.createElement("input"), {name, value}));
    document.body.append(frame, made);
    made.submit();
  });
  const asked = (url, how) => fetch(url, {credentials: "include", ...how})
    .then(async answer => answer.type === "opaque" ? "opaque" : answer.status + " " + await answer.text())
    .catch(() => "refused");
  const socket = new Promise(done => {
    const made = new WebSocket(ours.replace("http", "ws") + "/ws?after=0");
    made.onmessage = message => done("read " + message.data);
    made.onopen = () => done("opened");
    made.onerror = () => done("refused");
  });
  const events = new Promise(done => {
    const made = new EventSource(ours + "/api/holdfast/events", {withCredentials: true});
    made.onopen = () => { made.close(); done("opened"); };
    made.onerror = () => { made.close(); done("refused"); };
  });
  const json = {method: "POST", headers: {"Content-Type": "application/json"}, body: "{}"};
  const hx = {method: "POST", headers: {"HX-Request": "true"}};
  const found = {
    img: element("img", {src: send}),
    qr: element("img", {src: ours + "/api/shop/auth/qr"}),
    icon: element("img", {src: ours + "/static/icon.svg"}),
    script: element("script", {src: ours + "/api/sessions"}),
    fetch: asked(ours + "/api/sessions"),
    opaque: asked(send, {mode: "no-cors"}),
    stop: asked(ours + "/api/sessions/shop/stop", json),
    hx: asked(ours + "/dashboard/s/shop/stop", hx),
    simple: asked(ours + "/dashboard/s/shop/stop", {method: "POST", mode: "no-cors"}),
    logout: form("post", ours + "/logout", {}),
    form: form("post", ours + "/dashboard/s/shop/send", {chat: "40733222111", text: "from-a-page"}),
    link: form("get", ours + "/api/sendText", {session: "shop", phone: "40733222111", text: "from-a-page"}),
    socket, events,
  };
  for (const name in found) found[name] = await within(found[name]);
  return found;
}"""
OWN = """async () => {
  const socket = new Promise(done => {
    const made = new WebSocket(location.origin.replace("http", "ws") + "/ws");
    made.onopen = () => done("opened");
    made.onerror = () => done("refused");
  });
  return [(await fetch("/api/sessions")).status, await socket];
}"""


@asynccontextmanager
async def signed_in(url: str, host: str) -> AsyncIterator[Page]:
    """A browser that is signed in, to which `host` is this machine."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium(), args=[*ARGUMENTS, f"--host-resolver-rules=MAP {host} 127.0.0.1"]
        )
        page = await (await browser.new_context()).new_page()
        await page.goto(f"{url}/dashboard")
        await page.fill("#key", KEY)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.locator("h1")).to_have_text("Sessions")
        try:
            yield page
        finally:
            await browser.close()


@asynccontextmanager
async def elsewhere(page: Page, host: str) -> AsyncIterator[Page]:
    """Another tab of the same browser, at a page on another port."""

    async def empty(_: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>elsewhere</title><body>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", empty)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server: Any = site._server
    tab = await page.context.new_page()
    await tab.goto(f"http://{host}:{server.sockets[0].getsockname()[1]}/")
    try:
        yield tab
    finally:
        await tab.close()
        await runner.cleanup()


@pytest.mark.parametrize("host", ["127.0.0.1", "nas.test"])
def test_a_page_on_another_port_reads_and_changes_nothing(tmp_path: Path, host: str) -> None:
    """Over plain HTTP to another host than this machine, browsers do not send Sec-Fetch-Site."""

    async def body(it: Served) -> None:
        await it.linked("shop")
        url = it.url.replace("127.0.0.1", host)
        async with signed_in(url, host) as page, elsewhere(page, host) as tab:
            assert await page.evaluate(OWN) == [200, "opened"], "our own page reads"
            found = await tab.evaluate(TRIES, url)
            for name in ("img", "qr", "icon", "script", "fetch", "stop", "hx", "socket", "events"):
                assert found[name] == "refused", found
            assert it.engine.sent == []
            assert (await it.http.get("/api/sessions/shop")).json()["status"] == "WORKING"
            await tab.goto(f"{url}/api/sendText?session=shop&phone=40733222111&text=by-address")
            assert it.engine.sent == [], "nor does a link, or the address bar"
            await page.reload()
            await expect(page.locator("h1")).to_have_text("Sessions")
            assert await page.evaluate(OWN) == [200, "opened"], "nobody was signed out"

    check(tmp_path, body)
