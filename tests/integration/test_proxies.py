"""Sessions behind real proxies: everything goes through them, and nothing past them, whatever breaks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.proxied import proxied
from tests.support.proxies import KINDS, OUTSIDE, PASSWORD, MicroSocks, TinyProxy, TlsProxy


@pytest.mark.parametrize("kind", KINDS)
async def test_all_of_a_session_goes_through_its_proxy(tmp_path: Path, kind: str) -> None:
    async with KINDS[kind](tmp_path) as proxy, proxied(tmp_path) as it:
        assert await it.all_through(proxy) > 10


async def test_a_proxy_behind_tls(tmp_path: Path) -> None:
    async with TlsProxy(tmp_path) as proxy, proxied(tmp_path, proxy.ca_file) as it:
        await it.link(proxy.config())
        await it.everything()
        await it.ask_version()
        await it.nothing_past(proxy, "connected", "upload", "download", "version-asked", "file")
        other = tmp_path / "other"
        other.mkdir()
        async with TlsProxy(other) as stranger:
            await it.ask("POST", "/api/sessions", {"name": "other", "config": {"proxy": stranger.config()}})
            await it.failed(f"The secure connection to the session's proxy {stranger.name} failed", "other")
            assert stranger.targets() == []


async def test_the_default_serves_all_sessions_but_those_that_say_otherwise(tmp_path: Path) -> None:
    async with TinyProxy(tmp_path) as fleet, MicroSocks(tmp_path) as own, proxied(tmp_path, PROXY=fleet.url) as it:
        await it.link(None)
        await it.nothing_past(fleet, "connected")
        through_fleet = len(fleet.targets())

        config = {**it.hook.config(), "proxy": own.config()}
        await it.ask("PUT", "/api/sessions/shop", {"config": config})
        await it.holdfast.until("shop", lambda view: view["status"] == "WORKING" and len(own.targets()) > 0)
        await it.texts(text="through its own")
        assert len(fleet.targets()) == through_fleet, "the session's own proxy wins"

        it.since = await it.wasim.seq()
        await it.ask("PUT", "/api/sessions/shop", {"config": {**config, "proxy": {"server": "direct"}}})
        while not (peers := (await it.comers()).get("connected")):
            await it.wasim.get("wait", since=it.since, kind="connected", timeout=5)
        assert not any(peer.startswith(f"{OUTSIDE}:") for peer in peers), "opted out"
        assert it.shows(PASSWORD) == []


async def test_a_proxy_that_cannot_be_used_is_told_and_nobody_connects(tmp_path: Path) -> None:
    async with MicroSocks(tmp_path) as proxy, proxied(tmp_path) as it:
        for name, server, words in (
            ("closed", {"server": "127.0.0.1:9", "username": "u", "password": "p"}, "proxy 127.0.0.1:9"),
            ("nameless", {"server": "socks5://nobody.invalid:1080"}, "name of the session's proxy nobody.invalid:1080"),
            ("other", {"server": f"http://127.0.0.1:{it.wasim.admin.split(':')[2].split('/')[0]}"}, "cannot reach"),
            ("wrong", proxy.config(password="wrong"), "refused its user name or password"),
        ):
            made = await it.ask("POST", "/api/sessions", {"name": name, "start": True, "config": {"proxy": server}})
            assert made.get("name") == name, made
            view = await it.failed(words, name)
            assert view["status"] in ("STARTING", "FAILED")
        assert (await it.comers()).get("connected") is None
        assert proxy.targets() == []
