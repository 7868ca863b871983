"""The sidecars of one instance: which one hosts which session, and what a crash means for them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import structlog

from holdfast.domain.errors import EngineUnavailable, HoldfastError
from holdfast.engines.baileys.install import Installed, ensure_sidecar
from holdfast.engines.baileys.options import BaileysOptions
from holdfast.engines.baileys.process import OnNote, OnRequest, Sidecar
from holdfast.ports.clock import Clock

log = structlog.get_logger(__name__)

PING_EVERY = 2.0
STOP_GRACE = 3.0
SUSPECT_CRASHES, SUSPECT_WINDOW, ACTIVE_WITHIN = 3, 60.0, 2.0
"""A session that was active within 2 s of 3 crashes within a minute gets a sidecar of its own."""


@dataclass(slots=True)
class Hosted:
    """A session's place."""

    session: str
    sidecar: Sidecar
    connection: int
    active_at: float


def _say(line: str) -> None:
    log.info(line, action="install")


class Pool:
    """See the module. It may be started before there is who `attach`es: sidecars ask nothing until they host."""

    def __init__(self, options: BaileysOptions, clock: Clock) -> None:
        self.hosted: dict[str, Hosted] = {}
        self.restarts = 0
        self._options = options
        self._clock = clock
        self._installed: Installed | None = None
        self._sidecars: list[Sidecar] = []
        self._own: dict[str, Sidecar] = {}
        self._crashes: dict[str, list[float]] = {}
        self._spawning = asyncio.Lock()
        self._stopping = False

    def attach(
        self, *, on_request: OnRequest, on_note: OnNote, on_died: Callable[[dict[str, int], str, str], None]
    ) -> None:
        """Name who is asked and told. `on_died(sessions, detail, tag)`: a sidecar ended that hosted connections."""
        self._on_request, self._on_note, self._on_died = on_request, on_note, on_died

    async def start(self) -> None:
        """Start the first sidecar, so that the first session need not wait for it; idempotent. Raises
        `EngineUnavailable`.
        """
        async with self._spawning:
            if self._sidecars:
                return
            self._stopping = False
            self._installed = await asyncio.to_thread(
                ensure_sidecar,
                self._options.data_dir,
                lambda line: log.info(line, action="install"),
                self._options.node,
            )
            self._sidecars.append(await self._spawn(said=log.debug))

    async def stop(self) -> None:
        """End every process."""
        self._stopping = True
        await asyncio.gather(*(sidecar.stop(STOP_GRACE) for sidecar in [*self._sidecars, *self._own.values()]))

    def use_version(self, version: str) -> None:
        """Open connections with that version of WhatsApp Web from now on. Raises `InvalidSettings`."""
        options = replace(self._options, wa_version=version)
        parts = options.version_parts()
        self._options = options
        for sidecar in self.sidecars():
            sidecar.tell("version", parts)

    def find(self, session: str, connection: int) -> Sidecar | None:
        """Where that very connection is hosted."""
        hosted = self.hosted.get(session)
        return hosted.sidecar if hosted and hosted.connection == connection else None

    def seen(self, session: str) -> None:
        """The session did something: remembered for the case that its sidecar crashes now."""
        if hosted := self.hosted.get(session):
            hosted.active_at = self._clock.boot()

    async def place(self, session: str, connection: int) -> Sidecar:
        """Give the session's new connection a place. Raises `EngineUnavailable`."""
        async with self._spawning:
            sidecar = await self._choose(session)
            self.hosted[session] = Hosted(session, sidecar, connection, self._clock.boot())
            return sidecar

    def leave(self, session: str, connection: int) -> None:
        """The connection is over."""
        hosted = self.hosted.get(session)
        if hosted and hosted.connection == connection:
            del self.hosted[session]

    # --- processes ----------------------------------------------------------------------------------------------
    async def _choose(self, session: str) -> Sidecar:
        old = self.hosted.get(session)
        if self._suspect(session):
            if session not in self._own:
                log.warning("session isolated in a process of its own", action="isolate", session=session)
                self._own[session] = await self._spawn()
            return self._own[session]
        if old is not None and not old.sidecar.gone.is_set():
            return old.sidecar
        counts = {id(sidecar): 0 for sidecar in self._sidecars}
        for hosted in self.hosted.values():
            if id(hosted.sidecar) in counts:
                counts[id(hosted.sidecar)] += 1
        free = [s for s in self._sidecars if counts[id(s)] < self._options.sessions_per_sidecar]
        if free:
            return min(free, key=lambda sidecar: counts[id(sidecar)])
        sidecar = await self._spawn()
        self._sidecars.append(sidecar)
        return sidecar

    async def _spawn(self, said: Callable[..., Any] = log.info) -> Sidecar:
        if self._stopping or self._installed is None:
            raise EngineUnavailable("The engine is stopping.")
        options = self._options
        settings = options.for_sidecar()
        sidecar = await Sidecar.spawn(
            self._command(self._installed),
            env=self._environment(),
            cwd=str(self._installed.main.parent.parent),
            inherit_fds=options.inherit_fds,
            clock=self._clock,
            on_request=self._asked,
            on_note=self._told,
            on_exit=self._exited,
        )
        try:
            started = await sidecar.request("start", settings, options.start_timeout)
        except (HoldfastError, TimeoutError) as error:
            sidecar.kill("the engine process did not start")
            raise EngineUnavailable(
                "The engine process did not start. Run `holdfast doctor` on this machine."
            ) from error
        except asyncio.CancelledError:
            sidecar.kill("the engine process is not wanted any more")
            raise
        sidecar.on_started(started["boot"])
        sidecar.watch(PING_EVERY * options.time_factor, options.hang_timeout, options.memory_limit_mb * 1_000_000)
        said("engine process started", action="sidecar", pid=sidecar.pid, node=started["node"])
        return sidecar

    async def _asked(self, sidecar: Sidecar, method: str, args: Any) -> Any:
        return await self._on_request(sidecar, method, args)

    def _told(self, sidecar: Sidecar, name: str, value: Any) -> None:
        self._on_note(sidecar, name, value)

    def _command(self, installed: Installed) -> list[str]:
        old, young = self._options.memory_limit_mb, self._options.semi_space_mb
        limits = [f"--max-old-space-size={old}", f"--max-semi-space-size={young}"]
        return [str(installed.node), *limits, "--disable-warning=ExperimentalWarning", str(installed.main)]

    def _environment(self) -> dict[str, str]:
        options = self._options
        env = {name: value for name, value in os.environ.items() if not name.startswith(("NODE_", "HOLDFAST_"))}
        # The sidecar runs in another folder, where a relative path would lead elsewhere.
        env["NODE_COMPILE_CACHE"] = str((options.data_dir / "cache" / "node").absolute())
        if options.ca_file:
            env["NODE_EXTRA_CA_CERTS"] = str(options.ca_file)
        if options.crash_file:
            env["HOLDFAST_CRASH_FILE"] = options.crash_file
        return env

    def _exited(self, sidecar: Sidecar, detail: str) -> None:
        if sidecar in self._sidecars:
            self._sidecars.remove(sidecar)
        for session, own in list(self._own.items()):
            if own is sidecar:
                del self._own[session]
        lost = {name: hosted for name, hosted in self.hosted.items() if hosted.sidecar is sidecar}
        now = self._clock.boot()
        for name, hosted in lost.items():
            del self.hosted[name]
            if now - hosted.active_at <= ACTIVE_WITHIN:
                self._crashes.setdefault(name, []).append(now)
        if self._stopping:
            return
        self.restarts += 1
        log.error("engine process ended", action="sidecar", code="engine_crashed", pid=sidecar.pid, detail=detail)
        if lost:
            tag = "memory" if sidecar.out_of_memory else "engine"
            self._on_died({name: hosted.connection for name, hosted in lost.items()}, detail, tag)

    def _suspect(self, session: str) -> bool:
        if session in self._own:
            return True
        window = self._clock.boot() - SUSPECT_WINDOW
        recent = [at for at in self._crashes.get(session, ()) if at >= window]
        if recent:
            self._crashes[session] = recent
        else:
            self._crashes.pop(session, None)
        return len(recent) >= SUSPECT_CRASHES

    def sidecars(self) -> Mapping[Sidecar, list[Hosted]]:
        """Every process with what it hosts."""
        found: dict[Sidecar, list[Hosted]] = {s: [] for s in [*self._sidecars, *self._own.values()]}
        for hosted in self.hosted.values():
            found.setdefault(hosted.sidecar, []).append(hosted)
        return found

    def facts(self) -> dict[str, Any]:
        """Processes with pid, memory in bytes (resident), and number of sessions; restarts since the start."""
        processes = [
            {"pid": sidecar.pid, "memory": sidecar.memory(), "sessions": len(hosted)}
            for sidecar, hosted in self.sidecars().items()
            if not sidecar.gone.is_set()
        ]
        return {"processes": processes, "restarts": self.restarts}
