"""`/api/holdfast/deliveries`: events that webhooks did not get in order, why, and the order to try them again."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from litestar import Controller, Request, Response, get, post
from litestar.params import FromPath, FromQuery, QueryParameter

from holdfast.api.common import gateway_of
from holdfast.api.pages import COUNTABLE, Limit, page_size, skip, with_next
from holdfast.domain.errors import DeliveryNotFound
from holdfast.domain.rows import DeliveryRow
from holdfast.domain.waha import to_waha_id

Req = Request[Any, Any, Any]
State = Literal["waiting", "retrying", "parked", "dead"]
PAGE = 100


class Deliveries(Controller):
    """What is `retrying` holds its chat; `waiting` stands behind such a one; `parked` was overtaken and is tried on;
    `dead` was given up, and is tried again only when somebody asks.
    """

    path = "/api/holdfast/deliveries"
    tags = ["Webhooks"]  # noqa: RUF012 - Litestar's way

    @get("/", summary="Events that webhooks did not get in order")
    async def listing(
        self,
        request: Req,
        which: Annotated[State | None, QueryParameter(name="state")] = None,
        session: FromQuery[str | None] = None,
        consumer: FromQuery[str | None] = None,
        limit: Limit = None,
        before: Limit = None,
    ) -> Response[Any]:
        """Newest first, 100 a page; `before` pages back by `id`, and so does the `Link` header while more follow. Times
        are Unix seconds.
        """
        size = page_size(request, limit, PAGE)
        rows = await gateway_of(request).deliveries(
            states=() if which is None else (which,),
            session=session,
            consumer=consumer,
            limit=size + 1,
            before=None if before is None else skip(before),
        )
        items = [_shown(row) for row in rows[:size]]
        return with_next(request, items, len(rows) > size, before=items[-1]["id"] if items else 0)

    @post("/{delivery_id:int}/replay", summary="Try one again now", status_code=200)
    async def replay(self, request: Req, delivery_id: FromPath[int]) -> dict[str, Any]:
        """With all of its time anew; a dead one is parked. Its envelope keeps its id."""
        if not 0 < delivery_id <= COUNTABLE:
            raise DeliveryNotFound()
        return _shown(await gateway_of(request).replay(delivery_id))

    @post("/replay", summary="Try many again now", status_code=200)
    async def replay_all(
        self,
        request: Req,
        which: Annotated[Literal["retrying", "parked", "dead"], QueryParameter(name="state")] = "dead",
        session: FromQuery[str | None] = None,
        consumer: FromQuery[str | None] = None,
    ) -> dict[str, int]:
        """The dead ones, of all webhooks, of one session's, or of one `consumer`."""
        count = await gateway_of(request).replay_all(states=(which,), session=session, consumer=consumer)
        return {"replayed": count}


def _shown(row: DeliveryRow) -> dict[str, Any]:
    return {**asdict(row), "chat": to_waha_id(row.chat) if row.chat else None}
