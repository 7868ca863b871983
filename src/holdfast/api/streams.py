"""Live events: Server-Sent Events at `/api/holdfast/events`, and WAHA's WebSocket at `/ws`.

Both go through the event log by number, so a client that says how far it came (`Last-Event-ID`, `after`) misses
nothing, whatever happened in between: a lost connection, another instance, the database away for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any, TypeVar

from litestar import WebSocket, websocket
from litestar.exceptions import WebSocketDisconnect
from litestar.response import ServerSentEventMessage

from holdfast.api.common import gateway_of
from holdfast.domain.errors import BadRequest, HoldfastError
from holdfast.domain.rows import Json
from holdfast.domain.session_options import unknown_events
from holdfast.domain.waha import waha_events
from holdfast.ports.gateway import Gateway

T = TypeVar("T")

EVERYTHING = frozenset({"*"})
KEEPALIVE = 15.0
"""Seconds without an event after which something is sent, so that no proxy takes the stream for dead."""
_LAST = 2**63 - 1


def resume_point(given: str | None) -> int | None:
    """The number after which a client wants to go on; None for from now on. Raises `BadRequest`."""
    if not given:
        return None
    if not (given.isascii() and given.isdecimal()):
        raise BadRequest("The number of the last event is not a number. Leave it out to start from now.")
    return min(int(given[:20]), _LAST)


async def envelopes(
    gateway: Gateway, session: str | None, after: int | None, kinds: frozenset[str] = EVERYTHING
) -> AsyncIterator[tuple[int, Json]]:
    """Each envelope with the number to resume after. One event may be several envelopes: until the last of them the
    number is that of the event before, so that whoever resumes gets all of them again rather than not at all.
    """
    known: dict[str, Json] = {}
    async for event in gateway.subscribe(session, after):
        with contextlib.suppress(HoldfastError):  # deleted meanwhile: its last events are told all the same
            view = await gateway.session(event.session)
            known[event.session] = {
                "me": view.me, "metadata": view.config.get("metadata"), "worker": gateway.instance, "url": gateway.url,
                "presented": gateway.presented,
            }  # fmt: skip
        facts = known.get(event.session, {})
        wanted = [e for e in waha_events(event, facts) if "*" in kinds or e["event"] in kinds]
        for left, envelope in zip(range(len(wanted) - 1, -1, -1), wanted, strict=True):
            yield (event.seq if left == 0 else event.seq - 1), envelope


async def sse(gateway: Gateway, session: str | None, after: int) -> AsyncIterator[ServerSentEventMessage]:
    """The stream's messages. The first one is empty and tells where it starts, for a client that loses it at once."""
    yield ServerSentEventMessage(data=None, id=after, comment="events of Holdfast")
    async for item in kept_alive(envelopes(gateway, session, after), KEEPALIVE):
        if item is None:
            yield ServerSentEventMessage(data=None, comment="")
        else:
            number, envelope = item
            yield ServerSentEventMessage(
                data=json.dumps(envelope, ensure_ascii=False), event=envelope["event"], id=number
            )


async def kept_alive(items: AsyncIterator[T], every: float) -> AsyncIterator[T | None]:
    """The items, and None whenever none came for so many seconds."""
    coming: asyncio.Future[T] | None = None
    try:
        while True:
            if coming is None:
                coming = asyncio.ensure_future(anext(items))
            done, _ = await asyncio.wait({coming}, timeout=every)
            if not done:
                yield None
                continue
            try:
                item = coming.result()
            except StopAsyncIteration:
                return
            coming = None
            yield item
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)


@websocket("/ws")
async def events_socket(socket: WebSocket[Any, Any, Any]) -> None:
    """`/ws?session=*&events=message&events=session.status&x-api-key=...`: one envelope a message, with the `seq` to
    give as `after` when connecting again. Events of one session or of all (`*`), of the given kinds or of all (`*`).
    """
    await socket.accept()
    query = socket.query_params
    session = query.get("session", "*")
    kinds = frozenset(part for value in query.getall("events", ["*"]) for part in value.split(",") if part)
    try:
        after = resume_point(query.get("after"))
        if unknown := unknown_events(kinds):
            raise BadRequest(f"There is no event {', '.join(unknown)}."[:120])
    except BadRequest as error:
        await socket.close(code=4400, reason=error.sentence)
        return
    sending = asyncio.create_task(_send(socket, None if session == "*" else session, kinds, after))
    hearing = asyncio.create_task(_until_gone(socket))
    await asyncio.wait({sending, hearing}, return_when=asyncio.FIRST_COMPLETED)
    gone = hearing.done()
    for task in (sending, hearing):
        task.cancel()
    ended = await asyncio.gather(sending, hearing, return_exceptions=True)
    if not gone:
        with contextlib.suppress(Exception):  # the client may be gone as well
            await socket.close(code=1012, reason="This instance stops or has a problem; connect again.")
    for problem in ended:
        if isinstance(problem, Exception) and not isinstance(problem, (WebSocketDisconnect, HoldfastError)):
            raise problem


async def _send(
    socket: WebSocket[Any, Any, Any], session: str | None, kinds: frozenset[str], after: int | None
) -> None:
    async for number, envelope in envelopes(gateway_of(socket), session, after, kinds):
        await socket.send_text(json.dumps({**envelope, "seq": number}, ensure_ascii=False))


async def _until_gone(socket: WebSocket[Any, Any, Any]) -> None:
    """Whatever the client says is passed over; pings are answered below."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
