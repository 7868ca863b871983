"""Headers that every answer carries: nothing of ours is framed, sniffed, cached or told to other sites; a page loads
what this server serves and nothing else.
"""

from __future__ import annotations

from typing import Any

from litestar.types import ASGIApp, Receive, Scope, Send

_COMMON = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),  # with no-referrer, browsers send `Origin: null` with our own forms
    (b"cross-origin-resource-policy", b"same-origin"),
)
_PAGE = (
    b"content-security-policy",
    (
        b"default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
        b"frame-ancestors 'none'"
    ),
)
_DATA = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_FRESH = (b"cache-control", b"no-store")


def secured(app: ASGIApp) -> ASGIApp:
    """The application, whose answers carry them. `Cache-Control` is left alone where an answer has its own."""

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *_more(message.get("headers", ()))]}
            await send(message)

        await app(scope, receive, sent if str(scope["type"]) == "http" else send)

    return middleware


def _more(headers: Any) -> list[tuple[bytes, bytes]]:
    page = cached = policed = False
    for name, value in headers:
        if name == b"content-type":
            page = value.startswith(b"text/html")
        elif name == b"cache-control":
            cached = True
        elif name == b"content-security-policy":
            policed = True
    more = list(_COMMON)
    if not policed:
        more.append(_PAGE if page else _DATA)
    return more if cached else [*more, _FRESH]
