"""Tells the operator what needs a person: looks at the sessions, keeps the alerts that stand, sends word of them.

Only who holds a session raises its alerts; one that nobody holds (it needs a QR, and every instance was restarted) is
looked at by whoever comes first, and the epoch sees to it that a holder has the last word. What stands, and what of it
was told, is in the store, so a restart tells nothing twice; a crash right behind a telling repeats it under its id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from holdfast.domain import alerts as a
from holdfast.domain import state as s
from holdfast.domain.caps import Caps
from holdfast.domain.errors import StaleEpoch, StoreUnavailable
from holdfast.domain.key_guesses import KeyGuesses
from holdfast.domain.pacing import backoff
from holdfast.domain.rows import Json, Unreadable
from holdfast.runtime.actor import Deps
from holdfast.runtime.delivery import RETRY_CAP, Delivery
from holdfast.runtime.outages import Outages
from holdfast.runtime.supervisor import Supervisor
from holdfast.runtime.webhook import Webhook

log = structlog.get_logger(__name__)

TROUBLE = "alert_told_last"
"""Setting: the alert that the operator was told of last, empty once they were told that all is well."""


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """Times are seconds, already scaled. Without a `receiver` alerts are logged and shown, and sent nowhere."""

    receiver: Webhook | None = None
    limits: a.Limits = field(default_factory=a.Limits)
    every: float = 5.0
    orphans_every: float = 30.0
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class _Subject:
    """A session as it is now; `state` is None where it was deleted."""

    epoch: int | None
    state: s.State | None
    wanted: bool = False
    paced: bool = False
    """Whether messages may wait because the session's own limits say so."""


class Alerts:
    """See the module. `run` until cancelled; `wake` when a session changed."""

    def __init__(
        self,
        deps: Deps,
        supervisor: Supervisor,
        delivery: Delivery,
        settings: AlertSettings,
        guesses: KeyGuesses,
    ) -> None:
        self._instance, self._store, self._clock = deps.instance, deps.store, deps.clock
        self._supervisor = supervisor
        self._delivery = delivery
        self._settings = settings
        self._guesses = guesses
        self._wake = asyncio.Event()
        self._news = asyncio.Event()
        self._changing = asyncio.Lock()
        self._outages = Outages(deps.store, deps.instance, settings.limits)
        self._mine: dict[str, tuple[_Subject, tuple[a.Alert, ...]]] = {}
        self._orphans: dict[str, _Subject] = {}
        self._orphans_at = float("-inf")
        self._may_be_well = True

    def wake(self) -> None:
        """Look soon."""
        self._wake.set()

    async def in_force(self) -> list[Json]:
        """Every alert that stands, of all sessions and receivers, the oldest first."""
        stored = await self._store.alerts()
        standing = [x for found in stored.values() for x in _read(found)] + await self._outages.in_force()
        return [alert.shown() for alert in a.in_force(standing)]

    async def run(self) -> None:
        """Look and tell until cancelled."""
        telling = asyncio.create_task(self._tell())
        try:
            while True:
                self._wake.clear()
                try:
                    await self._look()
                except StoreUnavailable as error:
                    log.error("cannot look for alerts", action="alert", code=error.code)
                await self._rest()
        finally:
            telling.cancel()

    async def _rest(self) -> None:
        """Until the next look; many changes at once are looked at together."""
        waking = asyncio.create_task(self._wake.wait())
        resting = asyncio.create_task(self._clock.sleep(self._settings.every))
        try:
            await asyncio.wait({waking, resting}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waking.cancel()
            resting.cancel()
        await self._clock.sleep(self._settings.every / 10)

    # --- looking ------------------------------------------------------------------------------------------------
    async def _look(self) -> None:
        figures = await self._store.figures()
        async with self._changing:
            stored = await self._store.alerts()
            await self._find_orphans()
            subjects = {**self._orphans, **self._held()}
            self._mine = {name: known for name, known in self._mine.items() if name in subjects}
            for name, subject in subjects.items():
                before = tuple(_read(stored.get(name, ())))
                queue = figures.queues.get(name)
                oldest = 0.0 if queue is None or subject.paced else queue.oldest
                unreadable = figures.unreadable.get(name)
                await self._keep(name, subject, before, self._review(name, subject, before, oldest, unreadable))
            self._may_be_well |= await self._outages.look(
                self._delivery.failing(), self._guesses.under_way(self._clock.boot())
            )
        if self._may_be_well or self._to_tell():
            self._news.set()

    def _to_tell(self) -> list[a.Alert]:
        """What the operator is to be told by this instance."""
        waiting = [alert for _, alerts in self._mine.values() for alert in alerts if alert.notice]
        return waiting + self._outages.to_tell()

    def _held(self) -> dict[str, _Subject]:
        return {
            name: _Subject(
                actor.held.epoch,
                actor.state,
                actor.row.desired == "running",
                actor.state.phase is s.Phase.WORKING and Caps.of(actor.row.config) is not None,
            )
            for name, actor in self._supervisor.actors.items()
            if actor.may_act()
        }

    async def _find_orphans(self) -> None:
        """Sessions that nobody holds and that need a person, and alerts of sessions that nobody holds."""
        if self._clock.boot() - self._orphans_at < self._settings.orphans_every:
            return
        rows, gone = await self._store.unheld()
        self._orphans = {
            row.name: _Subject(row.epoch, s.State.from_json(row.state), row.desired == "running") for row in rows
        }
        self._orphans |= {name: _Subject(None, None) for name in gone}
        self._orphans_at = self._clock.boot()

    def _review(
        self, name: str, subject: _Subject, before: Sequence[a.Alert], oldest: float, unreadable: Unreadable | None
    ) -> tuple[a.Alert, ...]:
        now, limits = self._clock.now(), self._settings.limits
        found, damping = a.Found(), 0.0  # of a deleted session nothing can come back
        if subject.state is not None:
            found = a.look(subject.state, now, limits, wanted=subject.wanted, oldest=oldest, unreadable=unreadable)
            damping = limits.damping
        return a.review(before, found, session=name, instance=self._instance, now=now, damping=damping)

    async def _keep(
        self, name: str, subject: _Subject, before: tuple[a.Alert, ...], after: tuple[a.Alert, ...]
    ) -> None:
        """Store what changed. A session that is another's by now is the other's to look at."""
        if after != before:
            try:
                await self._store.save_alerts(name, subject.epoch, [alert.to_json() for alert in after])
            except StaleEpoch:
                self._mine.pop(name, None)
                self._orphans.pop(name, None)
                return
            _log(before, after)
        if after:
            self._mine[name] = (subject, after)
        else:
            self._mine.pop(name, None)
            self._may_be_well |= after != before

    # --- telling ------------------------------------------------------------------------------------------------
    async def _tell(self) -> None:
        """One after the other, each until the receiver took it."""
        failures = 0
        while True:
            self._news.clear()
            try:
                told = await self._tell_next()
            except StoreUnavailable as error:
                log.error("alert not told, tried again", action="alert", code=error.code)
                told = False
            if told is None:
                await self._news.wait()
            elif told:
                failures = 0
            else:
                failures += 1
                delay = backoff(failures, self._clock.random(), cap=RETRY_CAP)
                await self._clock.sleep(delay * self._settings.factor)

    async def _tell_next(self) -> bool | None:
        """Whether the receiver took what was to be told; None if there is nothing to tell."""
        waiting = self._to_tell()
        if not waiting:
            return await self._tell_all_well() if self._may_be_well else None
        alert = min(waiting, key=lambda alert: (alert.since, alert.id))
        notice = alert.notice
        assert notice is not None
        if alert.receiver and not await self._claimed(alert):
            return True
        if notice == "raised":
            await self._store.put_setting(TROUBLE, alert.id)
        if not await self._post(f"{alert.id}.{notice}", f"alert.{notice}", alert.session or None, alert.shown()):
            return False
        async with self._changing:
            if alert.receiver:
                self._may_be_well |= await self._outages.told(alert, notice)
            elif (known := self._mine.get(alert.session)) is not None:
                subject, alerts = known
                await self._keep(alert.session, subject, alerts, a.told(alerts, alert.id, notice))
        return True

    async def _claimed(self, alert: a.Alert) -> bool:
        async with self._changing:
            return await self._outages.claim(alert)

    async def _tell_all_well(self) -> bool | None:
        """Once, after the last alert is over and told of."""
        last = await self._store.setting(TROUBLE)
        if not last or await self._store.alerts() or await self._outages.in_force():
            self._may_be_well = False
            return None
        if not await self._post(f"{last}.all_well", "alert.all_well", None, {"message": _ALL_WELL}):
            return False
        log.info(_ALL_WELL, action="alert", code="all_well")
        if await self._store.setting(TROUBLE) == last:  # else there was a new one meanwhile, which will end, too
            await self._store.put_setting(TROUBLE, "")
        self._may_be_well = False
        return True

    async def _post(self, request_id: str, event: str, session: str | None, payload: Json) -> bool:
        if (receiver := self._settings.receiver) is None:
            return True
        envelope = {
            "id": request_id,
            "timestamp": int(self._clock.now() * 1000),
            "event": event,
            "session": session,
            "instance": self._instance,
            "payload": payload,
        }
        problem = await self._delivery.post(receiver, request_id, envelope)
        if problem is not None:
            log.warning(
                "alert not delivered, tried again", action="alert", code="webhook_failed", detail=problem.problem
            )
        return problem is None


_ALL_WELL = "All is well again: no alert is in force."


def _read(stored: Sequence[Json]) -> list[a.Alert]:
    return [a.Alert.from_json(alert) for alert in stored]


def _log(before: Sequence[a.Alert], after: Sequence[a.Alert]) -> None:
    stood = {alert.id: alert for alert in before if alert.resolved_at is None}
    stands = {alert.id: alert for alert in after if alert.resolved_at is None}
    for id_, alert in stands.items():
        if id_ not in stood:
            log.warning("alert raised", action="alert", session=alert.session, code=alert.kind, detail=alert.message)
    for id_, alert in stood.items():
        if id_ not in stands:
            log.info("alert resolved", action="alert", session=alert.session, code=alert.kind)
