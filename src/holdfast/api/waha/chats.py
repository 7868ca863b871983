"""Chats, messages and contacts as stored: they are there whatever the connection does."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, Request, get
from litestar.params import FromPath, FromQuery, QueryParameter

from holdfast.api.common import CHATS_PAGE, MESSAGES_PAGE, gateway_of, page, skip, waha_message
from holdfast.domain.errors import MessageNotFound
from holdfast.domain.waha import from_waha_id, plain_message_id, to_waha_id
from holdfast.ports.store import ChatRow, ContactRow

Req = Request[Any, Any, Any]
ACKS = {"ERROR": -1, "PENDING": 0, "SERVER": 1, "DEVICE": 2, "READ": 3, "PLAYED": 4}


def chat_shape(row: ChatRow, me: dict[str, Any]) -> dict[str, Any]:
    """WAHA's chat (NOWEB's form) and ChatSummary in one."""
    return {
        "id": to_waha_id(row.id),
        "name": row.name or None,
        "picture": None,
        "conversationTimestamp": int(row.timestamp),
        "unreadCount": row.unread,
        "lastMessage": waha_message(row.last, me) if row.last else None,
        "_chat": {"id": to_waha_id(row.id), "unreadCount": row.unread},
    }


def contact_shape(row: ContactRow) -> dict[str, Any]:
    """A contact as WAHA's NOWEB engine lists it."""
    return {
        "id": to_waha_id(row.id),
        "number": row.phone,
        "lid": row.lid or None,
        "name": row.name or None,
        "pushname": row.push_name or None,
    }


class Chats(Controller):
    """`/api/{session}/chats` and contacts."""

    path = "/api"
    tags = ["Chats"]  # noqa: RUF012 - Litestar's way

    @get("/{session:str}/chats", summary="Chats, newest first")
    async def chats(
        self, request: Req, session: FromPath[str], limit: FromQuery[int | None] = None, offset: FromQuery[int] = 0
    ) -> list[dict[str, Any]]:
        """At most 25 a page."""
        gateway = gateway_of(request)
        me = (await gateway.session(session)).me
        rows = await gateway.chats(session, page(limit, CHATS_PAGE), skip(offset))
        return [chat_shape(row, me) for row in rows]

    @get("/{session:str}/chats/overview", summary="Chats with their last message")
    async def overview(
        self, request: Req, session: FromPath[str], limit: FromQuery[int | None] = None, offset: FromQuery[int] = 0
    ) -> list[dict[str, Any]]:
        """At most 25 a page."""
        gateway = gateway_of(request)
        me = (await gateway.session(session)).me
        rows = await gateway.chats(session, page(limit, CHATS_PAGE), skip(offset))
        return [chat_shape(row, me) for row in rows]

    @get("/{session:str}/chats/{chat_id:str}/messages", summary="Messages of a chat, newest first")
    async def messages(
        self,
        request: Req,
        session: FromPath[str],
        chat_id: FromPath[str],
        limit: FromQuery[int | None] = None,
        offset: FromQuery[int] = 0,
        until: Annotated[float | None, QueryParameter(name="filter.timestamp.lte")] = None,
        since: Annotated[float | None, QueryParameter(name="filter.timestamp.gte")] = None,
        from_me: Annotated[bool | None, QueryParameter(name="filter.fromMe")] = None,
        ack: Annotated[str | None, QueryParameter(name="filter.ack")] = None,
    ) -> list[dict[str, Any]]:
        """At most 50 a page. Chat `all` gives every chat's."""
        gateway = gateway_of(request)
        me = (await gateway.session(session)).me
        wanted = {"until": until, "since": since, "from_me": from_me, "ack": ACKS.get(ack) if ack else None}
        filters = {name: value for name, value in wanted.items() if value is not None}
        chat = None if chat_id == "all" else from_waha_id(chat_id)
        rows = await gateway.messages(session, chat, page(limit, MESSAGES_PAGE), skip(offset), filters)
        return [waha_message(row, me) for row in rows]

    @get("/{session:str}/chats/{chat_id:str}/messages/{message_id:str}", summary="One message")
    async def message(
        self, request: Req, session: FromPath[str], chat_id: FromPath[str], message_id: FromPath[str]
    ) -> dict[str, Any]:
        """By its id, WAHA's serialized one or WhatsApp's own."""
        gateway = gateway_of(request)
        me = (await gateway.session(session)).me
        row = await gateway.message(session, plain_message_id(message_id))
        if row is None or (chat_id != "all" and to_waha_id(row.chat) != to_waha_id(from_waha_id(chat_id))):
            raise MessageNotFound()
        return waha_message(row, me)

    @get("/contacts/all", summary="Contacts")
    async def contacts(
        self,
        request: Req,
        session: FromQuery[str] = "default",
        limit: FromQuery[int | None] = None,
        offset: FromQuery[int] = 0,
    ) -> list[dict[str, Any]]:
        """By name."""
        rows = await gateway_of(request).contacts(session, page(limit, 1000), skip(offset))
        return [contact_shape(row) for row in rows]
