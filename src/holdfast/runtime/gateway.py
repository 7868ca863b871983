"""`ports.gateway.Gateway` for one instance: orders go into the store, facts come from it, live calls to the engine."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any

from holdfast.domain import outbox
from holdfast.domain import state as s
from holdfast.domain.errors import (
    HeldElsewhere,
    InvalidMessage,
    MessageNotFound,
    NotConnected,
    SessionNotFound,
    StoreUnavailable,
    WrongNumber,
    WrongStatus,
)
from holdfast.domain.identity import canonical_phone, valid_session_name
from holdfast.domain.jids import mask
from holdfast.domain.status import status_now
from holdfast.domain.waha import from_waha_id
from holdfast.ports.engine import Engine
from holdfast.ports.gateway import PairingView, SessionView
from holdfast.ports.store import (
    ChatRow,
    ContactRow,
    EventRow,
    Holder,
    Json,
    MessageRow,
    OutboxRow,
    SessionRow,
    TimelineRow,
)
from holdfast.runtime.actor import Actor, Deps
from holdfast.runtime.delivery import Delivery
from holdfast.runtime.sender import Sender
from holdfast.runtime.supervisor import Supervisor

TEXT_LIMIT = 65_536
ORDER_WAIT = 5.0
EXPIRES_AFTER = 86_400.0
PAGE = 500
LOG_LOOK = 1.0
"""Seconds between looks at the event log for what other instances appended."""


class LocalGateway:
    """What the faces may ask of this instance; see the port for outcomes and errors."""

    def __init__(
        self, deps: Deps, supervisor: Supervisor, delivery: Delivery, sender_of: Callable[[str], Sender | None]
    ) -> None:
        self.instance = deps.instance
        self.started_at = deps.clock.now()
        self._store = deps.store
        self._engines = deps.engines
        self._supervisor = supervisor
        self._delivery = delivery
        self._sender_of = sender_of
        self._hub = deps.hub
        self._clock = deps.clock
        self._liveness = deps.times.liveness

    def now(self) -> float:
        """See the port."""
        return self._clock.now()

    # --- views --------------------------------------------------------------------------------------------------
    def _view(self, row: SessionRow, holder: Holder | None) -> SessionView:
        """The status as it is now: from our own actor while its lease is good, else from what the store says."""
        actor = self._supervisor.actors.get(row.name)
        mine = actor is not None and actor.may_act()
        state = actor.state if actor is not None and mine else s.State.from_json(row.state)
        if not mine and row.verified_at is not None:
            state = replace(state, verified_at=max(row.verified_at, state.verified_at or 0.0))
        held = mine or (holder is not None and holder.valid and holder.epoch == row.state.get("epoch"))
        linked = actor.has_credentials if actor is not None else row.has_credentials
        status = status_now(
            state,
            desired_running=row.desired == "running",
            has_credentials=linked,
            held=held,
            now=self._clock.now(),
            deadline=self._liveness,
        )
        owner = self.instance if mine else holder.instance if holder is not None and holder.valid else None
        return SessionView(
            name=row.name,
            engine=row.engine,
            status=status.status,
            reason=status.reason,
            message=status.message,
            since=status.since or row.created_at,
            verified_at=status.verified_at,
            next_attempt_at=status.next_attempt_at,
            attempt=status.attempt,
            needs_qr=status.needs_qr,
            owner=owner,
            epoch=actor.held.epoch if actor is not None else row.epoch,
            config=row.config,
            me=actor.me if actor is not None else row.me,
            linked=linked and not status.needs_qr,
            desired=row.desired,
            created_at=row.created_at,
        )

    async def _row(self, name: str) -> SessionRow:
        row = await self._store.session(name)
        if row is None:
            raise SessionNotFound(f"There is no session '{name}'.")
        return row

    async def session(self, name: str) -> SessionView:
        """See the port."""
        actor = self._supervisor.actors.get(name)
        if actor is not None and actor.may_act():
            return self._view(actor.row, None)
        row = await self._row(name)
        if row.desired == "running" and row.name not in self._supervisor.actors:
            await self._supervisor.poke(row)
            row = await self._row(name)
        return self._view(row, (await self._store.holders([row.name])).get(row.name))

    async def sessions(self) -> list[SessionView]:
        """See the port."""
        rows = await self._store.sessions()
        holders = await self._store.holders()
        return [self._view(row, holders.get(row.name)) for row in rows]

    async def wait_status(self, name: str, *, until: frozenset[str], timeout: float) -> SessionView:
        """See the port."""
        view = await self.session(name)

        async def reached() -> bool:
            nonlocal view
            view = await self.session(name)
            return view.status in until

        await self._until(f"session:{name}", reached, timeout)
        return view

    async def _until(self, topic: str, done: Any, timeout: float) -> bool:
        """Wait until `await done()` holds, woken by the hub and by a slow poll (other instances send no hints)."""
        deadline = self._clock.boot() + timeout
        with self._hub.listening(topic) as woken:
            while not await done():
                left = deadline - self._clock.boot()
                if left <= 0 or self._hub.stopping:
                    return False
                try:
                    await asyncio.wait_for(woken.wait(), min(left, 1.0))
                except TimeoutError:
                    continue
                woken.clear()
        return True

    # --- sessions -----------------------------------------------------------------------------------------------
    async def create(self, name: str | None, config: Json, *, engine: str, start: bool) -> SessionView:
        """See the port."""
        name = valid_session_name(name or f"session_{self._clock.token(8).hex()}")
        row = await self._store.create_session(name, engine, config, "stopped")
        await self._delivery.configure(row.name, row.config, _facts(row))
        if start:
            return await self.start(row.name)
        return self._view(row, None)

    async def update(self, name: str, config: Json) -> SessionView:
        """See the port."""
        row = await self._store.update_config((await self._row(name)).name, config)
        if (actor := self._supervisor.actors.get(row.name)) is not None:
            actor.row = row
        await self._delivery.configure(row.name, row.config, _facts(row))
        return self._view(row, (await self._store.holders([row.name])).get(row.name))

    async def delete(self, name: str) -> None:
        """See the port."""
        row = await self._store.session(name)
        if row is None:
            return
        if row.name in self._supervisor.actors:
            await self._order(row.name, "stopped", "logout")
            await self._supervisor.end(row.name)
        await self._store.delete_session(row.name)
        self._delivery.forget(row.name)
        self._hub.session_changed(row.name)

    async def start(self, name: str) -> SessionView:
        """See the port."""
        return await self._order(name, "running", "start")

    async def stop(self, name: str) -> SessionView:
        """See the port."""
        return await self._order(name, "stopped", "stop")

    async def restart(self, name: str) -> SessionView:
        """See the port."""
        return await self._order(name, "running", "restart")

    async def logout(self, name: str) -> SessionView:
        """See the port."""
        return await self._order(name, None, "logout")

    async def clear_auth(self, name: str) -> SessionView:
        """See the port."""
        row = await self._row(name)
        view = await self.logout(row.name)
        if (await self._row(row.name)).has_credentials:  # whoever holds the session did not do it in time
            await self._store.clear_credentials(row.name)
        return await self.pair(row.name) if row.desired == "running" else view

    async def _order(self, name: str, desired: str | None, kind: str, **facts: Any) -> SessionView:
        """Store what is wanted, hint the holder, and wait a little until it was carried out."""
        row = await self._row(name)
        row = await self._store.order(row.name, desired, {"kind": kind, **facts})
        await self._supervisor.poke(row)
        seq = int(row.command.get("seq", 0))

        async def carried_out() -> bool:
            actor = self._supervisor.actors.get(row.name)
            if actor is not None:
                return actor.state.command_seq >= seq
            stored = await self._store.session(row.name)
            return stored is None or s.State.from_json(stored.state).command_seq >= seq

        await self._until(f"session:{row.name}", carried_out, ORDER_WAIT)
        return await self.session(row.name)

    # --- pairing ------------------------------------------------------------------------------------------------
    async def _holder(self, name: str) -> Actor:
        """Our own actor for a live call; whoever else holds the session must be asked there."""
        actor = self._supervisor.actors.get(name)
        if actor is not None and actor.may_act():
            return actor
        row = await self._row(name)
        holder = (await self._store.holders([row.name])).get(row.name)
        if holder is not None and holder.valid and holder.instance != self.instance:
            raise HeldElsewhere()
        raise NotConnected("The session is not running.")

    async def pair(self, name: str, *, phone: str | None = None, new_number: bool = False) -> SessionView:
        """See the port."""
        digits = None if phone is None else canonical_phone(phone)
        if digits is not None and not new_number:
            await self._same_number(name, digits)
        return await self._order(name, "running", "pair", phone=digits, new_number=new_number)

    async def _same_number(self, name: str, digits: str) -> None:
        known = s.State.from_json((await self._row(name)).state).phone
        if known and known != digits:
            raise WrongNumber(
                f"This session belongs to {mask(known)}, not to {mask(digits)}. "
                "Link the same number, or confirm that the session is to change its number."
            )

    async def pairing(self, name: str, *, wait: float = 0.0) -> PairingView:
        """See the port."""
        view = await self.session(name)

        async def shown() -> bool:
            nonlocal view
            view = await self.session(name)
            if view.status not in ("STARTING", "SCAN_QR_CODE"):
                return True
            actor = self._supervisor.actors.get(view.name)
            on_show = actor is not None and bool(actor.pairing.qr or actor.pairing.code)
            return on_show and view.status == "SCAN_QR_CODE"  # the QR comes a moment before its state is stored

        await self._until(f"session:{view.name}", shown, wait)
        if view.status != "SCAN_QR_CODE":
            raise WrongStatus(session=view.name, status=view.status, expected=["SCAN_QR_CODE"])
        actor = await self._holder(view.name)
        pairing = actor.pairing
        return PairingView(
            pairing.qr, pairing.qr_expires_at, pairing.code, actor.state.pairing_until or self._clock.now()
        )

    async def request_code(self, name: str, phone: str) -> str:
        """See the port."""
        digits = canonical_phone(phone)
        view = await self.session(name)
        if not ((actor := self._supervisor.actors.get(view.name)) is not None and actor.state.new_number):
            await self._same_number(name, digits)
        if view.status == "STARTING":
            view = await self.wait_status(name, until=frozenset({"SCAN_QR_CODE", "WORKING", "FAILED"}), timeout=10.0)
        if view.status != "SCAN_QR_CODE":
            raise WrongStatus(session=view.name, status=view.status, expected=["SCAN_QR_CODE"])
        actor = await self._holder(view.name)
        code = await self._engine(view).request_code(view.name, actor.state.connection, digits)
        actor.pairing.code = code
        return code

    def _engine(self, view: SessionView) -> Engine:
        return self._engines[view.engine]

    # --- messages -----------------------------------------------------------------------------------------------
    async def send(
        self,
        name: str,
        chat: str,
        content: Mapping[str, Any],
        *,
        id: str | None = None,
        idempotency_key: str | None = None,
        wait: float = 30.0,
    ) -> OutboxRow:
        """See the port."""
        view = await self.session(name)
        jid = from_waha_id(chat)
        _check_content(content)
        if not view.linked or view.status in ("STOPPED", "SCAN_QR_CODE"):
            raise WrongStatus(
                f"Session status is not as expected. {view.message}",
                session=view.name,
                status=view.status,
                expected=["WORKING"],
            )
        sender = self._sender_of(view.name)
        row, fresh = await self._store.enqueue(
            self._draft(view.name, jid, content, id, idempotency_key),
            _fingerprint(jid, content, id),
            epoch=sender.claim_epoch() if sender else None,
        )
        if sender is not None and fresh and row.state == "sending":
            return await self._answered(sender.fly(row), row, wait)
        if sender is not None:
            sender.wake()
        return await self._settled(view.name, row, wait)

    async def _answered(self, flight: asyncio.Future[OutboxRow | None], row: OutboxRow, wait: float) -> OutboxRow:
        """WhatsApp's answer to the first attempt; without one, whatever becomes of the row in the time that is left."""
        end = self._clock.boot() + wait
        done, _ = await asyncio.wait({flight}, timeout=wait)
        if done and (sent := flight.result()) is not None:
            return sent
        return await self._settled(row.session, row, max(0.0, end - self._clock.boot()))

    def _draft(self, name: str, jid: str, content: Mapping[str, Any], id: str | None, key: str | None) -> OutboxRow:
        now = self._clock.now()
        return OutboxRow(
            id=id or f"3EB0{self._clock.token(9).hex().upper()}",
            session=name,
            chat=jid,
            content=dict(content),
            state="queued",
            attempts=0,
            created_at=now,
            updated_at=now,
            expires_at=now + EXPIRES_AFTER,
            send_at=0.0,
            error=0,
            message="",
            idempotency_key=key,
        )

    async def _settled(self, name: str, row: OutboxRow, wait: float) -> OutboxRow:
        latest = row

        async def over() -> bool:
            nonlocal latest
            found = await self._store.outbox_get(name, row.id)
            latest = found or latest
            return latest.state in outbox.ACKNOWLEDGED or latest.state in outbox.FINAL

        await self._until(f"message:{name}:{row.id}", over, wait)
        return latest

    async def outgoing(self, name: str, id: str) -> OutboxRow:
        """See the port."""
        row = await self._store.outbox_get((await self._row(name)).name, id)
        if row is None:
            raise MessageNotFound(f"No message '{id}' was accepted for sending in this session.")
        return row

    async def call(self, name: str, method: str, args: Mapping[str, Any]) -> Any:
        """See the port."""
        view = await self.session(name)
        if view.status != "WORKING":
            raise WrongStatus(session=view.name, status=view.status, expected=["WORKING"])
        actor = await self._holder(view.name)
        return await self._engine(view).call(view.name, actor.state.connection, method, args)

    async def chats(self, name: str, limit: int, offset: int) -> list[ChatRow]:
        """See the port."""
        return await self._store.chats((await self._row(name)).name, limit, offset)

    async def messages(
        self, name: str, chat: str | None, limit: int, offset: int, filters: Json | None = None
    ) -> list[MessageRow]:
        """See the port."""
        row = await self._row(name)
        return await self._store.messages(row.name, from_waha_id(chat) if chat else None, limit, offset, filters)

    async def message(self, name: str, id: str) -> MessageRow | None:
        """See the port."""
        return await self._store.message((await self._row(name)).name, id)

    async def contacts(self, name: str, limit: int, offset: int) -> list[ContactRow]:
        """See the port."""
        return await self._store.contacts((await self._row(name)).name, limit, offset)

    async def timeline(self, name: str, limit: int, before: int | None = None) -> list[TimelineRow]:
        """See the port."""
        return await self._store.timeline((await self._row(name)).name, limit, before)

    # --- events and health --------------------------------------------------------------------------------------
    async def subscribe(self, session: str | None = None, after: int | None = None) -> AsyncIterator[EventRow]:
        """See the port. Other instances send no hints, so the log is looked at now and then as well."""
        cursor = after
        with self._hub.listening("events") as woken:
            while not self._hub.stopping:
                woken.clear()
                try:
                    if cursor is None:
                        cursor = await self._store.log_end()
                    events = await self._store.events(cursor, PAGE, session)
                except StoreUnavailable:
                    await self._clock.sleep(LOG_LOOK)
                    continue
                for event in events:
                    yield event
                    cursor = event.seq
                if not events and not self._hub.stopping:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(woken.wait(), LOG_LOOK)

    async def last_event(self) -> int:
        """See the port."""
        return await self._store.log_end()

    async def health(self) -> Json:
        """See the port."""
        views = await self.sessions()
        counts: dict[str, int] = {}
        for view in views:
            counts[view.status] = counts.get(view.status, 0) + 1
        engines = {name: dict(engine.facts()) for name, engine in self._engines.items()}
        return {"ok": True, "store": {"ok": True}, "engines": engines, "sessions": counts}


def _facts(row: SessionRow) -> Json:
    return {"me": row.me, "metadata": row.config.get("metadata") or {}, "engine": row.engine}


def _fingerprint(jid: str, content: Mapping[str, Any], id: str | None) -> str:
    """What makes two requests under one Idempotency-Key the same."""
    return repr((jid, sorted(content.items(), key=lambda item: item[0]), id))


def _check_content(content: Mapping[str, Any]) -> None:
    text = content.get("text")
    if content.get("type", "text") != "text":
        return
    if not isinstance(text, str) or not text.strip():
        raise InvalidMessage("The text is empty.")
    if len(text) > TEXT_LIMIT:
        raise InvalidMessage(f"The text has {len(text):,} characters; WhatsApp takes at most {TEXT_LIMIT:,}.")
