"""The dashboard in a real Chromium: sign in, connect, see the QR turn into WORKING. Takes the README's picture."""

from __future__ import annotations

import shutil
from pathlib import Path

from playwright.async_api import async_playwright, expect

from tests.support.served import KEY, Served, check

ROOT = Path(__file__).parents[2]
CHOICE = ROOT / ".venv" / ".holdfast-browser"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]


def chromium() -> str | None:
    """The one that set-up chose, else the system's, else Playwright's own."""
    chosen = CHOICE.read_text().strip() if CHOICE.exists() else ""
    return chosen or shutil.which("chromium")


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
            await page.screenshot(path=ROOT / "docs" / "dashboard.png")
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
