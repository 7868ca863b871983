"""What goes wrong: one fault after the other, and some at the same time, until they end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.simulation.database import Weather
from tests.simulation.instances import Instance
from tests.simulation.whatsapp import WhatsApp

FAIR = Weather()


@dataclass(frozen=True)
class Fault:
    """How often it comes, beside the others, and what it does."""

    weight: int
    strike: Callable[[], None]


class Faults:
    """All faults of a run. Whatever they change has ended, or is put right by `end`."""

    def __init__(self, rand: random.Random, whatsapp: WhatsApp, instances: Sequence[Instance]) -> None:
        self._rand = rand
        self._whatsapp = whatsapp
        self._instances = instances
        self._over = False
        self._all = [
            Fault(2, self._slow),
            Fault(3, self._flaky),
            Fault(4, self._stuck),
            Fault(8, self._fading),
            Fault(2, self._cut),
            Fault(1, self._cut_all),
            Fault(3, self._kill),
            Fault(3, self._stop),
            Fault(4, self._pause),
            Fault(2, self._jump),
            Fault(2, self._unlock),
            Fault(2, self._sidecar_dies),
            Fault(4, self._drop),
            Fault(1, self._replaced),
            Fault(2, self._refuses),
            Fault(1, self._refuses_all),
            Fault(1, self._unlink),
        ]

    async def run(self) -> None:
        """Strike now and then, until cancelled."""
        weights, often = [fault.weight for fault in self._all], self._rand.uniform(0.3, 1.2)
        while True:
            await asyncio.sleep(self._rand.expovariate(often))
            self._rand.choices(self._all, weights)[0].strike()

    def end(self) -> None:
        """All is well from now on; what went wrong before may still have to be healed."""
        self._over = True
        self._whatsapp.log("faults end")
        self._whatsapp.down = 0
        for account in self._whatsapp.accounts.values():
            account.down = 0
        for instance in self._instances:
            self._weather(instance)
            if instance.running and instance.process.paused:
                instance.go_on()

    def _later(self, callback: Callable[..., None], *args: object, least: float = 0.5, most: float = 8.0) -> None:
        """Put it right after a while, unless all was put right before."""

        def right() -> None:
            if not self._over:
                callback(*args)

        self._whatsapp.later(self._rand.uniform(least, most), right)

    # --- the way to the store -------------------------------------------------------------------------------------
    def _weather(self, instance: Instance, weather: Weather = FAIR) -> None:
        self._whatsapp.log("weather", instance.number, weather)
        instance.weather = weather

    def _strikes(self, weather: Weather, then: Callable[[Instance], None] | None = None, **times: float) -> None:
        """Of those whose way is fair, the one that matters most, or any; until the weather changes again."""
        fair = [one for one in self._instances if one.weather == FAIR]
        if not fair:
            return
        busiest = max(fair, key=lambda one: len(one.sidecar.sockets) if one.running else 0)
        instance = self._rand.choice((busiest, self._rand.choice(fair)))
        self._weather(instance, weather)
        self._later(then or self._weather, instance, **times)

    def _slow(self) -> None:
        self._strikes(Weather(slowest=self._rand.choice((0.2, 1.0, 2.5))))

    def _flaky(self) -> None:
        self._strikes(Weather(slowest=0.2, fails=0.3, loses=0.3))

    def _stuck(self) -> None:
        """What is asked arrives after the lease has ended, and is done then."""
        self._strikes(Weather(holds=self._rand.uniform(5.0, 10.0)))

    def _fading(self) -> None:
        """First the answers come late, though still in time to count, then none: whoever dates a renewal by its answer
        holds on for longer than the database knows of.
        """
        self._strikes(Weather(late=self._rand.uniform(1.2, 1.9)), self._gone, least=2.0, most=4.0)

    def _gone(self, instance: Instance) -> None:
        self._weather(instance, Weather(cut=True))
        self._later(self._weather, instance, least=7.0, most=10.0)

    def _cut(self) -> None:
        self._strikes(Weather(cut=True), most=16.0)

    def _cut_all(self) -> None:
        for instance in self._instances:
            self._weather(instance, Weather(cut=True))
            self._later(self._weather, instance)

    def _unlock(self) -> None:
        """An operator deletes rows of the lock table."""
        name = self._rand.choice(sorted(self._whatsapp.accounts))
        self._whatsapp.log("unlock", name)
        self._whatsapp.database.raw.execute("DELETE FROM session_lock WHERE session_name = ?", (name,))

    # --- processes ------------------------------------------------------------------------------------------------
    def _one(self) -> Instance | None:
        running = [one for one in self._instances if one.running and not one.process.paused]
        return self._rand.choice(running) if running else None

    def _kill(self) -> None:
        if instance := self._one():
            instance.kill()
            instance.restart(self._rand.choice((0.5, 2.0, 12.0)))

    def _stop(self) -> None:
        if instance := self._one():
            self._whatsapp.task(self._stopped(instance))

    async def _stopped(self, instance: Instance) -> None:
        await instance.stop()
        if not instance.running:
            instance.restart(self._rand.uniform(0.5, 4.0))

    def _pause(self) -> None:
        if instance := self._one():
            instance.pause()
            self._later(self._go_on, instance, instance.process, most=self._rand.choice((1.5, 6.0, 16.0)))

    def _go_on(self, instance: Instance, process: object) -> None:
        if instance.process is process and instance.running:
            instance.go_on()

    def _jump(self) -> None:
        self._rand.choice(self._instances).jump(self._rand.choice((-3600.0, -120.0, -10.0, 10.0, 120.0, 3600.0)))

    def _sidecar_dies(self) -> None:
        if instance := self._one():
            self._whatsapp.log("sidecar dies", instance.name)
            instance.sidecar.crash()

    # --- WhatsApp -------------------------------------------------------------------------------------------------
    def _session(self) -> str:
        return self._rand.choice(sorted(self._whatsapp.accounts))

    def _drop(self) -> None:
        self._whatsapp.drop(self._session(), self._rand.choice((428, 408, 500, 503, 515)))

    def _replaced(self) -> None:
        self._whatsapp.drop(self._session(), 440, "replaced")

    def _refuses(self) -> None:
        name = self._session()
        self._whatsapp.accounts[name].down = 503
        self._whatsapp.drop(name, 503)
        self._later(self._accepts, name)

    def _accepts(self, name: str) -> None:
        self._whatsapp.accounts[name].down = 0

    def _refuses_all(self) -> None:
        self._whatsapp.down = self._rand.choice((503, 500))
        for name in sorted(self._whatsapp.accounts):
            if self._rand.random() < 0.7:
                self._whatsapp.drop(name, 428)
        self._later(self._accepts_all)

    def _accepts_all(self) -> None:
        self._whatsapp.down = 0

    def _unlink(self) -> None:
        self._whatsapp.unlink(self._session())
