"""`/api/v1/waha`: one session's status, health and QR, and getting it back. `?session=` names it; else `default`."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Request, Response, get, post
from litestar.params import FromQuery

from holdfast.api.common import gateway_of
from holdfast.api.faces.shapes import ERRORS, accounts_of, data_url, wants_qr
from holdfast.api.waha.pairing import FIRST_QR_WAIT
from holdfast.domain.errors import EngineUnavailable, SessionNotFound, WrongStatus
from holdfast.ports.accounts import Recovered

Req = Request[Any, Any, Any]
DEFAULT = "default"


def _recovered(found: Recovered) -> dict[str, Any]:
    return {
        "success": True,
        "data": {
            "message": found.message,
            "previousStatus": found.before.status,
            "currentStatus": found.after.status,
            "needsQR": wants_qr(found.after),
        },
    }


class Recovery(Controller):
    """A session, and its recovery."""

    path = "/api/v1/waha"
    tags = ["Recovery"]  # noqa: RUF012 - Litestar's way
    exception_handlers = ERRORS

    @get("/status", summary="Status, with what recovering it took")
    async def status(self, request: Req, session: FromQuery[str] = DEFAULT) -> dict[str, Any]:
        """Times are Unix seconds."""
        view = await gateway_of(request).session(session)
        return {
            "success": True,
            "data": {
                "status": view.status,
                "name": view.name,
                "needsQR": wants_qr(view),
                "message": view.message,
                "verifiedAt": view.verified_at,
                **await accounts_of(request).facts(view.name),
            },
        }

    @post("/auto-recover", summary="Get a session back", status_code=200)
    async def auto_recover(self, request: Req, session: FromQuery[str] = DEFAULT) -> dict[str, Any]:
        """What can heal is tried now; what needs a QR shows one; what works is left alone."""
        return _recovered(await accounts_of(request).recover(session))

    @post("/restart", summary="Restart a session", status_code=200)
    async def restart(self, request: Req, session: FromQuery[str] = DEFAULT) -> dict[str, Any]:
        """Close its connection and open it anew; credentials stay."""
        return _recovered(await accounts_of(request).restart(session))

    @get("/health", summary="Health of the engine")
    async def health(self, request: Req, session: FromQuery[str] = DEFAULT) -> Response[dict[str, Any]]:
        """Of the session's engine; memory in bytes. 503 when it cannot be reached."""
        try:
            view = await gateway_of(request).session(session)
            facts = await accounts_of(request).health(view.engine, view.config)
        except SessionNotFound:
            facts = await accounts_of(request).health("")
        if facts.pop("reachable"):
            return Response({"success": True, "data": facts})
        error = EngineUnavailable("The engine cannot be reached; what is sent meanwhile waits in the outbox.")
        body = {"success": False, "error": error.sentence, "code": error.code, "data": facts}
        return Response(body, status_code=503, headers={"Retry-After": "5"})

    @get("/qr", summary="QR code to scan")
    async def qr(self, request: Req, session: FromQuery[str] = DEFAULT) -> dict[str, Any]:
        """`{"qr": data URL}`. 422 unless the session is in SCAN_QR_CODE."""
        pairing = await gateway_of(request).pairing(session, wait=FIRST_QR_WAIT)
        if pairing.qr is None:
            raise WrongStatus("A pairing code is on show, no QR. Type it on the phone.", session=session)
        return {"success": True, "data": {"qr": data_url(pairing.qr)}}
