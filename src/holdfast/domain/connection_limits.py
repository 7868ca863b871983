"""How many connections the HTTP server has at the same time, and how long each may take (pure)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Times in seconds. `connections`: 0 for as many as file descriptors allow. `rate`: bytes per second that a peer
    must send or read once a body has begun.
    """

    connections: int = 0
    head: float = 15.0
    body: float = 30.0
    write: float = 30.0
    idle: float = 65.0
    rate: float = 8192.0

    @property
    def tick(self) -> float:
        """Seconds between two checks of all connections."""
        return min(1.0, self.head / 4, self.body / 4, self.write / 4)
