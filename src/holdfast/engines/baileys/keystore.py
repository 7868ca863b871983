"""Serves a sidecar's key reads and writes from the store, each write under the epoch of its connection.

Writes of one session are applied in the order in which they came: those that wait while one is under way are joined
into the next, so a busy session costs one commit per round and not one per key.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from holdfast.crash import point
from holdfast.domain.errors import BadRequest, StoreUnavailable
from holdfast.ports.clock import Clock
from holdfast.ports.store import EngineWrite, InboxRow, Store

T = TypeVar("T")

RETRY_EVERY = 0.25


@dataclass(slots=True)
class _Waiting:
    connection: int
    epoch: int
    keys: dict[tuple[str, str], bytes | None]
    inbox: list[InboxRow]
    done: asyncio.Future[None]


class _Queue(deque[_Waiting]):
    """Writes of one session that wait for the one under way; `idle` is set when there is none any more."""

    def __init__(self) -> None:
        super().__init__()
        self.idle = asyncio.Event()


class KeyServer:
    """See the module. `on_inbox(session, connection)` is told when rows were committed to that session's inbox."""

    def __init__(self, store: Store, clock: Clock, *, patience: float, on_inbox: Callable[[str, int], None]) -> None:
        self._store = store
        self._clock = clock
        self._patience = patience
        self._on_inbox = on_inbox
        self._queues: dict[str, _Queue] = {}
        self._writers: set[asyncio.Task[None]] = set()

    async def handle(self, method: str, args: Mapping[str, Any]) -> Any:
        """One request of a sidecar. Raises `StaleEpoch`, `StoreUnavailable` or `BadRequest`."""
        session = args["session"]
        if method == "keys_get":
            wanted = [(kind, key) for kind, key in args["keys"]]
            found = await self._patiently(lambda: self._store.read_keys(session, wanted))
            return [found.get(name) for name in wanted]
        if method == "keys_set":
            await self._write(session, args)
            return None
        if method == "inbox_find":
            return await self._stored(session, args["connection"], args["key"])
        if method == "get_message":
            return await self._message(session, args["id"])
        if method == "unread":
            rows = await self._patiently(lambda: self._store.unread(session, args["limit"]))
            return [{"attrs": dict(row.attrs), "unavailable": row.body.get("unavailable", "")} for row in rows]
        raise BadRequest("The sidecar asked for something unknown.")

    async def _stored(self, session: str, connection: int, key: str) -> bytes | None:
        """What was committed for a stanza that came again. The commit may have had no answer, so that nobody was told,
        and once this one is acknowledged it comes no more.
        """
        row = await self._patiently(lambda: self._store.inbox_find(session, key))
        if row is None:
            return None
        self._on_inbox(session, connection)
        return row.plaintext

    async def settled(self, session: str) -> None:
        """Return when no write of the session is under way: whoever reads its keys next sees them all."""
        while (queue := self._queues.get(session)) is not None:
            await queue.idle.wait()

    # --- writes -------------------------------------------------------------------------------------------------
    def _write(self, session: str, args: Mapping[str, Any]) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        waiting = _Waiting(
            connection=args["connection"],
            epoch=args["epoch"],
            keys={(kind, key): value for kind, key, value in args["keys"]},
            inbox=[InboxRow(**row) for row in args["inbox"]],
            done=loop.create_future(),
        )
        queue = self._queues.get(session)
        if queue is None:
            queue = self._queues[session] = _Queue()
            writer = loop.create_task(self._drain(session, queue))
            self._writers.add(writer)
            writer.add_done_callback(self._writers.discard)
        queue.append(waiting)
        return waiting.done

    async def _drain(self, session: str, queue: _Queue) -> None:
        while queue:
            batch = [queue.popleft()]
            while queue and queue[0].epoch == batch[0].epoch:
                batch.append(queue.popleft())
            try:
                await self._commit(session, batch)
            except Exception as error:
                for waiting in batch:
                    if not waiting.done.done():
                        waiting.done.set_exception(error)
                continue
            for waiting in batch:
                if not waiting.done.done():
                    waiting.done.set_result(None)
            if any(waiting.inbox for waiting in batch):
                self._on_inbox(session, batch[-1].connection)
        del self._queues[session]
        queue.idle.set()

    async def _commit(self, session: str, batch: list[_Waiting]) -> None:
        """Whole values, and rows that are kept as they were: a write whose outcome is unknown may be repeated."""
        keys: dict[tuple[str, str], bytes | None] = {}
        for waiting in batch:
            keys.update(waiting.keys)
        write = EngineWrite(keys=keys, inbox=[row for waiting in batch for row in waiting.inbox])
        what = "inbox" if write.inbox else "keys"
        point(f"{what}.committing")
        await self._patiently(lambda: self._store.write_engine(session, batch[0].epoch, write))
        point(f"{what}.committed")

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """The store's answer, as soon as it can be had; what is asked may be repeated."""
        give_up = self._clock.boot() + self._patience
        while True:
            try:
                return await ask()
            except StoreUnavailable:
                if self._clock.boot() >= give_up:
                    raise
                await self._clock.sleep(RETRY_EVERY)

    # --- messages for retry receipts and quotes -----------------------------------------------------------------
    async def _message(self, session: str, message_id: str) -> dict[str, Any] | None:
        row = await self._store.message(session, message_id)
        if row is not None:
            return _recalled(
                row.chat, from_me=row.from_me, sender=row.sender, text=row.text, raw=row.raw,
                edited=bool(row.body.get("edited")), revoked=row.kind == "revoked",
            )  # fmt: skip
        queued = await self._store.outbox_get(session, message_id)  # on its way: it was not acknowledged yet
        if queued is None:
            return None
        text = str(queued.content.get("text", ""))
        return _recalled(queued.chat, from_me=True, text=text, content=dict(queued.content))


def _recalled(
    chat: str,
    *,
    from_me: bool,
    text: str,
    sender: str = "",
    raw: bytes = b"",
    edited: bool = False,
    revoked: bool = False,
    content: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "chat": chat, "from_me": from_me, "sender": sender, "text": text, "raw": raw, "edited": edited,
        "revoked": revoked, "content": content,
    }  # fmt: skip
