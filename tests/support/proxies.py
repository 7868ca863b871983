"""Real proxies that want a user and a password, and whose logs show every connection.

Their own connections come from an address of this machine that nothing else uses, so whoever they connect to can tell
them from whoever came past them.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.processes import Process, free_port
from tests.support.programs import environment, program
from wasim.media_tls import ensure_certificates, server_context

OUTSIDE = "127.0.0.2"
"""Where the proxies' connections come from."""
USER, PASSWORD = "ana", "s3cret-Of.ana"
READY = 20.0


class Proxy:
    """One that can be stopped, and started again on its port."""

    scheme = ""
    _connected = re.compile("")

    def __init__(self, folder: Path, user: str = USER, password: str = PASSWORD) -> None:
        self.user, self.password = user, password
        self.port = free_port()
        self.name = f"127.0.0.1:{self.port}"
        self.log = folder / f"{self.scheme}-{self.port}.log"
        self._folder = folder
        self._process: Process | None = None

    def command(self) -> list[str]:
        """What starts it."""
        raise NotImplementedError

    def config(self, **changed: Any) -> dict[str, Any]:
        """`config.proxy` of a session."""
        said = {"server": f"{self.scheme}://{self.name}", "username": self.user, "password": self.password}
        return {**said, **changed}

    @property
    def url(self) -> str:
        """With user and password, as the setting has it."""
        return f"{self.scheme}://{self.user}:{self.password}@{self.name}"

    def targets(self) -> list[str]:
        """`host:port` of each connection that it was asked for and let through."""
        return self._connected.findall(self.log.read_text(errors="replace")) if self.log.exists() else []

    async def start(self) -> None:
        """Start it; returns when it listens."""
        program_, *rest = self.command()
        self._process = Process(program(program_), *rest, env=environment(program_), log=self.log)
        await self._process.start()
        end = time.monotonic() + READY
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert self._process.child.returncode is None, self.log.read_text()
            assert time.monotonic() < end, f"{program_} does not listen: {self.log.read_text()}"
            await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """End it, with every connection through it."""
        if self._process is not None:
            await self._process.stop(signal.SIGKILL)
            self._process = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


class TinyProxy(Proxy):
    """HTTP CONNECT, with Basic authentication."""

    scheme = "http"
    _connected = re.compile(r"Established connection to host \"([^\"]+)\"")

    def command(self) -> list[str]:
        """See `Proxy`."""
        settings = self._folder / f"tinyproxy-{self.port}.conf"
        settings.write_text(
            f"Port {self.port}\nListen 127.0.0.1\nBind {OUTSIDE}\nAllow 127.0.0.1\nTimeout 600\nMaxClients 200\n"
            f'LogFile "{self.log}"\nLogLevel Info\nBasicAuth {self.user} {self.password}\n'
        )
        return ["tinyproxy", "-d", "-c", str(settings)]


class MicroSocks(Proxy):
    """SOCKS5, with user and password."""

    scheme = "socks5"
    _connected = re.compile(r"client\[\d+\] [\d.]+: connected to (\S+)")

    def command(self) -> list[str]:
        """See `Proxy`."""
        return [
            "microsocks", "-i", "127.0.0.1", "-p", str(self.port), "-u", self.user, "-P", self.password, "-b", OUTSIDE,
        ]  # fmt: skip


class TlsProxy(TinyProxy):
    """The same behind TLS, by a certificate for `localhost` of its own authority, `ca_file`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.ca_file, self._key_file = ensure_certificates(folder)
        self._front: asyncio.Server | None = None

    async def start(self) -> None:
        """See `Proxy`."""
        await super().start()
        self._front = await asyncio.start_server(self._relay, "127.0.0.1", 0, ssl=server_context(self._key_file))
        self.name = f"localhost:{self._front.sockets[0].getsockname()[1]}"
        self.scheme = "https"

    async def stop(self) -> None:
        """See `Proxy`."""
        if self._front is not None:
            self._front.close()
        await super().stop()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inside = await asyncio.open_connection("127.0.0.1", self.port)
        ways = [asyncio.create_task(_pump(reader, inside[1])), asyncio.create_task(_pump(inside[0], writer))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        for end in (writer, inside[1]):
            end.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()


KINDS: dict[str, type[Proxy]] = {"http": TinyProxy, "socks5": MicroSocks}
