"""A network between Holdfast and the simulator that can be cut, go silent, or show another certificate."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path
from typing import Any, Literal, Self

from tests.support.processes import Wasim, free_port
from verify.harness import World
from wasim.media_tls import ensure_certificates, server_context

Mode = Literal["open", "closed", "silent", "untrusted"]


class Relay:
    """`async with Relay(wasim) as relay:` listens on a port of its own; `tls` as the real WhatsApp does."""

    def __init__(self, wasim: Wasim, *, tls: bool = False) -> None:
        self._target = int(wasim.url.split(":")[2].split("/")[0])
        self._trusted = Path(wasim.ca_file).with_name("server.pem") if tls else None
        self._port = free_port()
        self._mode: Mode = "closed"
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._folder = tempfile.TemporaryDirectory(prefix="holdfast-relay-")
        self._foreign = ensure_certificates(Path(self._folder.name))[1] if tls else None
        self.url = f"{'wss' if tls else 'ws'}://localhost:{self._port}/ws/chat"
        self.accepted = 0

    async def __aenter__(self) -> Self:
        await self.become("open")
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.become("closed")
        self._folder.cleanup()

    async def become(self, mode: Mode) -> None:
        """Cut what is there, and treat what comes from now on in that way."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        self._mode, self._server = mode, None
        if mode == "closed":
            return
        key_file = self._foreign if mode == "untrusted" else self._trusted
        context = server_context(key_file) if key_file else None
        self._server = await asyncio.start_server(self._serve, "localhost", self._port, ssl=context)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._writers.add(writer)
        try:
            if self._mode == "silent":
                while await reader.read(1 << 16):
                    pass
                return
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.add(far_writer)
            try:
                await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
            finally:
                self._writers.discard(far_writer)
                far_writer.close()
        except OSError:
            pass
        finally:
            self._writers.discard(writer)
            writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()


async def through(w: World, url: str) -> None:
    """Let Holdfast reach WhatsApp under another address from now on: it starts anew."""
    await w.holdfast.stop()
    w.holdfast.env["HOLDFAST_WHATSAPP_URL"] = url
    await w.holdfast.start()
