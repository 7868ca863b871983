"""`/api/holdfast`, the outbox: what waits in a session and why, the story of one message, and its cancellation."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from litestar import Controller, Request, Response, delete, get
from litestar.params import FromPath, FromQuery, QueryParameter

from holdfast.api.common import gateway_of
from holdfast.api.pages import Limit, page_size, skip, with_next
from holdfast.api.waha.messaging import key_of
from holdfast.domain.rows import OutboxRow
from holdfast.domain.waha import plain_message_id, to_waha_id
from holdfast.domain.waiting import Reason

Req = Request[Any, Any, Any]
State = Literal["queued", "sending", "sent", "delivered", "read", "failed", "expired", "cancelled"]
PAGE = 100


class Outbox(Controller):
    """Messages that were accepted for sending. Times are Unix seconds; `waits_for` is null once nothing is waited for.

    States go forward only: `queued`, `sending`, `sent` (WhatsApp acknowledged it), `delivered`, `read`; or it ends as
    `failed` (with WhatsApp's code in `error`), `expired` at its deadline, or `cancelled`. `in_doubt`: a try ended
    without an answer, so WhatsApp may have it already; it is repeated under the same id.
    """

    path = "/api/holdfast"
    tags = ["Outbox"]  # noqa: RUF012 - Litestar's way

    @get("/sessions/{session:str}/outbox", summary="Messages accepted for sending, and what they wait for")
    async def listing(
        self,
        request: Req,
        session: FromPath[str],
        which: Annotated[list[State] | None, QueryParameter(name="state")] = None,
        limit: Limit = None,
        before: Limit = None,
    ) -> Response[Any]:
        """Those that wait (`queued`, `sending`), or those in the given states. Newest first, 100 a page; `before` pages
        back by `seq`, and so does the `Link` header while more follow.
        """
        size = page_size(request, limit, PAGE)
        found = await gateway_of(request).queue(
            session, which or (), size + 1, None if before is None else skip(before)
        )
        items = [outgoing(one.row, one.reason) for one in found[:size]]
        return with_next(request, items, len(found) > size, before=items[-1]["seq"] if items else 0)

    @get("/messages/{message_id:str}", summary="The story of one outgoing message")
    async def message(
        self, request: Req, message_id: FromPath[str], session: FromQuery[str] = "default"
    ) -> dict[str, Any]:
        """Where it stands, and in `story` every state that it was in, with time, attempts, code and sentence."""
        told = await gateway_of(request).story(session, plain_message_id(message_id))
        return {**outgoing(told.row, told.reason), "story": [asdict(step) for step in told.steps]}

    @delete("/messages/{message_id:str}", summary="Cancel a message that waits", status_code=200)
    async def cancel(
        self, request: Req, message_id: FromPath[str], session: FromQuery[str] = "default"
    ) -> dict[str, Any]:
        """Of those `queued`, scheduled ones too. 409 once it is being sent, or was."""
        return outgoing(await gateway_of(request).cancel(session, plain_message_id(message_id)), None)


def outgoing(row: OutboxRow, reason: Reason | None) -> dict[str, Any]:
    """A message of the outbox, without its content."""
    return {
        "id": row.id,
        "seq": row.seq,
        "session": row.session,
        "chat": to_waha_id(row.chat),
        "type": row.content.get("type", "text"),
        "state": row.state,
        "attempts": row.attempts,
        "in_doubt": row.in_doubt,
        "error": row.error,
        "message": row.message,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "send_at": row.send_at or None,
        "expires_at": row.expires_at,
        "idempotency_key": None if row.idempotency_key == key_of(row.id) else row.idempotency_key,
        "waits_for": None if reason is None else asdict(reason),
    }
