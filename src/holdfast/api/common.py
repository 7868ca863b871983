"""What handlers share: the gateway of the running instance, and messages in WAHA's shape."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from litestar.connection import ASGIConnection

from holdfast.domain.errors import BadRequest
from holdfast.domain.messages import message_to_json
from holdfast.domain.rows import MessageRow
from holdfast.domain.waha import message, shown_account
from holdfast.ports.gateway import Gateway


def gateway_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Gateway:
    """The instance that answers."""
    gateway: Gateway = connection.app.state.gateway
    return gateway


MILLISECONDS_FROM = 100_000_000_000
"""From here on a number is taken for milliseconds: as seconds it would be the year 5138."""


def instant(name: str, given: float | None) -> float | None:
    """Unix seconds from a parameter in seconds, or in milliseconds as JavaScript counts. Raises `BadRequest`."""
    if given is None:
        return None
    if not math.isfinite(given):
        raise BadRequest(f"{name} is not a number of seconds.")
    return given / 1000 if abs(given) >= MILLISECONDS_FROM else given


async def me_of(gateway: Gateway, session: str) -> dict[str, Any]:
    """Whose messages a session shows, and where their files are. Raises `SessionNotFound`."""
    view = await gateway.session(session)
    return shown_account(view.me, gateway.url, view.name, gateway.presented)


def waha_message(row: MessageRow, me: Mapping[str, Any]) -> dict[str, Any]:
    """A stored message in WAHA's shape."""
    return message(message_to_json(row), me)
