"""What handlers share: the gateway of the running instance, and the bounds of a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from litestar.connection import ASGIConnection
from litestar.params import QueryParameter

from holdfast.domain.messages import message_to_json
from holdfast.domain.rows import MessageRow
from holdfast.domain.waha import message, shown_account
from holdfast.ports.gateway import Gateway

CHATS_PAGE = 25
MESSAGES_PAGE = 50
COUNTABLE = 2**31 - 1
Limit = Annotated[int | None, QueryParameter(ge=1)]
"""How many rows a client wants; it gets as many as a page holds."""
Offset = Annotated[int, QueryParameter(ge=0)]
"""How many rows a client passes over."""


def gateway_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Gateway:
    """The instance that answers."""
    gateway: Gateway = connection.app.state.gateway
    return gateway


async def me_of(gateway: Gateway, session: str) -> dict[str, Any]:
    """Whose messages a session shows, and where their files are. Raises `SessionNotFound`."""
    view = await gateway.session(session)
    return shown_account(view.me, gateway.url, view.name, gateway.presented)


def page(limit: int | None, most: int) -> int:
    """A page size of at most `most`."""
    return most if limit is None else min(limit, most)


def skip(offset: int) -> int:
    """How many rows to pass over: not more than a database counts."""
    return min(offset, COUNTABLE)


def waha_message(row: MessageRow, me: Mapping[str, Any]) -> dict[str, Any]:
    """A stored message in WAHA's shape."""
    return message(message_to_json(row), me)
