"""What no request may carry, whatever it asks for: NUL characters, which PostgreSQL cannot keep, and other formats than
JSON. Refused here, before anything is done, so that both stores answer alike and nothing is half stored.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from litestar import Request
from litestar.exceptions import ClientException, HTTPException
from litestar.types import ASGIApp, Receive, Scope, Send

from holdfast.domain.errors import BadRequest

_NUL = "The request holds the character NUL (U+0000), which no name, id or text may have. Send it without."
_JSON_TYPES = ("application/json", "text/json")


class Intake(Request[Any, Any, Any]):
    """A request whose body is JSON, or the dashboard's form, without NUL. Raises `BadRequest`."""

    async def json(self) -> Any:
        """See the base class. 415 for another content type than JSON's."""
        kind = self.content_type[0].lower()
        if kind and kind not in _JSON_TYPES and not kind.endswith("+json"):
            raise HTTPException(
                "Send the body as JSON, with the header Content-Type: application/json.", status_code=415
            )
        try:
            value = await super().json()
        except UnicodeDecodeError as error:
            raise ClientException("The request body is not valid JSON: it is not UTF-8.") from error
        except RecursionError as error:
            raise ClientException("The request body is not valid JSON: it is nested too deep.") from error
        if b"\\u0000" in await self.body() and _holds_nul(value):
            raise BadRequest(_NUL)
        return value

    async def body(self) -> bytes:
        """See the base class."""
        body = await super().body()
        if self.content_type[0] == "application/x-www-form-urlencoded" and b"%00" in body:
            raise BadRequest(_NUL)
        return body


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
        elif str(scope["type"]) == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 4400, "reason": _NUL})
        else:
            status = HTTPStatus.BAD_REQUEST
            said = {"message": _NUL, "error": status.phrase, "statusCode": status, "code": BadRequest.code}
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": json.dumps(said).encode(), "more_body": False})

    return middleware
