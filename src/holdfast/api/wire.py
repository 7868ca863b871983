"""One write for one answer.

The HTTP server hands head and body to the socket one after the other, and uvloop sends each at once: two system calls
and two packets, and the client wakes twice. Gathered until the loop's next turn they are one.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

AT_ONCE = 64 * 1024
"""Bytes gathered at most, so that a long body is paced by what its reader takes."""


class OneWrite:
    """A transport that gathers what is written in one turn of the loop. All else goes to the transport below."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._below = transport
        self._loop = asyncio.get_running_loop()
        self._gathered: list[bytes] = []
        self._size = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._below, name)

    def write(self, data: bytes) -> None:
        """Send `data`, at the latest in the loop's next turn."""
        if not self._gathered:
            self._loop.call_soon(self._flush)
        self._gathered.append(bytes(data))
        self._size += len(data)
        if self._size >= AT_ONCE:
            self._flush()

    def writelines(self, lines: list[bytes]) -> None:
        """Send the lines, one after the other."""
        for line in lines:
            self.write(line)

    def write_eof(self) -> None:
        """Send what is gathered, then the end."""
        self._flush()
        self._below.write_eof()

    def close(self) -> None:
        """Send what is gathered, then close."""
        self._flush()
        self._below.close()

    def _flush(self) -> None:
        if self._gathered and not self._below.is_closing():
            self._below.write(b"".join(self._gathered))
        self._gathered.clear()
        self._size = 0


class Protocol(HttpToolsProtocol):
    """uvicorn's, whose answers leave in one write."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See the base class."""
        super().connection_made(cast(asyncio.Transport, OneWrite(cast(asyncio.Transport, transport))))
