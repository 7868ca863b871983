"""What no request may carry, whatever it asks for: NUL characters, which PostgreSQL cannot keep, and other formats than
JSON. Refused here, before anything is done, so that both stores answer alike and nothing is half stored.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from litestar import Request
from litestar.exceptions import ClientException, HTTPException, SerializationException
from litestar.types import ASGIApp, Receive, Scope, Send

from holdfast.api.request_limits import FORM_FIELDS, check_outline, refuse
from holdfast.domain.errors import BadRequest

_NUL = "The request holds the character NUL (U+0000), which no name, id or text may have. Send it without."
_JSON_TYPES = ("application/json", "text/json")
_PAIR = re.compile(rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_HALF_PAIR = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_BOM = b"\xef\xbb\xbf"


class Intake(Request[Any, Any, Any]):
    """A request whose body is JSON, or the dashboard's form, without NUL. Raises `BadRequest`."""

    async def json(self) -> Any:
        """See the base class. 415 for another content type than JSON's."""
        kind = self.content_type[0].lower()
        if kind and kind not in _JSON_TYPES and not kind.endswith("+json"):
            raise HTTPException(
                "Send the body as JSON, with the header Content-Type: application/json.", status_code=415
            )
        body = await self.body()
        await check_outline(body)
        try:
            value = await super().json()
        except (SerializationException, UnicodeDecodeError, RecursionError) as error:
            raise ClientException(problem_of(error, body)) from None
        if b"\\u0000" in body and _holds_nul(value):
            raise BadRequest(_NUL)
        return value

    async def body(self) -> bytes:
        """See the base class. A byte order mark, which Windows' tools put before JSON, is no part of it."""
        body = await super().body()
        if self.content_type[0] == "application/x-www-form-urlencoded":
            if b"%00" in body:
                raise BadRequest(_NUL)
            if body.count(b"&") >= FORM_FIELDS:
                raise BadRequest(f"The form has more than {FORM_FIELDS} fields.")
        if body.startswith(_BOM):
            self._body = body = body.removeprefix(_BOM)
            self._connection_state.body = body
        return body


def parsed_json(body: bytes) -> Any:
    """The value of a small JSON body. Raises `ClientException` with what is wrong with it."""
    try:
        return msgspec.json.decode(body.removeprefix(_BOM))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ClientException(problem_of(error, body)) from error


def problem_of(error: Exception, body: bytes) -> str:
    """What is wrong with a JSON body, in a sentence."""
    said = str(error)
    if isinstance(error, UnicodeDecodeError):
        what = "it is not UTF-8"
    elif isinstance(error, RecursionError):
        what = "it is nested too deep"
    elif _HALF_PAIR.search(_PAIR.sub(b"", body)):
        what = "it holds half of a surrogate pair (\\ud800 to \\udfff), which is no character"
    else:
        what = said[:1].lower() + said[1:]
    return f"The request body is not valid JSON: {what}."


def _holds_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_holds_nul(part) for pair in value.items() for part in pair)
    return isinstance(value, list) and any(_holds_nul(part) for part in value)


def without_nul(app: ASGIApp) -> ASGIApp:
    """The application, spared of paths and queries with NUL."""

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        if str(scope["type"]) == "lifespan" or not ("\0" in scope["path"] or b"%00" in scope["query_string"]):
            await app(scope, receive, send)
        else:
            await refuse(scope, receive, send, 400, _NUL, code=BadRequest.code)

    return middleware
