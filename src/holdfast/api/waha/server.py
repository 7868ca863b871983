"""`/ping`, `/health`, `/api/server/*`, and `/api/status`, which needs no key and tells readiness only."""

from __future__ import annotations

import platform
from typing import Any

from litestar import Controller, Request, Response, get

import holdfast
from holdfast.api.common import gateway_of
from holdfast.domain.errors import StoreUnavailable
from holdfast.domain.waha import environment

Req = Request[Any, Any, Any]


class Server(Controller):
    """The server itself."""

    tags = ["Observability"]  # noqa: RUF012 - Litestar's way

    @get("/ping", summary="Is anybody there?")
    async def ping(self) -> dict[str, str]:
        """Needs no key."""
        return {"message": "pong"}

    @get("/api/status", summary="Readiness")
    async def readiness(self, request: Req) -> Response[dict[str, bool]]:
        """200 when the instance can serve, 503 when its database is away or it stops soon. Needs no key."""
        try:
            ready = bool((await gateway_of(request).health())["ok"]) and not request.app.state["is_leaving"]()
        except StoreUnavailable:
            ready = False
        return Response({"ready": ready}, status_code=200 if ready else 503)

    @get("/health", summary="Health of the parts")
    async def health(self, request: Req) -> Response[dict[str, Any]]:
        """503 when a part is down."""
        try:
            facts = await gateway_of(request).health()
        except StoreUnavailable as error:
            down = {"database": {"status": "down", "message": error.sentence}}
            return Response({"status": "error", "info": {}, "error": down, "details": down}, status_code=503)
        up = {
            "database": {"status": "up"},
            "engine": {"status": "up", **facts["engines"]},
            "sessions": {"status": "up", **facts["sessions"]},
        }
        return Response({"status": "ok", "info": up, "error": {}, "details": up})

    @get(["/api/server/version", "/api/version"], summary="Version")
    async def version(self, request: Req) -> dict[str, Any]:
        """WAHA's fields, and Holdfast's own version."""
        return {
            **environment(gateway_of(request).presented),
            "platform": f"{platform.system().lower()}/{platform.machine()}",
            "worker": {"id": gateway_of(request).instance},
            "holdfast": holdfast.__version__,
        }

    @get("/api/server/status", summary="Uptime")
    async def status(self, request: Req) -> dict[str, Any]:
        """Start and uptime in milliseconds."""
        gateway = gateway_of(request)
        return {
            "startTimestamp": int(gateway.started_at * 1000),
            "uptime": int((gateway.now() - gateway.started_at) * 1000),
            "worker": {"id": gateway.instance},
        }
