"""A webhook receiver in a process of its own, which keeps what came in a file before it answers, and can be killed.

`python -m tests.support.receiving PORT KEY FILE`: one line of JSON for each event, as it came. With HOLDFAST_CRASH_FILE
it has two crash points: `receiver.got`, before an event is kept, and `receiver.kept`, before it is answered.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from holdfast import crash
from tests.support.processes import ROOT, Process, Receiver, free_port

KEY = "hook-secret"


class _Keeping(Receiver):
    def __init__(self, key: str, path: Path) -> None:
        super().__init__(key)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.says = self._keep

    def _keep(self, envelope: dict[str, Any]) -> int:
        crash.point("receiver.got")
        os.write(self._file, json.dumps(envelope).encode() + b"\n")
        crash.point("receiver.kept")
        self.envelopes.clear()
        return 200


class ReceiverProcess(Process):
    """The receiver as the tests start it, again and again, on one port and one file."""

    def __init__(self, folder: Path, **env: str) -> None:
        self.port = free_port()
        self._path = folder / "received.jsonl"
        self._path.touch()
        self._read = 0
        self._events: list[dict[str, Any]] = []
        command = (sys.executable, "-m", "tests.support.receiving", str(self.port), KEY, self._path)
        super().__init__(*command, env={"PYTHONPATH": str(ROOT), **env}, log=folder / "receiver.log")

    async def start(self) -> None:
        """Start; returns when it takes events."""
        await super().start()
        await self.line()

    def came(self) -> list[dict[str, Any]]:
        """Every event that it ever got, in order of arrival, repeated ones too."""
        with self._path.open("rb") as file:
            file.seek(self._read)
            *lines, _unfinished = file.read().split(b"\n")
        self._events += [json.loads(line) for line in lines]
        self._read += sum(len(line) + 1 for line in lines)
        return self._events

    def config(self, *events: str) -> dict[str, Any]:
        """A session's configuration that sends its events here."""
        hook = {"url": f"http://127.0.0.1:{self.port}/", "events": list(events) or ["*"], "hmac": {"key": KEY}}
        return {"webhooks": [hook]}


async def _main(port: int, key: str, path: Path) -> None:
    crash.arm(os.environ.get("HOLDFAST_CRASH_FILE", ""))
    receiver = _Keeping(key, path)
    receiver.port = port
    async with receiver:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)  # ends with whoever started us


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])))
