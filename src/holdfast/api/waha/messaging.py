"""Sending, marking as seen, typing, and whether a number is on WhatsApp."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.params import FromQuery, HeaderParameter, JSONBody

from holdfast.api.auth import by_key_only
from holdfast.api.common import gateway_of, me_of, waha_message
from holdfast.api.waha.options import SendOptions, terms_of
from holdfast.domain import outbox
from holdfast.domain.errors import BadRequest, DuplicateMessageId, IdempotencyConflict, InvalidMessage, MessageNotFound
from holdfast.domain.identity import canonical_phone
from holdfast.domain.jids import is_group
from holdfast.domain.presented_engine import presented, send_answer
from holdfast.domain.recipients import mentioned
from holdfast.domain.sent import sent_message
from holdfast.domain.waha import from_waha_id, plain_message_id, to_waha_id
from holdfast.ports.gateway import Gateway
from holdfast.ports.media import Link, Upload
from holdfast.ports.store import MessageRow, OutboxRow

Req = Request[Any, Any, Any]
IdempotencyKey = Annotated[str | None, HeaderParameter(name="Idempotency-Key", min_length=1, max_length=255)]


class SendRequest(SendOptions, kw_only=True):
    """What the bodies of all calls that send have."""

    chatId: str  # noqa: N815 - WAHA's name
    session: str = "default"
    id: str | None = None
    reply_to: str | None = None


class SendText(SendRequest, kw_only=True):
    """Body of `sendText`."""

    text: str
    mentions: list[str] | None = None
    linkPreview: bool | None = None  # noqa: N815
    linkPreviewHighQuality: bool | None = None  # noqa: N815


class ChatRequest(msgspec.Struct):
    """Body of the calls about a chat."""

    chatId: str  # noqa: N815 - WAHA's name
    session: str = "default"


class SendSeen(ChatRequest):
    """Body of `sendSeen`."""

    messageId: str | None = None  # noqa: N815 - WAHA's name
    messageIds: list[str] | None = None  # noqa: N815
    participant: str | None = None


def sent_shape(row: OutboxRow, me: dict[str, Any]) -> dict[str, Any]:
    """An accepted message in WAHA's shape, as chats will show it, with where it stands under `holdfast`."""
    shown = replace(sent_message(row, row.updated_at, me), ack=outbox.ACK_OF_STATE[row.state])
    return {
        **send_answer(waha_message(shown, me), presented(me)),
        "holdfast": {
            "id": row.id,
            "state": row.state,
            "attempts": row.attempts,
            "in_doubt": row.in_doubt,
            "error": row.error,
            "message": row.message,
            "send_at": row.send_at or None,
            "expires_at": row.expires_at,
        },
    }


async def accept(
    request: Req,
    data: SendRequest,
    content: dict[str, Any],
    idempotency_key: str | None,
    file: Upload | Link | None = None,
) -> Response[dict[str, Any]]:
    """Accepted durably, then answered with WhatsApp's acknowledgement, or 202 if that takes longer. Raises what
    `Gateway.send` does, `BadRequest` for the id, and `MessageNotFound` for what is quoted.
    """
    gateway = gateway_of(request)
    if data.reply_to:
        content["quoted_id"] = await quotable(gateway, data.session, data.reply_to)
    own_id = own_id_of(data.id)
    try:
        row = await gateway.send(
            data.session,
            data.chatId,
            content,
            id=own_id,
            idempotency_key=idempotency_key or key_of(own_id),
            terms=terms_of(data),
            file=file,
            wait=request.app.state.send_wait,
        )
    except IdempotencyConflict:
        if idempotency_key:
            raise
        raise DuplicateMessageId from None
    return sent_answer(row, await me_of(gateway, data.session))


def sent_answer(row: OutboxRow, me: dict[str, Any]) -> Response[dict[str, Any]]:
    """201 when WhatsApp has it, 202 while it waits in the outbox, 422 when WhatsApp refused it."""
    if row.state in outbox.UNSENT:
        body = {
            "error": row.message or "The message was not sent.",
            "code": row.state,
            "errorCode": row.error,
            "holdfast": sent_shape(row, me)["holdfast"],
        }
        return Response(body, status_code=422)
    return Response(sent_shape(row, me), status_code=201 if row.state in outbox.ACKNOWLEDGED else 202)


class Messaging(Controller):
    """WAHA's `/api/sendText` and its neighbours."""

    path = "/api"
    tags = ["Chatting"]  # noqa: RUF012 - Litestar's way

    @post("/sendText", summary="Send a text message")
    async def send_text(
        self, request: Req, data: JSONBody[SendText], idempotency_key: IdempotencyKey = None
    ) -> Response[dict[str, Any]]:
        """Accepted durably, then answered with WhatsApp's acknowledgement, or 202 if that takes longer."""
        content: dict[str, Any] = {"type": "text", "text": data.text}
        if data.linkPreviewHighQuality:
            raise InvalidMessage("Holdfast makes no link previews: leave linkPreviewHighQuality out.")
        content |= mentioned(data.mentions, data.chatId)
        answer = await accept(request, data, content, idempotency_key)
        if data.linkPreview and "://" in data.text:
            answer.content["holdfast"]["notes"] = ["Sent without a link preview: Holdfast makes none."]
        return answer

    @get("/sendText", deprecated=True, guards=[by_key_only], summary="Send a text message (by query)")
    async def send_text_by_query(
        self, request: Req, phone: FromQuery[str], text: FromQuery[str], session: FromQuery[str] = "default"
    ) -> Response[dict[str, Any]]:
        """The same, for the simplest of clients."""
        return await self.send_text.fn(self, request, SendText(chatId=phone, text=text, session=session), None)  # type: ignore[no-any-return]

    @post("/sendSeen", summary="Mark messages as seen")
    async def seen(self, request: Req, data: JSONBody[SendSeen]) -> dict[str, Any]:
        """The given messages, or the chat's newest ten. `success` is said when a receipt was sent."""
        gateway, chat = gateway_of(request), from_waha_id(data.chatId)
        ids = data.messageIds or ([data.messageId] if data.messageId else [])
        seen = await receipts_for(gateway, data.session, chat, ids, data.participant)
        if not seen:
            return {"success": False, "message": "There is no message of others in this chat that could be seen."}
        answer = await gateway.call(data.session, "mark_read", {"chat": chat, "messages": seen})
        told: dict[str, Any] = {"success": True}
        if isinstance(answer, dict) and not answer.get("shown", True):
            note = "Read receipts are off in this account's privacy settings: only its own devices were told."
            told["holdfast"] = {"notes": [note]}
        return told

    @post("/startTyping", summary="Show 'typing…'")
    async def start_typing(self, request: Req, data: JSONBody[ChatRequest]) -> dict[str, Any]:
        """To the other side of the chat."""
        args = {"chat": from_waha_id(data.chatId), "on": True}
        await gateway_of(request).call(data.session, "typing", args)
        return {"success": True}

    @post("/stopTyping", summary="Stop showing 'typing…'")
    async def stop_typing(self, request: Req, data: JSONBody[ChatRequest]) -> dict[str, Any]:
        """To the other side of the chat."""
        args = {"chat": from_waha_id(data.chatId), "on": False}
        await gateway_of(request).call(data.session, "typing", args)
        return {"success": True}

    @get("/contacts/check-exists", summary="Whether a number is on WhatsApp")
    async def check(self, request: Req, phone: FromQuery[str], session: FromQuery[str] = "default") -> dict[str, Any]:
        """`{"numberExists": true, "chatId": "...@c.us"}`."""
        answer = await gateway_of(request).call(session, "check_number", {"phone": canonical_phone(phone)})
        if not answer.get("exists"):
            return {"numberExists": False}
        chat = to_waha_id(answer["jid"])
        return {"numberExists": True, "chatId": chat, "pn": chat}


async def receipts_for(
    gateway: Gateway, session: str, chat: str, ids: Sequence[str], participant: str | None
) -> list[dict[str, Any]]:
    """Each message that is to be marked as seen; in a group with its author, who gets the receipt.

    Raises `MessageNotFound`.
    """
    if not ids:
        rows = await gateway.messages(session, chat, 10, 0, {"from_me": False})
        return [_receipt(row.id, row.chat, _author(row)) for row in rows]
    given = None if participant is None else from_waha_id(participant)
    found = []
    for serialized in ids:
        plain = plain_message_id(serialized)
        row = await gateway.message(session, plain)
        if row is None:
            raise MessageNotFound(f"There is no message '{plain}' in this session that could be seen.")
        if not row.from_me:
            found.append(_receipt(plain, row.chat, given or _author(row)))
    return found


def _author(row: MessageRow) -> str:
    """As the group's messages address them."""
    return str(row.body.get("participant") or row.sender)


def _receipt(id: str, chat: str, author: str) -> dict[str, Any]:
    return {"id": id, "participant": author if is_group(chat) else None}


async def quotable(gateway: Gateway, session: str, given: str) -> str:
    """The id of a message that a reply can quote. Raises `MessageNotFound`, or `InvalidMessage` for a deleted one:
    WhatsApp would show an empty quote.
    """
    plain = plain_message_id(given)
    row = await gateway.message(session, plain)
    if row is None and not await _is_on_its_way(gateway, session, plain):
        raise MessageNotFound(f"There is no message '{plain}' in this session that reply_to could quote.")
    if row is not None and row.kind == "revoked":
        raise InvalidMessage(f"reply_to: the message '{plain}' was deleted, so it cannot be quoted.")
    if row is not None and row.kind == "waiting":
        raise InvalidMessage(f"reply_to: the message '{plain}' could not be read yet, so it cannot be quoted.")
    return plain


async def _is_on_its_way(gateway: Gateway, session: str, id: str) -> bool:
    """Whether it is a message of our own that is stored in a moment: its chat's next one leaves after that."""
    try:
        return (await gateway.outgoing(session, id)).state not in outbox.UNSENT
    except MessageNotFound:
        return False


def key_of(own_id: str | None) -> str | None:
    """Who chose the id, and got no answer, asks again with it: that is the same message, as it is to WhatsApp."""
    return f"id {own_id}" if own_id else None


def own_id_of(given: str | None) -> str | None:
    """A message id that the client chose. WhatsApp's ids are hex digits and capitals; spaces and the like would break
    the stanza's addressing.
    """
    if given is None:
        return None
    plain = plain_message_id(given)
    if not (8 <= len(plain) <= 64 and plain.isalnum() and plain.isascii()):
        raise BadRequest("A message id has 8 to 64 letters and digits.")
    return plain
