"""One run: a world made from a seed, some time in which things go wrong, and a while in which all must heal."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import structlog

from holdfast.domain.errors import HoldfastError
from holdfast.domain.pacing import DELAY_CAP, JITTER
from tests.simulation.database import Database, names
from tests.simulation.faults import Faults
from tests.simulation.instances import SETTINGS, Instance
from tests.simulation.loop import WORLD, SimulatedLoop
from tests.simulation.users import Users
from tests.simulation.watch import Watch
from tests.simulation.whatsapp import Account, WhatsApp
from tests.support.virtual import VirtualClock

LOOK = 0.5
"""Seconds between two looks at whether all has healed."""
SETTLE = 3.0
"""For how long nothing may happen any more before a run counts as healed."""
SLACK = 10.0
"""For a login, the pace, and orders that people gave last."""


@dataclass
class Outcome:
    """What came of a seed. `broken` is empty when every invariant held; `healed`: seconds that healing took."""

    seed: int
    broken: list[str]
    healed: float
    trace: list[tuple[object, ...]] = field(repr=False)

    @property
    def digest(self) -> str:
        """Two runs with the same one went the same way."""
        return hashlib.sha256(repr(self.trace).encode()).hexdigest()

    def __str__(self) -> str:
        what = "; ".join(self.broken) or "all held"
        return f"seed {self.seed}: {what}. Replay: python -m tests.simulation {self.seed}"


def simulate(seed: int) -> Outcome:
    """Run a seed."""
    with _quiet():
        world = World(seed)
        try:
            world.loop.run_until_complete(world.run())
        finally:
            world.close()
    return Outcome(seed, world.watch.broken, world.healed, world.trace)


class World:
    """See the module."""

    def __init__(self, seed: int) -> None:
        self.trace: list[tuple[object, ...]] = []
        self.healed = 0.0
        self.loop = SimulatedLoop()
        clock = VirtualClock(self.loop, seed)
        self._rand = rand = random.Random(seed)
        self.watch = Watch(self.log, self.loop.time)
        self._names = names(rand.randint(3, 8))
        self._database = Database(clock, len(self._names), self.watch)
        self._whatsapp = WhatsApp(
            self.loop, self._part(), self.watch, self._database,
            {name: Account(f"4070000000{number}") for number, name in enumerate(self._names)},
        )  # fmt: skip
        self._instances = [Instance(n, self._whatsapp, self._part()) for n in range(rand.randint(2, 4))]
        for one in self._instances:
            one.peers = [peer for peer in self._instances if peer is not one]
        self._faults = Faults(self._part(), self._whatsapp, self._instances)
        self._users = Users(self._part(), self._whatsapp, self._instances)

    def _part(self) -> random.Random:
        """Chance for one part, so that what another does leaves it alone."""
        return random.Random(self._rand.getrandbits(64))

    def log(self, *facts: object) -> None:
        """A step of the trace."""
        self.trace.append((self.loop.time(), *facts))

    # --- the run --------------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Until all has healed, or something is broken."""
        broken = asyncio.Event()
        self.watch.on_broken = broken.set
        self.loop.set_exception_handler(lambda _, context: self.watch.broke(f"unexpected: {context}"))
        running = self.loop.create_task(self._run(), context=WORLD)
        waiting = self.loop.create_task(broken.wait())
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        running.cancel()
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        self._look_for_bugs()

    async def _run(self) -> None:
        for instance in self._instances:
            self._whatsapp.later(self._rand.uniform(0.0, 1.0), instance.start)
        await asyncio.sleep(self._rand.uniform(1.0, 4.0))
        playing = [asyncio.create_task(self._faults.run()), asyncio.create_task(self._users.run(self._names))]
        await asyncio.sleep(self._rand.uniform(8.0, 24.0))
        for task in playing:
            task.cancel()
        self._faults.end()
        await self._heal()

    async def _heal(self) -> None:
        """Every session that is to run WORKS within its bound, every message is settled, and it stays so."""
        began, quiet_since = self.loop.time(), None
        bound = began + self._bound()
        while True:
            await asyncio.sleep(LOOK)
            now, left = self.loop.time(), self._unhealed()
            if left and now > bound:
                self.watch.broke(f"not healed {now - began:.1f} s after the faults ended: {'; '.join(left)}")
                return
            quiet_since = None if left else quiet_since or now
            if quiet_since is not None and now - quiet_since >= SETTLE:
                self.healed = quiet_since - began
                return

    def _bound(self) -> float:
        """The lease of whoever died must lapse, a sweep must find the session free, its next attempt must be due; one
        more attempt may fail on what was under way.
        """
        backoff = DELAY_CAP * SETTINGS.times.factor * (1 + JITTER)
        now = self.loop.time()
        due = max((at - now for at in self.watch.due.values()), default=0.0)
        lease = SETTINGS.lease
        return max(due, backoff) + lease.ttl + lease.renew + SETTINGS.sweep_every + SLACK

    def _unhealed(self) -> list[str]:
        """What is not yet as it should be, in words."""
        rows = self._database.rows(
            "SELECT name, desired, phase, command_seq > done_seq, json_extract(state, '$.code') FROM session ORDER BY 1"
        )
        left = []
        for name, desired, phase, ordered, code in rows:
            sockets = self._whatsapp.connected.get(name, [])
            if ordered:
                left.append(f"an order for {name} is not carried out")
            elif phase == "terminal" or desired != "running":
                if sockets:
                    left.append(f"{name} is {phase}, and connected")
            elif phase == "pairing" or (phase == "connecting" and code == "pairing"):
                self._whatsapp.scan(name)
                left.append(f"{name} is being paired")
            elif phase != "working" or not any(socket.open for socket in sockets):
                left.append(f"{name} is {phase} ({code})")
        open_ = self._database.rows(
            "SELECT o.session_name, o.state, COUNT(*) FROM outbox o JOIN session s ON s.name = o.session_name "
            "WHERE s.phase = 'working' AND o.state IN ('queued', 'sending') GROUP BY 1, 2"
        )
        return left + [f"{count} messages of {name} are {state}" for name, state, count in open_]

    # --- ends -----------------------------------------------------------------------------------------------------
    def _look_for_bugs(self) -> None:
        """Tasks that ended with what nobody expects."""
        for task in self.loop.tasks:
            if task.done() and not task.cancelled():
                error = task.exception()
                if error is not None and not isinstance(error, (HoldfastError, asyncio.CancelledError)):
                    self.watch.broke(f"{task.get_coro()} failed: {error!r}")

    def close(self) -> None:
        """Let every process end, the killed ones too, so that nothing is left behind."""
        self.loop.set_exception_handler(lambda *_: None)
        self.watch.broke = lambda what: None  # type: ignore[method-assign]
        self.loop.end()
        for instance in self._instances:
            self.loop.run_until_complete(instance.sweep_up())
        self.loop.end()
        self.loop.close()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The product's log would cost more than all the rest."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)
