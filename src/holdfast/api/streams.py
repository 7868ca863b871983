"""WAHA's WebSocket: `/ws?session=*&events=message&events=session.status&x-api-key=...`, one JSON envelope a message."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from litestar import WebSocket, websocket
from litestar.exceptions import WebSocketDisconnect

from holdfast.api.common import gateway_of
from holdfast.domain.waha import waha_events
from holdfast.ports.gateway import Gateway


@websocket("/ws")
async def events_socket(socket: WebSocket[Any, Any, Any]) -> None:
    """Events of one session or of all (`*`), of the given kinds or of all (`*`), from now on or `after` a number."""
    await socket.accept()
    query = socket.query_params
    session = query.get("session", "*")
    kinds = frozenset(part for value in query.getall("events", ["*"]) for part in value.split(",") if part)
    after = query.get("after", "")
    gateway = gateway_of(socket)
    sending = asyncio.create_task(
        _send(socket, gateway, None if session == "*" else session, kinds, int(after) if after.isdigit() else None)
    )
    try:
        while not sending.done():
            await socket.receive_data("text")
    except WebSocketDisconnect:
        pass
    finally:
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect):
            await sending


async def _send(
    socket: WebSocket[Any, Any, Any], gateway: Gateway, session: str | None, kinds: frozenset[str], after: int | None
) -> None:
    async for event in gateway.subscribe(session, after):
        view = await gateway.session(event.session)
        facts = {"me": view.me, "metadata": view.config.get("metadata")}
        for envelope in waha_events(event, facts):
            if "*" in kinds or envelope["event"] in kinds:
                await socket.send_text(json.dumps({**envelope, "seq": event.seq}, ensure_ascii=False))
