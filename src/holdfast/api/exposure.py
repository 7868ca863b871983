"""Notices that others than this machine reach the API: a request that a reverse proxy passed on says so itself."""

from __future__ import annotations

from collections.abc import Callable

from litestar.types import ASGIApp, Receive, Scope, Send

from holdfast.domain.receivers import Exposure, passed_on


def watched(app: ASGIApp, exposure: Exposure, on_reached: Callable[[str], None]) -> ASGIApp:
    """The application, with each request looked at until one came from elsewhere: before it is answered, `on_reached`
    is told why that is known, which ends the looking.
    """

    async def watching(scope: Scope, receive: Receive, send: Send) -> None:
        if exposure.local and scope["type"] in ("http", "websocket"):
            version = str(scope.get("http_version", "1.1"))
            if why := passed_on(scope["headers"], version):
                on_reached(why)
        await app(scope, receive, send)

    return watching
