"""The dashboard in a real Chromium: sign in, connect, see the QR turn into WORKING. Takes the README's picture."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Dialog, Page, async_playwright, expect

from holdfast.domain.terms import Terms
from tests.support.served import KEY, Served, check

ROOT = Path(__file__).parents[2]
CHOICE = ROOT / ".venv" / ".holdfast-browser"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]


def chromium() -> str | None:
    """The one that set-up chose, else the system's, else Playwright's own."""
    chosen = CHOICE.read_text().strip() if CHOICE.exists() else ""
    return chosen or shutil.which("chromium")


@asynccontextmanager
async def opened(it: Served, **how: Any) -> AsyncIterator[tuple[Page, list[str]]]:
    """A page that is signed in, and what went wrong on it: errors of scripts, and requests to other servers."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        page = await (await browser.new_context(**how)).new_page()
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "request", lambda asked: wrong.append(asked.url) if not asked.url.startswith((it.url, "data:")) else None
        )
        await page.goto(f"{it.url}/dashboard")
        await page.fill("#key", KEY)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.locator("h1")).to_have_text("Sessions")
        try:
            yield page, wrong
        finally:
            await browser.close()


def test_a_number_is_connected_and_the_page_tells_the_truth(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked("shop")
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
            page = await browser.new_page(viewport={"width": 1100, "height": 760})
            wrong: list[str] = []
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
            await page.goto(f"{it.url}/dashboard")
            await page.fill("#key", KEY)
            await page.get_by_role("button", name="Sign in").click()
            await page.fill("#name", "support")
            await page.get_by_role("button", name="Connect a number").click()
            await expect(page.locator("img.qr")).to_be_visible(timeout=5_000)
            await page.screenshot(path=tmp_path / "dashboard.png")
            it.engine.scan("support", "40733222111")
            await expect(page.locator("[data-status=WORKING]")).to_be_visible(timeout=5_000)
            await page.reload()
            await expect(page.locator("[data-status=WORKING]")).to_be_visible(timeout=5_000)
            await page.get_by_role("button", name="Stop").click()
            await expect(page.locator("[data-status=STOPPED]")).to_be_visible(timeout=5_000)
            await page.goto(f"{it.url}/dashboard")
            await expect(page.locator(".chip.STOPPED")).to_have_count(1)
            await expect(page.locator(".chip.WORKING")).to_have_count(1)
            await browser.close()
            assert wrong == []

    check(tmp_path, body)


CONTRAST = """selector => {
  const channel = v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = colour => colour.match(/[\\d.]+/g).slice(0, 3)
    .map(v => channel(v / 255)).reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = element => {
    const colour = getComputedStyle(element).backgroundColor;
    return colour.endsWith(", 0)") ? behind(element.parentElement) : colour;
  };
  return [...document.querySelectorAll(selector)].map(e => {
    const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((x, y) => y - x);
    return [e.className + " " + e.textContent.slice(0, 20), (a + .05) / (b + .05)];
  });
}"""
"""What stands in the elements, and how its colour stands out from what is behind it (WCAG's ratio)."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_a_phone_and_can_be_read_by_day_and_by_night(tmp_path: Path, scheme: str) -> None:
    async def body(it: Served) -> None:
        await it.linked("account_prod_0a1b2c3d4e5f60718293")
        await it.linked("out")
        it.engine.account("out").linked = False
        it.engine.close_with("out", 401, "device_removed")
        await it.until("out", "FAILED")
        await it.http.post("/api/sessions", json={"name": "pairing"})
        await it.until("pairing", "SCAN_QR_CODE")
        async with opened(it, viewport={"width": 360, "height": 740}, color_scheme=scheme) as (page, wrong):
            dark = await page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (dark == "rgb(18, 23, 21)") == (scheme == "dark")
            for path in ("", "/s/out", "/s/pairing", "/s/account_prod_0a1b2c3d4e5f60718293", "/s/nobody", "/../docs"):
                await page.goto(f"{it.url}/dashboard{path}")
                await expect(page.locator("main")).to_be_visible()
                assert await page.evaluate("document.documentElement.scrollWidth") <= 360, path
                for what, contrast in await page.evaluate(CONTRAST, ".chip, p, small, strong, td, dd, dt, a, button"):
                    assert contrast >= 4.5, (path, what, contrast)
            assert wrong == []

    check(tmp_path, body)


def test_a_deleted_session_and_an_ended_login_are_noticed_on_an_open_page(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked("shop")
        async with opened(it) as (page, wrong):
            await page.goto(f"{it.url}/dashboard/s/shop")
            await expect(page.locator("[data-status=WORKING]")).to_be_visible()
            assert (await it.http.delete("/api/sessions/shop")).status_code == 200
            await expect(page.get_by_role("alert")).to_have_text("There is no session 'shop'.", timeout=10_000)
            await page.get_by_role("link", name="Sessions").click()
            await expect(page.locator("#live")).to_have_text("live")
            await page.context.clear_cookies()
            await expect(page.locator("#key")).to_be_visible(timeout=10_000)
            assert page.url == f"{it.url}/login"
            assert wrong == []

    check(tmp_path, body)


def test_another_number_is_linked_only_once_the_operator_confirms_it(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked("shop")
        it.engine.account("shop").linked = False
        it.engine.close_with("shop", 401, "device_removed")
        async with opened(it) as (page, wrong):
            asked: list[str] = []
            change = page.get_by_role("button", name="Link another number")
            await page.goto(f"{it.url}/dashboard/s/shop")
            await page.get_by_role("button", name="Connect").click()
            await expect(page.locator("img.qr")).to_be_visible(timeout=5_000)
            await page.fill("#phone", "+40733222111")
            await page.get_by_role("button", name="Get a code").click()
            await expect(page.locator("#code-problem")).to_contain_text("belongs to +407****78, not to +407****11")
            await expect(change).to_have_count(1)
            it.engine.scan("shop", "40733222111")
            await expect(page.locator("#state")).to_contain_text("+407****11 scanned its QR code", timeout=5_000)
            page.once("dialog", lambda dialog: dialog.dismiss())
            await page.locator("#state").get_by_role("button", name="Link another number").click()
            assert (await it.node.gateway.session("shop")).reason == "another_number", "not asked, not done"

            async def confirm(dialog: Dialog) -> None:
                asked.append(dialog.message)
                await dialog.accept()

            page.once("dialog", confirm)
            await page.locator("#state").get_by_role("button", name="Link another number").click()
            await expect(page.locator("img.qr")).to_be_visible(timeout=5_000)
            assert "conversations so far go to a stopped session" in asked[0]
            it.engine.scan("shop", "40733222111")
            await expect(page.locator("[data-status=WORKING]")).to_be_visible(timeout=5_000)
            await page.goto(f"{it.url}/dashboard")
            await expect(page.locator(".chip.STOPPED")).to_have_count(1)
            assert wrong == []

    check(tmp_path, body)


def test_what_waits_is_shown_with_its_reason_and_can_be_cancelled(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked("shop")
        due = it.node.gateway.now() + 7200
        text = {"type": "text", "text": "<b>see you</b>"}
        later = await it.node.gateway.send("shop", "40733222111@c.us", text, terms=Terms(send_at=due))
        async with opened(it, viewport={"width": 360, "height": 740}) as (page, wrong):
            await page.goto(f"{it.url}/dashboard/s/shop")
            waiting = page.locator("#queue")
            await expect(waiting).to_contain_text("40733222111@c.us", timeout=5_000)
            await expect(waiting).to_contain_text("<b>see you</b>")
            await expect(waiting).to_contain_text("Scheduled for 2")
            assert await page.evaluate("document.documentElement.scrollWidth") <= 360
            page.once("dialog", lambda dialog: dialog.accept())
            await waiting.get_by_role("button", name="Cancel").click()
            await expect(waiting).to_be_empty(timeout=5_000)
            assert (await it.node.gateway.outgoing("shop", later.id)).state == "cancelled"
            assert wrong == []

    check(tmp_path, body)


def test_messages_are_found_and_undelivered_events_replayed(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        refusing = f"{it.url}/api/sessions"  # takes no event: one that is away would be waited for
        hook = {"url": refusing, "events": ["message.any"], "retries": {"attempts": 1}}
        made = {"name": "shop", "start": True, "config": {"webhooks": [hook]}}
        assert (await it.http.post("/api/sessions", json=made)).status_code == 201
        await it.until("shop", "SCAN_QR_CODE")
        it.engine.scan("shop")
        await it.until("shop", "WORKING")
        text = {"type": "text", "text": "<i>the invoice</i>"}
        await it.node.gateway.send("shop", "40733222111@c.us", text)
        async with opened(it, viewport={"width": 360, "height": 740}) as (page, wrong):
            await page.goto(f"{it.url}/dashboard")
            await page.get_by_role("link", name="Search").click()
            await page.get_by_role("searchbox").fill("inv")
            await page.get_by_role("button", name="Search").click()
            await expect(page.locator("#found")).to_contain_text("<i>the invoice</i>")
            assert await page.evaluate("document.documentElement.scrollWidth") <= 360
            await page.get_by_role("link", name="Webhooks").click()
            await expect(page.locator("#deliveries")).to_contain_text("given up", timeout=15_000)
            await page.get_by_role("button", name="Replay", exact=True).click()
            await expect(page.locator("#deliveries")).to_contain_text("parked", timeout=5_000)
            assert await page.evaluate("document.documentElement.scrollWidth") <= 360
            assert wrong == []

    check(tmp_path, body)
