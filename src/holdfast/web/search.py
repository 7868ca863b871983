"""Searching the messages of one session, or of all."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get
from litestar.params import FromQuery

from holdfast.api.common import gateway_of
from holdfast.domain.errors import BadRequest
from holdfast.web.render import page

Req = Request[Any, Any, Any]
SHOWN = 50


@get("/dashboard/search", include_in_schema=False)
async def search(request: Req, q: FromQuery[str] = "", session: FromQuery[str] = "") -> Response[Any]:
    """The form, and what was found."""
    gateway = gateway_of(request)
    names = [view.name for view in await gateway.sessions()]
    found, problem = [], ""
    if q.strip():
        try:
            found = await gateway.search(q, SHOWN + 1, 0, session=session or None)
        except BadRequest as error:
            problem = error.sentence
    more = len(found) > SHOWN
    return page("search.html", q=q, session=session, names=names, problem=problem, found=found[:SHOWN], more=more)
