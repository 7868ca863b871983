"""One session's actor: feeds `decide`, stores what it decided, and carries out its commands, one at a time.

An actor lives as long as its instance holds the session's lease. It never writes without its epoch, and never acts
past the moment at which the lease must have been given up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import structlog

from holdfast.domain import account_limits, disconnects, jids
from holdfast.domain import state as s
from holdfast.domain.errors import EngineUnavailable, HoldfastError, StaleEpoch, StoreUnavailable
from holdfast.domain.lease import Held, LeaseTimes, give_up_at, may_act
from holdfast.domain.phases import public_status
from holdfast.domain.proxies import Routes
from holdfast.domain.session import decide
from holdfast.domain.status import asks_for_qr
from holdfast.domain.timers import ChatTimer
from holdfast.ports import engine as e
from holdfast.ports.clock import Clock
from holdfast.ports.store import Json, NewEvent, SessionRow, Store, TimelineRow
from holdfast.runtime.hub import Hub
from holdfast.runtime.media import Media
from holdfast.runtime.pacer import Pacer

log = structlog.get_logger(__name__)

_SAVE_RETRY = 0.5
_WALL_JUMP = 1.0
"""Seconds by which the wall clock may drift from the boot clock before that counts as set."""


@dataclass(frozen=True, slots=True)
class Deps:
    """What every actor of an instance shares."""

    instance: str
    store: Store
    engines: Mapping[str, e.Engine]
    clock: Clock
    hub: Hub
    pacer: Pacer
    times: s.Times
    lease: LeaseTimes
    on_state: Callable[[str, s.State, s.State], None]
    """Told after every stored change: name, before, after."""
    engine: str = "baileys"
    """Where sessions live that do not say."""
    routes: Routes = field(default_factory=Routes)
    """Which proxy each session's connections take."""
    media: Media | None = None
    """Where files of messages are kept; None where none are."""
    send_deadline: float = 86_400.0
    """Seconds that a message may wait, unless it or its session says otherwise."""


@dataclass(slots=True)
class Pairing:
    """What a phone can scan or type now. Lives in memory: it is worthless after a restart."""

    qr: str | None = None
    qr_expires_at: float | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class _Turn(s.Event):
    """The turn of an opening has come in the pace of the instance."""

    command: s.Open


class Actor:
    """See the module. `tell` is the only way in; `halted` is set when the actor has ended and its socket is closed."""

    def __init__(self, row: SessionRow, held: Held, deps: Deps) -> None:
        self.name = row.name
        self.row = row
        self.held = held
        self._state = replace(s.State.from_json(row.state), live=False)
        """`live` of the stored state spoke of an earlier holder's connection."""
        self._skew = deps.clock.now() - deps.clock.boot()
        """Where the wall clock stood when the instants of `_state` were dated by it."""
        self.me: Json = dict(row.me)
        self.has_credentials = row.has_credentials
        self.pairing = Pairing()
        self.timers: Mapping[str, ChatTimer] | None = None
        """Of disappearing messages, by chat; None until they are read, and after one was set."""
        self.halted = asyncio.Event()
        self._deps = deps
        self.engine = deps.engines[row.engine]
        self._mailbox: asyncio.Queue[s.Event | None] = asyncio.Queue()
        self._timers: dict[s.TimerKind, tuple[int, asyncio.Task[None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = log.bind(session=row.name, epoch=held.epoch)
        self._stopping = False
        self._fresh_account: Json = {}
        """LID and push name as the engine told them last."""
        self.tell(s.Adopted(self.has_credentials, row.desired == "running", self._pending_order()))

    # --- what others ask ----------------------------------------------------------------------------------------
    @property
    def state(self) -> s.State:
        """What was decided last. If somebody set the wall clock since, its instants were moved along: what is measured
        by them (proofs of life, stability, deadlines) took as long as the boot clock says.
        """
        skew = self._deps.clock.now() - self._deps.clock.boot()
        if abs(skew - self._skew) > _WALL_JUMP:
            self._state, self._skew = self._state.moved(skew - self._skew), skew
        return self._state

    def tell(self, event: s.Event) -> None:
        """Hand over an event; it is dealt with in order."""
        self._mailbox.put_nowait(event)

    def halt(self) -> None:
        """End at once: close the connection, write nothing more. `halted` is set when it is done."""
        self._stopping = True
        self._mailbox.put_nowait(None)

    def may_act(self) -> bool:
        """Whether the lease still allows anything."""
        return may_act(self.held, self._deps.lease, self._deps.clock.boot())

    def grant(self) -> e.Grant:
        """The right to run that the lease gives now."""
        return e.Grant(self.held.epoch, give_up_at(self.held, self._deps.lease))

    # --- the loop -----------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Deal with events until halted or the lease is lost."""
        try:
            while (event := await self._mailbox.get()) is not None and not self._stopping:
                if not self.may_act():
                    raise StaleEpoch("The lease ran out before it was renewed.")
                await (self._take_turn(event) if isinstance(event, _Turn) else self._step(event))
        except StaleEpoch:
            self._log.warning("lease lost", action="lease", code="stale_epoch")
        finally:
            await self._end()

    def ordered(self, row: SessionRow) -> None:
        """Take over what a user ordered, if it is not carried out yet."""
        rerouted = row.config.get("proxy") != self.row.config.get("proxy")
        self.row = row
        if rerouted:
            self.tell(s.Rerouted())
        if (order := self._pending_order()) is not None:
            self.tell(order)

    def _pending_order(self) -> s.Ordered | None:
        command = self.row.command
        seq = int(command.get("seq", 0))
        if seq <= self.state.command_seq:
            return None
        return s.Ordered(
            seq,
            str(command.get("kind", "")),
            self.has_credentials,
            command.get("phone"),
            new_number=bool(command.get("new_number")),
            relink=bool(command.get("relink")),
        )

    async def _step(self, event: s.Event) -> None:
        if isinstance(event, s.Ordered):
            event = replace(event, has_credentials=self.has_credentials)
        before, skew, clock = self.state, self._skew, self._deps.clock
        decision = decide(before, event, clock.now(), clock.random(), self._deps.times)
        clear = any(isinstance(command, s.ClearCredentials) for command in decision.commands)
        me = self._account(event, decision.state)
        apart = self._apart_name() if any(isinstance(command, s.PutApart) for command in decision.commands) else None
        if clear or me is not None or _durable(decision.state) != _durable(before):
            await self._save(before, decision, me=me, clear=clear, apart=apart)
        self._state, self._skew = decision.state, skew
        if me is not None:
            self.me = me
        if clear:
            self.has_credentials = False
        elif isinstance(event, s.Paired | s.Opened) and decision.state is not before:
            self.has_credentials = True
        self._drop_stale_timers()
        if decision.state.generation != before.generation:
            self._deps.on_state(self.name, before, decision.state)
            if decision.state.phase is not s.Phase.PAIRING:
                self.pairing = Pairing()
        if decision.changed or decision.state.generation != before.generation:
            self._deps.hub.session_changed(self.name)
        for command in decision.commands:
            await self._do(command)

    def _apart_name(self) -> str:
        """Where the conversations of the number before go."""
        at = datetime.fromtimestamp(self._deps.clock.now(), UTC).strftime("%Y%m%d-%H%M%S")
        return f"{self.name[:32]}_until_{at}"

    def _account(self, event: s.Event, after: s.State) -> Json | None:
        """What is newly known of the linked account, or None."""
        known = {**self.me, "limits": account_limits.limits(after)}
        if not known["limits"]:
            del known["limits"]
        if isinstance(event, s.Paired | s.Opened) and event.phone and self.state.live:
            known |= {"phone": event.phone, **self._fresh_account}
        return known if known != self.me else None

    # --- storing ------------------------------------------------------------------------------------------------
    async def _save(
        self, before: s.State, decision: s.Decision, *, me: Json | None, clear: bool, apart: str | None
    ) -> None:
        after = decision.state
        timeline = self._entry(after) if decision.changed else None
        reported = public_status(before) != public_status(after) or before.code != after.code
        reported |= account_limits.changed(before, after)
        events = [NewEvent("session.status", self._status_payload(after))] if reported else []
        while True:
            try:
                await self._deps.store.save_state(
                    self.name,
                    self.held.epoch,
                    {**after.to_json(), "epoch": self.held.epoch},
                    me=me,
                    timeline=timeline,
                    events=events,
                    clear_credentials=clear,
                    put_apart=apart,
                )
                break
            except StoreUnavailable as error:
                self._log.error("state not stored", action="save", code=error.code, error=error.sentence)
                if not self.may_act() or self._stopping:
                    raise StaleEpoch("The lease ended while the database was away.") from error
                await self._deps.clock.sleep(_SAVE_RETRY)
        if decision.changed:
            level = self._log.warning if public_status(after) == "FAILED" else self._log.info
            level(
                f"session conflict: {after.message}" if after.code in disconnects.IN_CONFLICT else after.message,
                action="status",
                status=public_status(after),
                code=after.code,
                attempt=after.attempt,
            )
        if events:
            self._deps.hub.events_appended(self.name)

    def _entry(self, state: s.State) -> TimelineRow:
        return TimelineRow(
            seq=0,
            session=self.name,
            at=self._deps.clock.now(),
            status=public_status(state),
            code=state.code,
            message=state.message,
            attempt=state.attempt,
            instance=self._deps.instance,
            epoch=self.held.epoch,
            detail={"next_attempt_at": state.next_attempt_at} if state.next_attempt_at else {},
        )

    def _status_payload(self, state: s.State) -> Json:
        return {
            "status": public_status(state),
            "reason": state.code,
            "message": state.message,
            "needs_qr": asks_for_qr(state),
            "attempt": state.attempt,
            "next_attempt_at": state.next_attempt_at,
            "at": self._deps.clock.now(),
            "statuses": [list(shown) for shown in state.recent],
            "data": _status_data(state),
        }

    # --- doing --------------------------------------------------------------------------------------------------
    async def _do(self, command: s.Command) -> None:
        if isinstance(command, s.Open):
            wait = 0.0 if command.hasty else self._deps.pacer.turn()
            if wait > 0:
                self._spawn(self._open_later(command, wait))
            else:
                await self._open(command)
        elif isinstance(command, s.Close):
            await self.engine.close(self.name, command.connection, logout=command.logout, stop=command.stop)
        elif isinstance(command, s.SetTimer):
            self._set_timer(command)
        elif isinstance(command, s.Probe):
            self._spawn(self._probe(command))
        elif isinstance(command, s.RefreshVersion):
            await self.engine.refresh_version(self.row.config)

    async def _open_later(self, command: s.Open, wait: float) -> None:
        await self._deps.clock.sleep(wait)
        self.tell(_Turn(command))

    async def _take_turn(self, turn: _Turn) -> None:
        """Open between two decisions, never beside one: what is decided meanwhile would not find it to close it."""
        if self.state.live and self.state.connection == turn.command.connection:
            await self._open(turn.command)

    async def _open(self, command: s.Open) -> None:
        self._set_timer(s.SetTimer(s.TimerKind.CONNECT, self._deps.times.connect, command.generation))
        request = e.OpenRequest(
            session=self.name,
            connection=command.connection,
            grant=self.grant(),
            pair=command.pair,
            pair_phone=command.pair_phone,
            expect_phone=command.expect_phone,
            anew=command.anew,
            options=self.row.config,
        )
        try:
            await self.engine.open(request)
        except EngineUnavailable as error:
            self._log.error("engine unavailable", action="open", code=error.code, error=error.sentence)
            self.tell(s.Closed(command.connection, 0, "engine_unavailable"))

    async def _probe(self, command: s.Probe) -> None:
        deps = self._deps
        try:
            found = await self.engine.probe(
                self.name, command.connection, listed=command.listed, timeout=deps.times.liveness / 3
            )
        except HoldfastError as error:
            self._log.info("no answer to the health look", action="probe", code=error.code)
            return
        if found is e.Probed.ALIVE:
            self.tell(s.Proved(command.connection, deps.clock.now(), listed=command.listed))
        elif found is e.Probed.UNLISTED:
            self._log.warning("this device is not on the account's list", action="probe", code="unlisted")
            self.tell(s.Unlisted(command.connection))

    def _set_timer(self, command: s.SetTimer) -> None:
        if command.generation != self.state.generation:
            return
        if old := self._timers.pop(command.kind, None):
            old[1].cancel()
        task = self._spawn(self._timer(command))
        self._timers[command.kind] = (command.generation, task)

    async def _timer(self, command: s.SetTimer) -> None:
        await self._deps.clock.sleep(command.after)
        self.tell(s.TimerFired(command.kind, command.generation))

    def _drop_stale_timers(self) -> None:
        for kind, (generation, task) in list(self._timers.items()):
            if generation != self.state.generation:
                task.cancel()
                del self._timers[kind]

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("a task of the session failed", action="task", code="bug", error=type(error).__name__)

    async def _end(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        if self.state.live:
            await self.engine.close(self.name, self.state.connection)
        self.halted.set()
        self._deps.hub.session_changed(self.name)

    # --- engine events ------------------------------------------------------------------------------------------
    def engine_event(self, event: e.EngineEvent) -> None:
        """Translate what the engine reports into the machine's words."""
        now = self._deps.clock.now()
        if isinstance(event, e.QrShown | e.CodeShown):
            self._show(event, now)
            self.tell(s.QrShown(event.connection))
        elif isinstance(event, e.Paired):
            self._fresh_account = {"lid": event.lid, "push_name": event.push_name}
            self.tell(s.Paired(event.connection, event.phone))
        elif isinstance(event, e.Opened):
            self._fresh_account = {"lid": event.lid, "push_name": event.push_name}
            self._log.info("online", action="online", phone=jids.mask(event.phone))
            self.tell(s.Opened(event.connection, event.phone))
        elif isinstance(event, e.Proved):
            delivered = None if event.delivered_age is None else now - event.delivered_age
            self.tell(s.Proved(event.connection, now - event.age, delivered_at=delivered))
        elif isinstance(event, e.Restricted):
            self._log.warning("restricted by WhatsApp", action="restricted", code="restricted", until=event.until)
            self.tell(s.Restricted(event.connection, event.until, event.enforcement))
        elif isinstance(event, e.Capped):
            self._log.info("quota of new chats", action="quota", code=str(event.quota.get("cappingStatus")))
            self.tell(s.Capped(event.connection, event.quota))
        elif isinstance(event, e.CredentialsBroken):
            self._log.error("decryption error", action="credentials", code="bad_session", detail=event.detail)
            self.tell(s.Closed(event.connection, 0, "credentials"))
        elif isinstance(event, e.Closed):
            self._log.info("connection closed", action="closed", status=event.code, tag=event.tag, detail=event.detail)
            self.tell(s.Closed(event.connection, event.code, event.tag, event.attrs))

    def _show(self, event: e.QrShown | e.CodeShown, now: float) -> None:
        if event.connection != self.state.connection:
            return
        if isinstance(event, e.QrShown):
            self.pairing.qr, self.pairing.qr_expires_at = event.qr, now + event.lifetime
        else:
            self.pairing.code = event.code
        self._deps.hub.session_changed(self.name)


def _status_data(state: s.State) -> Json | None:
    """WAHA's `data` of a status: what WhatsApp forbids a connected session."""
    lock = account_limits.timelock(state)
    return {"reachoutTimelock": lock} if public_status(state) == "WORKING" and lock and lock["isActive"] else None


def _durable(state: s.State) -> s.State:
    """What a change must be stored for: proofs of life are stored in bulk, by the supervisor."""
    return replace(state, verified_at=None, listed_at=None, delivered_at=None)
