"""What remote servers tell reaches whoever holds the session: any instance takes it, and answers when it is stored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from holdfast.domain.errors import BadRequest, HeldElsewhere, NotConnected, SessionNotFound, StaleEpoch, Unauthorized
from holdfast.domain.state import State
from holdfast.ports.remote import Remote
from holdfast.runtime.actor import Actor
from holdfast.runtime.sending import PEER_TIMEOUT
from holdfast.runtime.views import Views

REMOTE = "waha"
"""The engine whose servers tell us things."""


class RemoteNews(Views):
    """See `ports.gateway.Gateway.told`."""

    async def told(self, server: str, signature: str, body: bytes) -> None:
        """See the port."""
        engine = self._engines.get(REMOTE)
        if not isinstance(engine, Remote) or not engine.knows(server):
            raise SessionNotFound(f"There is no WAHA server '{server}' in HOLDFAST_WAHA_SERVERS.")
        if not engine.is_genuine(server, signature, body):
            raise Unauthorized(
                "The signature does not fit: set the server's webhook_key and the webhook's hmac key alike."
            )
        envelope = _decoded(body)
        row = await self._store.session(str(envelope.get("session") or ""))
        if row is None or row.engine != REMOTE or engine.server_of(row.config) != server:
            return  # none of ours
        if row.desired != "running" or State.from_json(row.state).needs_qr:
            return  # at rest
        try:
            await self.take_told(row.name, envelope)
        except (NotConnected, StaleEpoch) as error:
            raise HeldElsewhere("Nobody holds this session at the moment; tell it again shortly.") from error

    async def take_told(self, name: str, envelope: Mapping[str, Any]) -> None:
        """Here if the session is held here, else by whoever holds it."""

        async def here(actor: Actor) -> None:
            engine = actor.engine
            if not isinstance(engine, Remote):
                raise NotConnected
            await engine.take(actor.name, envelope, epoch=actor.held.epoch)

        await self._live(name, here, "told", {"session": name, "envelope": dict(envelope)}, timeout=PEER_TIMEOUT)


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError as error:
        raise BadRequest("The event is no JSON.") from error
    if not isinstance(found, dict) or not isinstance(found.get("session"), str):
        raise BadRequest("The event names no session.")
    return found
