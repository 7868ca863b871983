"""What users order: stored first, then carried out by whoever holds the session."""

from __future__ import annotations

from typing import Any

from holdfast.domain import state as s
from holdfast.ports.gateway import SessionView
from holdfast.runtime.views import Views

ORDER_WAIT = 5.0


class Orders(Views):
    """The ordering part of `ports.gateway.Gateway`."""

    async def _order(self, name: str, desired: str | None, kind: str, **facts: Any) -> SessionView:
        """Store what is wanted, hint the holder, and wait a little until it was carried out."""
        row = await self._row(name)
        row = await self._store.order(row.name, desired, {"kind": kind, **facts})
        await self._supervisor.poke(row)
        await self._hint(row.name, "wake")
        seq = int(row.command.get("seq", 0))

        async def carried_out() -> bool:
            actor = self._supervisor.actors.get(row.name)
            if actor is not None:
                return actor.state.command_seq >= seq
            stored = await self._store.session(row.name)
            return stored is None or s.State.from_json(stored.state).command_seq >= seq

        await self._until(f"session:{row.name}", carried_out, ORDER_WAIT)
        return await self.session(row.name)
