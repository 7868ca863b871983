"""Instances as processes: they start, stop in order, are killed, are paused, and are started again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Iterable
from dataclasses import replace

from holdfast.domain.errors import HoldfastError
from holdfast.domain.lease import LeaseTimes
from holdfast.domain.pacing import Pace
from holdfast.domain.state import Times
from holdfast.ports.store import Peer
from holdfast.runtime.alerts import AlertSettings
from holdfast.runtime.node import Node, NodeSettings
from tests.simulation.database import Link, Weather
from tests.simulation.loop import Process
from tests.simulation.whatsapp import Sidecar, WhatsApp
from tests.support.virtual import VirtualClock

SETTINGS = NodeSettings(
    version="simulated",
    times=Times(factor=0.1),
    lease=LeaseTimes(ttl=6.0, renew=2.0, margin=0.8),
    sweep_every=2.0,
    alerts=AlertSettings(every=60.0),
)
"""As an instance has them, but for times that are shorter in proportion, so that more happens in a run."""
PACES = (Pace(), Pace(), Pace(burst=1.0, rate=1.5))
"""The last makes even a few sessions queue."""


class Instance:
    """One place where Holdfast runs. Each start is a new process, with an id, a link and a sidecar of its own."""

    def __init__(self, number: int, whatsapp: WhatsApp, seed: random.Random) -> None:
        self.number = number
        self.peers: list[Instance] = []
        self.weather = Weather()
        self.running = False
        self._whatsapp = whatsapp
        self._loop = whatsapp.loop
        self._seed = seed
        self._settings = replace(SETTINGS, pace=seed.choice(PACES))
        self._starts = 0
        self.wall_offset = VirtualClock(self._loop).wall_offset
        self._nodes: list[Node] = []

    def start(self) -> None:
        """A new process begins; it is `running` from its first to its last moment."""
        self._starts += 1
        self.name = f"i{self.number}.{self._starts}"
        self.process = process = Process(self._loop)
        self.clock = VirtualClock(self._loop, self._seed.getrandbits(32))
        self.clock.wall_offset = self.wall_offset
        whatsapp = self._whatsapp
        rand = random.Random(self._seed.getrandbits(32))
        link = Link(self.name, whatsapp.database, lambda: self.weather, rand, self._loop)
        whatsapp.watch.wall[self.name] = self.clock.now
        self.sidecar = Sidecar(self.name, whatsapp, link, self.clock, process)
        self.node = Node(link, {"baileys": self.sidecar}, self.clock, self._settings, instance=self.name)  # type: ignore[arg-type]
        self.node.supervisor._offer = self._offer
        self._nodes.append(self.node)
        self.running = True
        whatsapp.log("start", self.name)
        process.task(self._begin(self.node, process))

    async def _begin(self, node: Node, process: Process) -> None:
        try:
            await node.__aenter__()
        except HoldfastError as error:
            self._whatsapp.log("not started", node.instance, error.code)
            self._whatsapp.later(0.0, self._exit, process)

    def _exit(self, process: Process) -> None:
        if self.process is process and self.running:
            self.kill()
            self.restart(2.0)

    def restart(self, after: float) -> None:
        """Whoever keeps services running starts it again."""
        self._whatsapp.later(after, self.start)

    def _offer(self, sessions: Iterable[str], _peers: Iterable[Peer]) -> None:
        """What was given up is offered to the others at once; a hint that may get lost."""
        for peer in self.peers:
            if peer.running and self._seed.random() < 0.8:
                self._whatsapp.later(0.005, peer.offered, list(sessions))

    def offered(self, sessions: Collection[str]) -> None:
        """A peer gave these up."""
        if self.running:
            self.node.supervisor.take(sessions)

    # --- ends -----------------------------------------------------------------------------------------------------
    async def stop(self) -> None:
        """A planned stop; as after SIGTERM, it is killed where it takes too long."""
        process, name = self.process, self.name
        self._whatsapp.log("stop", name)
        stopping = process.task(self.node.__aexit__(None, None, None))
        await asyncio.wait({stopping}, timeout=20.0)
        if self.process is process and self.running:
            self.kill()

    def kill(self) -> None:
        """As kill -9 does: nothing is cleaned up, and the sidecar goes with its parent."""
        self._whatsapp.log("dead", self.name)
        self.running = False
        self.process.kill()
        self.sidecar.die()

    async def sweep_up(self) -> None:
        """After the run: what killed processes left open, which a real system closes for them."""
        for node in self._nodes:
            await node.delivery.stop()

    def pause(self) -> None:
        """SIGSTOP: the sidecar goes on."""
        self._whatsapp.log("pause", self.name)
        self.process.paused = True

    def go_on(self) -> None:
        """SIGCONT."""
        self._whatsapp.log("go on", self.name)
        self.process.go_on()

    def jump(self, seconds: float) -> None:
        """Somebody changes the machine's wall clock."""
        self._whatsapp.log("clock", self.name, seconds)
        self.wall_offset += seconds
        self.clock.wall_jump(seconds)
