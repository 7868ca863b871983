"""The wire between a client and its PostgreSQL, which can be cut at a given statement, go dead without a word, or
hold back what is on it, as a network does that is away for a while.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from tests.support.postgres import Postgres


class Wire:
    """`async with Wire(server) as wire:` forwards; `wire.dsn(database)` is the way through it."""

    def __init__(self, server: Postgres) -> None:
        self._server = server
        self._cut: bytes | None = None
        self._after = False
        self._dead: set[asyncio.StreamWriter] = set()
        self._all: set[asyncio.StreamWriter] = set()
        self.cuts = 0
        self._flows = asyncio.Event()
        self._flows.set()
        self._last: bytes | None = None
        self.held = asyncio.Event()
        """Set when what `hold_at` waits for came."""

    def hold(self) -> None:
        """From now on nothing gets through, either way, and nobody is told."""
        self._flows.clear()

    def hold_at(self, statement: bytes) -> None:
        """The next time a client sends this, `hold` begins: it is the first that does not get through."""
        self._last = statement
        self.held.clear()

    def flow(self) -> None:
        """It does again; what was sent meanwhile arrives now, however late."""
        self._flows.set()

    def cut_before(self, statement: bytes) -> None:
        """The next time a client sends this, the server does not get it, and both sides lose the connection."""
        self._cut, self._after = statement, False

    def cut_after(self, statement: bytes) -> None:
        """The next time a client sends this, the server does it, but its answer does not come back."""
        self._cut, self._after = statement, True

    def go_dead(self) -> None:
        """Connections that stand now carry nothing any more, and nobody is told; new ones work."""
        self._dead = set(self._all)

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = int(self._listener.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        self._dead = set(self._all)  # what is held back gets through no more
        self._flows.set()
        for writer in list(self._all):
            writer.transport.abort()
        while self._all:
            await asyncio.sleep(0)

    def dsn(self, database: str) -> str:
        """The URL through the wire."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}?sslmode=disable"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._all.add(writer)
        await self._flows.wait()
        path = f"{self._server.socket}/.s.PGSQL.{self._server.port}"
        try:
            back, forth = await asyncio.open_unix_connection(path)
        except OSError:
            writer.transport.abort()
            self._all.discard(writer)
            return
        answers = asyncio.create_task(self._answer(back, writer))
        try:
            while data := await reader.read(1 << 16):
                if self._last is not None and self._last in data:
                    self._last = None
                    self.hold()
                    self.held.set()
                await self._flows.wait()
                if writer in self._dead:
                    continue
                if self._cut is not None and self._cut in data:
                    self._cut = None
                    self.cuts += 1
                    if self._after:
                        answers.cancel()
                        forth.write(data)
                        await back.read(1 << 16)  # it has done it
                    break
                forth.write(data)
        except OSError:
            pass
        finally:
            answers.cancel()
            writer.transport.abort()
            forth.transport.abort()
            self._all.discard(writer)
            self._dead.discard(writer)

    async def _answer(self, back: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await back.read(1 << 16):
            await self._flows.wait()
            if writer not in self._dead:
                writer.write(data)
        writer.transport.abort()
