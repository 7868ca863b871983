"""`pair` in a terminal: what it draws, a phone can scan."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import settings
from tests.support.processes import Holdfast, Wasim
from tests.support.terminal import Terminal

PHONE = "40712345678"

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("processes")]


async def test_the_qr_on_the_terminal_links_the_phone(tmp_path: Path) -> None:
    async with Wasim(tmp_path) as wasim, Holdfast(wasim, tmp_path) as server:
        async with Terminal("pair", "shop", env=settings(server)) as terminal:
            text = await terminal.qr()
            assert text == await server.qr("shop")
            await wasim.post("mock-phone/scan-qr", text=text, phone=PHONE)
            await terminal.until("'shop' is linked and WORKING.")
            assert await terminal.child.wait() == 0
        await server.until_working("shop", timeout=1)


async def test_the_code_on_the_terminal_links_the_phone(tmp_path: Path) -> None:
    async with (
        Wasim(tmp_path) as wasim,
        Holdfast(wasim, tmp_path) as server,
        Terminal("pair", "shop", "--code", f"+{PHONE}", env=settings(server)) as terminal,
    ):
        await terminal.until("Waiting until it is typed.")
        code = terminal.shown.split("Link with phone number): ")[1].split()[0]
        await wasim.post("mock-phone/enter-code", text=code.replace("-", ""), phone=PHONE)
        await terminal.until("'shop' is linked and WORKING.")
        assert await terminal.child.wait() == 0
