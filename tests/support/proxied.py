"""A session behind a proxy, played on real processes: everything that goes out for it, and who saw it come."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from tests.support.processes import Holdfast, Receiver, Wasim
from tests.support.proxies import OUTSIDE, PASSWORD, Proxy

SHOP, BEA = "40712345678", "40712345601"
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40
FAST = {"HOLDFAST_TIME_FACTOR": "0.2"}
"""Retries a fifth as far apart as a user's."""


class FileServer:
    """Where files to send lie; it knows who fetched them."""

    def __init__(self) -> None:
        self.peers: list[str] = []

    async def _get(self, request: web.Request) -> web.Response:
        peer = request.transport.get_extra_info("peername") if request.transport else ("", 0)
        self.peers.append(f"{peer[0]}:{peer[1]}")
        return web.Response(body=PICTURE, content_type="image/png")

    async def __aenter__(self) -> FileServer:
        app = web.Application()
        app.router.add_get("/a.png", self._get)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        server: Any = site._server
        self.url = f"http://localhost:{server.sockets[0].getsockname()[1]}/a.png"
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self._runner.cleanup()


@dataclass
class Proxied:
    """What a test has in hand."""

    wasim: Wasim
    holdfast: Holdfast
    hook: Receiver
    files: FileServer
    since: int = 0
    answers: list[str] = field(default_factory=list)

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The decoded answer, which is kept for `shows`."""
        async with self.holdfast.http.request(method, self.holdfast.url + path, json=body) as answer:
            self.answers.append(await answer.text())
            return await answer.json(content_type=None)

    async def link(self, proxy: dict[str, Any] | None, name: str = "shop", phone: str = SHOP) -> None:
        """A session behind that proxy, linked by QR."""
        await self.wasim.post("phones", {"phone": BEA})
        config = {**self.hook.config(), **({} if proxy is None else {"proxy": proxy})}
        made = await self.ask("POST", "/api/sessions", {"name": name, "start": True, "config": config})
        assert made.get("name") == name, made
        await self.holdfast.scan(self.wasim, name, phone)
        await self.holdfast.until_working(name)

    async def configure(self, name: str = "shop", **proxy: Any) -> dict[str, Any]:
        """Read the configuration, change its proxy, and send it back, as a client does."""
        config = (await self.ask("GET", f"/api/sessions/{name}"))["config"]
        config["proxy"] = {**config["proxy"], **proxy}
        answer: dict[str, Any] = await self.ask("PUT", f"/api/sessions/{name}", {"config": config})
        return answer

    async def failed(self, words: str, name: str = "shop") -> dict[str, Any]:
        """Wait until the proxy is told to have failed, with these words."""
        return await self.holdfast.until(
            name, lambda view: view["reason"] == "proxy_failed" and words in view["message"], 60
        )

    async def everything(self, name: str = "shop", phone: str = SHOP) -> None:
        """Texts both ways, files both ways: given as bytes, and as a URL."""
        await self.texts(name, phone)
        chat = f"{BEA}@c.us"
        for file in ({"data": base64.b64encode(PICTURE).decode(), "mimetype": "image/png"}, {"url": self.files.url}):
            sent = await self.ask("POST", "/api/sendImage", {"session": name, "chatId": chat, "file": file})
            assert sent.get("ack") == 1, sent
            assert await self._on_the_phone(sent["id"].split("_")[2]) == PICTURE
        coded = {"base64": base64.b64encode(PICTURE).decode(), "mimetype": "image/png"}
        await self.wasim.post(f"phones/{BEA}/picture", {"chat": f"{phone}@s.whatsapp.net", "caption": "look", **coded})
        await self.hook.until(lambda: "look" in self.hook.texts(name))
        came = next(e for e in self.hook.envelopes if e["session"] == name and e["payload"].get("body") == "look")
        path = urlsplit(came["payload"]["media"]["url"]).path
        async with self.holdfast.http.get(self.holdfast.url + path) as answer:
            assert (answer.status, await answer.read()) == (200, PICTURE)

    async def _on_the_phone(self, id_: str) -> bytes:
        """The file of a message, once the phone has it."""
        end = time.monotonic() + 20
        while not any(one["id"] == id_ for one in (await self.wasim.get(f"phones/{BEA}/messages"))["messages"]):
            assert time.monotonic() < end, f"{id_} did not reach the phone"
            await asyncio.sleep(0.02)
        return base64.b64decode((await self.wasim.post(f"phones/{BEA}/download", {"id": id_}))["result"])

    async def texts(self, name: str = "shop", phone: str = SHOP, text: str = "hello") -> None:
        """One each way."""
        sent = await self.ask("POST", "/api/sendText", {"session": name, "chatId": f"{BEA}@c.us", "text": text})
        assert sent.get("ack") == 1, sent
        await self.wasim.post("inject", {"from": BEA, "to": phone, "text": f"{text} back"})
        await self.hook.until(lambda: f"{text} back" in self.hook.texts(name))

    async def no_file(self, words: str) -> None:
        """A file's URL cannot be fetched, which is told in these words."""
        body = {"session": "shop", "chatId": f"{BEA}@c.us", "file": {"url": self.files.url}}
        sent = await self.ask("POST", "/api/sendImage", body)
        assert sent.get("statusCode") == 422, sent
        assert words in sent["message"], sent

    async def ask_version(self) -> None:
        """WhatsApp refuses our version, so that the present one is looked up."""
        since = await self.wasim.seq()
        await self.wasim.post("fault", {"kind": "outdated", "version": "2.3000.1999999999"})
        await self.wasim.post("fault", {"kind": "drop", "jid": SHOP})
        while not await self.wasim.get("wait", since=since, kind="version-asked", timeout=20):
            pass
        await self.holdfast.until_working("shop")

    async def comers(self) -> dict[str, list[str]]:
        """By kind, the addresses from which Holdfast came to WhatsApp and to the server of files."""
        kinds = "connected,upgrade-refused,media,version-asked"
        records = await self.wasim.get("log", since=self.since, kind=kinds, limit=100_000)
        found: dict[str, list[str]] = {}
        for record in records:
            if record.get("by") != "phone":
                found.setdefault(record.get("what", record["kind"]), []).append(record["peer"])
        return {**found, "file": self.files.peers}

    async def nothing_past(self, proxy: Proxy, *kinds: str) -> int:
        """Nobody came but the proxy, for none of these things; how many connections that were. Its log has each."""
        comers = await self.comers()
        for kind in kinds:
            assert comers.get(kind), f"nothing came for {kind}"
        peers = [peer for found in comers.values() for peer in found]
        past = [peer for peer in peers if not peer.startswith(f"{OUTSIDE}:")]
        assert not past, f"{len(past)} of {len(peers)} came past the proxy: {comers}"
        connections = set(peers)
        assert len(proxy.targets()) >= len(connections), f"{connections} in {proxy.log.read_text()}"
        return len(connections)

    async def all_through(self, proxy: Proxy) -> int:
        """Link, talk, restart, and let the proxy fail in each way; how many connections went through it."""
        await self.link(proxy.config())
        await self.everything()
        await self.ask_version()
        await self.holdfast.stop()
        await self.holdfast.start()
        await self.holdfast.until_working("shop")
        await self.texts(text="after the restart")
        await self.nothing_past(proxy, "connected", "upload", "download", "version-asked", "file")
        await proxy.stop()
        await self.failed(f"Nothing answers at the session's proxy {proxy.name}")
        await self.no_file(f"Nothing answers at the session's proxy {proxy.name}")
        await proxy.start()
        await self.holdfast.until_working("shop")
        await self.configure(password="wrong")
        await self.failed(f"The session's proxy {proxy.name} refused its user name or password")
        await self.no_file(f"The session's proxy {proxy.name} refused its user name or password")
        await self.configure(password=PASSWORD)
        await self.holdfast.until_working("shop")
        await self.configure()  # as it was shown, with its password masked
        await self.texts(text="as before")
        assert self.shows(PASSWORD) == []
        assert '"password":"***"' in self.answers[0]
        return await self.nothing_past(proxy, "connected")

    def shows(self, secret: str) -> list[str]:
        """Where a secret stands: in an answer, a webhook or the log."""
        places = {
            "an answer": "".join(self.answers),
            "a webhook": str(self.hook.envelopes),
            "the log": (self.holdfast.folder / "holdfast.log").read_text(),
        }
        return [place for place, text in places.items() if secret in text]


@asynccontextmanager
async def proxied(folder: Path, trusted: Path | None = None, **env: str) -> AsyncIterator[Proxied]:
    """The simulator, Holdfast, a receiver and a server of files. `env` are settings without their prefix; `trusted`: a
    further certificate authority.
    """
    named = {f"HOLDFAST_{name}": value for name, value in env.items()}
    async with contextlib.AsyncExitStack() as stack:
        wasim = await stack.enter_async_context(Wasim(folder))
        hook = await stack.enter_async_context(Receiver())
        files = await stack.enter_async_context(FileServer())
        if trusted is not None:
            both = folder / "both.pem"
            both.write_text(Path(wasim.ca_file).read_text() + trusted.read_text())
            named |= {"HOLDFAST_WHATSAPP_CA_FILE": str(both), "SSL_CERT_FILE": str(both)}
        holdfast = await stack.enter_async_context(Holdfast(wasim, folder, **FAST, **named))
        yield Proxied(wasim, holdfast, hook, files)
