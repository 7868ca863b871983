"""Events that webhooks did not get: held, parked and given up, with the button that tries them again."""

from __future__ import annotations

from typing import Any, Literal

from litestar import Request, Response, get, post
from litestar.params import FromPath

from holdfast.api.common import gateway_of
from holdfast.api.pages import COUNTABLE
from holdfast.domain.errors import DeliveryNotFound
from holdfast.web.render import page

Req = Request[Any, Any, Any]
SHOWN = 100
ORDER = {"dead": 0, "parked": 1, "retrying": 2, "waiting": 3}


@get("/dashboard/deliveries", include_in_schema=False)
async def deliveries(request: Req) -> Response[Any]:
    """The page."""
    return page("deliveries.html", **await _facts(request))


@get("/dashboard/deliveries/list", include_in_schema=False)
async def delivery_list(request: Req) -> Response[Any]:
    """The list, for its own renewal."""
    return page("_deliveries.html", **await _facts(request))


@post("/dashboard/deliveries/{delivery:int}/replay", status_code=200, include_in_schema=False)
async def replay_one(request: Req, delivery: FromPath[int]) -> Response[Any]:
    """Try one again now; the list says so if it is gone."""
    said = ""
    try:
        await gateway_of(request).replay(min(delivery, COUNTABLE))
    except DeliveryNotFound as error:
        said = error.sentence
    return page("_deliveries.html", **await _facts(request), said=said)


@post("/dashboard/deliveries/all/{which:str}", status_code=200, include_in_schema=False)
async def replay_many(request: Req, which: FromPath[Literal["dead", "parked"]]) -> Response[Any]:
    """Try all of them again now."""
    count = await gateway_of(request).replay_all(states=(which,))
    return page("_deliveries.html", **await _facts(request), said=f"{count} to be tried again.")


async def _facts(request: Req) -> dict[str, Any]:
    """Those that were given up first: only they need somebody."""
    gateway = gateway_of(request)
    rows = await gateway.deliveries(limit=SHOWN)
    rows.sort(key=lambda row: ORDER[row.state])
    counts = {state: sum(row.state == state for row in rows) for state in ORDER}
    return {"rows": rows, "counts": counts, "full": len(rows) == SHOWN, "now": gateway.now()}
