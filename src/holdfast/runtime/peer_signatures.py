"""Requests between instances are signed by a key pair that an instance makes at its start, and that never leaves it.

The public key stands with the instance's registration in the store. So whoever reads the store, or a backup of it, can
verify requests and cannot make any, and nobody has to configure a secret. A signature holds for one receiver, body and
time, so a request cannot be sent to another instance, and not for long to the same one.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

from holdfast.domain.errors import StoreUnavailable
from holdfast.ports.clock import Clock
from holdfast.ports.store import Store

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

PUBLIC_KEY = "peer_public_key"
"""Name of the public key (Ed25519, hex) among the facts of an instance."""
FRESH = 120.0
"""Seconds by which two machines' clocks may differ."""
READ_EVERY = 0.25
"""Seconds between two reads of the registrations, however many unknown instances knock."""


class PeerSignatures:
    """Signs and verifies for one instance, which others reach at `url`."""

    def __init__(self, store: Store, clock: Clock, instance: str, url: str) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - slow to load

        self._store, self._clock = store, clock
        self._instance, self._url = instance, url.rstrip("/")
        self._private = Ed25519PrivateKey.from_private_bytes(clock.token(32))
        self._public: dict[str, Ed25519PublicKey] = {}
        self._reading = asyncio.Lock()
        self._reads = 0
        self._read_at = float("-inf")

    @property
    def public_key(self) -> str:
        """In hex, for the registration."""
        return self._private.public_key().public_bytes_raw().hex()

    def sign(self, url: str, body: bytes) -> str:
        """The header's value for a body that is sent to the instance at `url` now."""
        at = f"{self._clock.now():.0f}"
        signature = self._private.sign(_signed(self._instance, url.rstrip("/"), at, body)).hex()
        return f"i={self._instance},t={at},v2={signature}"

    async def verify(self, header: str, body: bytes) -> bool:
        """Whether an instance that is registered sent that body to this one lately."""
        parts = dict(part.partition("=")[::2] for part in header.split(","))
        instance, at = parts.get("i", ""), parts.get("t", "")
        if not (instance and len(at) < 16 and at.isascii() and at.isdigit()):
            return False
        if abs(self._clock.now() - int(at)) > FRESH:
            return False
        try:
            signature = bytes.fromhex(parts.get("v2", ""))
        except ValueError:
            return False
        text = _signed(instance, self._url, at, body)
        if self._fits(instance, signature, text):
            return True
        await self._read()  # it is new, or was restarted under the same id
        return self._fits(instance, signature, text)

    def _fits(self, instance: str, signature: bytes, text: bytes) -> bool:
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - see above

        if (public := self._public.get(instance)) is None:
            return False
        try:
            public.verify(signature, text)
        except InvalidSignature:
            return False
        return True

    async def _read(self) -> None:
        """Read the registrations. Requests that wait for it at the same time share one read."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415 - see above

        started = self._reads
        async with self._reading:
            if self._reads > started:  # began after this request came
                return
            self._reads += 1
            await self._clock.sleep(max(0.0, READ_EVERY - (self._clock.boot() - self._read_at)))
            try:
                rows = await self._store.instances()
            except StoreUnavailable:
                return
            self._read_at = self._clock.boot()
            known = {row["id"]: row["facts"].get(PUBLIC_KEY) for row in rows}
            self._public = {
                name: Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)) for name, key in known.items() if key
            }


def _signed(instance: str, url: str, at: str, body: bytes) -> bytes:
    return "\n".join(("holdfast peer v2", instance, url, at, hashlib.sha256(body).hexdigest())).encode()
