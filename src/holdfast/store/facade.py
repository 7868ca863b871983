"""`SqlStore`: the store port, each method one transaction function handed to the driver."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial

from sqlalchemy import Connection

from holdfast.domain.accounts import AccountRow
from holdfast.domain.rows import (
    Alike,
    Attention,
    Busy,
    ChatRow,
    ConsumerFacts,
    ContactRow,
    DeliveryRow,
    EngineWrite,
    EventRow,
    Figures,
    Hint,
    Holder,
    InboxRow,
    Json,
    Lease,
    MessageRow,
    MovedIn,
    NewEvent,
    Processed,
    SessionRow,
    Settled,
    Taken,
    TimelineRow,
    Undelivered,
    Won,
)
from holdfast.domain.whatsapp import WhatsApp
from holdfast.ports.clock import Clock
from holdfast.store import (
    accounts,
    alerts,
    apply,
    attention,
    dashboard_sessions,
    deliveries,
    events,
    figures,
    inbox,
    keys,
    leases,
    messages,
    moving,
    people,
    prune,
    root_key,
    sessions,
    settings,
    sql,
)
from holdfast.store.drivers import Driver
from holdfast.store.history import HistoryPart
from holdfast.store.media import MediaPart
from holdfast.store.outgoing import OutboxPart

_FEW = 32
"""Rows up to which a write is done sooner than handed to a thread."""

_BRIEF = 200
"""Rows up to which reading by an index is done sooner than handed to a thread."""


class SqlStore(OutboxPart, MediaPart, HistoryPart):
    """`ports.store.Store` over a driver. The meaning of each method stands in the port."""

    def __init__(self, driver: Driver, clock: Clock, whatsapp: WhatsApp | None = None) -> None:
        super().__init__(driver, clock)
        self._whatsapp = whatsapp or WhatsApp()

    async def listen(self, hear: Callable[[Hint], None]) -> None:
        """See the port."""
        await self._driver.listen(hear)

    async def open(self) -> None:
        """See the port."""
        await self._driver.open()

    async def close(self) -> None:
        """See the port."""
        await self._driver.close()

    # --- instances and leases -------------------------------------------------------------------------------
    async def now(self) -> float:
        """See the port."""
        return await self._read(sql.now, brief=True)

    async def register_instance(
        self, instance: str, url: str, version: str, labels: Collection[str] = (), facts: Json | None = None
    ) -> float:
        """See the port."""
        said, told = attention.written(labels), sql.dumps(facts or {})
        return await self._write(lambda c: leases.register_instance(c, instance, url, version, said, told))

    async def deregister_instance(self, instance: str) -> None:
        """See the port."""
        await self._write(lambda c: leases.deregister_instance(c, instance))

    async def attention(self, instance: str, alive_within: float, start: float = 0.0) -> Attention:
        """See the port."""
        return await self._read(lambda c: attention.look(c, instance, alive_within, start))

    async def instances(self) -> list[Json]:
        """See the port."""
        return await self._read(leases.instances)

    async def claim(self, sessions: Collection[str], instance: str, ttl: float) -> dict[str, Won | Holder]:
        """See the port."""
        names = list(sessions)
        return await self._write(lambda c: _with_rows(c, leases.claim(c, names, instance, ttl, self._whatsapp)))

    async def renew(self, instance: str, epochs: Mapping[str, int], ttl: float) -> dict[str, bool]:
        """See the port."""
        held = dict(epochs)
        return await self._write(lambda c: leases.renew(c, instance, held, ttl), urgent=True)

    async def release(self, session: str, instance: str, epoch: int) -> None:
        """See the port."""
        await self._write(lambda c: leases.release(c, session, instance, epoch))

    async def expire_instance(self, instance: str) -> list[str]:
        """See the port."""
        return await self._write(lambda c: leases.expire_instance(c, instance))

    async def holders(self, sessions: Iterable[str] | None = None) -> dict[str, Holder]:
        """See the port."""
        names = None if sessions is None else list(sessions)
        return await self._read(lambda c: leases.holders(c, names), brief=True)

    # --- sessions -------------------------------------------------------------------------------------------
    async def create_session(self, name: str, engine: str, config: Json, desired: str) -> SessionRow:
        """See the port."""
        return await self._write(lambda c: sessions.create(c, name, engine, config, desired))

    async def session(self, name: str) -> SessionRow | None:
        """See the port."""
        return await self._read(lambda c: sessions.get(c, name), brief=True)

    async def sessions(self) -> list[SessionRow]:
        """See the port."""
        return await self._read(sessions.every)

    async def update_config(self, name: str, config: Json) -> SessionRow:
        """See the port."""
        row = await self._write(lambda c: sessions.update_config(c, name, config))
        self._tell("session", name)
        return row

    async def order(self, name: str, desired: str | None, command: Json | None) -> SessionRow:
        """See the port."""
        return await self._write(lambda c: sessions.order(c, name, desired, command))

    async def delete_session(self, name: str) -> bool:
        """See the port."""
        known = await self._write(lambda c: sessions.remove(c, name))
        self._tell("session", name)
        return known

    async def save_state(
        self,
        name: str,
        epoch: int,
        state: Json,
        *,
        me: Json | None,
        timeline: TimelineRow | None,
        events: Sequence[NewEvent] = (),
        clear_credentials: bool = False,
        put_apart: str | None = None,
    ) -> None:
        """See the port."""
        await self._write(
            lambda c: sessions.save_state(
                c,
                name,
                epoch,
                state,
                me=me,
                entry=timeline,
                events=events,
                clear_credentials=clear_credentials,
                put_apart=put_apart,
                new_id=self._new_id,
            )
        )
        self._tell("session", name)
        if events:
            self._tell("events", name)

    async def note_verified(self, proofs: Mapping[str, tuple[int, float]]) -> None:
        """See the port."""
        known = dict(proofs)
        await self._write(lambda c: sessions.note_verified(c, known))

    async def timeline(self, name: str, limit: int, before: int | None = None) -> list[TimelineRow]:
        """See the port."""
        return await self._read(lambda c: sessions.read_timeline(c, name, limit, before))

    # --- credentials and keys -------------------------------------------------------------------------------
    async def read_keys(self, name: str, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        """See the port."""
        return await self._read(partial(_read_keys, name, keys), brief=True)

    async def write_engine(self, name: str, epoch: int, write: EngineWrite) -> None:
        """See the port."""
        brief = len(write.keys) <= _FEW
        await self._write(lambda c: keys.write_engine(c, name, epoch, write, self._whatsapp), brief=brief)

    async def clear_credentials(self, name: str) -> int:
        """See the port."""
        return await self._write(lambda c: keys.clear(c, name))

    async def move_in(self, name: str, engine: str, moved: MovedIn, *, over: bool) -> SessionRow:
        """See the port."""
        return await self._write(lambda c: moving.move_in(c, name, engine, moved, self._whatsapp, over=over))

    async def change_engine(self, name: str, engine: str, config: Json, message: str) -> SessionRow:
        """See the port."""
        row = await self._write(lambda c: moving.change_engine(c, name, engine, config, message))
        self._tell("session", name)
        return row

    # --- inbox ----------------------------------------------------------------------------------------------
    async def inbox_find(self, name: str, key: str) -> InboxRow | None:
        """See the port."""
        return await self._read(lambda c: inbox.find(c, name, key), brief=True)

    async def inbox_pending(self, name: str, limit: int) -> list[InboxRow]:
        """See the port."""
        return await self._read(lambda c: inbox.pending(c, name, limit), brief=limit <= _BRIEF)

    async def apply_inbox(self, name: str, epoch: int, processed: Processed) -> list[EventRow]:
        """See the port."""
        appended = await self._write(
            lambda c: apply.apply_inbox(c, name, epoch, processed, self._new_id), brief=apply.is_brief(processed)
        )
        if processed.acks:
            self._tell("message", name, *(id_ for _, id_, _ in processed.acks))
        if appended:
            self._tell("events", name)
        return appended

    # --- what users read ------------------------------------------------------------------------------------
    async def chats(self, name: str, limit: int, offset: int) -> list[ChatRow]:
        """See the port."""
        return await self._read(lambda c: messages.chats(c, name, limit, offset))

    async def messages(
        self, name: str, chat: str | None, limit: int, offset: int, filters: Json | None = None
    ) -> list[MessageRow]:
        """See the port."""
        return await self._read(lambda c: messages.listing(c, name, chat, limit=limit, offset=offset, filters=filters))

    async def message(self, name: str, id: str, *, chat: str | None = None) -> MessageRow | None:
        """See the port."""
        return await self._read(lambda c: messages.get(c, name, id, chat), brief=True)

    async def contacts(self, name: str, limit: int, offset: int) -> list[ContactRow]:
        """See the port."""
        return await self._read(lambda c: people.contacts(c, name, limit, offset))

    async def addresses(self, name: str, jids: Sequence[str]) -> list[str]:
        """See the port."""
        return await self._read(lambda c: people.addresses(c, name, jids), brief=True)

    async def resolve(self, name: str, jids: Sequence[str]) -> dict[str, str]:
        """See the port."""
        return await self._read(lambda c: people.resolve(c, name, jids), brief=True)

    # --- events and their consumers -------------------------------------------------------------------------
    async def append_events(self, session: str, events: Sequence[NewEvent]) -> list[EventRow]:
        """See the port."""
        appended = await self._write(partial(_append, session, events, self._new_id), brief=len(events) <= _FEW)
        self._tell("events", session)
        return appended

    async def events(self, after: int, limit: int, session: str | None = None) -> list[EventRow]:
        """See the port."""
        return await self._read(lambda c: events.read(c, after, limit, session), brief=limit <= _BRIEF)

    async def log_end(self) -> int:
        """See the port."""
        return await self._read(events.end)

    async def set_consumers(self, session: str, wanted: Sequence[ConsumerFacts]) -> None:
        """See the port."""
        if not await self._read(lambda c: deliveries.is_configured(c, session, wanted), brief=True):
            await self._write(lambda c: deliveries.configure(c, session, wanted))

    async def waiting_consumers(self, instance: str) -> list[tuple[str, str]]:
        """See the port."""
        return await self._read(lambda c: deliveries.waiting(c, instance))

    async def take_consumer(self, consumer: str, instance: str, ttl: float) -> Taken | Busy | None:
        """See the port."""
        return await self._write(lambda c: deliveries.take(c, consumer, instance, ttl), brief=True)

    async def keep_consumers(self, instance: str, consumers: Sequence[str], ttl: float) -> dict[str, str]:
        """See the port."""
        ours = list(consumers)
        return await self._write(lambda c: deliveries.keep(c, instance, ours, ttl), brief=len(ours) <= _FEW)

    async def leave_consumers(self, instance: str, consumers: Sequence[str] | None = None) -> None:
        """See the port."""
        await self._write(lambda c: deliveries.leave(c, instance, consumers))

    async def settle_deliveries(self, consumer: str, instance: str, settled: Settled) -> bool:
        """See the port."""
        few = len(settled.rows) + len(settled.done) <= _FEW
        return await self._write(lambda c: deliveries.settle(c, consumer, instance, settled), brief=few)

    async def revive_deliveries(self, consumer: str, *, only_next: bool = False) -> None:
        """See the port."""
        await self._write(lambda c: deliveries.revive(c, consumer, only_next=only_next), brief=only_next)

    async def delivery_lane(self, consumer: str, chat: str, limit: int) -> tuple[list[Undelivered], list[Undelivered]]:
        """See the port."""
        return await self._read(lambda c: deliveries.lane(c, consumer, chat, limit), brief=limit <= _BRIEF)

    async def due_deliveries(self, consumer: str, limit: int) -> tuple[list[Undelivered], float | None]:
        """See the port."""
        return await self._read(lambda c: deliveries.due(c, consumer, limit), brief=limit <= _BRIEF)

    async def deliveries(
        self,
        *,
        states: Collection[str] = (),
        session: str | None = None,
        consumer: str | None = None,
        limit: int = 100,
        before: int | None = None,
    ) -> list[DeliveryRow]:
        """See the port."""
        which = deliveries.Which(states, session, consumer)
        return await self._read(lambda c: deliveries.listing(c, which, limit, before))

    async def replay_delivery(self, id: int) -> DeliveryRow:
        """See the port."""
        return await self._write(lambda c: deliveries.replay(c, id))

    async def replay_deliveries(
        self, *, states: Collection[str] = (), session: str | None = None, consumer: str | None = None
    ) -> int:
        """See the port."""
        which = deliveries.Which(states, session, consumer)
        return await self._write(lambda c: deliveries.replay_all(c, which))

    async def prune(self, age: float, *, events: float | None = None, dead: float | None = None) -> int:
        """See the port."""
        kept = age if events is None else events, age if dead is None else dead
        return await self._write(lambda c: prune.prune(c, age, *kept))

    # --- for operators --------------------------------------------------------------------------------------
    async def figures(self) -> Figures:
        """See the port."""
        return await self._read(figures.read)

    async def alike(self, instance: str, verified_after: float) -> list[Alike]:
        """See the port."""
        return await self._read(lambda c: figures.alike(c, instance, verified_after))

    async def unheld(self) -> tuple[list[SessionRow], list[str]]:
        """See the port."""
        return await self._read(alerts.unheld)

    async def alerts(self) -> dict[str, list[Json]]:
        """See the port."""
        return await self._read(alerts.every)

    async def save_alerts(self, session: str, epoch: int | None, standing: Sequence[Json]) -> None:
        """See the port."""
        await self._write(lambda c: alerts.save(c, session, epoch, standing))

    async def outages(self) -> dict[str, Json]:
        """See the port."""
        return await self._read(alerts.outages)

    async def swap_outage(self, receiver: str, before: Json | None, after: Json | None) -> bool:
        """See the port."""
        return await self._write(lambda c: alerts.swap_outage(c, receiver, before, after))

    # --- small facts of the installation --------------------------------------------------------------------
    async def setting(self, key: str) -> str | None:
        """See the port."""
        return await self._read(lambda c: settings.get(c, key), brief=True)

    async def put_setting(self, key: str, value: str, *, only_if_absent: bool = False) -> str:
        """See the port."""
        return await self._write(lambda c: settings.put(c, key, value, only_if_absent=only_if_absent))

    async def settle_root_key(self, *, adopt: bool = True, change: bool = False) -> str | None:
        """See the port."""
        return await self._write(lambda c: root_key.settle(c, self._whatsapp, adopt=adopt, change=change))

    # --- who is let in --------------------------------------------------------------------------------------
    async def add_dashboard_session(self, id_hash: str, lifetime: float) -> None:
        """See the port."""
        await self._write(lambda c: dashboard_sessions.add(c, id_hash, lifetime), brief=True)

    async def dashboard_session_stands(self, id_hash: str) -> bool:
        """See the port."""
        return await self._read(lambda c: dashboard_sessions.stands(c, id_hash), brief=True)

    async def end_dashboard_session(self, id_hash: str) -> None:
        """See the port."""
        await self._write(lambda c: dashboard_sessions.end(c, id_hash), brief=True)

    async def rotate_key(self, key_hash: str) -> int:
        """See the port."""
        return await self._write(lambda c: dashboard_sessions.rotate_key(c, key_hash))

    async def aliases(self, name: str) -> list[str]:
        """See the port."""
        return await self._read(lambda c: sessions.aliases(c, name), brief=True)

    async def add_alias(self, alias: str, name: str) -> None:
        """See the port."""
        await self._write(lambda c: sessions.add_alias(c, alias, name))

    # --- accounts ---------------------------------------------------------------------------------------------
    async def account(self, asked: AccountRow) -> AccountRow | None:
        """See the port."""
        return await self._read(lambda c: accounts.find(c, asked), brief=asked.phone is None)

    async def accounts(self) -> list[AccountRow]:
        """See the port."""
        return await self._read(accounts.every)

    async def linked(self, phone: str) -> list[str]:
        """See the port."""
        return await self._read(lambda c: accounts.linked(c, phone))

    async def save_account(
        self, asked: AccountRow, engine: str, aliases: Sequence[str] = ()
    ) -> tuple[AccountRow, bool]:
        """See the port."""
        return await self._write(lambda c: accounts.save(c, asked, engine, aliases))


def _with_rows(c: Connection, claims: Mapping[str, Lease | Holder]) -> dict[str, Won | Holder]:
    won = [name for name, answer in claims.items() if isinstance(answer, Lease)]
    rows, backlogs = sessions.named(c, won), leases.backlogs(c, won)
    return {
        name: Won(answer, rows[name], backlogs[name]) if isinstance(answer, Lease) else answer
        for name, answer in claims.items()
    }


def _read_keys(name: str, asked: Sequence[tuple[str, str]], c: Connection) -> dict[tuple[str, str], bytes]:
    return keys.read(c, name, asked)


def _append(session: str, new: Sequence[NewEvent], new_id: Callable[[], str], c: Connection) -> list[EventRow]:
    return events.append(c, session, new, new_id)
