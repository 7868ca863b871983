"""What WAHA servers tell by webhook: signed, and answered only when it is stored, for WAHA forgets what was taken."""

from __future__ import annotations

from typing import Any

from litestar import Request, post
from litestar.params import FromPath

from holdfast.api.auth import Guard, address_of
from holdfast.api.common import gateway_of
from holdfast.domain.errors import TooManyWrongKeys, Unauthorized

SIGNATURE = "X-Webhook-Hmac"


@post(
    "/api/holdfast/waha/{server:str}/events",
    status_code=200,
    tags=["Holdfast"],
    summary="Events of a WAHA server's sessions",
)
async def told_by_waha(request: Request[Any, Any, Any], server: FromPath[str]) -> dict[str, bool]:
    """WAHA's webhook, with `X-Webhook-Hmac` (SHA-512) in place of our API key.

    401 for a bad signature, 503 while nobody holds the session: WAHA tells it again.
    """
    try:
        await gateway_of(request).told(server, request.headers.get(SIGNATURE, ""), await request.body())
    except Unauthorized as error:
        guard: Guard = request.app.state["guard"]
        refused = guard.access.wrong_key("waha", address_of(request.scope))
        raise (refused if isinstance(refused, TooManyWrongKeys) else error) from error
    return {"success": True}
