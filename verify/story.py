"""What a session tells of a break, and what the simulator saw of it meanwhile."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from dataclasses import dataclass
from typing import Any

from verify.harness import World

SHOP = "40712345678"

Row = dict[str, Any]


@dataclass(frozen=True)
class Story:
    """One session from the moment of `of` on. Times are Unix seconds."""

    w: World
    name: str
    phone: str
    known: int
    """The timeline's last number before."""
    since: int
    """The simulator's last record before."""
    began: float

    @classmethod
    async def of(cls, w: World, name: str = "shop", phone: str = SHOP) -> Story:
        """From now on."""
        known = int((await w.holdfast.ask("GET", f"/api/holdfast/sessions/{name}/timeline", limit="1"))[0]["seq"])
        return cls(w, name, phone, known, await w.wasim.seq(), time.time())

    async def rows(self) -> list[Row]:
        """The timeline since, oldest first."""
        rows = await self.w.holdfast.ask("GET", f"/api/holdfast/sessions/{self.name}/timeline", limit="500")
        return [row for row in reversed(rows) if row["seq"] > self.known]

    async def told(self, code: str, status: str, words: str, timeout: float = 60.0) -> Row:
        """The first entry with this code; it must show this status, and explain itself with these words."""
        end = time.time() + timeout
        while not (found := [row for row in await self.rows() if row["code"] == code]):
            assert time.time() < end, f"no {code} in {timeout:.0f} s, but {brief(await self.rows())}"
            await asyncio.sleep(0.05)
        row: Row = found[0]
        assert row["status"] == status, f"{code} was shown as {row['status']}"
        assert words in row["message"], f"{code} is explained as {row['message']!r}"
        assert row["message"].endswith("."), row
        assert row["instance"], row
        return row

    async def healed(self, timeout: float = 60.0) -> Row:
        """The entry with which the session works again, after one with which it did not."""
        end = time.time() + timeout
        while True:
            rows = await self.rows()
            if len(rows) > 1 and rows[-1]["status"] == "WORKING" and any(row["status"] != "WORKING" for row in rows):
                return rows[-1]
            assert time.time() < end, f"not WORKING again in {timeout:.0f} s: {brief(rows)}"
            await asyncio.sleep(0.05)

    async def untouched(self) -> None:
        """Nothing happened to it, by its own word and by the simulator's."""
        rows, ended = await self.rows(), await self.seen("disconnected,login")
        assert (rows, ended) == ([], []), f"{self.name} was struck too: {brief(rows)}"

    async def view(self) -> Row:
        """The full status now."""
        found: Row = await self.w.holdfast.ask("GET", f"/api/holdfast/sessions/{self.name}")
        return found

    async def seen(self, kinds: str = "login,login-refused") -> list[Row]:
        """What the simulator recorded of this session's devices; by default, each time one came to log in."""
        found: list[Row] = await self.w.wasim.get(
            "log", since=self.since, kind=kinds, jid=f"{self.phone}:", limit=100_000
        )
        return found

    def credentials(self) -> int:
        """How many of its keys the store has."""
        with sqlite3.connect(self.w.holdfast.folder / "holdfast.sqlite3", timeout=10) as db:
            query = "SELECT count(*) FROM credential WHERE session_name = ?"
            return int(db.execute(query, (self.name,)).fetchone()[0])


def brief(rows: list[Row]) -> list[str]:
    """Rows in few words."""
    return [f"{row['status']} {row['code']} {row['attempt']}" for row in rows]


async def hear(w: World, text: str) -> None:
    """Wait until a message with that text reached the webhook."""
    await w.hook.until(lambda: text in w.hook.texts())


async def quiet(w: World, seconds: float, why: str) -> None:
    """Nobody comes to the simulator for so long."""
    came = await w.wasim.get("wait", since=await w.wasim.seq(), kind="connected,upgrade-refused", timeout=seconds)
    assert came == [], f"{why}, and yet it connected"


def delay(row: Row) -> float:
    """Seconds from an entry to the next attempt that it announces."""
    return float(row["detail"]["next_attempt_at"]) - float(row["at"])
