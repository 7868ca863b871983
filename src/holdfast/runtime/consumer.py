"""Gives one receiver the events of one session, while this instance owns that consumer.

Events are read from the log in order and given out chat by chat, chats beside each other. As long as the receiver takes
them nothing is written but the cursor, now and then. A chat whose event is refused is *stuck*: that event and those
behind it become rows of the store, the cursor passes them, and `domain.delivery` says when they are tried again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import structlog

from holdfast.crash import point
from holdfast.domain.delivery import Refusal, Round, Rules, Step, parked_again, pause
from holdfast.domain.errors import StoreUnavailable
from holdfast.domain.pacing import backoff
from holdfast.domain.waha import waha_events
from holdfast.ports.clock import Clock
from holdfast.ports.store import EventRow, Json, Settled, Store, Taken, Undelivered
from holdfast.runtime.receiver_health import ReceiverHealth
from holdfast.runtime.webhook import Webhook

log = structlog.get_logger(__name__)

T = TypeVar("T")

PAGE = 100
WINDOW = 200
"""Events in memory that are not delivered, before no more are read."""
FEW = 20
"""Events read at a time while the receiver takes nothing: each may become a row."""
LANE = 50
DUE = 64
AGAIN_AT_ONCE = 4
"""Second attempts at a time; they take no place from first ones."""
COMMIT_EVERY = 0.1
"""Seconds between two moves of the cursor. What came since the last comes again after a crash, under the same ids."""
RELOOKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Seconds after which a log that should have grown is read again: PostgreSQL withholds what a commit may precede."""


class Replaced(Exception):
    """Another instance delivers this consumer now, or it is no more."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What all consumers of an instance share. `rules` and `commit_every` are scaled by `factor` already."""

    store: Store
    clock: Clock
    instance: str
    rules: Rules
    post: Callable[[Webhook, str, Json], Awaitable[Refusal | None]]
    facts: Callable[[str], Json]
    attempted: Callable[[bool, float], None]
    parallel: int = 16
    factor: float = 1.0


@dataclass(slots=True)
class _Change:
    """What became of events since the last commit."""

    done: list[Undelivered] = field(default_factory=list)
    told: list[Undelivered] = field(default_factory=list)


class Consumer:
    """See the module. `run` may be called again after it returned, while `held_until` (boot clock) is ahead."""

    def __init__(self, name: str, session: str, hook: Webhook, taken: Taken, tools: Tools) -> None:
        self.name = name
        self.session = session
        self.hook = hook
        self.held_until = 0.0
        self.trying: dict[int, float] = {}
        """Events that it was given and has not taken: when each was appended, in Unix seconds."""
        self._tools = tools
        self._store, self._clock = tools.store, tools.clock
        self._read_to = self._stored = taken.seq
        self._stuck = set(taken.stuck)
        self._has_rows = True
        self._lanes: dict[str, deque[tuple[EventRow, list[Json]]]] = {}
        self._undone: dict[int, None] = {}
        self._change = _Change()
        self._again: set[str | int] = set()
        self._receiver = ReceiverHealth(tools.clock, tools.rules, failing=bool(taken.stuck))
        self._read_at = self._welcome_at = 0.0
        self._hinted = 0
        self._checkpointing = False
        self._woken = asyncio.Event()
        self._finish = asyncio.Event()
        self._rows_change = asyncio.Lock()
        self._commit = asyncio.Lock()
        self._slots = asyncio.Semaphore(tools.parallel)
        self._again_slots = asyncio.Semaphore(AGAIN_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    # --- what others ask ----------------------------------------------------------------------------------------
    def wake(self, *, rows: bool = False) -> None:
        """The log grew, or, with `rows`, something that was refused may be due."""
        self._hinted = len(RELOOKS)
        self._has_rows |= rows
        self._woken.set()

    def finish(self) -> None:
        """Begin nothing more; `run` returns when what is under way has its answer."""
        self._finish.set()
        self._woken.set()

    @property
    def failing_since(self) -> float | None:
        """Since when the receiver has taken nothing of what it was given, on the boot clock."""
        return self._receiver.failing_since

    @property
    def _rules(self) -> Rules:
        """When what is refused is tried again: as the webhook says, if it does."""
        rules, own = self._tools.rules, self.hook.retries
        return rules if own is None else replace(rules, retries=replace(own, delay=own.delay * self._tools.factor))

    @property
    def finishing(self) -> bool:
        """Whether it was told to finish."""
        return self._finish.is_set()

    @property
    def is_wanted(self) -> bool:
        """Whether it was woken since it looked last."""
        return self._woken.is_set() and not self.finishing

    # --- the loop -----------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Deliver until nothing is left. Raises `Replaced` when this instance is not the owner any more."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                await self._work()
        except BaseExceptionGroup as group:
            raise _first(group) from group

    async def _work(self) -> None:
        while not self.finishing:
            self._woken.clear()
            hinted, self._hinted = self._hinted, 0
            grew = await self._read()
            left = await self._retry()
            if grew:
                continue
            left = await self._probe(left)
            if (paused := self._paused_for()) > 0:
                left = _soonest(left, paused)
            if hinted:
                self._hinted = max(self._hinted, hinted - 1)
                left = _soonest(left, RELOOKS[-hinted] * self._tools.factor)
            if left is None and not (self._tasks or self._undone or self._woken.is_set()):
                return
            await self._rest(left)
        while self._tasks:
            await asyncio.wait(self._tasks)
            await asyncio.sleep(0)  # those that are done take themselves off the list
        await self._settle()

    async def _rest(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):  # `wait_for` may swallow the cancellation that ends us
                await self._woken.wait()
        except TimeoutError:
            return

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._woken.set()

    async def _ask(self, call: Callable[[], Awaitable[T]]) -> T:
        """The store's answer, however long it is away; what is asked may be repeated."""
        failures = 0
        while True:
            try:
                return await call()
            except StoreUnavailable as error:
                failures += 1
                if failures == 1:
                    log.error("event log not readable", session=self.session, action="webhook", code=error.code)
                delay = backoff(failures, self._clock.random(), cap=self._tools.rules.cap / 10)
                await self._clock.sleep(delay * self._tools.factor)

    # --- reading the log ----------------------------------------------------------------------------------------
    def _paused_for(self) -> float:
        """For how many seconds no more is read, because the receiver is down."""
        return self._read_at - self._clock.boot() if self._receiver.refuses_all else 0.0

    async def _read(self) -> bool:
        """Give out the next events; whether there were any."""
        if len(self._undone) >= WINDOW or self._paused_for() > 0:
            return False
        async with self._rows_change:
            size = FEW if self._receiver.refuses_all else PAGE
            found = await self._ask(lambda: self._store.events(self._read_to, size, self.session))
            if not found:
                return False
            fresh = [(event, envelopes) for event in found if (envelopes := self._envelopes(event))]
            held = [(Undelivered(event), None) for event, _ in fresh if event.chat in self._stuck]
            if held:
                await self._settle(held)
            for event, envelopes in fresh:
                if event.chat not in self._stuck:
                    self._undone[event.seq] = None
                    self._queue(event, envelopes)
            self._read_to = found[-1].seq
        self._read_at = self._clock.boot() + self._backoff()
        self._touch()
        return True

    def _backoff(self) -> float:
        rules = self._tools.rules
        return rules.retries.wait(max(self._receiver.refusals, 1), self._clock.random(), rules.cap)

    def _envelopes(self, event: EventRow) -> list[Json]:
        """What the receiver is to be told of an event: nothing where it did not subscribe to it."""
        try:
            told = list(waha_events(event, self._tools.facts(self.session)))
        except Exception:  # a bug of ours must not hold up everything behind it
            log.exception(
                "event cannot be told", session=self.session, action="webhook", code="untellable", id=event.id
            )
            return []
        return [envelope for envelope in told if self.hook.wants(envelope["event"])]

    def _queue(self, event: EventRow, envelopes: list[Json]) -> None:
        if event.chat in self._lanes:
            self._lanes[event.chat].append((event, envelopes))
        else:
            self._lanes[event.chat] = deque([(event, envelopes)])
            self._spawn(self._lane(event.chat))

    # --- what goes through --------------------------------------------------------------------------------------
    async def _lane(self, chat: str) -> None:
        """The events of one chat, one after the other, until one is refused."""
        queue = self._lanes[chat]
        while queue:
            event, envelopes = queue[0]
            async with self._slots:
                if not await self._may_go():
                    return
                refusal, part = await self._deliver(event, envelopes)
            if refusal is not None:
                await self._stick(chat, refusal, part)
                return
            queue.popleft()
            del self._undone[event.seq]
            self._touch()
        del self._lanes[chat]

    async def _stick(self, chat: str, refusal: Refusal, part: int) -> None:
        """The first event of the chat was refused: it and those behind it become rows."""
        async with self._rows_change:
            queue = self._lanes.pop(chat)
            first = Round([Undelivered(queue[0][0])], [], self._rules)
            step = first.refused(refusal, part, self._clock.random())
            self._stuck.add(chat)
            await self._settle([*step.rows, *((Undelivered(event), None) for event, _ in list(queue)[1:])])
            self._forget(step)
            for event, _ in queue:
                del self._undone[event.seq]
            self._touch()

    # --- what was refused ---------------------------------------------------------------------------------------
    async def _retry(self) -> float | None:
        """Begin what is due; in how many seconds something will be."""
        if not self._has_rows:
            return None
        due, left = await self._ask(lambda: self._store.due_deliveries(self.name, DUE))
        for row in due:
            key = row.event.seq if row.state == "parked" else row.event.chat
            if key not in self._again:
                self._again.add(key)
                self._spawn(self._parked(row) if row.state == "parked" else self._round(row.event.chat))
        if not due and left is None and not self._stuck:
            self._has_rows = False
        return left

    async def _probe(self, left: float | None) -> float | None:
        """Ask a receiver that is down now and then, however long its events would wait; in how many seconds next."""
        wait = self._receiver.probe_in() if self._has_rows and not self._tasks else None
        if wait is None or left is None:  # nothing waits for its time
            return left
        if wait <= 0:
            self._receiver.probed()
            await self._ask(lambda: self._store.revive_deliveries(self.name, only_next=True))
            self._woken.set()  # to find it due
        return _soonest(left, wait)

    async def _round(self, chat: str) -> None:
        """Try what a stuck chat has, until it has nothing more or is held up again."""
        try:
            while not self.finishing:
                await self._settle()
                async with self._rows_change:
                    lane, untold = await self._ask(lambda: self._store.delivery_lane(self.name, chat, LANE))
                    if not lane:
                        if not untold:
                            self._stuck.discard(chat)
                        return
                pass_ = Round(lane, untold, self._rules)
                await self._pass(pass_)
                if pass_.holds:
                    return
        finally:
            self._again.discard(chat)

    async def _pass(self, round_: Round) -> None:
        while (row := round_.next()) is not None:
            async with self._again_slots:
                if not await self._may_go():
                    return
                refusal, part = await self._deliver(row.event, self._envelopes(row.event), row, round_.gap)
            if refusal is None:
                step = round_.taken(self._clock.random())
            else:
                step = round_.refused(refusal, part, self._clock.random())
            self._forget(step)
            if step.done is not None:
                self._change.done.append(step.done)
                self._change.told.extend(step.told)
                self._touch()
            if step.rows:
                await self._settle(step.rows)

    async def _parked(self, row: Undelivered) -> None:
        """Try an event again that its chat does not wait for."""
        try:
            async with self._again_slots:
                if not await self._may_go():
                    return
                refusal, part = await self._deliver(row.event, self._envelopes(row.event), row, late=True)
            if refusal is None:
                self._change.done.append(row)
                await self._settle()
            else:
                self.trying.pop(row.event.seq, None)
                await self._settle([parked_again(row, refusal, part, self._clock.random(), self._rules)])
        finally:
            self._again.discard(row.event.seq)

    def _forget(self, step: Step) -> None:
        """What is parked or dead is not under way any more."""
        for row, _ in step.rows:
            if row.state != "retrying":
                self.trying.pop(row.event.seq, None)

    # --- one event ----------------------------------------------------------------------------------------------
    async def _may_go(self) -> bool:
        """Wait while the receiver asked to be left alone. False when nothing more is to begin."""
        while not self.finishing and (left := self._welcome_at - self._clock.boot()) > 0:
            try:
                async with asyncio.timeout(left):
                    await self._finish.wait()
            except TimeoutError:
                continue
        return not self.finishing

    async def _deliver(
        self,
        event: EventRow,
        envelopes: Sequence[Json],
        again: Undelivered | None = None,
        gap: Sequence[str] = (),
        *,
        late: bool = False,
    ) -> tuple[Refusal | None, int]:
        """One attempt: why it was refused, if it was, and how many of the event's envelopes were taken."""
        part, failing_for = (0, 0.0) if again is None else (again.part, again.failing_for)
        for number in range(part, len(envelopes)):
            envelope = envelopes[number]
            marks: Json = {"gap": list(gap)} if gap and number == part else {}
            if late:
                marks["late"] = True
            if marks:
                envelope = {**envelope, "holdfast": marks}
            self.trying[event.seq] = event.at
            point("webhook.posting")
            refusal = await self._tools.post(self.hook, envelope["id"], envelope)
            point("webhook.answered")
            self._note(event, refusal, failing_for)
            if refusal is not None:
                return refusal, number
        self.trying.pop(event.seq, None)
        return None, len(envelopes)

    def _note(self, event: EventRow, refusal: Refusal | None, failing_for: float) -> None:
        self._tools.attempted(refusal is None, self._clock.now() - event.at)
        if refusal is None:
            if self._receiver.took():
                log.info(
                    "webhook takes events again", session=self.session, action="webhook", receiver=self.hook.receiver
                )
                self._spawn(self._revive())
            return
        self._receiver.refused(refusal, failing_for)
        if wanted := pause(refusal, self._tools.rules):
            self._welcome_at = max(self._welcome_at, self._clock.boot() + wanted)
        if (refusals := self._receiver.refusals) & (refusals - 1) == 0:  # the 1st, 2nd, 4th, 8th ... in a row
            log.warning(
                "webhook not delivered, tried again",
                session=self.session,
                action="webhook",
                code="webhook_failed",
                receiver=self.hook.receiver,
                attempt=refusals,
                detail=refusal.problem,
            )

    async def _revive(self) -> None:
        """The receiver is back: nothing waits for its time any longer."""
        await self._ask(lambda: self._store.revive_deliveries(self.name))

    # --- what is kept -------------------------------------------------------------------------------------------
    def _touch(self) -> None:
        """Something is done that the store should know soon."""
        if not self._checkpointing:
            self._checkpointing = True
            self._spawn(self._checkpoint())

    async def _checkpoint(self) -> None:
        await self._clock.sleep(COMMIT_EVERY * self._tools.factor)
        self._checkpointing = False
        await self._settle()

    async def _settle(self, rows: Sequence[tuple[Undelivered, float | None]] = ()) -> None:
        """Store these rows, what was done since the last time, and where the cursor stands. Raises `Replaced`."""
        async with self._commit:
            change, self._change = self._change, _Change()
            upto = next(iter(self._undone)) - 1 if self._undone else self._read_to
            settled = Settled(upto, rows, change.done, change.told, self._tools.rules.hold)
            if upto == self._stored and not (rows or change.done or change.told):
                return
            self._has_rows |= bool(rows)
            if not await self._ask(lambda: self._store.settle_deliveries(self.name, self._tools.instance, settled)):
                raise Replaced
            point("webhook.settled")
            self._stored = upto


def _soonest(one: float | None, other: float) -> float:
    return other if one is None else min(one, other)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What went wrong first; that this consumer was replaced explains all else."""
    found = group.exceptions[0]
    for error in group.exceptions:
        if isinstance(error, Replaced):
            return error
    return _first(found) if isinstance(found, BaseExceptionGroup) else found
