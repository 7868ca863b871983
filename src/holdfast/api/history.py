"""Searching the history, and exporting it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from litestar import Controller, Request, Response, get
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery
from litestar.response import Stream

from holdfast.api.common import gateway_of, instant, waha_message
from holdfast.api.pages import MESSAGES_PAGE, Limit, Offset, page_size, read_page, skip, with_next
from holdfast.domain.http_headers import disposition
from holdfast.domain.rows import Json
from holdfast.domain.waha import shown_account, to_waha_id
from holdfast.ports.history import Found

Req = Request[Any, Any, Any]
PIECE = 64 * 1024


@dataclass(frozen=True)
class Asked:
    """What is searched for, and which page of it."""

    words: str
    filters: Json
    limit: int | None
    offset: int


def asked(
    q: FromQuery[str],
    chat: FromQuery[str | None] = None,
    from_me: FromQuery[bool | None] = None,
    since: FromQuery[float | None] = None,
    until: FromQuery[float | None] = None,
    limit: Limit = None,
    offset: Offset = 0,
) -> Asked:
    """From the query of either search."""
    filters = {"chat": chat, "from_me": from_me, "since": instant("since", since), "until": instant("until", until)}
    return Asked(q, filters, limit, skip(offset))


class History(Controller):
    """What was said, whatever became of the connection, the credentials or the instance since."""

    path = "/api/holdfast"
    tags = ["History"]  # noqa: RUF012 - Litestar's way
    dependencies = {"asked": Provide(asked, sync_to_thread=False)}  # noqa: RUF012

    @get("/search", summary="Search the messages of all sessions")
    async def everywhere(
        self, request: Req, asked: NamedDependency[Asked], session: FromQuery[str | None] = None
    ) -> Response[Any]:
        """Every word of `q` must begin a word of the message. Newest first, 50 a page, or `limit`. While more follow,
        the `Link` header leads to them.
        """
        return await _found(request, asked, session)

    @get("/sessions/{session:str}/search", summary="Search the messages of a session")
    async def of_session(self, request: Req, asked: NamedDependency[Asked], session: FromPath[str]) -> Response[Any]:
        """As `/api/holdfast/search`."""
        return await _found(request, asked, session)

    @get("/sessions/{session:str}/export", summary="A session's history as JSON lines")
    async def export(self, request: Req, session: FromPath[str]) -> Stream:
        """Contacts, chats, messages (with the protobuf in `raw`), reactions and votes, each a line with its `type`. The
        first line has the counts; the last has type `end`: without it the export is not whole. No credentials.
        """
        lines = await gateway_of(request).export(session)
        name = disposition("application/x-ndjson", f"{session}.jsonl")
        return Stream(_pieces(lines), media_type="application/x-ndjson", headers={"Content-Disposition": name})


async def _found(request: Req, asked: Asked, session: str | None) -> Response[Any]:
    gateway = gateway_of(request)
    found, more = await read_page(
        lambda count, start: gateway.search(asked.words, count, start, session=session, filters=asked.filters),
        page_size(request, asked.limit, MESSAGES_PAGE),
        asked.offset,
        weight=lambda one: len(one.message.text) + len(one.message.raw),
        key=lambda one: (one.session, one.message.chat, one.message.id),
    )
    known = {view.name: view.me for view in await gateway.sessions()} if found else {}
    url, engine = gateway.url, gateway.presented
    items = [_shown(one, shown_account(known.get(one.session, {}), url, one.session, engine)) for one in found]
    return with_next(request, items, more, offset=asked.offset + len(found))


def _shown(found: Found, me: Json) -> dict[str, Any]:
    chat = {"id": to_waha_id(found.message.chat), "name": found.chat_name or None}
    return {"session": found.session, "chat": chat, "message": waha_message(found.message, me)}


async def _pieces(lines: AsyncIterator[Json]) -> AsyncIterator[bytes]:
    piece = bytearray()
    async for line in lines:
        piece += json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode(errors="replace") + b"\n"
        if len(piece) >= PIECE:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)
