"""An engine that is always logged in and does nothing: what is left is what Holdfast itself costs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from holdfast.domain.errors import NotConnected
from holdfast.ports import engine as e


class StubEngine:
    """`ports.engine.Engine` without WhatsApp: opens at once, is alive whenever it is asked, sends nothing."""

    def __init__(self) -> None:
        self._sink: e.EventSink = lambda event: None

    async def start(self, sink: e.EventSink) -> None:
        """See the port."""
        self._sink = sink

    async def stop(self) -> None:
        """See the port."""

    async def open(self, request: e.OpenRequest) -> None:
        """See the port: it is open with the loop's next turn, as one that was linked before."""
        opened = e.Opened(request.session, request.connection, "40712345678", "", "")
        asyncio.get_running_loop().call_soon(self._sink, opened)

    async def close(self, session: str, connection: int, *, logout: bool = False, stop: bool = False) -> None:
        """See the port."""

    async def forget(self, session: str, config: Mapping[str, Any]) -> None:
        """See the port."""

    async def grant(self, grants: Mapping[str, e.Grant]) -> None:
        """See the port."""

    async def request_code(self, session: str, connection: int, phone: str) -> str:
        """See the port."""
        raise NotConnected

    async def send(self, session: str, connection: int, message: e.OutgoingMessage) -> e.ServerAck:
        """See the port."""
        raise NotConnected

    async def probe(self, session: str, connection: int, *, listed: bool, timeout: float) -> e.Probed:
        """See the port."""
        return e.Probed.ALIVE

    async def refresh_version(self) -> None:
        """See the port."""

    async def call(self, session: str, connection: int, method: str, args: Mapping[str, Any]) -> Any:
        """See the port."""
        raise NotConnected

    def facts(self) -> Mapping[str, Any]:
        """See the port."""
        return {"processes": [], "restarts": 0}
