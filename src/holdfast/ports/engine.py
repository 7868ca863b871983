"""What talks to WhatsApp for a session: one port for every engine, one documented type per event.

An engine never decides: it opens what it is told to open, reports what happened, and closes. Reconnecting, waiting
and giving up belong to `domain.session.decide`. It also never keeps credentials: it reads and writes them through
the store under the epoch that it was opened with.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol

from holdfast.domain.timers import ChatTimer

# --- events: engine -> runtime ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EngineEvent:
    """Something that happened on one connection of a session.

    `connection` is the number that `Engine.open` was given: events of an older connection are stale, and ignored.
    """

    session: str
    connection: int


@dataclass(frozen=True, slots=True)
class QrShown(EngineEvent):
    """WhatsApp gave a pairing ref. `qr` is what the phone's camera reads; it stays valid for `lifetime` seconds."""

    qr: str
    lifetime: float


@dataclass(frozen=True, slots=True)
class CodeShown(EngineEvent):
    """A pairing code (8 characters, Crockford base32, without the dash) that the user types on the phone."""

    code: str
    phone: str


@dataclass(frozen=True, slots=True)
class Paired(EngineEvent):
    """The phone linked us; the server now wants a restart (515). `phone` is digits only, `lid` may be empty."""

    phone: str
    lid: str
    push_name: str


@dataclass(frozen=True, slots=True)
class Opened(EngineEvent):
    """Logged in: the server said success and the login exchange is complete (Baileys' `connection: open`)."""

    phone: str
    lid: str
    push_name: str


@dataclass(frozen=True, slots=True)
class Proved(EngineEvent):
    """Traffic from WhatsApp arrived on this connection; `age` is how many seconds ago the last frame came.

    `delivered_age`: how many seconds ago WhatsApp last delivered something that we had not asked for (a message, a
    receipt, a notification, a presence); None if nothing came on this connection yet.
    """

    age: float
    delivered_age: float | None = None


@dataclass(frozen=True, slots=True)
class Closed(EngineEvent):
    """The connection is over, and its raw socket closed.

    `code` is WhatsApp's or Baileys' number (401, 440, 515, 408 ...; 0 when there is none); `tag` names the
    element that said why (`device_removed`, `replaced`, `failure`, `stream:error`, `socket`, `upgrade`, `dns`,
    `tls`, `engine`, `liveness`, `grant`); `attrs` holds its attributes (402's `expire`, ...); `detail` is one
    human phrase without secrets, which never decides anything.
    """

    code: int
    tag: str = ""
    attrs: Mapping[str, str] = field(default_factory=dict)
    detail: str = ""


@dataclass(frozen=True, slots=True)
class InboxStored(EngineEvent):
    """Rows were committed to this session's inbox; whoever turns them into messages may look now."""


@dataclass(frozen=True, slots=True)
class Synced(EngineEvent):
    """Chats, contacts, names or LID mappings that WhatsApp told (history sync, push names, app state).

    `kind` is `contacts`, `chats`, `lid_mapping`, `history` or `presence`; `items` are plain maps with ids as
    WhatsApp writes them (`@s.whatsapp.net`, `@lid`, `@g.us`). Advisory, may come again: storing is idempotent.
    """

    kind: Literal["contacts", "chats", "lid_mapping", "history", "presence"]
    items: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Restricted(EngineEvent):
    """WhatsApp restricts writing to new people (its reach-out timelock) until `until`, Unix seconds; None: no longer.
    `enforcement`: WhatsApp's word for the kind of restriction.
    """

    until: float | None
    enforcement: str = ""


@dataclass(frozen=True, slots=True)
class Capped(EngineEvent):
    """WhatsApp told how many new chats the account may begin; `quota` is WAHA's MessageCappingData."""

    quota: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CredentialsBroken(EngineEvent):
    """Our own state proved broken: credentials unreadable, own keys fail. `detail` is a sentence without keys."""

    detail: str


@dataclass(frozen=True, slots=True)
class EngineDied:
    """The process that hosted these sessions' connections is gone (`connection` numbers by session name)."""

    sessions: Mapping[str, int]
    detail: str
    tag: str = "engine"
    """`engine`, or `memory` if it used more than it may; as `Closed.tag`."""


EventSink = Callable[[EngineEvent | EngineDied], None]

# --- commands: runtime -> engine -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Grant:
    """The right to run one session: its fencing number, and until when on the instance's boot clock, in seconds.

    An instant, not a span: a process that is stopped between making the grant and handing it on gains nothing by it.
    """

    epoch: int
    until: float


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """How to open a session's connection.

    With credentials in the store it is a login. Without, it is a pairing: by QR, or by code if `pair_phone`
    (digits only) is given. An engine that finds credentials when asked to pair from nothing must refuse.
    """

    session: str
    connection: int
    grant: Grant
    pair: bool
    pair_phone: str | None = None
    expect_phone: str = ""
    """When pairing: the only number (digits) to pair with; another is refused before the phone is answered, and told
    as `Closed` with tag `another_number` and its `phone`. Empty: any."""
    anew: bool = False
    """When pairing: a person wants a new QR, so what is found linked is unlinked first, not taken over."""
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """A message to send under an id chosen and stored before the first attempt.

    `content` has WAHA-independent shape: `{"type": "text", "text": ..., "quoted_id"?: ..., "mentions"?: [...],
    "link_preview"?: bool}`, `{"type": "image"|"file"|"voice"|"video", "path" or "url" ...}`, and so on.
    """

    id: str
    chat: str
    content: Mapping[str, Any]
    attempts: int = 1
    """This one included: from the second on it may have been sent before."""
    timer: ChatTimer | None = None
    """For how long the messages of its chat are kept; a group says that itself."""


@dataclass(frozen=True, slots=True)
class ServerAck:
    """WhatsApp's server acknowledged the message. `error` is 0, or its code (463 ...). `at` is Unix seconds. `message`
    is what was sent (a protobuf), where sending it again would need more than what was asked.
    """

    error: int
    at: float
    detail: str = ""
    """What a 463 is about: `timelock` or `token`; empty where nobody said."""
    message: bytes = b""
    until: float | None = None
    """The end of a timelock, in Unix seconds."""


class Probed(StrEnum):
    """What came of asking for a sign of life."""

    ALIVE = "alive"
    SILENT = "silent"
    """No answer in time, or the connection is gone."""
    UNLISTED = "unlisted"
    """WhatsApp answered, and our device is not on the account's list."""


class Engine(Protocol):
    """One engine of an instance, for many sessions.

    Every method may be called again with the same arguments; none raises for a session it does not know, except
    `send` and `call` (`domain.errors.NotConnected`).
    """

    async def start(self, sink: EventSink) -> None:
        """Make ready. Raises `domain.errors.EngineUnavailable` with the way out (Node missing, ...)."""
        ...

    async def stop(self) -> None:
        """Close every connection properly (no 440 for the next holder) and end every process of ours."""
        ...

    async def open(self, request: OpenRequest) -> None:
        """Begin to open; returns once the engine took the request. What comes of it arrives as events.

        An older connection of the same session is terminated first: never two at once.
        """
        ...

    async def close(self, session: str, connection: int, *, logout: bool = False, stop: bool = False) -> None:
        """Close the connection and return when its raw socket is closed; `logout` unlinks the device first.

        `stop`: a person ordered it. A session that runs elsewhere is then stopped there; else it is only let go.
        Returns within 10 s even if WhatsApp does not answer: the raw socket is terminated then.
        """
        ...

    async def forget(self, session: str, config: Mapping[str, Any]) -> None:
        """The session is deleted, and closed already: what is kept of it outside of the store goes. Never raises."""
        ...

    async def grant(self, grants: Mapping[str, Grant]) -> None:
        """Renew the right to run, by session. What is not renewed before it lapses is closed by the engine."""
        ...

    async def request_code(self, session: str, connection: int, phone: str) -> str:
        """Ask for a pairing code on a connection that is pairing.

        Raises `domain.errors.NotConnected` when the connection is gone, `PairingRefused` when WhatsApp refuses.
        """
        ...

    async def send(self, session: str, connection: int, message: OutgoingMessage) -> ServerAck:
        """Send, and return when WhatsApp's server has acknowledged the id (with or without an error).

        Raises `domain.errors.NotConnected` (nothing was written to the socket), `SendInDoubt` (it may have been: only
        the same id may be tried again), `OtherAddress` (WhatsApp spells the chat's address otherwise; nothing was
        sent), or what is final: `Refused`, `NotOnWhatsApp`, `InvalidMessage`.
        """
        ...

    async def probe(self, session: str, connection: int, *, listed: bool, timeout: float) -> Probed:
        """Ask WhatsApp for a sign of life: a ping, or (`listed`) whether our device is still on the account's list."""
        ...

    async def refresh_version(self, config: Mapping[str, Any]) -> None:
        """WhatsApp refused our client's version: find the present one, for the next connections. Never raises.

        `config`: of the session that was refused; its proxy is used.
        """
        ...

    async def call(self, session: str, connection: int, method: str, args: Mapping[str, Any]) -> Any:
        """A live call by name (`check_number`, `presence`, `profile_picture`, `mark_read`, `typing`, ...).

        Raises `NotConnected`, `CallFailed` (WhatsApp's answer in words), `BadRequest` for an unknown method.
        """
        ...

    def facts(self) -> Mapping[str, Any]:
        """Figures for operators: processes with pid, memory in bytes, number of sessions, restarts."""
        ...


StopHook = Callable[[], Awaitable[None]]
