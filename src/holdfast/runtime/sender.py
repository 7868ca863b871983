"""Sends what the outbox holds: claimed under the epoch, in order per chat, chats beside each other (G4)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import structlog

from holdfast.crash import point
from holdfast.domain import outbox, refusals
from holdfast.domain.caps import Caps, allowance
from holdfast.domain.errors import (
    HoldfastError,
    MediaUnavailable,
    NotConnected,
    OtherAddress,
    SendInDoubt,
    StaleEpoch,
    StoreUnavailable,
)
from holdfast.domain.messages import message_to_json
from holdfast.domain.pacing import backoff
from holdfast.domain.sent import sent_message
from holdfast.domain.state import Phase
from holdfast.domain.timers import ChatTimer
from holdfast.ports.clock import Clock
from holdfast.ports.engine import OutgoingMessage, ServerAck
from holdfast.ports.store import MessageRow, NewEvent, OutboxRow, Store
from holdfast.runtime.actor import Actor
from holdfast.runtime.hub import Hub
from holdfast.runtime.media import Media

log = structlog.get_logger(__name__)

RETRY_CAP = 60.0
"""Most seconds between two tries of a message while there is a connection."""
STORE_RETRY = 1.0
CLOCKS_DIFFER = 0.001
"""Seconds that a timer is set later than the database's time asks for."""
RECOVER = 15.0
"""Seconds between two looks for rows that were claimed by a call whose answer got lost."""


class Sender:
    """One session's sender; runs while its actor does. `wake` whenever there may be something to send."""

    def __init__(
        self,
        actor: Actor,
        store: Store,
        clock: Clock,
        hub: Hub,
        *,
        parallel: int = 16,
        idle: float = 300.0,
        fail_restricted: bool = False,
        time_factor: float = 1.0,
        media: Media | None = None,
    ) -> None:
        self._actor = actor
        self._store = store
        self._clock = clock
        self._hub = hub
        self._parallel = parallel
        self._idle = idle
        self._fail_restricted = fail_restricted
        self._factor = time_factor
        self._media = media
        self._waking: set[asyncio.Task[None]] = set()
        self._pause: asyncio.Task[None] | None = None
        """Until the session's limits let it go on."""
        self._wake = asyncio.Event()
        self._flying: dict[asyncio.Task[None], str] = {}
        """What is being sent, with the id of its row."""
        self._recovered_at = clock.boot()
        self._log = log.bind(session=actor.name)

    def wake(self) -> None:
        """Look at the outbox now."""
        self._wake.set()

    def claim_epoch(self) -> int | None:
        """The epoch under which a message may be accepted and claimed in one transaction, if there is room now."""
        ready = self._ready() and not self._restricted() and self._caps() is None
        return self._actor.held.epoch if ready and len(self._flying) < self._parallel else None

    def fly(self, row: OutboxRow) -> asyncio.Future[OutboxRow | None]:
        """Send a row that was claimed already. The future has the row as soon as WhatsApp answered, and None if it did
        not; what is stored of it follows: a crash in between repeats the send under the same id.
        """
        answered: asyncio.Future[OutboxRow | None] = asyncio.get_running_loop().create_future()
        self._launch(row, answered)
        return answered

    def _launch(self, row: OutboxRow, answered: asyncio.Future[OutboxRow | None] | None) -> None:
        task = asyncio.create_task(self._send(row, answered))
        self._flying[task] = row.id
        task.add_done_callback(self._landed)

    async def run(self) -> None:
        """Send until cancelled. What is due is found by the supervisor's look for all sessions at once."""
        try:
            while True:
                try:
                    claimed = await self._claim()
                except StaleEpoch:
                    return
                except StoreUnavailable as error:
                    self._log.error("outbox not readable", action="send", code=error.code)
                    await self._clock.sleep(STORE_RETRY)
                    continue
                for row in claimed:
                    self._launch(row, None)
                if not claimed:
                    await self._rest()
        finally:
            for task in (*self._waking, *([self._pause] if self._pause else [])):
                task.cancel()
            await self.drain(0.0)

    async def drain(self, timeout: float) -> None:
        """Let sends in flight finish, at most `timeout` seconds; the rest stays in doubt, and is tried again later."""
        if self._flying and timeout > 0:
            await asyncio.wait(self._flying, timeout=timeout)
        for task in list(self._flying):
            task.cancel()

    def _landed(self, task: asyncio.Task[None]) -> None:
        del self._flying[task]
        self._wake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("a send failed unexpectedly", action="send", code="bug", error=type(error).__name__)

    async def _claim(self) -> list[OutboxRow]:
        self._wake.clear()
        free = self._parallel - len(self._flying)
        if free <= 0 or not self._ready():
            return []
        caps, new_chats = self._caps(), True
        if caps is not None:
            free, new_chats = await self._paced(caps, free)
            if free <= 0:
                return []
        looked_at, flying = self._clock.boot(), None
        if looked_at - self._recovered_at >= RECOVER:
            flying = list(self._flying.values())
        claimed = await self._store.claim_outbox(
            self._actor.name,
            self._actor.held.epoch,
            free,
            known_only=self._restricted(),
            new_chats=new_chats,
            paced=caps is not None,
            flying=flying,
        )
        if flying is not None:
            self._recovered_at = looked_at
        if self._restricted() and self._fail_restricted:
            await self._fail_to_strangers(free)
        return claimed

    def _caps(self) -> Caps | None:
        return Caps.of(self._actor.row.config, self._factor)

    async def _paced(self, caps: Caps, free: int) -> tuple[int, bool]:
        """How many messages the session's limits allow now, at most `free`, and whether new chats are among them. What
        must wait is looked at again as soon as it may go.
        """
        lately = await self._store.outbox_lately(self._actor.name, caps)
        allowed = allowance(caps, lately)
        now = lately.now
        next_at = allowed.at if allowed.at > now else allowed.new_at
        self._look_in(next_at - now if next_at > now else None)
        if allowed.at > now:
            return 0, False
        new_chats = allowed.new_at <= now
        counts = [free, allowed.count, allowed.new_count if new_chats else None]
        return min(count for count in counts if count is not None), new_chats

    def _look_in(self, delay: float | None) -> None:
        if self._pause is not None:
            self._pause.cancel()
        self._pause = None if delay is None else asyncio.create_task(self._wake_after(delay + CLOCKS_DIFFER))

    def _ready(self) -> bool:
        """Whether there is a connection to send on. A stored WORKING may still speak of an earlier holder's."""
        state = self._actor.state
        return state.phase is Phase.WORKING and state.live and self._actor.may_act()

    def _restricted(self) -> bool:
        """Whether WhatsApp refuses messages to new people now: sending them all the same would make it worse."""
        return (self._actor.state.restricted_until or 0.0) > self._clock.now()

    async def _fail_to_strangers(self, limit: int) -> None:
        for row in await self._store.claim_outbox(self._actor.name, self._actor.held.epoch, limit, strangers_only=True):
            await self._settle(row, "failed", error=463, message=refusals.sentence(463))

    async def _rest(self) -> None:
        waiting = asyncio.create_task(self._wake.wait())
        idling = asyncio.create_task(self._clock.sleep(self._idle))
        try:
            await asyncio.wait({waiting, idling}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            idling.cancel()

    # --- one message --------------------------------------------------------------------------------------------
    async def _send(self, row: OutboxRow, answered: asyncio.Future[OutboxRow | None] | None) -> None:
        ack: ServerAck | None = None
        try:
            ack = await self._attempt(row)
        finally:
            if answered is not None and not answered.done():
                answered.set_result(_after(row, ack) if ack is not None else None)
        if ack is not None:
            point("ack.told")
            await self._acknowledged(row, ack)
            point("ack.stored")

    async def _attempt(self, row: OutboxRow) -> ServerAck | None:
        """WhatsApp's answer, or None where there was none and the row was settled otherwise."""
        try:
            async with self._lent(row) as content:
                timer = await self._timer(row.chat)
                message = OutgoingMessage(row.id, row.chat, content, row.attempts, timer)
                point("send.claimed")
                return await self._actor.engine.send(self._actor.name, self._actor.state.connection, message)
        except OtherAddress as error:
            await self._readdress(row, str(error.facts["address"]))
        except (NotConnected, SendInDoubt, MediaUnavailable, StoreUnavailable, StaleEpoch) as error:
            if isinstance(error, SendInDoubt):
                self._log.warning("send in doubt, tried again under the same id", action="send", code=error.code)
            await self._later(row, error)
        except HoldfastError as error:
            number = int(error.facts.get("error") or 400)
            doubt = f" {outbox.FAILED_IN_DOUBT}" if row.in_doubt else ""
            await self._settle(row, "failed", error=number, message=error.sentence + doubt)
        return None

    @asynccontextmanager
    async def _lent(self, row: OutboxRow) -> AsyncIterator[Mapping[str, Any]]:
        """The message's content, with its file on this machine if it has one."""
        if self._media is None or not row.content.get("file"):
            yield row.content
        else:
            async with self._media.ready(row.content) as content:
                yield content

    async def _timer(self, chat: str) -> ChatTimer | None:
        if self._actor.timers is None:
            self._actor.timers = {timer.chat: timer for timer in await self._store.chat_timers(self._actor.name)}
        return self._actor.timers.get(chat)

    async def _readdress(self, row: OutboxRow, address: str) -> None:
        """Send it to the address that WhatsApp named, and at once, unless WhatsApp named others before."""
        again = row.attempts > 1
        delay = backoff(row.attempts, self._clock.random(), cap=RETRY_CAP) * self._factor if again else 0.0
        retry_at = await self._store.now() + delay if again else 0.0
        try:
            await self._store.readdress_outbox(self._actor.name, self._actor.held.epoch, row.id, address, retry_at)
        except (StaleEpoch, StoreUnavailable) as error:  # it is found again, by the next holder or as a lost claim
            self._log.warning("the address of a chat was not stored", action="send", code=error.code)
        self._wake_in(delay)

    async def _later(self, row: OutboxRow, error: HoldfastError) -> None:
        """Try again: as soon as there is a connection, or after a pause that grows, if there is one all the while."""
        doubt = isinstance(error, SendInDoubt)
        if not doubt and not self._ready():
            await self._settle(row, "queued", message=error.sentence, retry_at=0.0)
            return
        delay = backoff(row.attempts, self._clock.random(), cap=RETRY_CAP) * self._factor
        retry_at = await self._store.now() + delay
        await self._settle(row, "queued", message=error.sentence, retry_at=retry_at, in_doubt=doubt)
        self._wake_in(delay)

    def _wake_in(self, delay: float) -> None:
        task = asyncio.create_task(self._wake_after(delay))
        self._waking.add(task)
        task.add_done_callback(self._waking.discard)

    async def _wake_after(self, delay: float) -> None:
        await self._clock.sleep(delay)
        self._wake.set()

    async def _acknowledged(self, row: OutboxRow, ack: ServerAck) -> None:
        if ack.error:
            await self._settle(row, "failed", error=ack.error, message=_refusal(ack))
        else:
            sent = replace(sent_message(row, ack.at, self._actor.me), raw=ack.message)
            await self._settle(row, "sent", sent=sent)

    async def _settle(
        self,
        row: OutboxRow,
        state: str,
        *,
        error: int = 0,
        message: str = "",
        retry_at: float | None = None,
        in_doubt: bool = False,
        sent: MessageRow | None = None,
    ) -> None:
        while True:
            try:
                settled = await self._store.settle_outbox(
                    self._actor.name,
                    self._actor.held.epoch,
                    row.id,
                    state,
                    error=error,
                    message=message,
                    retry_at=retry_at,
                    in_doubt=in_doubt,
                    events=_events(row, state, error, message, sent),
                    sent=sent,
                )
                break
            except (StaleEpoch, StoreUnavailable) as problem:
                if isinstance(problem, StaleEpoch) or not self._actor.may_act():
                    self._log.warning(
                        "result of a send not stored, the next holder repeats it", action="send", code=problem.code
                    )
                    return
                await self._clock.sleep(STORE_RETRY)
        self._hub.message_settled(self._actor.name, row.id)
        if settled is not None and state != "queued":
            self._hub.events_appended(self._actor.name)
        if self._media is not None and state != "queued":
            await self._media.release(row.content)


def _refusal(ack: ServerAck) -> str:
    return refusals.restricted(ack.detail, ack.until) if ack.error == 463 else refusals.sentence(ack.error)


def _after(row: OutboxRow, ack: ServerAck) -> OutboxRow:
    """The row as it will be stored."""
    if ack.error:
        return replace(row, state="failed", error=ack.error, message=_refusal(ack), updated_at=ack.at)
    return replace(row, state="sent", updated_at=ack.at)


def _events(row: OutboxRow, state: str, error: int, message: str, sent: MessageRow | None) -> list[NewEvent]:
    if state == "queued":
        return []
    events = [outbox.ack_event(row, state, error, message)]
    if sent is not None:
        events.insert(0, NewEvent("message", {"message": message_to_json(sent)}, row.chat))
    return events
