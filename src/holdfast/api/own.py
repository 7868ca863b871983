"""`/api/holdfast`: what WAHA has no words for: full status, timeline, pairing, contacts, the event stream."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.params import FromPath, FromQuery, HeaderParameter, JSONBody, QueryParameter
from litestar.response import ServerSentEvent

from holdfast.api.common import gateway_of
from holdfast.api.pages import COUNTABLE, Limit, page_size, skip, with_next
from holdfast.api.streams import resume_point, sse
from holdfast.api.waha.sessions import session_info, status_facts
from holdfast.domain.contacts import FORMATS
from holdfast.domain.http_headers import disposition

Req = Request[Any, Any, Any]
TIMELINE_PAGE = 50


class PairRequest(msgspec.Struct, forbid_unknown_fields=True):
    """How to link a session anew."""

    phone: str | None = None
    new_number: bool = False


class MoveRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Where a session is to live: `baileys`, or `waha` on one of its servers (else the first)."""

    engine: str
    server: str = ""


class Own(Controller):
    """Holdfast's additions."""

    path = "/api/holdfast"
    tags = ["Holdfast"]  # noqa: RUF012 - Litestar's way

    @get("/instances", summary="The instances, what each holds, and how far it is from its deadline")
    async def instances(self, request: Req) -> list[dict[str, Any]]:
        """`expires_in`: seconds until the first of its leases ends unless renewed; `seen_ago`: since a sign of it;
        `reachable`: whether it answers at its address, null if not known; `differs`: how its settings differ from this
        instance's; `facts.clock_ahead`: seconds by which its machine's clock is ahead of the database's.
        """
        return await gateway_of(request).instances()

    @get("/sessions", summary="All sessions, in full")
    async def sessions(self, request: Req) -> list[dict[str, Any]]:
        """Stopped ones too."""
        gateway = gateway_of(request)
        return [session_info(view, gateway.presented) for view in await gateway.sessions()]

    @get("/sessions/{session:str}", summary="A session's status in full")
    async def status(self, request: Req, session: FromPath[str]) -> dict[str, Any]:
        """Status, reason, sentence, proof, next attempt, owner, epoch."""
        view = await gateway_of(request).session(session)
        return {"name": view.name, "status": view.status, **status_facts(view)}

    @get("/sessions/{session:str}/timeline", summary="Every status change, explained")
    async def timeline(
        self, request: Req, session: FromPath[str], limit: Limit = None, before: Limit = None
    ) -> Response[Any]:
        """Newest first, 50 a page; `before` pages back by `seq`, and so does the `Link` header while more follow."""
        size = page_size(request, limit, TIMELINE_PAGE)
        rows = await gateway_of(request).timeline(session, size + 1, None if before is None else skip(before))
        return with_next(
            request, [asdict(row) for row in rows[:size]], len(rows) > size, before=rows[:size][-1].seq if rows else 0
        )

    @post("/sessions/{session:str}/pair", summary="Link anew, with another number if that is meant", status_code=200)
    async def pair(self, request: Req, session: FromPath[str], data: JSONBody[PairRequest]) -> dict[str, Any]:
        """By QR, or by a code for `phone`. A session that had a number is linked with that number only, unless
        `new_number` confirms a change; its conversations so far are then kept in a session of their own.
        """
        view = await gateway_of(request).pair(session, phone=data.phone, new_number=data.new_number)
        return {"name": view.name, "status": view.status, **status_facts(view)}

    @post("/sessions/{session:str}/engine", summary="Move a session to another engine or server", status_code=200)
    async def move(self, request: Req, session: FromPath[str], data: JSONBody[MoveRequest]) -> dict[str, Any]:
        """With its history and settings. Its device is unlinked where it was, so it needs a new QR.

        One that runs begins to pair at once.
        """
        view = await gateway_of(request).move(session, data.engine, data.server)
        said = "The session has moved. Link it with a new QR code."
        return {"name": view.name, "status": view.status, **status_facts(view), "needs_qr": True, "note": said}

    @post("/sessions/{session:str}/clear-auth", summary="Clear the credentials and ask for a new QR", status_code=200)
    async def clear_auth(self, request: Req, session: FromPath[str]) -> dict[str, Any]:
        """Whatever state they are in; conversations, contacts and history stay. A stopped session stays stopped."""
        view = await gateway_of(request).clear_auth(session)
        return {"name": view.name, "status": view.status, **status_facts(view)}

    @get("/sessions/{session:str}/contacts", summary="All contacts, as a file")
    async def contacts(
        self,
        request: Req,
        session: FromPath[str],
        format_: Annotated[Literal["json", "csv", "vcard"], QueryParameter(name="format")] = "json",
    ) -> Response[str]:
        """JSON, CSV for spreadsheets, or vCard for phones. Credentials are no part of it."""
        rows = await gateway_of(request).contacts(session, COUNTABLE, 0)
        form = FORMATS[format_]
        name = disposition(form.media_type, f"contacts-{session}.{form.suffix}")
        return Response(form.write(rows), media_type=form.media_type, headers={"Content-Disposition": name})

    @get("/events", summary="Live events (SSE)", media_type="text/event-stream")
    async def events(
        self,
        request: Req,
        session: FromQuery[str] = "*",
        last_event_id: Annotated[str | None, HeaderParameter(name="Last-Event-ID")] = None,
    ) -> ServerSentEvent:
        """From `Last-Event-ID` on, without a gap, or from now on; of one session, or of all."""
        gateway = gateway_of(request)
        name = (await gateway.session(session)).name if session != "*" else None
        after = resume_point(last_event_id)
        return ServerSentEvent(sse(gateway, name, await gateway.last_event() if after is None else after))
