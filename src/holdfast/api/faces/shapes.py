"""What these faces answer with: `{success, error, code}` for every error, statuses in their own words, QRs to show."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from litestar import Request, Response

from holdfast.api.errors import HANDLERS
from holdfast.api.waha.pairing import qr_png
from holdfast.domain.accounts import AccountRow
from holdfast.domain.errors import HoldfastError
from holdfast.ports.accounts import Accounts
from holdfast.ports.gateway import Gateway, SessionView

NEVER_LINKED = 'Not connected. Click "Connect WhatsApp" to start.'
WORDS = {
    "STOPPED": "disconnected",
    "STARTING": "connecting",
    "SCAN_QR_CODE": "qr_ready",
    "WORKING": "connected",
    "FAILED": "failed",
}
MOMENT = 1.0
"""Seconds that another instance may take to tell its QR while a status waits for it."""
_NOT_TOLD = frozenset({"message", "error", "code", "statusCode", "success"})

Handler = Callable[[Request[Any, Any, Any], Any], Response[dict[str, Any]]]


def _in_our_shape(handler: Handler) -> Handler:
    def handle(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
        answer = handler(request, error)
        told = answer.content
        said = told.get("message") or told["error"]
        status = HTTPStatus(answer.status_code or 500)
        body = {
            "success": False,
            "error": " ".join(said) if isinstance(said, list) else said,
            "code": told.get("code") or getattr(error, "code", status.phrase.lower().replace(" ", "_")),
        }
        more = {key: value for key, value in told.items() if key not in _NOT_TOLD}
        return Response(body | more, status_code=answer.status_code, headers=answer.headers)

    return handle


ERRORS: dict[Any, Any] = {kind: _in_our_shape(handler) for kind, handler in HANDLERS.items()}
"""The application's handlers, with their answers in the shape of these faces."""


def accounts_of(request: Request[Any, Any, Any]) -> Accounts:
    """Whose sessions are on the instance that answers."""
    accounts: Accounts = request.app.state.accounts
    return accounts


def word(view: SessionView) -> str:
    """The status in these faces' words."""
    if view.needs_qr and view.status != "SCAN_QR_CODE":
        return "needs_qr"
    return WORDS[view.status]


def wants_qr(view: SessionView) -> bool:
    """Whether a person must scan a QR code."""
    return view.needs_qr or view.status == "SCAN_QR_CODE"


def status_of(row: AccountRow, view: SessionView) -> dict[str, Any]:
    """The status of an account."""
    fresh = view.status == "STOPPED" and not view.linked
    phone = view.me.get("phone") or row.phone
    return {
        "is_connected": view.status == "WORKING",
        "status": word(view),
        "message": NEVER_LINKED if fresh else view.message,
        "needs_qr": wants_qr(view),
        "requiresQR": wants_qr(view),
        "session": view.name,
        "phone": f"+{phone}" if phone else None,
    }


def never_linked() -> dict[str, Any]:
    """The status of a company that has no account."""
    return {
        "is_connected": False,
        "status": "disconnected",
        "message": NEVER_LINKED,
        "needs_qr": False,
        "requiresQR": False,
        "session": None,
        "phone": None,
    }


def data_url(qr: str) -> str:
    """A QR as a picture that a page can show as it is."""
    return f"data:image/png;base64,{base64.b64encode(qr_png(qr)).decode()}"


async def qr_on_show(gateway: Gateway, view: SessionView, *, wait: float = 0.0) -> str | None:
    """The QR of a session that pairs, as a data URL; None if there is none, or its holder does not tell within `wait`
    seconds and a moment.
    """
    if view.status != "SCAN_QR_CODE" and not wait:
        return None
    with contextlib.suppress(HoldfastError, TimeoutError):
        async with asyncio.timeout(wait + MOMENT):
            pairing = await gateway.pairing(view.name, wait=wait)
        return data_url(pairing.qr) if pairing.qr else None
    return None
