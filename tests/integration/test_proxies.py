"""Sessions behind real proxies: everything goes through them, and nothing past them, whatever breaks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.proxied import proxied
from tests.support.proxies import KINDS, PASSWORD


@pytest.mark.parametrize("kind", KINDS)
async def test_all_of_a_session_goes_through_its_proxy(tmp_path: Path, kind: str) -> None:
    async with KINDS[kind](tmp_path) as proxy, proxied(tmp_path) as it:
        await it.link(proxy.config())
        await it.everything()
        await it.ask_version()
        await it.holdfast.stop()
        await it.holdfast.start()
        await it.holdfast.until_working("shop")
        await it.texts(text="after the restart")
        await it.nothing_past(proxy, "connected", "upload", "download", "version-asked", "file")

        await proxy.stop()
        await it.failed(f"Nothing answers at the session's proxy {proxy.name}")
        await proxy.start()
        await it.holdfast.until_working("shop")

        await it.configure(password="wrong")
        await it.failed(f"The session's proxy {proxy.name} refused its user name or password")
        await it.configure(password=PASSWORD)
        await it.holdfast.until_working("shop")
        await it.configure()  # as it was shown, with its password masked
        await it.texts(text="as before")
        await it.nothing_past(proxy, "connected")
        assert it.shows(PASSWORD) == []
        assert '"password":"***"' in it.answers[0]
