"""What handlers share: the gateway of the running instance, and messages in WAHA's shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from litestar.connection import ASGIConnection

from holdfast.domain.messages import message_to_json
from holdfast.domain.rows import MessageRow
from holdfast.domain.waha import message, shown_account
from holdfast.ports.gateway import Gateway


def gateway_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Gateway:
    """The instance that answers."""
    gateway: Gateway = connection.app.state.gateway
    return gateway


async def me_of(gateway: Gateway, session: str) -> dict[str, Any]:
    """Whose messages a session shows, and where their files are. Raises `SessionNotFound`."""
    view = await gateway.session(session)
    return shown_account(view.me, gateway.url, view.name, gateway.presented)


def waha_message(row: MessageRow, me: Mapping[str, Any]) -> dict[str, Any]:
    """A stored message in WAHA's shape."""
    return message(message_to_json(row), me)
