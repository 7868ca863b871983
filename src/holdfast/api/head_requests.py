"""HEAD for every path that has GET: the same status and headers, without the body.

A GET that changes something has no HEAD: whoever looks only must change nothing.
"""

from __future__ import annotations

from typing import Any

from litestar.types import ASGIApp, Receive, Send


def with_head(app: ASGIApp, changing: frozenset[str]) -> ASGIApp:
    """The application, which answers HEAD as GET, but at the paths of `changing`."""

    async def middleware(scope: Any, receive: Receive, send: Send) -> None:
        if str(scope["type"]) != "http" or scope["method"] != "HEAD" or scope["path"] in changing:
            await app(scope, receive, send)
            return
        asked: Any = {**scope, "method": "GET"}
        begun = False

        async def head_only(message: Any) -> None:
            nonlocal begun
            if message["type"] == "http.response.start" and not begun:
                begun = True
                await send(message)
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        await app(asked, receive, head_only)

    return middleware
