"""Everything durable, behind one port: what is atomic, and what an answer means.

Two rules hold everywhere. Times are Unix seconds in *database* time, taken inside the transaction. A method that
takes an `epoch` checks it in the same transaction as its write and raises `domain.errors.StaleEpoch` without
writing anything if another epoch is current, or if there is no row (G2). A method that returned has committed,
durably. Any method may raise `domain.errors.StoreUnavailable`: then it is *unknown* whether a write happened.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol

from holdfast.domain.accounts import AccountRow
from holdfast.domain.errors import StoreUnavailable
from holdfast.domain.rows import (
    Alike,
    Attention,
    Backlog,
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
    OutboxRow,
    Peer,
    Processed,
    Queue,
    SessionRow,
    Settled,
    Taken,
    TimelineRow,
    Undelivered,
    Won,
)
from holdfast.ports.history import HistoryStore
from holdfast.ports.media import MediaStore
from holdfast.ports.outbox import OutboxStore

__all__ = [
    "AccountRow",
    "Alike",
    "Attention",
    "Backlog",
    "Busy",
    "ChatRow",
    "ConsumerFacts",
    "ContactRow",
    "DeliveryRow",
    "EngineWrite",
    "EventRow",
    "Figures",
    "Hint",
    "Holder",
    "InboxRow",
    "Json",
    "Lease",
    "MessageRow",
    "MovedIn",
    "NewEvent",
    "OutboxRow",
    "Peer",
    "Processed",
    "Queue",
    "SessionRow",
    "Settled",
    "Store",
    "Taken",
    "TimelineRow",
    "Undelivered",
    "Won",
]


class Store(OutboxStore, MediaStore, HistoryStore, Protocol):
    """The one store; SQLite and PostgreSQL give the same answers (tests/contract)."""

    trouble: StoreUnavailable | None
    """Why the latest write failed; None as soon as one succeeded since."""

    async def open(self) -> None:
        """Connect and migrate. Raises `StoreUnavailable`, `StoreDamaged`, `StoreNewer` or `DataDirNotWritable`."""
        ...

    async def close(self) -> None:
        """Finish what was asked, then let go. Nothing may be called afterwards."""
        ...

    async def listen(self, hear: Callable[[Hint], None]) -> None:
        """Call `hear` with what other instances do, until cancelled. Hints may be late, lost or needless; returns where
        none can be had.
        """
        ...

    # --- instances and leases -------------------------------------------------------------------------------
    async def now(self) -> float:
        """Database time. On SQLite it is the boot clock put on the wall once per boot (a changed wall clock moves
        no lease); on PostgreSQL `clock_timestamp()`.
        """
        ...

    async def register_instance(
        self, instance: str, url: str, version: str, labels: Collection[str] = (), facts: Json | None = None
    ) -> float:
        """Insert or refresh this instance's row and its heartbeat; when, in database time. `facts`: of its settings."""
        ...

    async def deregister_instance(self, instance: str) -> None:
        """Remove this instance's row: it stops, and gave its leases back."""
        ...

    async def attention(self, instance: str, alive_within: float, start: float = 0.0) -> Attention:
        """What this instance must look at now. `alive_within`: how old a living peer's heartbeat may be, in seconds;
        `start`, from 0 to 1: where in the list of free sessions it begins, which goes round. Instances that begin
        elsewhere meet only when there is nothing else left.
        """
        ...

    async def instances(self) -> list[Json]:
        """Every instance with its facts, its last heartbeat and the sessions that it holds."""
        ...

    async def claim(self, sessions: Collection[str], instance: str, ttl: float) -> dict[str, Won | Holder]:
        """One conditional update that raises the epochs, for all of them in one transaction: by session what was won,
        or the `Holder` that is in the way; what does not exist is missing.

        An expired lease, or this instance's own, can be claimed at once; a lock's row absent for less than one ttl
        since it was seen missing cannot (someone deleted it by hand and the old holder, whose ttl counts if it is
        longer, may not know yet); a session never claimed before can. A writer that is at the only session asked for
        is waited for. Of several, those that somebody is at are passed over: they are missing as well.
        """
        ...

    async def renew(self, instance: str, epochs: Mapping[str, int], ttl: float) -> dict[str, bool]:
        """Renew all leases of this instance in one statement: True held, False lost, by session."""
        ...

    async def release(self, session: str, instance: str, epoch: int) -> None:
        """Give the lease back, if it is still ours. The next claim wins at once. The epoch stays."""
        ...

    async def expire_instance(self, instance: str) -> list[str]:
        """End the leases of an instance that is proved dead (its process and its sidecars are gone). The sessions."""
        ...

    async def holders(self, sessions: Iterable[str] | None = None) -> dict[str, Holder]:
        """Rows of `session_lock` joined with the holders' addresses."""
        ...

    # --- sessions -------------------------------------------------------------------------------------------
    async def create_session(self, name: str, engine: str, config: Json, desired: str) -> SessionRow:
        """Raises `SessionExists`. Also makes the epoch's row."""
        ...

    async def session(self, name: str) -> SessionRow | None:
        """By name or by alias."""
        ...

    async def sessions(self) -> list[SessionRow]:
        """All, by name."""
        ...

    async def update_config(self, name: str, config: Json) -> SessionRow:
        """Raises `SessionNotFound`."""
        ...

    async def order(self, name: str, desired: str | None, command: Json | None) -> SessionRow:
        """Store what a user wants: the desired state, and a one-time command (its `seq` is given here, and raised).

        Raises `SessionNotFound`.
        """
        ...

    async def delete_session(self, name: str) -> bool:
        """Delete the session and all of its rows except the epoch's (epochs never repeat). False if unknown."""
        ...

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
        """The holder's decision, in one transaction with its timeline entry, its events, and, after a logout, the
        end of the credentials. `put_apart`: move conversations and queue so far to a new, stopped session of that
        name, for this one goes on with another number; what was still to be sent fails.
        """
        ...

    async def note_verified(self, proofs: Mapping[str, tuple[int, float]]) -> None:
        """Store when WhatsApp last proved each session alive, by session (epoch, Unix seconds), in one statement.
        A session whose epoch is another by now is left alone. This is the only write that does not raise for it.
        """
        ...

    async def timeline(self, name: str, limit: int, before: int | None = None) -> list[TimelineRow]:
        """Newest first."""
        ...

    # --- credentials and keys -------------------------------------------------------------------------------
    async def read_keys(self, name: str, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        """The values that exist."""
        ...

    async def write_engine(self, name: str, epoch: int, write: EngineWrite) -> None:
        """Keys and inbox in one transaction. An inbox row whose key exists already is kept as it was. Writes of
        many sessions that wait at the same time share one commit (group commit); each fails on its own.
        """
        ...

    async def clear_credentials(self, name: str) -> int:
        """For `clear-auth` with the server stopped: raises the epoch first, so that no holder writes them back."""
        ...

    async def move_in(self, name: str, engine: str, moved: MovedIn, *, over: bool) -> SessionRow:
        """Make a session with credentials that another program had, and order it to run; all or nothing.

        `over`: put them in place of those that a session of that name has; the epoch is raised first. Raises
        `SessionExists` without it, and if the name is an alias; `SessionRunning` while an instance may have a
        connection open; `WrongNumber` if the session had another number. What was ordered before is forgotten.
        """
        ...

    async def change_engine(self, name: str, engine: str, config: Json, message: str) -> SessionRow:
        """Give a session to another engine, with that configuration: the epoch is raised, so that no holder goes on,
        and the credentials, which are the engine's own, are cleared; all else stays. `message` is the timeline's
        sentence. Raises `SessionNotFound`.
        """
        ...

    # --- inbox ----------------------------------------------------------------------------------------------
    async def inbox_find(self, name: str, key: str) -> InboxRow | None:
        """A row by its dedupe key, processed or not (for 14 days: as long as WhatsApp keeps what it redelivers)."""
        ...

    async def inbox_pending(self, name: str, limit: int) -> list[InboxRow]:
        """Unprocessed rows, oldest first."""
        ...

    async def apply_inbox(self, name: str, epoch: int, processed: Processed) -> list[EventRow]:
        """Messages (insert or ignore), acks (forward only, outbox rows moved too), contacts, mappings, events and
        the rows' `done` mark, in one transaction. Events of messages that were ignored as known are dropped.
        """
        ...

    # --- what users read ------------------------------------------------------------------------------------
    async def chats(self, name: str, limit: int, offset: int) -> list[ChatRow]:
        """Newest first, each with its newest message."""
        ...

    async def messages(
        self, name: str, chat: str | None, limit: int, offset: int, filters: Json | None = None
    ) -> list[MessageRow]:
        """Newest first. Filters: `from_me`, `since`, `until`, `ack`; `oldest_first` turns the order."""
        ...

    async def message(self, name: str, id: str, *, chat: str | None = None) -> MessageRow | None:
        """By WhatsApp's message id; with `chat`, only a message of that chat, by either of its addresses."""
        ...

    async def contacts(self, name: str, limit: int, offset: int) -> list[ContactRow]:
        """By name, then id."""
        ...

    async def addresses(self, name: str, jids: Sequence[str]) -> list[str]:
        """The addresses, and behind them the other known addresses of the same people."""
        ...

    async def resolve(self, name: str, jids: Sequence[str]) -> dict[str, str]:
        """Canonical JID (phone number where its mapping is known) for each."""
        ...

    # --- events and their consumers -------------------------------------------------------------------------
    async def append_events(self, session: str, events: Sequence[NewEvent]) -> list[EventRow]:
        """Append to the log outside any other write."""
        ...

    async def events(self, after: int, limit: int, session: str | None = None) -> list[EventRow]:
        """In order of `seq`. No gap may fill in later: on PostgreSQL, entries not yet surely preceded are withheld."""
        ...

    async def log_end(self) -> int:
        """`seq` of the newest event, 0 if there is none."""
        ...

    async def set_consumers(self, session: str, wanted: Sequence[ConsumerFacts]) -> None:
        """These, in this order, are the session's consumers from now on. A new one stands at the log's end; one that
        takes the place of another (a URL was changed) goes on where that one stood, with what was undelivered. What
        belonged to the others goes.
        """
        ...

    async def waiting_consumers(self, instance: str) -> list[tuple[str, str]]:
        """(consumer, session) of those with something to deliver that this instance may deliver: no other one does, or
        holds the session.
        """
        ...

    async def take_consumer(self, consumer: str, instance: str, ttl: float) -> Taken | Busy | None:
        """Become its owner for `ttl` seconds. `Busy` while another instance is, or holds the session; None if there is
        no such consumer.
        """
        ...

    async def keep_consumers(self, instance: str, consumers: Sequence[str], ttl: float) -> dict[str, str]:
        """Renew in one statement: `settings` of those that are still ours, by consumer. Those of a session that another
        instance holds by now are not renewed.
        """
        ...

    async def leave_consumers(self, instance: str, consumers: Sequence[str] | None = None) -> None:
        """Give these, or all of that instance, back: the next one takes them at once."""
        ...

    async def settle_deliveries(self, consumer: str, instance: str, settled: Settled) -> bool:
        """Move the cursor (never back) and change the rows of what it passed, in one transaction. False, with nothing
        done, if `instance` is the owner no more. Repeating it changes nothing.
        """
        ...

    async def revive_deliveries(self, consumer: str, *, only_next: bool = False) -> None:
        """The receiver is back: whatever waits for its next attempt is due now. `only_next`: to probe it, the one that
        would be tried next.
        """
        ...

    async def delivery_lane(self, consumer: str, chat: str, limit: int) -> tuple[list[Undelivered], list[Undelivered]]:
        """What one chat still has to deliver, in order, and its dead ones that no gap marker named."""
        ...

    async def due_deliveries(self, consumer: str, limit: int) -> tuple[list[Undelivered], float | None]:
        """What is to be tried now, the longest due first, and in how many seconds the next will be (None: nothing)."""
        ...

    async def deliveries(
        self,
        *,
        states: Collection[str] = (),
        session: str | None = None,
        consumer: str | None = None,
        limit: int = 100,
        before: int | None = None,
    ) -> list[DeliveryRow]:
        """What was not delivered in order, newest first; `before` pages back by `id`."""
        ...

    async def replay_delivery(self, id: int) -> DeliveryRow:
        """Try it again now, with all of its time anew; a dead one is parked. Raises `DeliveryNotFound`."""
        ...

    async def replay_deliveries(
        self, *, states: Collection[str] = (), session: str | None = None, consumer: str | None = None
    ) -> int:
        """The same for many; how many."""
        ...

    async def prune(self, age: float, *, events: float | None = None, dead: float | None = None) -> int:
        """Forget what is older than `age` seconds and needed no more: processed inbox rows, outbox rows that are
        final or acknowledged; events older than `events` that every consumer of the session took; deliveries that
        were given up more than `dead` ago (both `age` unless given). A bounded number at a time; how many went: call
        again until 0. Messages, chats, contacts and the timeline are never pruned.
        """
        ...

    # --- for operators --------------------------------------------------------------------------------------
    async def figures(self) -> Figures:
        """What waits, over all sessions. Its cost grows with what waits, not with what is kept."""
        ...

    async def alike(self, instance: str, verified_after: float) -> list[Alike]:
        """Sessions that `instance` does not hold, counted by how they stand. `verified_after`: Unix seconds."""
        ...

    async def unheld(self) -> tuple[list[SessionRow], list[str]]:
        """Sessions that no instance holds and that should run but need a person, or have alerts; and the names of those
        with alerts that were deleted.
        """
        ...

    async def alerts(self) -> dict[str, list[Json]]:
        """`domain.alerts.Alert` as `to_json` wrote them, by session; sessions without any are left out."""
        ...

    async def save_alerts(self, session: str, epoch: int | None, standing: Sequence[Json]) -> None:
        """Replace a session's alerts. `epoch`: the session's current one, or None for a session that was deleted;
        raises `StaleEpoch` where that is not so.
        """
        ...

    async def outages(self) -> dict[str, Json]:
        """`domain.outages.Outage` as `to_json` wrote them, by webhook receiver."""
        ...

    async def swap_outage(self, receiver: str, before: Json | None, after: Json | None) -> bool:
        """Replace what is known of a receiver, None for nothing, if it is still `before`: whether it was."""
        ...

    # --- small facts of the installation --------------------------------------------------------------------
    async def setting(self, key: str) -> str | None:
        """A fact kept for the installation (API key hash, known WhatsApp version, ...)."""
        ...

    async def put_setting(self, key: str, value: str, *, only_if_absent: bool = False) -> str:
        """Returns the value that stands afterwards."""
        ...

    async def settle_root_key(self, *, adopt: bool = True, change: bool = False) -> str | None:
        """Compare the root key of this process with the one that the stored credentials belong to, before sessions run
        or credentials are stored. Without credentials there is nothing to compare.

        Args:
            adopt: Record ours where there are credentials and no record.
            change: Record ours in any case.

        Returns:
            The WhatsApp URL used so far, if ours differs.

        Raises:
            WrongWhatsApp: They differ. `claim`, `write_engine` and `move_in` raise it too.
        """
        ...

    # --- who is let in --------------------------------------------------------------------------------------
    async def add_dashboard_session(self, id_hash: str, lifetime: float) -> None:
        """Store a session of the dashboard, which expires after `lifetime` seconds of database time."""
        ...

    async def dashboard_session_stands(self, id_hash: str) -> bool:
        """Whether that session is stored and has not expired."""
        ...

    async def end_dashboard_session(self, id_hash: str) -> None:
        """Forget that session, if it is stored."""
        ...

    async def rotate_key(self, key_hash: str) -> int:
        """Replace the hash of the generated API key and end all sessions of the dashboard, in one transaction.
        Returns how many sessions ended.
        """
        ...

    async def aliases(self, name: str) -> list[str]:
        """Other names under which the session is found."""
        ...

    async def add_alias(self, alias: str, name: str) -> None:
        """Raises `SessionExists` when the alias is another session's name or alias."""
        ...

    # --- accounts ---------------------------------------------------------------------------------------------
    async def account(self, asked: AccountRow) -> AccountRow | None:
        """The account of that session if one is named, else with that phone, else that company, else that user."""
        ...

    async def accounts(self) -> list[AccountRow]:
        """All, by session."""
        ...

    async def linked(self, phone: str) -> list[str]:
        """The sessions that are or were linked to a phone (canonical digits), by name."""
        ...

    async def save_account(
        self, asked: AccountRow, engine: str, aliases: Sequence[str] = ()
    ) -> tuple[AccountRow, bool]:
        """Make the account known, with its session if there is none of that name or alias, in one transaction: the
        account as it is now, and whether the session is new. What was known stays; what was not is added. A new
        session may be linked with the account's phone only. Raises `AccountTaken` when company, user or phone are
        another account's, or the account has others; `SessionExists` for an alias that means another session.
        """
        ...
