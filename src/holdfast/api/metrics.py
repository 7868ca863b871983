"""`GET /metrics`: the instance's figures in Prometheus' text format."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get
from prometheus_client import CONTENT_TYPE_LATEST


@get("/metrics", tags=["Holdfast"], summary="Figures for Prometheus", media_type=CONTENT_TYPE_LATEST)
async def scrape(request: Request[Any, Any, Any]) -> Response[bytes]:
    """With the API key or the metrics key, as bearer token or in `X-Api-Key`. docs/operations.md explains each."""
    return Response(await request.app.state.metrics(), media_type=CONTENT_TYPE_LATEST)
