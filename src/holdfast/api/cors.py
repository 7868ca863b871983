"""Cross-origin requests of browsers (CORS): from the origins in the settings, with a key, never with the cookie.

A preflight carries no key, so it is answered before the guard: 204 for an origin that is allowed, 403 for any other.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from litestar.types import ASGIApp, Receive, Send

from holdfast.api.request_limits import refuse

METHODS = b"GET, HEAD, POST, PUT, DELETE"
HEADERS = b"X-Api-Key, Authorization, Content-Type, Idempotency-Key, Last-Event-ID"
EXPOSED = b"Link, Retry-After, Content-Disposition"
MAX_AGE = b"600"
NOT_ALLOWED = (
    "Pages of this origin may not use this server. HOLDFAST_CORS_ORIGINS lists the origins that may, such as "
    "https://app.example.com."
)


def cross_origin(app: ASGIApp, allowed: Collection[str]) -> ASGIApp:
    """The application; pages of the allowed origins (`*`: all) may read its answers."""

    async def middleware(scope: Any, receive: Receive, send: Send) -> None:
        if str(scope["type"]) != "http":
            await app(scope, receive, send)
            return
        given = dict(scope["headers"])
        origin = given.get(b"origin", b"")
        fits = bool(origin) and ("*" in allowed or origin.decode("latin-1").lower() in allowed)
        said = [(b"access-control-allow-origin", origin), (b"vary", b"Origin")] if fits else []

        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                exposed = [(b"access-control-expose-headers", EXPOSED)]
                message = {**message, "headers": [*message.get("headers", ()), *said, *exposed]}
            await send(message)

        preflight = scope["method"] == "OPTIONS" and origin and b"access-control-request-method" in given
        if not preflight:
            await app(scope, receive, sent if fits else send)
        elif fits:
            granted = [
                (b"access-control-allow-methods", METHODS), (b"access-control-allow-headers", HEADERS),
                (b"access-control-max-age", MAX_AGE),
            ]  # fmt: skip
            start: Any = {"type": "http.response.start", "status": 204, "headers": [*said, *granted]}
            await send(start)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await refuse(scope, receive, send, 403, NOT_ALLOWED)

    return middleware
