"""`/api/whatsapp`: accounts of companies and phones: connect, scan, send."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.params import FromQuery, JSONBody, QueryParameter

from holdfast.api.common import gateway_of
from holdfast.api.faces.shapes import (
    ERRORS,
    accounts_of,
    data_url,
    never_linked,
    qr_on_show,
    status_of,
    word,
)
from holdfast.api.waha.messaging import IdempotencyKey
from holdfast.api.waha.options import SendOptions, terms_of
from holdfast.api.waha.pairing import FIRST_QR_WAIT
from holdfast.domain import outbox
from holdfast.domain.errors import AccountNotFound, WrongStatus
from holdfast.domain.identity import canonical_phone

Req = Request[Any, Any, Any]
AccountId = Annotated[str | None, QueryParameter(name="accountId")]


class AddAccount(msgspec.Struct):
    """Body of `add-account`. `aliases`: ids under which the account was known before."""

    phone: str
    company_id: str | None = None
    user_id: str | None = None
    name: str = ""
    aliases: list[str] = []


class Which(msgspec.Struct):
    """Which account: by its id, or by whose it is."""

    accountId: str | None = None  # noqa: N815 - the name in use
    company_id: str | None = None
    user_id: str | None = None


class SendMessage(SendOptions, kw_only=True):
    """Body of `send-message`. `to`: a phone number in international format, or a chat id."""

    accountId: str | None = None  # noqa: N815 - the name in use
    company_id: str | None = None
    user_id: str | None = None
    to: str
    message: str


class WhatsApp(Controller):
    """Accounts, each with a session."""

    path = "/api/whatsapp"
    tags = ["Accounts"]  # noqa: RUF012 - Litestar's way
    exception_handlers = ERRORS

    @get("/status", summary="Status of an account")
    async def status(
        self,
        request: Req,
        company_id: FromQuery[str | None] = None,
        account_id: AccountId = None,
        user_id: FromQuery[str | None] = None,
    ) -> dict[str, Any]:
        """Answers at once, whatever is under way; a company without an account is told to connect. `qr` while one is
        on show.
        """
        try:
            account = await accounts_of(request).find(id=account_id, company=company_id, user=user_id)
        except AccountNotFound:
            if account_id:
                raise
            return never_linked()
        facts = status_of(account.row, account.view)
        qr = await qr_on_show(gateway_of(request), account.view)
        return facts | ({"qr": qr} if qr else {})

    @post("/connect", summary="Connect a company or a user", status_code=200)
    async def connect(self, request: Req, data: JSONBody[Which]) -> dict[str, Any]:
        """Made if there is none yet; restores what is linked, else shows a QR. Asked twice, it is done once."""
        accounts, gateway = accounts_of(request), gateway_of(request)
        if data.accountId:
            account = await accounts.find(id=data.accountId)
        else:
            account = await accounts.add(company=data.company_id, user=data.user_id)
        view = await gateway.start(account.view.name)
        qr = None if view.linked else await qr_on_show(gateway, view, wait=FIRST_QR_WAIT)
        view = await gateway.session(view.name)
        return {"success": True, "accountId": view.name, **status_of(account.row, view), "qr": qr}

    @post("/add-account", summary="Add a phone's account")
    async def add(self, request: Req, data: JSONBody[AddAccount]) -> Response[dict[str, Any]]:
        """201 with its id, which is the same for the same phone everywhere; 200 if it is here already. It starts."""
        account = await accounts_of(request).add(
            phone=data.phone, company=data.company_id, user=data.user_id, name=data.name, aliases=data.aliases
        )
        view = await gateway_of(request).start(account.view.name)
        body = {"success": True, "accountId": view.name, "status": word(view)}
        return Response(body, status_code=201 if account.fresh else 200)

    @get("/accounts", summary="All accounts")
    async def accounts(self, request: Req) -> dict[str, Any]:
        """Those that were added, with whose they are and their status."""
        found = [
            {
                "accountId": account.view.name,
                "company_id": account.row.company_id,
                "user_id": account.row.user_id,
                "name": account.row.name,
                **status_of(account.row, account.view),
            }
            for account in await accounts_of(request).all()
        ]
        return {"success": True, "accounts": found}

    @post("/regenerate-qr", summary="A QR to link the account anew", status_code=200)
    async def regenerate(self, request: Req, data: JSONBody[Which]) -> dict[str, Any]:
        """The one on show if a pairing runs, else a new one. History stays; the same number is asked for."""
        accounts = accounts_of(request)
        account = await accounts.find(id=data.accountId, company=data.company_id, user=data.user_id)
        view = await accounts.relink(account.view.name)
        pairing = await gateway_of(request).pairing(view.name, wait=FIRST_QR_WAIT)
        if pairing.qr is None:
            raise WrongStatus("A pairing code is on show, no QR. Type it on the phone.", session=view.name)
        return {"success": True, "accountId": view.name, "status": "qr_ready", "qr": data_url(pairing.qr)}

    @post("/send-message", summary="Send a text message")
    async def send(
        self, request: Req, data: JSONBody[SendMessage], idempotency_key: IdempotencyKey = None
    ) -> Response[dict[str, Any]]:
        """200 when WhatsApp has it, 202 while it waits in the outbox, 422 when it cannot be sent."""
        account = await accounts_of(request).find(id=data.accountId, company=data.company_id, user=data.user_id)
        row = await gateway_of(request).send(
            account.view.name,
            data.to if "@" in data.to else f"{canonical_phone(data.to)}@c.us",
            {"type": "text", "text": data.message},
            idempotency_key=idempotency_key,
            terms=terms_of(data),
            wait=request.app.state.send_wait,
        )
        if row.state in outbox.UNSENT:
            error = row.message or "The message was not sent."
            body = {"success": False, "error": error, "code": row.state, "messageId": row.id}
            return Response(body, status_code=422)
        body = {"success": True, "messageId": row.id, "status": row.state}
        return Response(body, status_code=200 if row.state in outbox.ACKNOWLEDGED else 202)
