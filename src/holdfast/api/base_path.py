"""A path under which a reverse proxy offers Holdfast, as `/holdfast`: taken off requests that still have it, and put
before every link.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from litestar.types import ASGIApp, Receive, Scope, Send

_BASE: ContextVar[str] = ContextVar("base_path", default="")
_LINKS = frozenset({b"location", b"hx-redirect"})


def base_path() -> str:
    """The base path of the request that is being answered, without a slash at its end; mostly empty."""
    return _BASE.get()


def under(app: ASGIApp, base: str) -> ASGIApp:
    """The application under that path. Requests whose path the proxy has stripped already are answered, too."""
    if not base:
        return app
    prefix = base.encode()

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        if str(scope["type"]) == "lifespan":
            await app(scope, receive, send)
            return
        inner: Any = scope
        if scope["path"] == base or scope["path"].startswith(f"{base}/"):
            raw = scope["raw_path"].removeprefix(prefix) or b"/"
            inner = {**scope, "path": scope["path"].removeprefix(base) or "/", "raw_path": raw}

        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = [(name, _prefixed(name, value, prefix)) for name, value in message.get("headers", ())]
                message = {**message, "headers": headers}
            await send(message)

        token = _BASE.set(base)
        try:
            await app(inner, receive, sent)
        finally:
            _BASE.reset(token)

    return middleware


def _prefixed(name: bytes, value: bytes, prefix: bytes) -> bytes:
    if name in _LINKS and value.startswith(b"/") and not value.startswith(b"//"):
        return prefix + value
    return value
