"""Figures for operators, in Prometheus' words: counted as things happen, asked for when somebody looks.

Each instance has a registry of its own. What one scrape asks of the store grows with what waits there, not with what
is kept. Names of sessions are labels only where a setting says so: thousands of them would drown a Prometheus.
"""

from __future__ import annotations

import platform
from collections import Counter as Counts
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import psutil
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

import holdfast
from holdfast.domain import state as s
from holdfast.domain.alerts import Kind
from holdfast.domain.errors import StoreUnavailable
from holdfast.domain.lease import valid_for
from holdfast.domain.status import status_now
from holdfast.ports.gateway import SessionView
from holdfast.ports.store import Alike, Figures, Json
from holdfast.runtime.actor import Deps
from holdfast.runtime.delivery import Delivery
from holdfast.runtime.supervisor import Supervisor

log = structlog.get_logger(__name__)

HEAL = (0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600)
DELAY = (0.01, 0.05, 0.1, 0.5, 1, 5, 30, 60, 300, 3600)
COMMIT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)
WRONG_KEYS = ("api", "login", "metrics", "stream", "peer", "waha")
"""Where keys and signatures are presented."""

disable_created_metrics()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """`by_session`: also by name of session. `memory_every`: seconds between two memory lines of the log."""

    by_session: bool = False
    memory_every: float = 300.0


class Meters:
    """Every family that there is; docs/operations.md says what each means."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"holdfast_{name}", text, labels, registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"holdfast_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: Sequence[float]) -> Histogram:
            return Histogram(f"holdfast_{name}", text, buckets=buckets, registry=registry)

        self.build = gauge("build_info", "Versions; always 1.", "version", "python")
        self.sessions = gauge("sessions", "Sessions of the whole cluster.", "status", "code")
        self.held = gauge("sessions_held", "Sessions that this instance runs.")
        self.disconnects = counter("disconnects_total", "Connections that WORKED and ended.", "code")
        self.reconnects = counter("reconnects_total", "Returns to WORKING by itself.", "code")
        self.heal = histogram("heal_seconds", "From leaving WORKING until WORKING again.", HEAL)
        self.lease_margin = gauge("lease_margin_seconds", "Time left on the shortest lease held; NaN: none held.")
        self.outbox_depth = gauge("outbox_depth", "Messages accepted and not yet acknowledged.")
        self.outbox_oldest = gauge("outbox_oldest_seconds", "Age of the oldest message that is due.")
        self.inbox = gauge("inbox_unprocessed", "Received stanzas that no message was made of yet.")
        self.unreadable = gauge("inbox_unreadable", "Received stanzas of which no message could be made.")
        self.attempts = counter("webhook_attempts_total", "Deliveries that were tried.", "result")
        self.delay = histogram("webhook_delay_seconds", "From an event until its receiver took it.", DELAY)
        self.webhook_oldest = gauge("webhook_oldest_seconds", "Age of the oldest event under way to a receiver.")
        self.commit = histogram("store_commit_seconds", "A small write, until it is durable.", COMMIT)
        self.store_up = gauge("store_up", "1 when the store answered this scrape.")
        self.instance_memory = gauge("instance_memory_bytes", "Resident memory of this process.")
        self.sidecars = gauge("sidecars", "Engine processes that run.")
        self.sidecar_memory = gauge("sidecar_memory_bytes", "Resident memory of an engine process.", "pid")
        self.sidecar_sessions = gauge("sidecar_sessions", "Sessions that an engine process hosts.", "pid")
        self.sidecar_restarts = counter("sidecar_restarts_total", "Engine processes that ended unasked.")
        self.http_connections = gauge("http_connections", "Connections to the API that are open.")
        self.http_refused = counter("http_refused_total", "Connections to the API refused or closed.", "code")
        self.wrong_keys = counter("wrong_keys_total", "Wrong keys and signatures that were presented.", "where")
        self.alerts = gauge("alerts", "Alerts in force.", "kind")
        self.session = gauge("session_info", "A session; always 1.", "session", "status", "code")
        self.session_oldest = gauge("session_outbox_oldest_seconds", "As outbox_oldest_seconds.", "session")


class Metrics:
    """Fills the meters. `on_state`, `forget` and `committed` are told what happens; `render` answers a scrape."""

    def __init__(
        self,
        deps: Deps,
        supervisor: Supervisor,
        delivery: Delivery,
        views: Callable[[], Awaitable[list[SessionView]]],
        settings: MetricsSettings,
    ) -> None:
        self.meters = Meters()
        self._deps, self._store, self._clock = deps, deps.store, deps.clock
        self._supervisor = supervisor
        self._delivery = delivery
        self._views = views
        self._settings = settings
        self._process = psutil.Process()
        self._left: dict[str, tuple[float, str]] = {}
        self._restarts = 0
        self.meters.build.labels(holdfast.__version__, platform.python_version()).set(1)
        for result in ("taken", "failed"):
            self.meters.attempts.labels(result)
        for where in WRONG_KEYS:
            self.meters.wrong_keys.labels(where)
        delivery.on_attempt = self._attempted

    # --- told -------------------------------------------------------------------------------------------------------
    def on_state(self, name: str, before: s.State, after: s.State) -> None:
        """A session changed: leaving WORKING and coming back is counted, unless a person stopped it."""
        if after.phase is s.Phase.WORKING:
            if left := self._left.pop(name, None):
                at, code = left
                self.meters.reconnects.labels(code).inc()
                self.meters.heal.observe(self._clock.boot() - at)
            return
        if before.phase is s.Phase.WORKING and after.phase is not s.Phase.STOPPED:
            self.meters.disconnects.labels(after.code).inc()
            self._left[name] = (self._clock.boot(), after.code)
        if after.phase in (s.Phase.STOPPED, s.Phase.TERMINAL):
            self.forget(name)

    def forget(self, name: str) -> None:
        """This instance holds the session no more, or nobody waits for its return."""
        self._left.pop(name, None)

    def committed(self, seconds: float) -> None:
        """A small write took so long."""
        self.meters.commit.observe(seconds)

    def refused(self, code: str) -> None:
        """A connection to the API was refused or closed."""
        self.meters.http_refused.labels(code).inc()

    def wrong_key(self, where: str) -> None:
        """A wrong key or signature was presented."""
        self.meters.wrong_keys.labels(where).inc()

    def _attempted(self, taken: bool, age: float) -> None:
        self.meters.attempts.labels("taken" if taken else "failed").inc()
        if taken:
            self.meters.delay.observe(max(0.0, age))

    # --- asked ------------------------------------------------------------------------------------------------------
    async def render(self) -> bytes:
        """The answer to a scrape, in Prometheus' text format. Without the store: what this instance knows itself."""
        views: list[SessionView] = []
        others: list[Alike] = []
        figures: Figures | None = None
        alerts: list[Json] = []
        try:
            views = await self._views() if self._settings.by_session else []
            others = await self._store.alike(self._deps.instance, self._clock.now() - self._deps.times.liveness)
            figures, alerts = await self._store.figures(), await self._alerts()
        except StoreUnavailable as error:
            log.warning("figures without those of the store", action="metrics", code=error.code)
        self._count_sessions(others)
        self._of_the_store(views, figures, alerts)
        self._own()
        return generate_latest(self.meters.registry)

    def _count_sessions(self, others: Sequence[Alike]) -> None:
        """Our own as we know them, others as the store tells; each as `status_now` would say."""
        now, deadline = self._clock.now(), self._deps.times.liveness
        counts: Counts[tuple[str, str]] = Counts()
        for actor in self._supervisor.actors.values():
            status = status_now(
                actor.state,
                desired_running=actor.row.desired == "running",
                has_credentials=actor.has_credentials,
                held=actor.may_act(),
                now=now,
                deadline=deadline,
            )
            counts[status.status, status.reason] += 1
        for group in others:
            phase, verified_at = s.Phase(group.phase or "stopped"), now if group.verified else None
            status = status_now(
                s.State(phase, group.code, failed=group.failed, live=group.live, verified_at=verified_at),
                desired_running=group.desired == "running",
                has_credentials=group.linked,
                held=group.held,
                now=now,
                deadline=deadline,
            )
            counts[status.status, status.reason] += group.count
        self.meters.sessions.clear()
        for labels, count in counts.items():
            self.meters.sessions.labels(*labels).set(count)

    async def _alerts(self) -> list[Json]:
        """Of sessions and of receivers."""
        of_sessions, outages = await self._store.alerts(), await self._store.outages()
        of_receivers = [outage["alert"] for outage in outages.values() if outage["alert"] is not None]
        return [alert for found in of_sessions.values() for alert in found] + of_receivers

    def _of_the_store(self, views: Sequence[SessionView], figures: Figures | None, alerts: Sequence[Json]) -> None:
        m = self.meters
        m.store_up.set(figures is not None)
        for kind in Kind:
            m.alerts.labels(kind.value).set(0)
        for alert in (alert for alert in alerts if alert["resolved_at"] is None):
            m.alerts.labels(alert["kind"]).inc()
        queues = {} if figures is None else figures.queues
        unknown = nan if figures is None else 0.0
        m.outbox_depth.set(unknown + sum(queue.depth for queue in queues.values()))
        m.outbox_oldest.set(unknown + max((queue.oldest for queue in queues.values()), default=0.0))
        m.unreadable.set(unknown + sum(one.count for one in ({} if figures is None else figures.unreadable).values()))
        m.inbox.set(nan if figures is None else figures.unprocessed)
        if self._settings.by_session:
            m.session.clear()
            m.session_oldest.clear()
            for view in views:
                m.session.labels(view.name, view.status, view.reason).set(1)
            for name, queue in queues.items():
                m.session_oldest.labels(name).set(queue.oldest)

    def _own(self) -> None:
        m, boot, now = self.meters, self._clock.boot(), self._clock.now()
        actors = list(self._supervisor.actors.values())
        m.held.set(len(actors))
        m.lease_margin.set(min((valid_for(actor.held, self._deps.lease, boot) for actor in actors), default=nan))
        under_way = [under.at for under in self._delivery.underway.values()]
        m.webhook_oldest.set(max(0.0, now - min(under_way, default=now)))
        m.instance_memory.set(self._process.memory_info().rss)
        m.sidecar_memory.clear()
        m.sidecar_sessions.clear()
        processes = self._sidecars()
        m.sidecars.set(len(processes))
        for process in processes:
            m.sidecar_memory.labels(process["pid"]).set(process["memory"])
            m.sidecar_sessions.labels(process["pid"]).set(process["sessions"])
        restarts = sum(int(engine.facts().get("restarts", 0)) for engine in self._deps.engines.values())
        m.sidecar_restarts.inc(restarts - self._restarts)
        self._restarts = restarts

    def _sidecars(self) -> list[Any]:
        return [process for engine in self._deps.engines.values() for process in engine.facts().get("processes", ())]

    # --- the log ----------------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Say now and then how much memory is in use, until cancelled."""
        while True:
            log.info(
                "memory in use",
                action="memory",
                instance_mb=round(self._process.memory_info().rss / 1e6),
                sidecars_mb=[round(process["memory"] / 1e6) for process in self._sidecars()],
                sessions=len(self._supervisor.actors),
            )
            await self._clock.sleep(self._settings.memory_every)
