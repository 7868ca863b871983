"""The bar above every page: what needs a person now, or nothing."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get

from holdfast.api.common import gateway_of
from holdfast.web.render import page


@get("/dashboard/alerts", include_in_schema=False)
async def alert_bar(request: Request[Any, Any, Any]) -> Response[Any]:
    """The alerts in force, the oldest first."""
    return page("_alerts.html", alerts=await request.app.state.alerts(), now=gateway_of(request).now())
