"""What the faces (REST, dashboard, command line) may ask of an instance.

The faces hold no rule: they translate a request into one of these calls, and what comes back, or the
`HoldfastError` that is raised, into their shape.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from holdfast.domain.media import MediaRow
from holdfast.domain.outbox import Step
from holdfast.domain.terms import Terms
from holdfast.domain.waiting import Reason
from holdfast.ports.history import Found
from holdfast.ports.media import Link, Upload
from holdfast.ports.store import ChatRow, ContactRow, DeliveryRow, EventRow, Json, MessageRow, OutboxRow, TimelineRow


@dataclass(frozen=True, slots=True)
class SessionView:
    """A session as users see it; the status is computed when it is read (G5).

    Times are Unix seconds. `status` is WAHA's word, `reason` the machine code and `message` the human sentence.
    """

    name: str
    engine: str
    status: str
    reason: str
    message: str
    since: float
    verified_at: float | None
    next_attempt_at: float | None
    attempt: int
    needs_qr: bool
    owner: str | None
    epoch: int
    config: Json
    me: Json
    """`{"phone", "lid", "push_name"}` or `{}`."""
    linked: bool
    """Whether there are credentials to connect with."""
    desired: str
    created_at: float
    notes: Sequence[str] = ()
    """What whoever ordered something is to know of what came of it; a sentence each."""


@dataclass(frozen=True, slots=True)
class PairingView:
    """What a phone can scan or type now. `qr` is None until WhatsApp gave the first ref."""

    qr: str | None
    qr_expires_at: float | None
    code: str | None
    pairing_until: float


@dataclass(frozen=True, slots=True)
class Queued:
    """A message of the outbox, and what it waits for; None if for nothing any more."""

    row: OutboxRow
    reason: Reason | None


@dataclass(frozen=True, slots=True)
class Story:
    """All that is known of one outgoing message. `steps`: every state it was in, oldest first."""

    row: OutboxRow
    steps: Sequence[Step]
    reason: Reason | None


class Gateway(Protocol):
    """One instance of Holdfast, whatever runs beneath. Unknown sessions raise `SessionNotFound` everywhere."""

    instance: str
    url: str
    """Where users reach this instance; empty if nobody said."""
    presented: str
    """The WAHA engine whose shapes clients see; see `domain.presented_engine`."""
    started_at: float

    def now(self) -> float:
        """Unix seconds, from the instance's clock."""
        ...

    async def instances(self) -> list[Json]:
        """Every instance known lately: id, url, labels, sessions, `expires_in` and `seen_ago` in seconds, `this`."""
        ...

    # --- sessions
    def homes(self) -> Mapping[str, Sequence[str]]:
        """The engines on which sessions can be made, each with the names of its servers; those that live here have
        none.
        """
        ...

    async def create(self, name: str | None, config: Json, *, start: bool, engine: str = "") -> SessionView:
        """Raises `InvalidName`, `SessionExists`, `BadRequest` for an engine or server that there is not. Without a name
        one is made; without an engine it is the one that the configuration or the settings name.
        """
        ...

    async def update(self, name: str, config: Json) -> SessionView:
        """Replace the configuration. The connection stays up."""
        ...

    async def move(self, name: str, engine: str, server: str = "") -> SessionView:
        """Give the session to another engine, or server: it is logged out, keeps its history and settings, and begins
        to pair anew if it should run. Raises `BadRequest`, `InvalidName` where it cannot live there.
        """
        ...

    async def told(self, server: str, signature: str, body: bytes) -> None:
        """What a remote server tells by webhook; stored when this returns. Events of sessions that are none of ours are
        passed over. Raises `SessionNotFound` for a server that is not known, `Unauthorized` for a bad signature,
        `BadRequest`, `HeldElsewhere` while nobody holds the session.
        """
        ...

    async def delete(self, name: str) -> None:
        """Unlink the device if it is connected, then delete all of the session. Unknown: nothing, no error."""
        ...

    async def start(self, name: str) -> SessionView:
        """Idempotent: a running session is left alone; a terminal one begins to pair (a person asked)."""
        ...

    async def stop(self, name: str) -> SessionView:
        """Close the connection; credentials stay."""
        ...

    async def restart(self, name: str) -> SessionView:
        """Close and open anew, at once, whatever timer was running."""
        ...

    async def logout(self, name: str) -> SessionView:
        """Unlink the device and clear the credentials; configuration and history stay.

        A session that should run asks for a new QR code afterwards, which the phone of any number may scan; one that
        was made for a phone number takes that number only. `notes` of the answer say what could not be done.
        """
        ...

    async def clear_auth(self, name: str) -> SessionView:
        """Log out, and clear the credentials whether the holder answers or not; a session that should run begins to
        pair. History stays.
        """
        ...

    async def sessions(self) -> list[SessionView]:
        """All, by name."""
        ...

    async def session(self, name: str) -> SessionView:
        """One. A look at a session that should run and does not starts its restore."""
        ...

    async def wait_status(self, name: str, *, until: frozenset[str], timeout: float) -> SessionView:
        """Return once the status is one of `until`, or at the timeout with whatever it is."""
        ...

    # --- pairing
    async def pair(self, name: str, *, phone: str | None = None, new_number: bool = False) -> SessionView:
        """Begin to link anew, by QR, or by a code for `phone`. `new_number`: another number than before is meant; the
        conversations so far are put apart then. Raises `InvalidPhone`, `WrongNumber`.
        """
        ...

    async def pairing(self, name: str, *, wait: float = 0.0) -> PairingView:
        """Raises `WrongStatus` unless the session is pairing; waits up to `wait` seconds for the first QR."""
        ...

    async def request_code(self, name: str, phone: str) -> str:
        """Raises `InvalidPhone`, `WrongStatus`, `PairingRefused`."""
        ...

    # --- messages
    async def send(
        self,
        name: str,
        chat: str,
        content: Mapping[str, Any],
        *,
        id: str | None = None,
        idempotency_key: str | None = None,
        terms: Terms | None = None,
        file: Upload | Link | None = None,
        wait: float = 30.0,
    ) -> OutboxRow:
        """Accept durably, then wait up to `wait` seconds for a final or acknowledged state, unless it is scheduled, or
        its session needs a person first. With a known key and the same request: that message, as it stands.

        Raises `InvalidChatId`, `InvalidMessage`, `InvalidTime`, `WrongStatus` (needs a QR, or is stopped, and `terms`
        and session do not say to queue), `IdempotencyConflict`, `DuplicateMessageId`; of a `file` `InvalidMedia`,
        `MediaNotFetched`, `MediaTooLarge`, `MediaUnavailable`. An upload is used up, whatever happens.
        """
        ...

    def check_file_size(self, size: int | None) -> None:
        """Raises `MediaTooLarge` for more bytes than are sent, before any is read; None is not known yet."""
        ...

    async def take_file(self, pieces: AsyncIterator[bytes], mimetype: str = "", filename: str = "") -> Upload:
        """Take in a file for `send`. Raises `MediaTooLarge` as soon as it is, `MediaUnavailable`."""
        ...

    def discard_file(self, upload: Upload) -> None:
        """It will not be sent."""
        ...

    async def file(self, session: str, name: str, wait: float) -> tuple[MediaRow, int, AsyncIterator[bytes]]:
        """A file that the session received, its size and bytes; one that is being fetched is waited for up to `wait`
        seconds.

        Raises `MediaNotFound`, `MediaGone`, `MediaUnavailable`.
        """
        ...

    async def cancel(self, name: str, id: str) -> OutboxRow:
        """End a message that waits. Raises `MessageNotFound`, `TooLate`."""
        ...

    async def story(self, name: str, id: str) -> Story:
        """Raises `MessageNotFound`."""
        ...

    async def queue(
        self, name: str, states: Collection[str] = (), limit: int = 100, before: int | None = None
    ) -> list[Queued]:
        """Messages in these states (by default those that wait), newest first; `before` pages back by `seq`."""
        ...

    async def outgoing(self, name: str, id: str) -> OutboxRow:
        """Raises `MessageNotFound`."""
        ...

    async def call(self, name: str, method: str, args: Mapping[str, Any]) -> Any:
        """A live call to WhatsApp (`check_number`, `mark_read`, `typing`, `presence`, ...)."""
        ...

    async def chats(self, name: str, limit: int, offset: int) -> list[ChatRow]:
        """Newest first."""
        ...

    async def messages(
        self, name: str, chat: str | None, limit: int, offset: int, filters: Json | None = None
    ) -> list[MessageRow]:
        """Newest first; `chat` in any of its spellings."""
        ...

    async def message(self, name: str, id: str) -> MessageRow | None:
        """By WhatsApp's message id."""
        ...

    async def search(
        self, asked: str, limit: int, offset: int, *, session: str | None = None, filters: Json | None = None
    ) -> list[Found]:
        """Messages of one session, or of all, by their words; see `ports.history`. Raises `BadRequest`."""
        ...

    async def export(self, name: str) -> AsyncIterator[Json]:
        """A session's history as lines; see `domain.history`."""
        ...

    async def contacts(self, name: str, limit: int, offset: int) -> list[ContactRow]:
        """By name."""
        ...

    async def timeline(self, name: str, limit: int, before: int | None = None) -> list[TimelineRow]:
        """Newest first."""
        ...

    # --- webhooks
    async def deliveries(
        self,
        *,
        states: Collection[str] = (),
        session: str | None = None,
        consumer: str | None = None,
        limit: int = 100,
        before: int | None = None,
    ) -> list[DeliveryRow]:
        """Events that webhooks did not get in order, newest first."""
        ...

    async def replay(self, id: int) -> DeliveryRow:
        """Try one again now. Raises `DeliveryNotFound`."""
        ...

    async def replay_all(
        self, *, states: Collection[str] = (), session: str | None = None, consumer: str | None = None
    ) -> int:
        """Try many again now; how many."""
        ...

    # --- events and health
    def subscribe(self, session: str | None = None, after: int | None = None) -> AsyncIterator[EventRow]:
        """Every event of one session, or of all, from `after` (exclusive) on, or from now on; without a gap."""
        ...

    async def last_event(self) -> int:
        """The number of the newest event; 0 if there is none."""
        ...

    async def health(self) -> Json:
        """`{"ok": bool, "store": {...}, "engine": {...}, "sessions": {status: count}}`; quick, asks the store."""
        ...
