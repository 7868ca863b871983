"""What waits to be sent in a session: why, until when, and the button that cancels it."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, delete, get
from litestar.params import FromPath

from holdfast.api.common import gateway_of
from holdfast.domain.errors import MessageNotFound, TooLate
from holdfast.web.render import page

Req = Request[Any, Any, Any]
SHOWN = 50


@get("/dashboard/s/{name:str}/queue", include_in_schema=False)
async def queue(request: Req, name: FromPath[str]) -> Response[Any]:
    """The list, for its own renewal."""
    return await _list(request, name, "")


@delete("/dashboard/s/{name:str}/queue/{message_id:str}", status_code=200, include_in_schema=False)
async def cancel(request: Req, name: FromPath[str], message_id: FromPath[str]) -> Response[Any]:
    """Cancel one; the list says so if it was too late."""
    problem = ""
    try:
        await gateway_of(request).cancel(name, message_id)
    except (TooLate, MessageNotFound) as error:
        problem = error.sentence
    return await _list(request, name, problem)


async def _list(request: Req, name: str, problem: str) -> Response[Any]:
    found = await gateway_of(request).queue(name, limit=SHOWN + 1)
    more = len(found) > SHOWN
    return page("_queue.html", session=name, waiting=found[:SHOWN], more=more, problem=problem)
