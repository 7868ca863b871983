"""What other instances ask of this one: signed requests, answered by this instance alone."""

from __future__ import annotations

import json
from typing import Any, Protocol

from litestar import Request, Response, post

from holdfast.api.auth import Guard, address_of
from holdfast.domain.errors import BadRequest, HeldElsewhere, HoldfastError, Unauthorized

HEADER = "x-holdfast-peer"


class Answering(Protocol):
    """How an instance judges and answers a peer's request (`runtime.node.Node`)."""

    async def is_peer(self, signature: str, body: bytes) -> bool:
        """Whether an instance of the same store signed that body lately."""
        ...

    async def answer(self, method: str, args: dict[str, Any]) -> Any:
        """What was asked for, as plain JSON. Raises `HoldfastError`."""
        ...


@post("/api/holdfast/peer", include_in_schema=False, status_code=200)
async def asked_by_peer(request: Request[Any, Any, Any]) -> Response[dict[str, Any]]:
    """`{"method", "args"}` in; `{"value"}`, or `{"error", "code", "facts"}` with the error's status, out."""
    node: Answering | None = request.app.state["peers"]
    body = await request.body()
    signature = request.headers.get(HEADER, "")
    if node is None or not await node.is_peer(signature, body):
        if "v2=" not in signature:  # none, or that of an earlier version in a rolling deploy: no guess
            raise Unauthorized
        guard: Guard = request.app.state["guard"]
        raise guard.access.wrong_key("peer", address_of(request.scope))
    try:
        asked = json.loads(body)
        value = await node.answer(str(asked["method"]), dict(asked["args"]))
    except (KeyError, TypeError, ValueError) as error:
        return _told(BadRequest(f"The request is not as instances make it ({type(error).__name__})."))
    except HoldfastError as error:
        return _told(error)
    return Response({"value": value})


def _told(error: HoldfastError) -> Response[dict[str, Any]]:
    facts = {key: value for key, value in error.facts.items() if isinstance(value, str | int | float | list)}
    headers = {"Retry-After": "2"} if isinstance(error, HeldElsewhere) else {}
    said = {"error": error.sentence, "code": error.code, "facts": facts}
    return Response(said, status_code=error.http_status, headers=headers)
