"""One write for one answer.

The HTTP server hands head and body to the socket one after the other, and uvloop sends each at once: two system calls
and two packets, and the client wakes twice. Gathered until the loop's next turn they are one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

AT_ONCE = 64 * 1024
"""Bytes gathered at most, so that a long body is paced by what its reader takes."""


class OneWrite:
    """A transport that gathers what is written in one turn of the loop. All else goes to the transport below."""

    def __init__(self, transport: asyncio.Transport, keep_open: Callable[[], bool] | None = None) -> None:
        """`keep_open`: asked when the connection is to be closed. True: it is closed later, with `abort`."""
        self._below = transport
        self._keep_open = keep_open
        self._closed = False
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
        if self._closed:
            return
        self._flush()
        self._closed = True
        if self._keep_open is None or self._below.is_closing() or not self._keep_open():
            self._below.close()

    def release(self) -> None:
        """Ask nobody any more: the connection is over, and is not to live on in a cycle with its transport."""
        self._keep_open = None

    def is_closing(self) -> bool:
        """Whether nothing more may be written."""
        return self._closed or self._below.is_closing()

    def _flush(self) -> None:
        if self._gathered and not self._below.is_closing():
            self._below.write(b"".join(self._gathered))
        self._gathered.clear()
        self._size = 0
