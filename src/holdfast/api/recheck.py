"""Streams that last for hours end when what opened them does: a key that was rotated, a session that was ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from litestar.types import ASGIApp, Receive, Scope, Send

EVERY = 5.0
"""Seconds between two checks."""
_CLOSED = {"type": "websocket.close", "code": 4401, "reason": "The key or the sign-in that opened this has ended."}


def rechecked(app: ASGIApp, stands: Callable[[], Awaitable[bool]], sleep: Callable[[float], Any]) -> ASGIApp:
    """The application, to which the client is gone as soon as `stands` says no."""

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        ended = asyncio.Event()
        unfinished = False

        async def check() -> None:
            try:
                while await stands():
                    await sleep(EVERY)
            finally:
                ended.set()  # also where it failed: nothing is streamed unchecked

        async def received() -> Any:
            coming = asyncio.ensure_future(receive())
            ending = asyncio.ensure_future(ended.wait())
            try:
                await asyncio.wait({coming, ending}, return_when=asyncio.FIRST_COMPLETED)
                if coming.done():
                    return coming.result()
                gone = "websocket.disconnect" if str(scope["type"]) == "websocket" else "http.disconnect"
                return {"type": gone, "code": 4401}
            finally:
                coming.cancel()
                ending.cancel()

        async def sent(message: Any) -> None:
            nonlocal unfinished
            kind = message["type"]
            if kind in ("http.response.start", "http.response.body"):
                unfinished = kind == "http.response.start" or message.get("more_body", False)
            elif kind == "websocket.accept":
                unfinished = True
            elif kind == "websocket.close":
                unfinished = False
            await send(message)

        checking = asyncio.create_task(check())
        try:
            await app(scope, received, sent)
        finally:
            checking.cancel()
        if ended.is_set() and unfinished:
            last: Any = _CLOSED if str(scope["type"]) == "websocket" else {"type": "http.response.body", "body": b""}
            await send(last)

    return middleware
