"""Chats, messages and contacts as stored: they are there whatever the connection does."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Annotated, Any

from litestar import Controller, Request, Response, get
from litestar.exceptions import HTTPException
from litestar.params import FromPath, FromQuery, QueryParameter

from holdfast.api.common import gateway_of, instant, me_of, waha_message
from holdfast.api.pages import (
    CHATS_PAGE,
    COUNTABLE,
    MESSAGES_PAGE,
    Limit,
    Offset,
    page_size,
    read_page,
    skip,
    with_next,
)
from holdfast.domain.errors import MessageNotFound
from holdfast.domain.waha import from_waha_id, plain_message_id, to_waha_id
from holdfast.ports.store import ChatRow, ContactRow

Req = Request[Any, Any, Any]
ACKS = {"ERROR": -1, "PENDING": 0, "SERVER": 1, "DEVICE": 2, "READ": 3, "PLAYED": 4}


def one_of(name: str, given: str | None, accepted: Iterable[str]) -> None:
    """422 for a word that is none of the accepted ones, rather than an answer to another question."""
    words = list(accepted)
    if given is not None and given not in words:
        raise HTTPException(f"{name}={given} is not known here. Accepted: {', '.join(words)}.", status_code=422)


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
        self,
        request: Req,
        session: FromPath[str],
        limit: Limit = None,
        offset: Offset = 0,
        sort_by: Annotated[str | None, QueryParameter(name="sortBy")] = None,
        sort_order: Annotated[str | None, QueryParameter(name="sortOrder")] = None,
    ) -> Response[Any]:
        """25 a page, or `limit`. While more follow, the `Link` header leads to them."""
        one_of("sortBy", sort_by, ["conversationTimestamp"])
        one_of("sortOrder", sort_order, ["desc"])
        return await _chats(request, session, limit, offset)

    @get("/{session:str}/chats/overview", summary="Chats with their last message")
    async def overview(
        self,
        request: Req,
        session: FromPath[str],
        limit: Limit = None,
        offset: Offset = 0,
        ids: FromQuery[list[str] | None] = None,
    ) -> Response[Any]:
        """25 a page, or `limit`, newest first. While more follow, the `Link` header leads to them."""
        if ids:
            raise HTTPException("Holdfast does not pick chats by ids. Leave ids out, and page.", status_code=422)
        return await _chats(request, session, limit, offset)

    @get("/{session:str}/chats/{chat_id:str}/messages", summary="Messages of a chat, newest first")
    async def messages(
        self,
        request: Req,
        session: FromPath[str],
        chat_id: FromPath[str],
        limit: Limit = None,
        offset: Offset = 0,
        until: Annotated[float | None, QueryParameter(name="filter.timestamp.lte")] = None,
        since: Annotated[float | None, QueryParameter(name="filter.timestamp.gte")] = None,
        from_me: Annotated[bool | None, QueryParameter(name="filter.fromMe")] = None,
        ack: Annotated[str | None, QueryParameter(name="filter.ack")] = None,
        sort_by: Annotated[str | None, QueryParameter(name="sortBy")] = None,
        sort_order: Annotated[str | None, QueryParameter(name="sortOrder")] = None,
    ) -> Response[Any]:
        """50 a page, or `limit`. Chat `all` gives every chat's; `sortOrder=asc` begins with the oldest. While more
        follow, the `Link` header leads to them.
        """
        one_of("filter.ack", ack, ACKS)
        one_of("sortBy", sort_by, ["timestamp", "messageTimestamp"])
        one_of("sortOrder", sort_order, ["desc", "asc"])
        until, since = instant("filter.timestamp.lte", until), instant("filter.timestamp.gte", since)
        gateway = gateway_of(request)
        me = await me_of(gateway, session)
        wanted = {"until": until, "since": since, "from_me": from_me, "ack": ACKS[ack] if ack else None}
        filters: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
        if sort_order == "asc":
            filters["oldest_first"] = True
        chat = None if chat_id == "all" else from_waha_id(chat_id)
        rows, more = await read_page(
            lambda count, start: gateway.messages(session, chat, count, start, filters),
            page_size(request, limit, MESSAGES_PAGE),
            skip(offset),
            weight=lambda row: len(row.text) + len(row.raw),
            key=lambda row: (row.chat, row.id),
        )
        return with_next(request, [waha_message(row, me) for row in rows], more, offset=offset + len(rows))

    @get("/{session:str}/chats/{chat_id:str}/messages/{message_id:str}", summary="One message")
    async def message(
        self, request: Req, session: FromPath[str], chat_id: FromPath[str], message_id: FromPath[str]
    ) -> dict[str, Any]:
        """By its id, WAHA's serialized one or WhatsApp's own; `_data.raw` is the protobuf as it came, in base64."""
        gateway = gateway_of(request)
        me = await me_of(gateway, session)
        row = await gateway.message(session, plain_message_id(message_id))
        if row is None or (chat_id != "all" and to_waha_id(row.chat) != to_waha_id(from_waha_id(chat_id))):
            raise MessageNotFound()
        shaped = waha_message(row, me)
        shaped["_data"]["raw"] = base64.b64encode(row.raw).decode() or None
        return shaped

    @get("/contacts/all", summary="Contacts")
    async def contacts(
        self,
        request: Req,
        session: FromQuery[str] = "default",
        limit: Limit = None,
        offset: Offset = 0,
        sort_by: Annotated[str | None, QueryParameter(name="sortBy")] = None,
        sort_order: Annotated[str | None, QueryParameter(name="sortOrder")] = None,
    ) -> Response[Any]:
        """By name, as many as a page has at most, or `limit`. While more follow, the `Link` header leads to them."""
        one_of("sortBy", sort_by, ["name"])
        one_of("sortOrder", sort_order, ["asc"])
        gateway = gateway_of(request)
        rows, more = await read_page(
            lambda count, start: gateway.contacts(session, count, start),
            page_size(request, limit, COUNTABLE),
            skip(offset),
            key=lambda row: row.id,
        )
        return with_next(request, [contact_shape(row) for row in rows], more, offset=offset + len(rows))


async def _chats(request: Req, session: str, limit: int | None, offset: int) -> Response[Any]:
    gateway = gateway_of(request)
    me = await me_of(gateway, session)
    rows, more = await read_page(
        lambda count, start: gateway.chats(session, count, start),
        page_size(request, limit, CHATS_PAGE),
        skip(offset),
        weight=lambda row: len(row.last.text) + len(row.last.raw) if row.last else 0,
        key=lambda row: row.id,
    )
    return with_next(request, [chat_shape(row, me) for row in rows], more, offset=offset + len(rows))
