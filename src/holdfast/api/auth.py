"""Who may ask: the API key in `X-Api-Key` (or as bearer token, or in the query of a stream), or the dashboard's cookie.

Only the key's SHA-256 is kept, and comparisons take constant time. The cookie is signed with that hash, so that every
instance on the same store accepts it. A change made under a cookie must carry a header that no other site's form can.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from urllib.parse import parse_qs

from litestar.types import ASGIApp, Receive, Scope, Send

from holdfast.domain.access import key_hash

COOKIE = "holdfast"
COOKIE_LIFETIME = 7 * 86_400
OPEN_PATHS = frozenset({"/ping", "/api/status", "/login", "/favicon.ico", "/", "/api/holdfast/peer"})
"""What needs no key; requests of peers and of WAHA servers are signed instead."""
OPEN_PREFIXES = ("/static/", "/api/holdfast/waha/")
STREAMS = ("/ws", "/api/holdfast/events")
_DENIED = json.dumps({"message": "Unauthorized", "statusCode": 401}).encode()


class Guard:
    """Judges requests. `now` gives Unix seconds; `metrics` is the hash of a key for `/metrics` alone."""

    def __init__(self, expected: str, now: Callable[[], float], metrics: str = "") -> None:
        self._expected = expected
        self._metrics = metrics
        self._now = now

    def key_fits(self, key: str) -> bool:
        """Whether that is the API key."""
        return bool(key) and hmac.compare_digest(key_hash(key), self._expected)

    def cookie(self) -> str:
        """A cookie that is good for a week."""
        until = str(int(self._now()) + COOKIE_LIFETIME)
        return f"{until}.{self._sign(until)}"

    def cookie_fits(self, cookie: str) -> bool:
        """Whether we signed it and it is still good."""
        until, _, signature = cookie.partition(".")
        return hmac.compare_digest(signature, self._sign(until)) and until.isdigit() and int(until) > self._now()

    def _is_metrics_key(self, key: bytes) -> bool:
        return hmac.compare_digest(key_hash(key.decode("latin-1")), self._metrics)

    def _sign(self, until: str) -> str:
        return hmac.new(self._expected.encode(), f"cookie:{until}".encode(), hashlib.sha256).hexdigest()

    def allows(self, scope: Scope) -> bool:
        """Whether the request may pass."""
        path = scope["path"]
        if path in OPEN_PATHS or path.startswith(OPEN_PREFIXES):
            return True
        headers = dict(scope["headers"])
        bearer = headers.get(b"authorization", b"")
        key = headers.get(b"x-api-key") or (bearer[7:].strip() if bearer[:7].lower() == b"bearer " else b"")
        if key:
            return self.key_fits(key.decode("latin-1")) or (path == "/metrics" and self._is_metrics_key(key))
        if path in STREAMS and (given := parse_qs(scope["query_string"].decode("latin-1")).get("x-api-key")):
            return self.key_fits(given[0])
        return self._by_cookie(scope, headers)

    def _by_cookie(self, scope: Scope, headers: dict[bytes, bytes]) -> bool:
        cookie = _cookie(headers.get(b"cookie", b"").decode("latin-1"))
        if not cookie or not self.cookie_fits(cookie):
            return False
        reads = scope.get("method", "GET") in ("GET", "HEAD")
        return reads or b"hx-request" in headers


def _cookie(header: str) -> str:
    for part in header.split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return value
    return ""


def guarded(app: ASGIApp, guard: Guard) -> ASGIApp:
    """The application behind the guard."""

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or guard.allows(scope):
            await app(scope, receive, send)
        elif str(scope["type"]) == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 4401, "reason": "Unauthorized"})
        else:
            await _deny(scope, send)

    return middleware


async def _deny(scope: Scope, send: Send) -> None:
    """401; a person is sent to sign in, from a page or from a fragment that it asks for by script."""
    given = dict(scope["headers"])
    headers = [(b"content-type", b"application/json")]
    status = 401
    if _is_page(scope["path"], given.get(b"accept", b"")):
        if b"hx-request" in given:
            headers.append((b"hx-redirect", b"/login"))
        else:
            headers, status = [(b"location", b"/login")], 303
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": _DENIED if status == 401 else b"", "more_body": False})


def _is_page(path: str, accept: bytes) -> bool:
    return path.startswith(("/dashboard", "/logout")) or (path.startswith("/docs") and b"text/html" in accept)
