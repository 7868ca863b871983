"""What the server saw: an ordered, bounded record that tests read and wait on.

Each record has ``seq`` (1, 2, 3 …, never reused while the process lives), ``t`` (seconds since 1970), ``kind``, and
what belongs to the kind (``jid``, ``id``, ``reason`` …). Keys and message bodies are never recorded. The oldest records
fall out after ``capacity``; the counters stay.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Collection
from itertools import islice
from typing import Any

from aiohttp import web

Record = dict[str, Any]


def peer_of(request: web.Request) -> str:
    """The address and port that a request came from, which tell a proxy's connections from others."""
    peer = request.transport.get_extra_info("peername") if request.transport else None
    return f"{peer[0]}:{peer[1]}" if peer else ""


class Journal:
    """The record and those who wait for the next entry."""

    def __init__(self, now: Callable[[], float], capacity: int = 200_000) -> None:
        self._now = now
        self._records: deque[Record] = deque(maxlen=capacity)
        self._grown = asyncio.Event()
        self.seq = 0
        self.counts: Counter[str] = Counter()

    def note(self, kind: str, **facts: Any) -> Record:
        """Append a record; facts that are None are left out."""
        self.seq += 1
        record: Record = {"seq": self.seq, "t": round(self._now(), 6), "kind": kind}
        record.update((key, value) for key, value in facts.items() if value is not None)
        self._records.append(record)
        self.counts[kind] += 1
        self._grown.set()
        self._grown = asyncio.Event()
        return record

    def read(
        self, since: int = 0, jid: str | None = None, kinds: Collection[str] = (), limit: int = 10_000
    ) -> list[Record]:
        """Give the records after ``since``, oldest first, at most ``limit``.

        :param jid: only those whose jid, from or to starts with it (so a phone number finds all its devices)
        :param kinds: only these kinds; empty for all
        """
        first = self._records[0]["seq"] if self._records else 1
        start = max(0, since + 1 - first)
        found = []
        for record in islice(self._records, start, None):
            if kinds and record["kind"] not in kinds:
                continue
            if jid and not any(str(record.get(key, "")).startswith(jid) for key in ("jid", "from", "to")):
                continue
            found.append(record)
            if len(found) >= limit:
                break
        return found

    async def wait(
        self, since: int, jid: str | None = None, kinds: Collection[str] = (), timeout: float = 30.0
    ) -> list[Record]:
        """Give the matching records after ``since`` as soon as there is one; empty after ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while not (found := self.read(since, jid, kinds)):
                    since = max(since, self.seq)
                    await self._grown.wait()
                return found
        except TimeoutError:
            return []
