"""Real processes under test: started in folders of their own on ports that are free, waited for by what they print.

Nothing here sleeps: each wait is for a line, an answer or an event, with a deadline that names what did not come.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parents[2]

KEEP_LINES = 5_000


class Gone(AssertionError):
    """A process ended, or kept silent, where something was expected of it; the message ends with its last lines."""


class Program:
    """One started program. Its stdout and stderr are read as they come; the last lines are kept."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.process = process
        self.lines: list[str] = []
        self._grown = asyncio.Event()
        assert process.stdout is not None
        assert process.stderr is not None
        self._readers = [asyncio.create_task(self._read(stream)) for stream in (process.stdout, process.stderr)]

    @classmethod
    async def start(cls, command: Sequence[str | Path], cwd: Path, env: Mapping[str, str] | None = None) -> Program:
        """Start it with this process' environment, without what is meant for other instances, and `env`."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
        for name in ("PORT", "DATABASE_URL", "ACCOUNT_NAMESPACE"):
            inherited.pop(name, None)
        process = await asyncio.create_subprocess_exec(
            *map(str, command),
            cwd=cwd,
            env={**inherited, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", "COLUMNS": "200", **(env or {})},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=1 << 22,
        )
        return cls(Path(str(command[0])).name, process)

    @property
    def pid(self) -> int:
        """The process' id."""
        return self.process.pid

    async def _read(self, stream: asyncio.StreamReader) -> None:
        async for line in stream:
            self.lines.append(line.decode(errors="replace").rstrip())
            del self.lines[:-KEEP_LINES]
            self._notify()
        self._notify()

    def _notify(self) -> None:
        self._grown.set()
        self._grown = asyncio.Event()

    async def line(self, wanted: Callable[[str], bool], timeout: float = 60.0) -> str:
        """The first line, already read or to come, that is `wanted`. Raises `Gone`."""
        try:
            async with asyncio.timeout(timeout):
                while True:
                    found = next((line for line in self.lines if wanted(line)), None)
                    if found is not None:
                        return found
                    if all(reader.done() for reader in self._readers):
                        raise Gone(f"{self.name} ended with {await self.process.wait()}.\n{self.tail()}")
                    await self._grown.wait()
        except TimeoutError:
            raise Gone(f"{self.name} did not say so within {timeout:.0f} s.\n{self.tail()}") from None

    def tail(self, count: int = 25) -> str:
        """Its last lines."""
        return "\n".join(f"    {line[:500]}" for line in self.lines[-count:])

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    async def ended(self, timeout: float = 30.0) -> int:
        """Wait for its end; its exit code. Raises `Gone`."""
        try:
            async with asyncio.timeout(timeout):
                code = await self.process.wait()
                await asyncio.gather(*self._readers)
                return code
        except TimeoutError:
            raise Gone(f"{self.name} still runs after {timeout:.0f} s.\n{self.tail()}") from None

    async def stop(self, timeout: float = 20.0) -> None:
        """SIGTERM, and SIGKILL for what does not obey; its children go with it."""
        family = self.children()
        self.signal(signal.SIGTERM)
        try:
            await self.ended(timeout)
        except Gone:
            self.signal(signal.SIGKILL)
            await self.ended()
        finally:
            for child in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()

    async def kill(self) -> None:
        """`kill -9`: no farewell. Its children notice by themselves, and are not helped."""
        self.signal(signal.SIGKILL)
        await self.ended()

    def children(self) -> list[psutil.Process]:
        """The processes that it started, and theirs."""
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def memory(self) -> int:
        """Bytes that it and its children use alone or share fairly (PSS where the kernel tells, else RSS)."""
        total = 0
        for process in [psutil.Process(self.pid), *self.children()]:
            with contextlib.suppress(psutil.NoSuchProcess):
                try:
                    total += process.memory_full_info().pss
                except (psutil.AccessDenied, AttributeError):
                    total += process.memory_info().rss
        return total
