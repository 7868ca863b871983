"""A terminal for a command that draws: a pseudo terminal, and eyes that find the QR code on it."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import fcntl
import os
import pty
import re
import struct
import termios

import zxingcpp

from tests.support.processes import BIN

BLOCKS = " ▀▄█"
SCALE = 4
MARGIN = 4
LOOK = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """`holdfast` on a terminal of 120 columns and 60 lines. `shown` is all that it wrote, without colours."""

    def __init__(self, *arguments: str, env: dict[str, str]) -> None:
        self._arguments = arguments
        self._env = env
        self.shown = ""
        self._grown = asyncio.Event()
        self._decoder = codecs.getincrementaldecoder("utf-8")()  # a read may end inside of a character

    async def __aenter__(self) -> Terminal:
        self._mine, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 60, 120, 0, 0))
        outside = dict(os.environ)
        for size in ("COLUMNS", "LINES"):  # the test runner's, which would count for more than the terminal's own
            outside.pop(size, None)
        self.child = await asyncio.create_subprocess_exec(
            BIN / "holdfast",
            *self._arguments,
            env={**outside, "TERM": "xterm", **self._env},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        asyncio.get_running_loop().add_reader(self._mine, self._on_output)
        return self

    def _on_output(self) -> None:
        try:
            data = os.read(self._mine, 1 << 16)
        except OSError:  # the other end is closed
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._mine)
        self.shown += LOOK.sub("", self._decoder.decode(data))
        self._grown.set()

    async def __aexit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._mine)
        if self.child.returncode is None:
            self.child.kill()
        await self.child.wait()
        os.close(self._mine)

    async def until(self, what: str, timeout: float = 60.0) -> None:
        """Wait until it was written."""
        async with asyncio.timeout(timeout):
            while what not in self.shown:
                self._grown.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._grown.wait(), 1.0)

    async def qr(self, timeout: float = 60.0) -> str:
        """The text of the QR code on show, read as a phone's camera reads it."""
        async with asyncio.timeout(timeout):
            while (found := decoded(self.shown)) is None:
                self._grown.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._grown.wait(), 1.0)
        return found


def decoded(screen: str) -> str | None:
    """The text of the last whole QR code among these lines, drawn light on dark in half blocks."""
    lines = re.split(r"[\r\n]+", screen)
    blocks = [line for line in lines if len(line) > 20 and set(line) <= set(BLOCKS) and "█" in line]
    if not blocks:
        return None
    width = len(blocks[-1])
    height = (width + 1) // 2
    rows = [line for line in blocks if len(line) == width][-height:]
    if len(rows) < height:
        return None
    light = {"█": (1, 1), "▀": (1, 0), "▄": (0, 1), " ": (0, 0)}
    lines = ["".join("\xff" if light[c][half] else "\0" for c in row) for row in rows for half in (0, 1)]
    size = (width + 2 * MARGIN) * SCALE
    blank = ["\xff" * (width + 2 * MARGIN)] * MARGIN
    framed = [*blank, *("\xff" * MARGIN + line + "\xff" * MARGIN for line in lines), *blank]
    wide = [bytes(ord(c) for c in line for _ in range(SCALE)) for line in framed for _ in range(SCALE)]
    picture = memoryview(b"".join(wide)).cast("B", (len(wide), size))
    found = zxingcpp.read_barcode(picture)
    return found.text if found is not None else None
