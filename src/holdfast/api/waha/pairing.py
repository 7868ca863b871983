"""`/api/{session}/auth`: the QR as picture, as JSON or raw, and the pairing code."""

from __future__ import annotations

import base64
import io
from typing import Annotated, Any, Literal

import msgspec
import segno
from litestar import Controller, Request, Response, get, post
from litestar.params import FromPath, FromQuery, HeaderParameter, JSONBody

from holdfast.api.common import gateway_of
from holdfast.domain.errors import WrongStatus

FIRST_QR_WAIT = 10.0
"""How long a request may wait for a session that is about to show its first QR, in seconds."""


class RequestCode(msgspec.Struct):
    """Body of `request-code`."""

    phoneNumber: str  # noqa: N815 - WAHA's name
    method: str | None = None


def qr_png(value: str) -> bytes:
    """The QR as a PNG that phones read from a screen."""
    out = io.BytesIO()
    segno.make(value, error="m").save(out, kind="png", scale=6, border=4)
    return out.getvalue()


class Pairing(Controller):
    """`/api/{session}/auth`."""

    path = "/api/{session:str}/auth"
    tags = ["Pairing"]  # noqa: RUF012 - Litestar's way

    @get("/qr", summary="QR code to scan")
    async def qr(
        self,
        request: Request[Any, Any, Any],
        session: FromPath[str],
        format: FromQuery[Literal["image", "raw"]] = "image",
        accept: Annotated[str, HeaderParameter(name="accept")] = "*/*",
    ) -> Response[Any]:
        """PNG; `Accept: application/json` gives it as base64, `format=raw` gives the text in it.

        422 unless the session is in SCAN_QR_CODE.
        """
        pairing = await gateway_of(request).pairing(session, wait=FIRST_QR_WAIT)
        if pairing.qr is None:
            raise WrongStatus(
                "The session shows a pairing code, no QR.", session=session, status="SCAN_QR_CODE", expected=["QR"]
            )
        if format == "raw":
            return Response({"value": pairing.qr})
        png = qr_png(pairing.qr)
        if "application/json" in accept:
            return Response({"mimetype": "image/png", "data": base64.b64encode(png).decode()})
        return Response(png, media_type="image/png")

    @post("/request-code", summary="Pairing code to type on the phone")
    async def code(
        self, request: Request[Any, Any, Any], session: FromPath[str], data: JSONBody[RequestCode]
    ) -> dict[str, str]:
        """`{"code": "ABCD-EFGH"}`."""
        code = await gateway_of(request).request_code(session, data.phoneNumber)
        return {"code": f"{code[:4]}-{code[4:]}" if len(code) == 8 else code}
