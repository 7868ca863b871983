"""What an engine whose sessions live on other servers does beyond the port of all engines: it is told things."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Remote(Protocol):
    """An engine that remote servers tell what happened, by webhook."""

    def knows(self, server: str) -> bool:
        """Whether that server is in the settings."""
        ...

    def servers(self) -> list[str]:
        """Their names, in the order of the settings."""
        ...

    def is_genuine(self, server: str, signature: str, body: bytes) -> bool:
        """Whether that server signed that body (HMAC-SHA512 in hex)."""
        ...

    def server_of(self, config: Mapping[str, Any]) -> str:
        """The name of the server that a session of that configuration lives on."""
        ...

    async def take(self, session: str, envelope: Mapping[str, Any], *, epoch: int = 0) -> None:
        """What happened to a session that is held here under `epoch`, connected or not; durable when this returns.

        Raises `domain.errors.StaleEpoch`, `StoreUnavailable`; `NotConnected` without an epoch and a connection.
        """
        ...
