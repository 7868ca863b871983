"""How large a request may be: one table by path, applied before anything of a body is read or parsed.

Who may ask is judged before (`auth`), so nothing is read for a stranger but the bodies of open paths, and those share a
small budget. What is parsed as a whole is small enough, in bytes and in values, to be parsed in some milliseconds;
larger bodies are files, which are taken in as they come (`spooled`).
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from litestar.exceptions import ClientException, HTTPException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from holdfast.api.auth import OPEN_PATHS, OPEN_PREFIXES
from holdfast.api.http_connection import KNOWN

JSON_LIMIT = 1_000_000
"""Bytes of a body that is parsed as a whole."""
LOGIN_LIMIT = 4_096
FORM_LIMIT = 65_536
FORM_FIELDS = 100
PARAMETERS = 200
"""Parameters of a query."""
SIGNED_LIMIT = 1_000_000
"""Bytes that are read before a signature is checked: of other instances and of WAHA servers."""
SIGNED_PREFIXES = ("/api/holdfast/peer", "/api/holdfast/waha/")
OPEN_LIMIT = 4_096
"""Bytes of a body on any other path that needs no key."""
STRANGERS_BUDGET = 4_000_000
"""Bytes of bodies of strangers that are in memory at the same time; one address may have half of them."""

CONTAINERS = 5_000
VALUES = 20_000
DEPTH = 64
STEP = 65_536
_FORM = b"application/x-www-form-urlencoded"


def body_limit(path: str, content_type: bytes, spooled: frozenset[str], json_limit: int) -> int | None:
    """Bytes of the largest body that is read at a path; None where it is taken in as it comes."""
    if path == "/login":
        return LOGIN_LIMIT
    if path.startswith(SIGNED_PREFIXES):
        return SIGNED_LIMIT
    if is_open(path):
        return OPEN_LIMIT
    if content_type.partition(b";")[0].strip().lower() == _FORM:
        return min(FORM_LIMIT, json_limit)
    return None if path in spooled else json_limit


def is_open(path: str) -> bool:
    """Whether a path is answered without a key."""
    return path in OPEN_PATHS or path.startswith(OPEN_PREFIXES)


class Budget:
    """Bytes that strangers' bodies may take at the same time, in all and by address."""

    def __init__(self, total: int = STRANGERS_BUDGET) -> None:
        self._total = total
        self._taken: Counter[str] = Counter()

    def take(self, address: str, size: int) -> bool:
        """Reserve so many bytes; False if there is no room."""
        if not size:
            return True
        if self._taken[address] + size > self._total // 2 or self._taken.total() + size > self._total:
            return False
        self._taken[address] += size
        return True

    def give_back(self, address: str, size: int) -> None:
        """End a reservation."""
        self._taken[address] -= size
        if self._taken[address] <= 0:
            del self._taken[address]


def limited(app: ASGIApp, spooled: Iterable[str] = (), json_limit: int = JSON_LIMIT) -> ASGIApp:
    """The application, which is asked nothing that is too large. `spooled`: paths that take in files as they come."""
    files, most, budget = frozenset(spooled), min(json_limit, JSON_LIMIT), Budget()

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        if str(scope["type"]) == "lifespan":
            await app(scope, receive, send)
            return
        if scope["query_string"].count(b"&") >= PARAMETERS:
            await refuse(scope, receive, send, 400, f"The query has more than {PARAMETERS} parameters.")
            return
        stranger = is_open(scope["path"])
        if not stranger:
            scope.get("state", {})[KNOWN] = True
        if str(scope["type"]) == "websocket":
            await app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
            await refuse(scope, receive, send, 415, "Send the body as it is, without Content-Encoding.")
            return
        limit = body_limit(scope["path"], headers.get(b"content-type", b""), files, most)
        if limit is None:
            await app(scope, receive, send)
            return
        body = Bounded(receive, _declared(headers), limit)
        reserved = body.most if stranger and body.most > OPEN_LIMIT else 0
        address = _address(scope)
        if not budget.take(address, reserved):
            await refuse(scope, receive, send, 503, "Too many requests are under way. Try again.", b"5")
            return
        try:
            await app(scope, body.receive, send)
        finally:
            budget.give_back(address, reserved)
            scope.get("state", {}).clear()  # it holds the body, and the connection holds it until the next request

    return middleware


def _declared(headers: dict[bytes, bytes]) -> int | None:
    """Bytes of the body as its sender says; None if it does not say."""
    length = headers.get(b"content-length", b"")
    if length.isdigit():
        return int(length[:20])
    return None if b"transfer-encoding" in headers else 0


class Bounded:
    """A body that ends the request when it is too large: before it is read, where its sender says so."""

    def __init__(self, receive: Receive, declared: int | None, limit: int) -> None:
        self._receive = receive
        self._declared = declared
        self._limit = limit
        self.came = 0

    @property
    def most(self) -> int:
        """Bytes that will be read at most."""
        return self._limit if self._declared is None else min(self._declared, self._limit)

    async def receive(self) -> Any:
        """The next message. Raises `RequestEntityTooLarge`."""
        if self._declared is not None and self._declared > self._limit:
            raise RequestEntityTooLarge
        message: Any = await self._receive()
        self.came += len(message.get("body", b""))
        if self.came > self._limit:
            raise RequestEntityTooLarge
        return message


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else ""


async def refuse(
    scope: Scope, receive: Receive, send: Send, status: int, message: str, retry_after: bytes = b"", code: str = ""
) -> None:
    """Answer in WAHA's shape, without the application."""
    if str(scope["type"]) == "websocket":
        await receive()
        closed: Any = {"type": "websocket.close", "code": 4400, "reason": message}
        await send(closed)
        return
    said = {
        "message": message,
        "error": HTTPStatus(status).phrase,
        "statusCode": status,
        **({"code": code} if code else {}),
    }
    headers = [(b"content-type", b"application/json")]
    if retry_after:
        headers.append((b"retry-after", retry_after))
    start: Message = {"type": "http.response.start", "status": status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": json.dumps(said).encode(), "more_body": False})


# --- what is in a body -------------------------------------------------------------------------------------------

OUTSIDE = re.compile(rb'(?:[^"]*+"(?:[^"\\]++|\\.)*+")*+[^"]*+', re.DOTALL)
"""JSON up to a string that does not end in the same piece. The quantifiers are possessive: no input takes longer than
in proportion to its length.
"""
INSIDE = re.compile(rb"(?:[^\"\\]++|\\.)*+", re.DOTALL)
"""What stands between the quotes of a string."""
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_TOO_MANY = "The request body is too large: it has too many values."
_TOO_DEEP = "The request body is not valid JSON: it is nested too deep."


def match_end(pattern: re.Pattern[bytes], text: bytes, start: int, stop: int = sys.maxsize) -> int:
    """Where the match that begins at `start` ends; `start` if there is none."""
    found = pattern.match(text, start, stop)
    return start if found is None else found.end()


async def check_outline(body: bytes) -> None:
    """Raises `ClientException` for JSON of so many values, or nested so deep, that parsing it would stop everything
    else. Other requests get their turn meanwhile.
    """
    if body.count(b"[") + body.count(b"{") <= DEPTH and body.count(b",") <= VALUES:
        return
    at = depth = containers = values = 0
    while at < len(body):
        end = match_end(OUTSIDE, body, at, at + STEP)
        if end == at:  # a string that is longer than a step
            end = match_end(INSIDE, body, at + 1) + 1
        else:
            plain = _STRING.sub(b"", body[at:end])
            for mark in plain.translate(None, _NOT_BRACKETS):
                depth += 1 if mark in b"[{" else -1
                if depth > DEPTH:
                    raise ClientException(_TOO_DEEP)
            containers += plain.count(b"[") + plain.count(b"{")
            values += plain.count(b",")
            if containers > CONTAINERS or values > VALUES:
                raise HTTPException(_TOO_MANY, status_code=413)
        at = end
        await asyncio.sleep(0)
