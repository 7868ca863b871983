"""The seam between the server and its phones.

A phone is device 0 of an account. It lives in the server's process, yet speaks stanzas like any companion: what
it sends goes through the very same handlers as a socket's stanzas, and what is routed to device 0 is handed to it.
"""

from __future__ import annotations

import random
import ssl
from dataclasses import dataclass
from typing import Any, Protocol

from wasim.wire.nodes import Node


class PhoneNetwork(Protocol):
    """What a phone may do; the server implements it, one object per phone."""

    @property
    def rng(self) -> random.Random:
        """Seeded randomness for choices that are not secret (delays, orders)."""
        ...

    @property
    def media_tls(self) -> ssl.SSLContext | None:
        """What the media server is spoken to with; None if there is none."""
        ...

    def now(self) -> float:
        """Give the server's time in seconds since 1970."""
        ...

    def load(self) -> dict[str, Any]:
        """Give what the phone stored, over restarts of the simulator too; empty at first."""
        ...

    def store(self, name: str, value: Any) -> None:
        """Keep one fact of the phone: JSON, in which bytes may stand; None removes it.

        Facts are written together with what the server keeps of the same stanza, so that neither is ahead after a
        crash. Use one name per key or session, so that little is written.
        """
        ...

    async def send(self, node: Node) -> None:
        """Send a stanza as this device; answers, if any, come through ``Phone.on_node``."""
        ...

    async def query(self, node: Node) -> Node:
        """Send an ``iq`` as this device and give the reply, be it a result or an error."""
        ...


@dataclass(frozen=True, slots=True)
class QrData:
    """What a pairing QR says; after a pairing by code the same, with the secret that both sides derived."""

    ref: str
    noise: bytes
    identity: bytes
    adv_secret: bytes
    platform: str = ""
