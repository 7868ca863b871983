"""`GET /api/holdfast/alerts`: what an operator should know now."""

from __future__ import annotations

from typing import Any

from litestar import Request, get


@get("/api/holdfast/alerts", tags=["Holdfast"], summary="Alerts in force")
async def alerts_in_force(request: Request[Any, Any, Any]) -> list[dict[str, Any]]:
    """Of all sessions and instances, the oldest first. Empty: all is well."""
    found: list[dict[str, Any]] = await request.app.state.alerts()
    return found
