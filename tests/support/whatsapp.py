"""The simulated WhatsApp as a process of its own, and what a test may ask of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import aiohttp

from tests.support.processes import BIN, Program

Record = dict[str, Any]


class WhatsApp:
    """A `wasim serve` on free ports, driven through its admin API."""

    def __init__(self, folder: Path, *, keep: bool = False) -> None:
        self._folder = folder
        self._keep = keep
        self.url = ""
        self.root_key = ""
        self.ca_file = ""

    async def __aenter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        state: list[str | Path] = ["--state", self._folder / "wasim.sqlite3"] if self._keep else []
        self.program = await Program.start([BIN / "wasim", "serve", "--port", "0", *state], self._folder)
        await self.program.line(lambda line: line.startswith("admin "))
        told = dict(line.split(None, 1) for line in self.program.lines if len(line.split(None, 1)) == 2)
        self.url, self.root_key, self._admin = told["url"], told["root-key"], told["admin"]
        self.ca_file = "" if told["ca-file"] == "-" else told["ca-file"]
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=90))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()
        await self.program.stop()

    def environment(self) -> dict[str, str]:
        """What makes a Holdfast speak to it."""
        env = {"HOLDFAST_WHATSAPP_URL": self.url, "HOLDFAST_WHATSAPP_ROOT_KEY": self.root_key}
        return {**env, "HOLDFAST_WHATSAPP_CA_FILE": self.ca_file} if self.ca_file else env

    async def ask(self, method: str, path: str, **options: Any) -> Any:
        """An admin call. Raises `AssertionError` with the simulator's sentence if it refuses."""
        async with self._http.request(method, f"{self._admin}/{path}", **options) as answer:
            body = await answer.json()
            assert answer.status < 400, f"wasim: {method} {path}: {body}"
            return body

    # --- phones
    async def scan(self, qr: str, phone: str) -> None:
        """The phone scans a QR."""
        await self.ask("POST", "mock-phone/scan-qr", params={"phone": phone}, data=qr)

    async def enter_code(self, code: str, phone: str) -> None:
        """The phone's owner types a pairing code."""
        await self.ask("POST", "mock-phone/enter-code", params={"phone": phone}, data=code)

    async def write(self, sender: str, to: str, text: str) -> str:
        """The phone `sender` writes a message; its id."""
        sent = await self.ask("POST", "inject", json={"from": sender, "to": to, "text": text})
        return str(sent["id"])

    async def logout(self, phone: str) -> None:
        """The phone's owner removes the linked devices."""
        await self.fault("logout", jid=phone)

    async def messages(self, phone: str) -> list[Record]:
        """What the phone received and decrypted."""
        found = await self.ask("GET", f"phones/{phone}/messages")
        return list(found["messages"])

    # --- faults and the log
    async def fault(self, kind: str, **facts: Any) -> Any:
        """Set or strike a fault."""
        return await self.ask("POST", "fault", json={"kind": kind, **facts})

    async def seq(self) -> int:
        """The number of the log's last record."""
        return int((await self.ask("GET", "stats"))["seq"])

    async def log(self, since: int = 0, *, jid: str = "", kind: str = "") -> list[Record]:
        """What it saw after `since`; `kind`: names separated by commas."""
        return list(await self.ask("GET", "log", params=_query(since, jid, kind) | {"limit": "200000"}))

    async def seen(
        self, kind: str, *, since: int = 0, jid: str = "", count: int = 1, timeout: float = 60
    ) -> list[Record]:
        """The first `count` records of `kind`, waited for. Raises `AssertionError` if they do not come."""
        found: list[Record] = []
        while len(found) < count:
            query = _query(since, jid, kind) | {"timeout": str(timeout)}
            fresh = await self.ask("GET", "wait", params=query)
            assert fresh, f"the simulator saw {len(found)} of {count} {kind!r} within {timeout} s"
            found += fresh
            since = fresh[-1]["seq"]
        return found[:count]


def _query(since: int, jid: str, kind: str) -> dict[str, str]:
    given = {"since": str(since), "jid": jid, "kind": kind}
    return {name: value for name, value in given.items() if value}
