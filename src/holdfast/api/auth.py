"""Who may ask: the API key in `X-Api-Key` (or as bearer token, or in the query of a stream), or the dashboard's cookie.

The cookie holds the random id of a session that is stored, and can be ended (`runtime.access`). It is sent along with
whatever any page on this host asks for, so that it alone opens nothing: the request must come from a page of our own,
and one that changes something must carry a header that no other origin's page can set.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import parse_qs

from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler
from litestar.types import ASGIApp, Receive, Send

from holdfast.api.recheck import rechecked
from holdfast.domain.access import is_session_id
from holdfast.domain.errors import (
    HoldfastError,
    KeyNeeded,
    OtherOrigin,
    StoreUnavailable,
    TooManyWrongKeys,
    Unauthorized,
)
from holdfast.domain.request_origin import RequestSource, is_same_origin
from holdfast.runtime.access import LIFETIME, Access

COOKIE = "holdfast"
COOKIE_OVER_TLS = "__Host-holdfast"
"""Browsers take this name only over TLS, for exactly this host, and from no plain-text page."""
COOKIE_LIFETIME = int(LIFETIME)
OPEN_PATHS = frozenset({"/ping", "/api/status", "/login", "/favicon.ico", "/", "/api/holdfast/peer"})
"""What needs no key; requests of peers and of WAHA servers are signed instead."""
OPEN_PREFIXES = ("/static/", "/api/holdfast/waha/")
STREAMS = ("/ws", "/api/holdfast/events")
PAGES = ("/dashboard", "/docs")
"""What a link on another site may lead to: an answer that its page can neither read nor frame."""
OPENED_BY = "holdfast.opened_by"
"""Key of the scope: what opened the request."""

Opener = Literal["nothing", "key", "cookie"]

_DENIED = json.dumps({"message": "Unauthorized", "statusCode": 401}).encode()
"""As WAHA says it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What opened a request, or the error that it is answered."""

    by: Opener = "nothing"
    error: HoldfastError | None = None


class Guard:
    """Judges requests. `public_url`: where users reach this server, if that is known."""

    def __init__(self, access: Access, public_url: str = "") -> None:
        self.access = access
        self._public_url = public_url

    async def judge(self, scope: Any) -> Verdict:
        """Whether a request may pass, and by what."""
        path = scope["path"]
        if path in OPEN_PATHS or path.startswith(OPEN_PREFIXES):
            return Verdict()
        headers = dict(scope["headers"])
        where, key = _key(scope, headers)
        if not key:
            return await self._by_cookie(scope, headers)
        if await self.access.is_key(key) or (path == "/metrics" and self.access.is_metrics_key(key)):
            return Verdict("key")
        return Verdict(error=self.access.wrong_key("metrics" if path == "/metrics" else where, address_of(scope)))

    async def still_stands(self, scope: Any) -> bool:
        """Whether what opened a request would open it again: not after the key was rotated, or the session ended. While
        the store cannot say, it does.
        """
        headers = dict(scope["headers"])
        _, key = _key(scope, headers)
        try:
            if key:
                return await self.access.is_key(key)
            return any([await self.access.is_signed_in(found) for found in session_ids(headers)])
        except StoreUnavailable:
            return True

    async def _by_cookie(self, scope: Any, headers: dict[bytes, bytes]) -> Verdict:
        found = session_ids(headers)
        if not found:
            return Verdict(error=Unauthorized())
        if not self.is_own_page(scope):
            return Verdict(error=OtherOrigin())
        try:
            signed_in = any([await self.access.is_signed_in(one) for one in found])
        except StoreUnavailable as error:
            return Verdict(error=error)
        if not signed_in:
            return Verdict(error=Unauthorized())
        reads = scope["type"] == "websocket" or scope["method"] in ("GET", "HEAD")
        return Verdict("cookie") if reads or b"hx-request" in headers else Verdict(error=OtherOrigin())

    def is_own_page(self, scope: Any) -> bool:
        """Whether a page of this server made the request, or a person who followed a link to one."""
        headers = dict(scope["headers"])
        if _is_link_to_page(scope, headers):
            return True
        source = RequestSource(
            fetch_site=_text(headers, b"sec-fetch-site").lower(),
            origin=_text(headers, b"origin"),
            host=_text(headers, b"host"),
            secure=is_secure(scope),
        )
        return is_same_origin(source, self._public_url, must_say=scope["type"] == "websocket")


def is_secure(scope: Any) -> bool:
    """Whether the browser uses TLS, for all that we know."""
    return scope["scheme"] in ("https", "wss") or _text(dict(scope["headers"]), b"x-forwarded-proto") == "https"


def address_of(scope: Any) -> str:
    """The client's address."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def session_ids(headers: dict[bytes, bytes]) -> list[bytes]:
    """What has the form of a session's id among the cookies: one a name, so that nobody can make us look up more."""
    found: dict[str, bytes] = {}
    for part in headers.get(b"cookie", b"").split(b";"):
        name, _, value = part.strip().partition(b"=")
        if name in (COOKIE.encode(), COOKIE_OVER_TLS.encode()) and is_session_id(value):
            found[name.decode()] = value
    return list(found.values())


def by_key_only(connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
    """For a handler that changes something when it is only read. Raises `KeyNeeded`."""
    if connection.scope.get(OPENED_BY) == "cookie":
        raise KeyNeeded


def _key(scope: Any, headers: dict[bytes, bytes]) -> tuple[str, bytes]:
    """Where a key was given, and the key."""
    bearer = headers.get(b"authorization", b"")
    key = headers.get(b"x-api-key") or (bearer[7:].strip() if bearer[:7].lower() == b"bearer " else b"")
    if key or scope["path"] not in STREAMS:
        return "api", key
    given = parse_qs(scope["query_string"].decode("latin-1"), encoding="latin-1").get("x-api-key", [""])
    return "stream", given[0].encode("latin-1")


def _is_link_to_page(scope: Any, headers: dict[bytes, bytes]) -> bool:
    return (
        scope["type"] == "http"
        and scope["method"] == "GET"
        and scope["path"].startswith(PAGES)
        and headers.get(b"sec-fetch-mode") == b"navigate"
        and headers.get(b"sec-fetch-dest") == b"document"
    )


def _text(headers: dict[bytes, bytes], name: bytes) -> str:
    return headers.get(name, b"").decode("latin-1").strip()


def guarded(app: ASGIApp, guard: Guard, sleep: Callable[[float], Any]) -> ASGIApp:
    """The application behind the guard. What is streamed ends when its key or session does."""

    async def middleware(scope: Any, receive: Receive, send: Send) -> None:
        if str(scope["type"]) not in ("http", "websocket"):
            await app(scope, receive, send)
            return
        verdict = await guard.judge(scope)
        if verdict.error is not None:
            await _refuse(scope, receive, send, verdict.error)
            return
        scope[OPENED_BY] = verdict.by
        if scope["path"] in STREAMS:
            await rechecked(app, lambda: guard.still_stands(scope), sleep)(scope, receive, send)
        else:
            await app(scope, receive, send)

    return middleware


async def _refuse(scope: Any, receive: Receive, send: Send, error: HoldfastError) -> None:
    """The error. A person is sent to sign in, from a page or from a fragment that it asks for by script."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 4000 + error.http_status, "reason": error.sentence[:120]})
        return
    given = dict(scope["headers"])
    headers = [(b"content-type", b"application/json")]
    status = error.http_status
    said = {"message": error.sentence, "error": HTTPStatus(status).phrase, "statusCode": status, "code": error.code}
    body = _DENIED if isinstance(error, Unauthorized) else json.dumps(said).encode()
    if isinstance(error, TooManyWrongKeys):
        headers.append((b"retry-after", str(error.facts["retry_after"]).encode()))
    elif isinstance(error, Unauthorized | OtherOrigin) and _is_page(scope["path"], given.get(b"accept", b"")):
        if b"hx-request" in given:
            headers.append((b"hx-redirect", b"/login"))
        else:
            headers, status, body = [(b"location", b"/login")], 303, b""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _is_page(path: str, accept: bytes) -> bool:
    return path.startswith(("/dashboard", "/logout")) or (path.startswith("/docs") and b"text/html" in accept)
