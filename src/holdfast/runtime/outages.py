"""Webhook receivers that take nothing, as this instance and the others see them (`domain.outages`)."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from holdfast.domain import alerts as a
from holdfast.domain import outages as o
from holdfast.ports.store import Json, Store

log = structlog.get_logger(__name__)


class Outages:
    """What is known of each receiver as this instance saw it last. All methods raise `StoreUnavailable`."""

    def __init__(self, store: Store, instance: str, limits: a.Limits) -> None:
        self._store, self._instance, self._limits = store, instance, limits
        self._known: dict[str, o.Outage] = {}
        self._now = 0.0

    async def look(self, failing: Mapping[str, Mapping[str, float]], guessing: float | None = None) -> bool:
        """Add what this instance sees: by session, the receivers that take nothing, and for how many seconds; and for
        how many seconds somebody has been guessing at keys. Returns whether an alert went.
        """
        stored = await self._store.outages()
        seen: dict[str, dict[str, float]] = {}
        for session, receivers in failing.items():
            for receiver, seconds in receivers.items():
                seen.setdefault(receiver, {})[session] = seconds
        self._known = {}
        if not stored and not seen and guessing is None:
            return False
        self._now = now = await self._store.now()
        sightings = {name: o.Sighting(now, now - max(of.values()), tuple(sorted(of))) for name, of in seen.items()}
        if guessing is not None:
            sightings[o.GUESSING] = o.Sighting(now, now - guessing, ())
        gone = [
            await self._look_at(name, stored.get(name), sightings.get(name))
            for name in stored.keys() | sightings.keys()
        ]
        return any(gone)

    async def _look_at(self, receiver: str, stored: Json | None, mine: o.Sighting | None) -> bool:
        before = o.Outage(receiver) if stored is None else o.Outage.from_json(stored)
        after = o.look(before, mine, instance=self._instance, now=self._now, limits=self._limits)
        kept = await self._swap(before, stored, after)
        if kept:
            _log(before.alert, after.alert)
        return kept and before.alert is not None and after.alert is None

    async def _swap(self, before: o.Outage, stored: Json | None, after: o.Outage) -> bool:
        """Store what changed. If another instance was faster, what it stored is seen at the next look."""
        if after == before:
            kept = True
        else:
            kept = await self._store.swap_outage(after.receiver, stored, None if after.over else after.to_json())
        self._known[after.receiver] = after if kept else before
        if not kept or after.over:
            del self._known[after.receiver]
        return kept

    def to_tell(self) -> list[a.Alert]:
        """What the operator is to be told, unless another instance does."""
        due = [one for one in self._known.values() if one.may_tell(self._instance, self._now)]
        return [one.alert for one in due if one.alert is not None]

    async def claim(self, alert: a.Alert) -> bool:
        """Whether it is this instance that tells the operator."""
        known = self._known[alert.receiver]
        return await self._swap(known, known.to_json(), o.telling(known, self._instance, self._now))

    async def told(self, alert: a.Alert, notice: a.Notice) -> bool:
        """The operator heard it. Returns whether the alert went with that."""
        while (stored := (await self._store.outages()).get(alert.receiver)) is not None:
            before = o.Outage.from_json(stored)
            after = o.after_telling(before, alert.id, notice)
            if await self._swap(before, stored, after):
                return after.alert is None
        return False

    async def in_force(self) -> list[a.Alert]:
        """Those of all receivers."""
        known = [o.Outage.from_json(stored) for stored in (await self._store.outages()).values()]
        return [one.alert for one in known if one.alert is not None]


def _log(before: a.Alert | None, after: a.Alert | None) -> None:
    stood = before is not None and before.resolved_at is None
    stands = after is not None and after.resolved_at is None
    if after is not None and stands and not stood:
        log.warning("alert raised", action="alert", receiver=after.receiver, code=after.kind, detail=after.message)
    elif before is not None and stood and not stands:
        log.info("alert resolved", action="alert", receiver=before.receiver, code=before.kind)
